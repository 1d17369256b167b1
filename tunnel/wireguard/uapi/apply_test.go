package uapi

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn/bindtest"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/tuntest"
)

// slowApply is Apply as one would tell it: line by line, over plain lists.
func slowApply(s State, c Change) State {
	peers := slices.Clone(s.Peers)
	for i := range peers {
		peers[i].AllowedIPs = slices.Clone(peers[i].AllowedIPs)
	}
	find := func(k PublicKey) int {
		return slices.IndexFunc(peers, func(p PeerState) bool { return p.PublicKey == k })
	}
	drop := func(k PublicKey) {
		if i := find(k); i >= 0 {
			peers = slices.Delete(peers, i, i+1)
		}
	}
	if c.PrivateKey != nil {
		s.PrivateKey = *c.PrivateKey
	}
	self := s.PrivateKey.public()
	isSelf := func(k PublicKey) bool { return s.PrivateKey != Key{} && k == self }
	if c.ReplacePeers {
		peers = nil
	}
	if isSelf(self) {
		drop(self)
	}
	for _, pc := range c.Peers {
		if isSelf(pc.PublicKey) {
			continue
		}
		if pc.Remove {
			drop(pc.PublicKey)
			continue
		}
		if find(pc.PublicKey) < 0 {
			if pc.UpdateOnly {
				continue
			}
			peers = append(peers, PeerState{PublicKey: pc.PublicKey})
		}
		p := &peers[find(pc.PublicKey)]
		if pc.PersistentKeepalive != nil {
			p.PersistentKeepalive = *pc.PersistentKeepalive
		}
		if pc.ReplaceAllowedIPs {
			p.AllowedIPs = nil
		}
		for _, ip := range pc.AllowedIPs {
			if slices.Contains(p.AllowedIPs, ip.Prefix) == !ip.Remove {
				continue
			}
			for i := range peers {
				if !ip.Remove || &peers[i] == p {
					peers[i].AllowedIPs = slices.DeleteFunc(peers[i].AllowedIPs, func(o netip.Prefix) bool { return o == ip.Prefix })
				}
			}
			if !ip.Remove {
				p.AllowedIPs = append(p.AllowedIPs, ip.Prefix)
			}
		}
	}
	s.Peers = peers
	return s
}

// randomRequest is a "set" request over few peers and prefixes, so that they meet.
func randomRequest(r *rand.Rand, keys []Key) string {
	var b strings.Builder
	b.WriteString("set=1\n")
	if r.IntN(10) == 0 {
		fmt.Fprintf(&b, "private_key=%x\n", [32]byte(keys[r.IntN(len(keys))]))
	}
	if r.IntN(12) == 0 {
		b.WriteString("replace_peers=true\n")
	}
	for range r.IntN(4) {
		fmt.Fprintf(&b, "public_key=%x\n", [32]byte(keys[r.IntN(len(keys))].public()))
		if r.IntN(5) == 0 {
			b.WriteString("update_only=true\n")
		}
		if r.IntN(8) == 0 {
			b.WriteString("remove=true\n")
			continue
		}
		if r.IntN(3) == 0 {
			fmt.Fprintf(&b, "persistent_keepalive_interval=%d\n", r.IntN(99))
		}
		if r.IntN(4) == 0 {
			b.WriteString("replace_allowed_ips=true\n")
		}
		for range r.IntN(5) {
			fmt.Fprintf(&b, "allowed_ip=%s10.%d.0.0/16\n", []string{"", "", "-"}[r.IntN(3)], r.IntN(6))
		}
	}
	return b.String() + "\n"
}

// TestApplyAsModelAndWireguardGo gives the same random requests to Apply, to the model above and to wireguard-go.
func TestApplyAsModelAndWireguardGo(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	theirs := device.NewDevice(tuntest.NewChannelTUN().TUN(), bindtest.NewChannelBinds()[0], device.NewLogger(device.LogLevelSilent, ""))
	t.Cleanup(theirs.Close)
	keys := make([]Key, 6)
	for i := range keys {
		keys[i] = Key(filled(byte(i*8 + 64))).clamp()
	}
	var ours, model State
	for i := range 600 {
		request := randomRequest(r, keys)
		l := linesOf(strings.TrimPrefix(request, "set=1\n"))
		c, err := readChange(l)
		if err != nil {
			t.Fatal(err)
		}
		before := fmt.Sprintf("%+v", ours)
		next := ours.Apply(c)
		if fmt.Sprintf("%+v", ours) != before {
			t.Fatalf("%d: Apply changed the state it began with", i)
		}
		ours, model = next, slowApply(model, c)
		if got, want := canonical(string(ours.append(nil))), canonical(string(model.append(nil))); got != want {
			t.Fatalf("%d: %s\ngives\n%s\nthe model\n%s", i, request, got, want)
		}
		for j := range ours.Peers {
			if got, want := ours.Peers[j].PublicKey, model.Peers[j].PublicKey; got != want {
				t.Fatalf("%d: peer %d is %s, of the model %s", i, j, got, want)
			}
		}
		if err := theirs.IpcSet(strings.TrimPrefix(request, "set=1\n")); err != nil {
			t.Fatal(err)
		}
		get, err := theirs.IpcGet()
		if err != nil {
			t.Fatal(err)
		}
		get = bindPort.ReplaceAllString(get, "")
		if got, want := canonical(string(ours.append(nil))), canonical(get); got != want {
			t.Fatalf("%d: %s\ngives\n%s\nwireguard-go\n%s", i, request, got, want)
		}
	}
}

// bindPort is what wireguard-go says of the channels that it has for a bind.
var bindPort = regexp.MustCompile(`(?m)^listen_port=.*\n`)

// canonical sorts the peers of a "get", and the lines of each.
func canonical(get string) string {
	parts := strings.Split(get, "public_key=")
	for i, part := range parts {
		lines := strings.Split(strings.TrimSpace(part), "\n")
		if i > 0 {
			slices.Sort(lines[1:])
		}
		parts[i] = strings.Join(lines, "\n")
	}
	slices.Sort(parts[1:])
	return strings.Join(parts, "\n\n")
}

func TestApplyKeepsWhatPeersDid(t *testing.T) {
	peer := PeerState{PublicKey: peerA, LastHandshake: time.Unix(5, 0), RxBytes: 3, TxBytes: 4, AllowedIPs: prefixes("10.0.0.0/8"),
		Endpoint: netip.MustParseAddrPort("192.0.2.1:5")}
	s := State{ListenPort: 5, Peers: []PeerState{peer}}
	port, k := uint16(6), psk
	got := s.Apply(Change{ListenPort: &port, Peers: []PeerChange{{PublicKey: peerA, PresharedKey: &k, UpdateOnly: true}}})
	peer.PresharedKey = psk
	if want := (State{ListenPort: 6, Peers: []PeerState{peer}}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	got = s.Apply(Change{Peers: []PeerChange{{PublicKey: peerA, Remove: true}, {PublicKey: peerA}}})
	if want := (State{ListenPort: 5, Peers: []PeerState{{PublicKey: peerA}}}); !reflect.DeepEqual(got, want) {
		t.Errorf("removed and made again: got %+v, want %+v", got, want)
	}
}

// Two changes of one state do not see each other, though the list that both add to has room at its end.
func TestApplyTwice(t *testing.T) {
	list := append(make([]netip.Prefix, 0, 8), prefixes("10.0.0.0/8")...)
	s := State{Peers: []PeerState{{PublicKey: peerA, AllowedIPs: list}}}
	add := func(text string) Change {
		return Change{Peers: []PeerChange{{PublicKey: peerA, AllowedIPs: []AllowedIP{{Prefix: netip.MustParsePrefix(text)}}}}}
	}
	one, two := s.Apply(add("1.0.0.0/8")), s.Apply(add("2.0.0.0/8"))
	if want := prefixes("10.0.0.0/8", "1.0.0.0/8"); !reflect.DeepEqual(one.Peers[0].AllowedIPs, want) {
		t.Errorf("the first has %v, want %v", one.Peers[0].AllowedIPs, want)
	}
	if want := prefixes("10.0.0.0/8", "2.0.0.0/8"); !reflect.DeepEqual(two.Peers[0].AllowedIPs, want) {
		t.Errorf("the second has %v, want %v", two.Peers[0].AllowedIPs, want)
	}
}

// Moving every prefix of a peer with many takes no time worth mentioning, though each comes from the middle of a list.
func TestApplyMovesMany(t *testing.T) {
	const many = 100_000
	from := PeerState{PublicKey: peerA}
	to := PeerChange{PublicKey: peerB}
	for i := range many {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
		from.AllowedIPs = append(from.AllowedIPs, p)
		if i%2 == 0 {
			to.AllowedIPs = append(to.AllowedIPs, AllowedIP{Prefix: p})
		}
	}
	var s State
	took := time.Duration(math.MaxInt64)
	for range 5 { // a machine that stands still does not do so every time
		began := time.Now()
		s = State{Peers: []PeerState{from}}.Apply(Change{Peers: []PeerChange{to}})
		if took = min(took, time.Since(began)); took < time.Second {
			break
		}
	}
	if len(s.Peers) != 2 || len(s.Peers[0].AllowedIPs) != many/2 || len(s.Peers[1].AllowedIPs) != many/2 {
		t.Fatalf("%d peers", len(s.Peers))
	}
	t.Logf("%d of %d prefixes moved in %v", many/2, many, took)
	if took > 5*time.Second {
		t.Errorf("moving takes %v", took)
	}
}
