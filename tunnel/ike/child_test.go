package ike

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// Narrowing by the machine against a model that looks at points one by one.
func TestNarrow(t *testing.T) {
	n := newNetwork(t, 30)
	point := func(a byte, port uint16, proto uint8) message.TrafficSelector {
		addr := netip.AddrFrom4([4]byte{10, 0, 0, a})
		return message.TrafficSelector{Start: addr, End: addr, StartPort: port, EndPort: port, Protocol: proto}
	}
	random := func() []message.TrafficSelector {
		var all []message.TrafficSelector
		for range 1 + n.rand.IntN(4) {
			a, b := byte(n.rand.IntN(16)), byte(n.rand.IntN(16))
			s := point(min(a, b), 0, uint8(n.rand.IntN(3)))
			s.End, s.EndPort = netip.AddrFrom4([4]byte{10, 0, 0, max(a, b)}), 65535
			if n.rand.IntN(3) == 0 {
				s.StartPort, s.EndPort = uint16(n.rand.IntN(4)), uint16(4+n.rand.IntN(4))
			}
			all = append(all, s)
		}
		return all
	}
	any := func(all []message.TrafficSelector, p message.TrafficSelector) bool {
		return slices.ContainsFunc(all, func(s message.TrafficSelector) bool {
			return !p.Start.Less(s.Start) && !s.End.Less(p.Start) && (s.Protocol == 0 || s.Protocol == p.Protocol) &&
				s.StartPort <= p.StartPort && p.StartPort <= s.EndPort
		})
	}
	for range 300 {
		a, b := random(), random()
		both := narrow(a, b)
		for addr := range byte(16) {
			for port := range uint16(9) {
				for proto := uint8(1); proto < 3; proto++ {
					p := point(addr, port, proto)
					if got, want := any(both, p), any(a, p) && any(b, p); got != want {
						t.Fatalf("%v and %v give %v: %v is in it: %v", a, b, both, p, got)
					}
				}
			}
		}
		if len(both) > 0 && (!within(a, both) || !within(b, both)) {
			t.Fatalf("%v and %v give %v, which is not within both", a, b, both)
		}
	}
}

func TestNarrowing(t *testing.T) {
	p := newPair(t, 31)
	p.moonCfg.Children[0].Local = ts("10.1.0.0/16", "10.5.0.0/16", "2001:db8:1::/48")
	p.moonCfg.Children[0].Remote = ts("0.0.0.0/0", "::/0")
	p.sunCfg.Children[0].Local = ts("10.2.0.0/16", "10.3.3.0/24")
	p.sunCfg.Children[0].Remote = ts("10.0.0.0/8", "::/0")
	p.up()
	up := find[ChildUp](p.moon)[0]
	if !slices.Equal(up.Local, ts("10.1.0.0/16", "10.5.0.0/16")) || !slices.Equal(up.Remote, ts("10.2.0.0/16", "10.3.3.0/24")) {
		t.Errorf("%v to %v", up.Local, up.Remote)
	}
	p.sun.must(p.sun.Rekey(p.now, "moon", "net"))
	p.run(10 * time.Second)
	p.agree(1)
	if r := find[ChildRekeyed](p.moon); len(r) != 1 || !slices.Equal(r[0].Local, up.Local) {
		t.Errorf("rekeyed: %v", r)
	}
}

// severalChildren gives a pair more children.
func severalChildren(p *pair, names ...string) {
	for i, name := range names {
		c := p.moonCfg.Children[0]
		c.Name, c.Local, c.Remote = name, ts(fmt.Sprintf("10.1%d.0.0/16", i)), ts(fmt.Sprintf("10.2%d.0.0/16", i))
		p.moonCfg.Children = append(p.moonCfg.Children, c)
		c.Local, c.Remote = c.Remote, c.Local
		p.sunCfg.Children = append(p.sunCfg.Children, c)
	}
}

func TestSeveralChildren(t *testing.T) {
	p := newPair(t, 32)
	severalChildren(p, "web", "voice")
	p.moonCfg.Children[2].Proposals = espList(t, "aes128-sha256-ecp256-curve25519")
	p.sunCfg.Children[2].Proposals = espList(t, "aes128-sha256-curve25519") // INVALID_KE_PAYLOAD on the way
	p.up()
	if n := len(find[IKEUp](p.moon)); n != 1 {
		t.Errorf("%d IKE SAs", n)
	}
	p.moon.must(p.moon.Rekey(p.now, "sun", ""))
	p.run(time.Second)
	p.moon.must(p.moon.Terminate(p.now, "sun", "web"))
	p.run(30 * time.Second)
	p.agree(2)
}

// One child is refused; the IKE SA and the others stay, and it is tried again, later and later.
func TestChildRefused(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		change     func(sun *ChildConfig)
	}{
		{"proposal", "wanted is chacha20poly1305", func(c *ChildConfig) { c.Proposals = espList(t, "chacha20poly1305") }},
		{"selectors", "offered [10.20.0.0/16] from [10.10.0.0/16]", func(c *ChildConfig) { c.Local, c.Remote = ts("10.77.0.0/16"), ts("10.78.0.0/16") }},
	} {
		for _, first := range []int{0, 1} {
			t.Run(fmt.Sprint(tc.name, first), func(t *testing.T) {
				p := newPair(t, 33)
				severalChildren(p, "web")
				if first == 1 { // refused in IKE_AUTH already
					slices.Reverse(p.moonCfg.Children)
				}
				tc.change(&p.sunCfg.Children[1])
				p.add()
				p.moon.must(p.moon.Initiate(p.now, "sun", ""))
				p.run(10 * time.Minute)
				p.agree(1)
				if len(find[IKEUp](p.moon)) != 1 || len(find[IKEDown](p.moon)) != 0 {
					t.Error("the IKE SA did not stay")
				}
				if !slices.ContainsFunc(p.sun.logs, func(l Log) bool { return l.Err != nil && strings.Contains(l.Err.Error(), tc.want) }) {
					p.dump()
					t.Errorf("sun did not log %q", tc.want)
				}
				if n := p.carried; n > 60 {
					t.Errorf("%d datagrams in 10 minutes", n)
				}
			})
		}
	}
}

// Offers of transport mode and IPComp are declined by silence.
func TestTransportModeDeclined(t *testing.T) {
	p := newPair(t, 34)
	p.up()
	sa := p.moon.peers["sun"].sas[0]
	sa.enqueue(&withNotifies{newChild{cfg: &p.moon.peers["sun"].cfg.Children[0]}})
	p.moon.do(p.moon.handle(p.now, func() {}))
	p.filter = nil
	p.run(5 * time.Second)
	p.agree(2)
	n := 0
	for _, l := range p.sun.logs {
		if strings.Contains(l.Text, "declined") {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d declined, want 2", n)
	}
}

type withNotifies struct{ newChild }

func (r *withNotifies) begin(sa *ikeSA) (message.ExchangeType, []message.Payload, bool) {
	r.offer, _ = sa.offerAlone(r.cfg, 0)
	return message.CreateChildSA, append(r.offer.payloads(), &message.Notify{Type: message.UseTransportMode},
		&message.Notify{Type: message.IPCompSupported, Data: []byte{0, 1, 2}}), true
}

// Either side dies without a word; the other one notices, does its action, and they are together again when it is back.
func TestDeadPeer(t *testing.T) {
	for _, action := range []CloseAction{ActionNone, ActionTrap, ActionStart} {
		t.Run(fmt.Sprint(action), func(t *testing.T) {
			p := newPair(t, 35)
			p.moonCfg.DPDDelay = 10 * time.Second
			p.moonCfg.Children[0].DPDAction = action
			p.up()
			p.filter = func(*packet) bool { return false }
			p.run(4 * time.Minute)
			if len(p.moon.sas) != 0 {
				t.Error("the child is still up")
			}
			down := find[IKEDown](p.moon)
			if len(down) == 0 || !errors.Is(down[0].Reason, errTimeout) {
				t.Errorf("down: %v", down)
			}
			p.filter = nil
			p.run(2 * time.Minute)
			if traps := find[Trap](p.moon); (action == ActionTrap) != (len(traps) == 1 && traps[0].On) {
				t.Errorf("traps: %v", traps)
			}
			if action == ActionTrap {
				p.moon.must(p.moon.TrapHit(p.now, "sun", "net"))
				p.run(5 * time.Second)
			}
			if up := len(p.moon.sas); (up == 1) != (action != ActionNone) {
				t.Errorf("%d children", up)
			}
			if action != ActionNone {
				p.agree(1)
			}
		})
	}
}

// A peer that sends is not asked whether it lives.
func TestTrafficIsLife(t *testing.T) {
	p := newPair(t, 36)
	p.moonCfg.DPDDelay = 10 * time.Second
	p.up()
	before := p.carried
	for i := range 20 {
		p.run(5 * time.Second)
		for in := range p.moon.sas {
			p.moon.do(p.moon.Used(p.now, in, Usage{InPackets: uint64(i + 1)}))
		}
	}
	if p.carried != before {
		t.Errorf("%d datagrams", p.carried-before)
	}
}

func TestCloseAction(t *testing.T) {
	for _, action := range []CloseAction{ActionNone, ActionTrap, ActionStart} {
		for _, what := range []string{"", "net"} {
			t.Run(fmt.Sprint(action, what), func(t *testing.T) {
				p := newPair(t, 37)
				p.moonCfg.Children[0].CloseAction = action
				p.up()
				p.sun.must(p.sun.Terminate(p.now, "moon", what))
				p.run(30 * time.Second)
				switch traps := find[Trap](p.moon); {
				case action == ActionStart:
					p.agree(1)
				case len(p.moon.sas) != 0 || (action == ActionTrap) != (len(traps) == 1):
					t.Errorf("%d children, traps %v", len(p.moon.sas), traps)
				}
			})
		}
	}
}

func TestTrap(t *testing.T) {
	p := newPair(t, 38)
	p.moonCfg.Children[0].Trap = true
	p.add()
	if traps := find[Trap](p.moon); len(traps) != 1 || !traps[0].On {
		t.Fatalf("traps: %v", traps)
	}
	for range 3 {
		p.moon.must(p.moon.TrapHit(p.now, "sun", "net")) // packets go on to come until it is up
	}
	p.run(time.Second)
	p.agree(1)
	p.moon.must(p.moon.Terminate(p.now, "sun", "net"))
	p.run(time.Second)
	if traps := find[Trap](p.moon); !traps[len(traps)-1].On {
		t.Errorf("the trap is not set again: %v", traps)
	}
}

func TestStartAndKeyingTries(t *testing.T) {
	for _, tries := range []int{0, 3} {
		t.Run(fmt.Sprint(tries), func(t *testing.T) {
			p := newPair(t, 39)
			p.moonCfg.Children[0].Start, p.moonCfg.KeyingTries = true, tries
			p.filter = func(*packet) bool { return false }
			p.add()
			p.run(30 * time.Minute)
			if n := len(find[IKEDown](p.moon)); tries > 0 && n != tries || tries == 0 && n < 10 {
				t.Errorf("%d tries", n)
			}
			p.filter = nil
			p.run(2 * time.Minute)
			if up := len(p.moon.sas) == 1; up != (tries == 0) {
				t.Errorf("up: %v", up)
			}
		})
	}
}

// Lifetimes: by time, with randomness; by bytes and packets, as they are reported.
func TestLifetimes(t *testing.T) {
	p := newPair(t, 40)
	p.moonCfg.RekeyTime = 4 * time.Hour
	p.moonCfg.Children[0].Lifetime = Lifetime{RekeyTime: time.Hour, RekeyPackets: 1000, RekeyBytes: 1 << 30}
	p.up()
	up := find[ChildUp](p.moon)[0]
	if soft := up.Soft.Sub(p.now).Round(time.Minute); soft < 54*time.Minute || soft > time.Hour {
		t.Errorf("rekeyed after %v", soft)
	}
	if hard := up.Hard.Sub(p.now).Round(time.Minute); hard != 66*time.Minute {
		t.Errorf("ends after %v", hard)
	}
	p.run(24 * time.Hour)
	if n := len(find[ChildRekeyed](p.moon)); n < 24 || n > 27 {
		t.Errorf("rekeyed %d times in a day", n)
	}
	if n := len(find[IKERekeyed](p.sun)); n != 6 {
		t.Errorf("IKE SA rekeyed %d times in a day", n)
	}
	p.agree(1)
	in := mapValues(p.moon.out)[0]
	for _, u := range []Usage{{OutPackets: 899}, {OutPackets: 1000}} {
		before := len(find[ChildRekeyed](p.moon))
		p.moon.do(p.moon.Used(p.now, in, u))
		p.run(20 * time.Second)
		if got := len(find[ChildRekeyed](p.moon)) - before; got != int(u.OutPackets/1000) {
			t.Errorf("%d packets: rekeyed %d times", u.OutPackets, got)
		}
	}
	// The peer does not answer any more, and the limit is hard.
	p.filter = func(*packet) bool { return false }
	in = mapValues(p.moon.out)[0]
	p.moon.do(p.moon.Used(p.now, in, Usage{InBytes: 2 << 30}))
	p.run(5 * time.Minute)
	if len(p.moon.sas) != 0 {
		t.Error("the child outlives its lifetime")
	}
}

func TestAdditionalKE(t *testing.T) {
	p := newPair(t, 41)
	l := ikeList(t, "aes256gcm16-prfsha384-curve25519-ke1_mlkem768")
	p.moonCfg.Proposals, p.sunCfg.Proposals = l, l
	p.moonCfg.Children[0].Proposals = espList(t, "aes256gcm16-curve25519-ke1_mlkem768")
	p.sunCfg.Children[0].Proposals = p.moonCfg.Children[0].Proposals
	exchanges := map[message.ExchangeType]int{}
	p.filter = func(k *packet) bool {
		h, _ := message.ParseHeader(k.data)
		if !h.Response() {
			exchanges[h.Exchange]++
		}
		return true
	}
	p.up()
	for _, what := range []string{"net", ""} {
		p.sun.must(p.sun.Rekey(p.now, "moon", what))
		p.run(20 * time.Second)
		p.agree(1)
	}
	// The EXCHANGE types carry a fragment each in which they need more than a datagram.
	if exchanges[message.IKEIntermediate] == 0 || exchanges[message.IKEFollowupKE] == 0 {
		t.Errorf("exchanges %v", exchanges)
	}
}

// Removing a peer takes down what it made, at once.
func TestRemovePeer(t *testing.T) {
	p := newPair(t, 42)
	p.up()
	p.moon.must(p.moon.RemovePeer(p.now, "sun"))
	if len(p.moon.sas) != 0 || len(p.moon.ikes) != 0 {
		t.Errorf("%d children, %d IKE SAs", len(p.moon.sas), len(p.moon.ikes))
	}
	p.run(time.Minute)
	p.agree(0)
	if p.moon.Endpoint.Deadline() != (time.Time{}) {
		t.Error("a timer runs")
	}
}

// The responder says how long an authentication lasts.
func TestAuthLifetime(t *testing.T) {
	p := newPair(t, 43)
	p.sunCfg.ReauthTime = time.Minute
	p.moonCfg.RekeyTime = 24 * time.Hour // whose randomness is not for a minute
	severalChildren(p, "web")
	p.up()
	p.run(5 * time.Minute)
	if n := len(find[IKEUp](p.moon)); n < 5 || n > 11 {
		t.Errorf("authenticated %d times in 5 minutes", n)
	}
	p.sun.must(p.sun.RemovePeer(p.now, "moon"))
	if n := len(find[IKEDown](p.sun)); n != len(find[IKEUp](p.sun)) {
		t.Errorf("%d IKE SAs up, %d down", len(find[IKEUp](p.sun)), n)
	}
}

// TestStop: an engine that stops leaves nothing, tells its peer, and says that this is why.
func TestStop(t *testing.T) {
	p := newPair(t, 46)
	p.up()
	p.moon.must(p.moon.Stop(p.now), nil)
	if len(p.moon.sas) != 0 || len(p.moon.ikes) != 0 {
		t.Errorf("%d children, %d IKE SAs", len(p.moon.sas), len(p.moon.ikes))
	}
	p.run(time.Minute)
	p.agree(0)
	for _, a := range find[IKEDown](p.moon) {
		if !errors.Is(a.Reason, errStopped) {
			t.Errorf("IKE SA is down: %v", a.Reason)
		}
	}
	if len(find[IKEUp](p.sun)) != 1 {
		t.Error("the other side was not told, or began again")
	}
}
