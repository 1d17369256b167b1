package ike

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// A flow has each side send packets over what its actions say, and counts those that arrive where no SA is.
type flow struct {
	*pair
	sent, lost int
	delay      time.Duration
	flying     []clear
}

type clear struct {
	at  time.Time
	to  *node
	spi uint32
}

// run sends a packet of each child each way every interval.
func (f *flow) run(d, interval time.Duration) {
	for end := f.now.Add(d); f.now.Before(end); {
		for i, nd := range f.nodes {
			for _, in := range nd.out {
				f.sent++
				f.flying = append(f.flying, clear{f.now.Add(f.delay), f.nodes[1-i], nd.sas[in].Out})
			}
			if len(nd.out) < len(f.moonCfg.Children) {
				f.lost++
			}
		}
		f.pair.run(interval)
		f.flying = slices.DeleteFunc(f.flying, func(c clear) bool {
			if c.at.After(f.now) {
				return false
			}
			sa, ok := c.to.sas[c.spi]
			if !ok {
				f.lost++
				f.t.Errorf("a packet to %s for %x is lost", c.to.name, c.spi)
				return true
			}
			// The first packet on a new child moves outbound there, as the data plane does.
			if f.successor(c.to, c.to.out[sa.Name], c.spi) {
				c.to.out[sa.Name] = c.spi
			}
			return true
		})
	}
}

// successor says whether a child was announced as one that replaces another, or what replaced that.
func (f *flow) successor(nd *node, old, fresh uint32) bool {
	for _, r := range find[ChildRekeyed](nd) {
		if r.In == fresh && old != fresh {
			return r.Old == old || f.successor(nd, old, r.Old)
		}
	}
	return false
}

// Make before break: children are rekeyed, the IKE SA is, by one side, by both at once, and authenticated anew, and no packet
// is lost on a network that loses none.
func TestNoPacketIsLost(t *testing.T) {
	for _, tc := range []struct {
		name         string
		pfs          string
		moon, sun    bool // who rekeys
		child, ike   bool // what
		reauth       bool
		twice        bool
		more         []string
		messageDelay time.Duration
	}{
		{name: "child by one", moon: true, child: true},
		{name: "child by one, slow messages", moon: true, child: true, messageDelay: 300 * time.Millisecond},
		{name: "child by responder, PFS", pfs: "-curve25519", sun: true, child: true},
		{name: "child by both", moon: true, sun: true, child: true},
		{name: "child by both, slow messages", moon: true, sun: true, child: true, messageDelay: 300 * time.Millisecond},
		{name: "IKE by one", moon: true, ike: true},
		{name: "IKE by both", moon: true, sun: true, ike: true},
		{name: "all by both", moon: true, sun: true, ike: true, child: true},
		{name: "reauthentication", reauth: true},
		{name: "reauthentication, slow messages", reauth: true, messageDelay: 300 * time.Millisecond},
		{name: "reauthentication, three children", reauth: true, more: []string{"web", "voice"}},
		{name: "reauthentication, three children, slow messages, IKE rekeyed", reauth: true, sun: true, ike: true,
			more: []string{"web", "voice"}, messageDelay: 300 * time.Millisecond},
		{name: "initiated and made twice by both", twice: true, more: []string{"web"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPair(t, 20)
			for _, c := range []*PeerConfig{&p.moonCfg, &p.sunCfg} {
				c.Children[0].Proposals = espList(t, "aes256gcm16"+tc.pfs)
				if tc.reauth {
					c.ReauthTime, c.RandTime = 7*time.Second, time.Second
				}
			}
			severalChildren(p, tc.more...)
			p.jitter = 2 * time.Millisecond
			if tc.twice {
				p.twice()
			} else {
				p.up()
			}
			p.delay = max(p.delay, tc.messageDelay)
			f := &flow{pair: p, delay: 10 * time.Millisecond}
			for range 8 {
				if tc.moon {
					p.rekeys(p.moon, "sun", tc.child, tc.ike)
				}
				if tc.sun {
					p.rekeys(p.sun, "moon", tc.child, tc.ike)
				}
				f.run(4*time.Second, 5*time.Millisecond)
			}
			p.run(20 * time.Second)
			if f.lost != 0 || f.sent < 10000 {
				p.dump()
				t.Errorf("%d of %d packets are lost", f.lost, f.sent)
			}
			if (tc.child || tc.reauth) && len(find[ChildRekeyed](p.moon)) < 3 || tc.ike && len(find[IKERekeyed](p.sun)) < 8 {
				t.Error("it was not rekeyed")
			}
			if tc.reauth && len(find[IKEUp](p.sun)) < 4 {
				t.Errorf("authenticated %d times", len(find[IKEUp](p.sun)))
			}
			if !tc.reauth {
				p.agree(len(p.moonCfg.Children))
			}
			if tc.twice && len(find[IKEDown](p.moon)) != 1 {
				t.Error("there were not two IKE SAs")
			}
		})
	}
}

// twice has both sides initiate at once, and then make the second child at once.
func (p *pair) twice() {
	p.add()
	p.moon.must(p.moon.Initiate(p.now, "sun", "net"))
	p.sun.must(p.sun.Initiate(p.now, "moon", "net"))
	p.run(200 * time.Millisecond)
	p.moon.must(p.moon.Initiate(p.now, "sun", "web"))
	p.sun.must(p.sun.Initiate(p.now, "moon", "web"))
	p.run(200 * time.Millisecond)
	if len(p.moon.sas) != 4 || len(p.moon.ikes) != 2 {
		p.t.Fatalf("%d children of %d IKE SAs, want 4 of 2", len(p.moon.sas), len(p.moon.ikes))
	}
}

func (p *pair) rekeys(nd *node, peer string, child, ike bool) {
	if child {
		nd.must(nd.Rekey(p.now, peer, "net"))
	}
	if ike {
		nd.must(nd.Rekey(p.now, peer, ""))
	}
}

// Both sides initiate at once: one IKE SA stays.
func TestBothInitiate(t *testing.T) {
	for seed := range uint64(20) {
		p := newPair(t, 100+seed)
		p.jitter = 30 * time.Millisecond
		p.add()
		p.moon.must(p.moon.Initiate(p.now, "sun", ""))
		p.sun.must(p.sun.Initiate(p.now, "moon", ""))
		p.run(time.Minute)
		p.agree(1)
	}
}

// Who waits for an answer while the peer has been faster gives up, and has what it wanted in the peer's IKE SA.
func TestOvertaken(t *testing.T) {
	p := newPair(t, 23)
	severalChildren(p, "web")
	deaf := true
	p.filter = func(*packet) bool { return !deaf }
	p.add()
	p.moon.must(p.moon.Initiate(p.now, "sun", "")) // nobody hears it
	p.run(time.Second)
	deaf = false
	p.sun.must(p.sun.Initiate(p.now, "moon", "net"))
	p.run(4 * time.Second)
	p.agree(2)
	if up := find[IKEUp](p.moon); len(up) != 1 || up[0].Initiator {
		t.Errorf("up: %v", up)
	}
}

func TestInitialContact(t *testing.T) {
	p := newPair(t, 21)
	p.up()
	// Moon restarts without a word.
	again := p.network.node("moon", "192.0.2.1", 77, nil)
	p.nodes = p.nodes[1:]
	p.moon = again
	p.moon.must(p.moon.AddPeer(p.now, p.moonCfg))
	p.moon.must(p.moon.Initiate(p.now, "sun", ""))
	p.run(time.Minute)
	p.agree(1)
	if down := find[IKEDown](p.sun); len(down) != 1 || down[0].Reason != errRestarted {
		t.Errorf("down: %+v", down)
	}
}

func TestRoadwarriors(t *testing.T) {
	p := newPair(t, 22)
	pool := &testPool{next: netip.MustParseAddr("10.9.0.1"), out: map[netip.Addr]bool{}}
	template := p.sunCfg
	template.Name, template.Remote, template.Pool = "clients", netip.Addr{}, pool
	template.Credentials = &PSK{Secret: Secret("a shared secret"), Local: fqdn("sun")}
	template.Children = []ChildConfig{{Name: "net", Proposals: espList(t, "aes256gcm16"), Local: ts("0.0.0.0/0")}}
	p.sun.must(p.sun.AddPeer(p.now, template))
	var clients []*node
	for i, name := range []string{"carol", "dave"} {
		c := p.network.node(name, []string{"198.51.100.1", "198.51.100.2"}[i], uint64(200+i), nil)
		cfg := p.moonCfg
		cfg.Local = c.addr.Addr()
		cfg.Credentials = &PSK{Secret: Secret("a shared secret"), Local: fqdn(name), Remote: fqdn("sun")}
		cfg.Ask = []netip.Addr{netip.IPv4Unspecified()}
		cfg.Children = []ChildConfig{{Name: "home", Proposals: espList(t, "aes256gcm16"), Remote: ts("0.0.0.0/0")}}
		cfg.ReauthTime = []time.Duration{0, time.Minute}[i]
		c.must(c.AddPeer(p.now, cfg))
		c.must(c.Initiate(p.now, "sun", ""))
		clients = append(clients, c)
	}
	p.run(10 * time.Second)
	ups := find[IKEUp](p.sun)
	if len(ups) != 2 || len(pool.out) != 2 || ups[0].Number == ups[1].Number {
		t.Fatalf("up: %+v, %d leases", ups, len(pool.out))
	}
	for i, c := range clients {
		child := find[ChildUp](c)[0]
		want := ts([]string{"10.9.0.1/32", "10.9.0.2/32"}[i])
		if !slices.Equal(child.Local, want) || !slices.Equal(child.Remote, ts("0.0.0.0/0")) {
			t.Errorf("%s: %v to %v", c.name, child.Local, child.Remote)
		}
		if a := find[IKEUp](c)[0].Assigned; len(a.Addresses) != 1 || len(a.DNS) != 1 {
			t.Errorf("%s was assigned %v", c.name, a)
		}
	}
	// Authenticating anew, a client keeps its address, and its child is replaced.
	p.run(70 * time.Second)
	if ups := find[IKEUp](clients[1]); len(ups) < 2 || !slices.Equal(ups[1].Assigned.Addresses, ups[0].Assigned.Addresses) {
		t.Errorf("dave: %+v", ups)
	}
	if len(pool.out) != 2 || len(p.sun.sas) != 2 || len(find[ChildRekeyed](p.sun)) == 0 {
		t.Errorf("%d leases, %d child SAs", len(pool.out), len(p.sun.sas))
	}
	clients[0].must(clients[0].Rekey(p.now, "sun", "home"))
	clients[0].must(clients[0].Rekey(p.now, "sun", ""))
	p.run(10 * time.Second)
	clients[0].must(clients[0].Terminate(p.now, "sun", ""))
	p.run(30 * time.Second)
	if len(pool.out) != 1 || len(p.sun.sas) != 1 {
		t.Errorf("%d leases, %d child SAs are left", len(pool.out), len(p.sun.sas))
	}
}

type testPool struct {
	next netip.Addr
	out  map[netip.Addr]bool
}

func (p *testPool) Lease(_ string, _ message.ID, _ []netip.Addr) (Lease, error) {
	a := p.next
	p.next = a.Next()
	p.out[a] = true
	return Lease{Addresses: []netip.Addr{a}, DNS: []netip.Addr{netip.MustParseAddr("10.0.0.53")}}, nil
}

func (p *testPool) Release(l Lease) {
	for _, a := range l.Addresses {
		delete(p.out, a)
	}
}
