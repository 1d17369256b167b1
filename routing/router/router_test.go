package router

import (
	"net/netip"
	"testing"

	"go.uber.org/goleak"

	"github.com/warrenvpn/warren/routing/bgp"
	"github.com/warrenvpn/warren/routing/bgp/message"
	"github.com/warrenvpn/warren/routing/fib"
	"github.com/warrenvpn/warren/routing/route"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestSourcesCompete: the source that is preferred forwards, and what is gone gives way to what is left.
func TestSourcesCompete(t *testing.T) {
	w := newWorld(t)
	h := w.join("n", 65001, w.a)
	h.announce(path(65001), "10.1.0.0/16", "2001:db8::/32")
	w.forwards("10.1.0.0/16", "1")
	w.offer(w.b, "10.1.0.0/16")
	w.forwards("10.1.0.0/16", "2")
	connected := &route.Peer{Source: route.Connected, Name: "port"}
	w.Offer(Change{Prefix: netip.MustParsePrefix("10.1.0.0/16"), Path: route.Path{Peer: connected, Via: w.port}})
	w.forwards("10.1.0.0/16", "3")
	w.RemovePeer(connected)
	w.forwards("10.1.0.0/16", "2")
	w.Offer(Change{Prefix: netip.MustParsePrefix("10.1.0.0/16"), Path: route.Path{Peer: w.static}, Withdraw: true})
	w.forwards("10.1.0.0/16", "1")
	h.announce(nil, "10.1.0.0/16")
	w.forwards("10.1.0.0/16", "")
	w.forwards("2001:db8::/32", "1")
	if w.Len() != 1 || w.fib.Len() != 1 {
		t.Errorf("%d and %d routes are left, want 1", w.Len(), w.fib.Len())
	}
}

// TestTunnelGoesDown: what led through it goes another way or nowhere, neighbours hear so, and it comes back as it was.
func TestTunnelGoesDown(t *testing.T) {
	w := newWorld(t)
	a, b, other := w.join("a", 65001, w.a), w.join("b", 65002, w.b), w.join("other", 65003, w.port)
	a.announce(path(65001), "10.1.0.0/16", "10.2.0.0/16")
	b.announce(path(65002, 65009), "10.1.0.0/16")
	both := func() {
		t.Helper()
		w.forwards("10.1.0.0/16", "1")
		w.forwards("10.2.0.0/16", "1")
		other.hears("10.1.0.0/16 65001", "10.2.0.0/16 65001")
		b.hears("10.1.0.0/16 65001", "10.2.0.0/16 65001")
		a.hears()
	}
	both()
	w.SetUp(w.a, false)
	w.forwards("10.1.0.0/16", "2")
	w.forwards("10.2.0.0/16", "")
	other.hears("10.1.0.0/16 65002 65009")
	a.hears("10.1.0.0/16 65002 65009")
	b.hears()
	told := other.told
	w.SetUp(w.a, false)
	if other.told != told {
		t.Error("what was down already was told again")
	}
	// What comes while the way is down is kept, and leads nowhere.
	a.announce(path(65001), "10.3.0.0/16")
	w.forwards("10.3.0.0/16", "")
	a.announce(nil, "10.3.0.0/16")
	w.SetUp(w.a, true)
	both()
}

func TestMultipath(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MultipathMax, c.MultipathAcrossAS = 2, true })
	var all []*heard
	for i, via := range []*route.Via{w.b, w.a, w.port} {
		h := w.join(string(rune('x'+i)), uint32(65001+i), via)
		h.announce(path(uint32(65001+i), 65100), "10.0.0.0/8")
		all = append(all, h)
	}
	w.forwards("10.0.0.0/8", "1 2") // of three, those with the lowest router ids
	watcher := w.join("watcher", 65010, w.port)
	watcher.hears("10.0.0.0/8 65001 65100") // one, the best
	all[0].down()
	w.forwards("10.0.0.0/8", "1 3")
	watcher.hears("10.0.0.0/8 65002 65100")
	all[2].announce(path(65003), "10.0.0.0/8")
	w.forwards("10.0.0.0/8", "3")

	// Configured paths win together whatever BGP's limit, with their weights, and two ways that are one count once.
	for i, via := range []*route.Via{w.a, w.b, w.port, w.a} {
		p := &route.Peer{Source: route.Static, Name: string(rune('a' + i))}
		w.Offer(Change{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Path: route.Path{Peer: p, Via: via, Weight: uint16(i)}})
	}
	w.forwards("10.0.0.0/8", "1*3 2 3*2")
}

// TestOneASAlone: without MultipathAcrossAS paths of different neighbouring ASes do not win together.
func TestOneASAlone(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MultipathMax = 4 })
	for i, via := range []*route.Via{w.a, w.b} {
		w.join(via.Name, uint32(65001+i), via).announce(path(uint32(65001+i)), "10.0.0.0/8")
	}
	w.forwards("10.0.0.0/8", "1")
	w.join("same", 65001, w.port).announce(path(65001), "10.0.0.0/8")
	w.forwards("10.0.0.0/8", "1 3")
}

func TestProtect(t *testing.T) {
	w := newWorld(t)
	p := netip.MustParsePrefix("10.1.0.0/16")
	watcher := w.join("watcher", 65009, w.port)
	w.Protect(p)
	w.forwards("10.1.0.0/16", "4")
	watcher.hears()
	h := w.join("a", 65001, w.a)
	h.announce(path(65001), "10.1.0.0/16")
	w.forwards("10.1.0.0/16", "1")
	watcher.hears("10.1.0.0/16 65001")
	w.SetUp(w.a, false)
	w.forwards("10.1.0.0/16", "4")
	watcher.hears()
	w.SetUp(w.a, true)
	h.down()
	w.forwards("10.1.0.0/16", "4")
	w.Unprotect(p)
	w.forwards("10.1.0.0/16", "")
	if w.Len() != 0 {
		t.Errorf("%d prefixes are left", w.Len())
	}
}

// TestProblems: a route that cannot be forwarded is named, others that come with it are entered, and it is no problem any more
// when it changes.
func TestProblems(t *testing.T) {
	w := newWorld(t)
	bad := &route.Via{Name: "bad"} // hop 0 is none
	h := w.up(w.neighbor("n", 65001, bad, policyFunc(func(p netip.Prefix, path route.Path) (route.Path, bool) {
		if p.Bits() == 16 {
			path.Via = w.a
		}
		return path, true
	}), all))
	h.announce(path(65001), "10.1.0.0/16", "10.2.0.0/24", "10.3.0.0/16")
	w.forwards("10.1.0.0/16", "1")
	w.forwards("10.3.0.0/16", "1")
	if err := w.Err(); err == nil {
		t.Error("no problem with a route to hop 0")
	}
	w.offer(w.b, "10.2.0.0/24")
	w.forwards("10.2.0.0/24", "2")
	if err := w.Err(); err != nil {
		t.Errorf("it is still a problem: %v", err)
	}
}

func TestShow(t *testing.T) {
	w := newWorld(t)
	h := w.join("n", 65001, w.a)
	h.announce(path(65001), "10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32")
	w.offer(w.b, "10.1.0.0/16")
	e, ok := w.Lookup(netip.MustParseAddr("10.1.2.3"))
	if !ok || e.Prefix.String() != "10.1.0.0/16" || len(e.Candidates) != 2 || e.Candidates[0].Why() != "higher preference" ||
		e.Candidates[1].Why() != "lower preference" {
		t.Errorf("%+v", e)
	}
	if _, ok := w.Lookup(netip.MustParseAddr("192.0.2.1")); ok {
		t.Error("a way to where there is none")
	}
	of6 := w.Entries(func(p netip.Prefix) bool { return p.Addr().Is6() })
	if all := w.Entries(nil); len(all) != 3 || len(of6) != 1 || all[0].Prefix.String() != "10.0.0.0/8" {
		t.Errorf("%d entries, %d of IPv6", len(all), len(of6))
	}
	if w.Used("n") != 2 || w.WayTo("n") != "a" || w.Used("nobody") != 0 || w.WayTo("nobody") != "" || w.Counts(h.Peer).Paths != 3 {
		t.Errorf("%d used, way %q", w.Used("n"), w.WayTo("n"))
	}
}

// TestGracefulRestart: what is kept for a neighbour goes on forwarding, loses against what is fresh, and goes when it was not
// announced again.
func TestGracefulRestart(t *testing.T) {
	w := newWorld(t)
	h, other := w.join("n", 65001, w.a), w.join("other", 65002, w.b)
	h.announce(path(65001), "10.1.0.0/16", "10.2.0.0/16", "2001:db8::/32")
	other.announce(path(65002, 65002, 65002), "10.2.0.0/16")
	h.down(message.IPv4Unicast)
	w.forwards("10.1.0.0/16", "1")
	w.forwards("10.2.0.0/16", "2") // stale loses
	w.forwards("2001:db8::/32", "")
	other.hears("10.1.0.0/16 65001")
	again := w.up(h.Peer)
	if again.ends != 1 {
		t.Errorf("%d ends of what there is, want 1", again.ends)
	}
	again.hears("10.2.0.0/16 65002 65002 65002")
	if c := again.announce(path(65001), "10.2.0.0/16"); c.IPv4 != 2 || c.IPv6 != 0 {
		t.Errorf("counts %+v", c)
	}
	w.forwards("10.2.0.0/16", "1")
	w.forwards("10.1.0.0/16", "1")
	w.Sweep(h.Peer, message.IPv6Unicast)
	w.forwards("10.1.0.0/16", "1")
	if c := w.Sweep(h.Peer, message.IPv4Unicast); c.IPv4 != 1 || c.IPv6 != 0 {
		t.Errorf("counts %+v after the sweep", c)
	}
	w.forwards("10.1.0.0/16", "")
	w.forwards("10.2.0.0/16", "1")

	// A second restart before the first is over keeps nothing of before.
	again.announce(path(65001), "10.1.0.0/16", "10.3.0.0/16")
	again.down(message.IPv4Unicast)
	w.forwards("10.3.0.0/16", "1")
	third := w.up(h.Peer)
	third.announce(path(65001), "10.1.0.0/16")
	third.down(message.IPv4Unicast)
	w.forwards("10.1.0.0/16", "1")
	w.forwards("10.3.0.0/16", "")
}

// TestStaleDiesWithItsTunnel: what was kept for a neighbour does not come back with the tunnel that led to it.
func TestStaleDiesWithItsTunnel(t *testing.T) {
	w := newWorld(t)
	h := w.join("n", 65001, w.a)
	h.announce(path(65001), "10.1.0.0/16", "10.2.0.0/16")
	h.down(message.IPv4Unicast)
	again := w.up(h.Peer)
	again.announce(path(65001), "10.2.0.0/16")
	w.SetUp(w.b, false)
	w.SetUp(w.b, true)
	w.SetUp(w.a, true)
	w.forwards("10.1.0.0/16", "1")
	w.SetUp(w.a, false)
	w.SetUp(w.a, true)
	w.forwards("10.1.0.0/16", "")
	w.forwards("10.2.0.0/16", "1")
}

// TestNeighborsComeAndGo: without a neighbour's session its routes are gone, and strangers are not listened to.
func TestNeighborsComeAndGo(t *testing.T) {
	w := newWorld(t)
	h := w.join("n", 65001, w.a)
	h.announce(path(65001), "10.1.0.0/16")
	h.down()
	w.forwards("10.1.0.0/16", "")
	if c := h.announce(path(65001), "10.1.0.0/16"); c != (bgp.Counts{}) {
		t.Errorf("what came after the end counts: %+v", c)
	}
	w.forwards("10.1.0.0/16", "")

	// A neighbour that comes back as another takes its old routes with it.
	h = w.up(h.Peer)
	h.announce(path(65001), "10.1.0.0/16")
	h.down(message.IPv4Unicast)
	now := *h.Peer
	now.RouterID++
	h = w.up(&now)
	w.forwards("10.1.0.0/16", "")
	h.announce(path(65001), "10.2.0.0/16")
	w.forwards("10.2.0.0/16", "1")
	w.RemoveNeighbor("n")
	w.forwards("10.2.0.0/16", "")
	if w.RemoveNeighbor("n"); w.WayTo("n") != "" {
		t.Error("a removed neighbour is known")
	}

	stranger := w.up(&route.Peer{Source: route.BGP, Name: "stranger"})
	if stranger.announce(path(65001), "10.1.0.0/16"); w.Len() != 0 || stranger.ends != 0 {
		t.Error("a stranger is listened to")
	}
	stranger.down()
	for _, n := range []Neighbor{{Via: w.a}, {Name: "x"}} {
		if w.SetNeighbor(n) == nil {
			t.Errorf("%+v is taken", n)
		}
	}
}

// TestOurOwnNextHop: a route that leads to ourselves is refused, and so replaces what came before by nothing.
func TestOurOwnNextHop(t *testing.T) {
	w := newWorld(t)
	h := w.join("n", 65001, w.a)
	h.announce(path(65001), "10.1.0.0/16")
	ours := path(65001)
	ours.NextHop = h.Local
	h.announce(ours, "10.1.0.0/16")
	w.forwards("10.1.0.0/16", "")
}

// BenchmarkUpdate is UPDATEs of a thousand prefixes that come and go, through the rib into the fib.
func BenchmarkUpdate(b *testing.B) {
	f := fib.New(fib.Options{})
	r := New(Config{FIB: f, Unreachable: hopNowhere})
	if err := r.SetNeighbor(Neighbor{Name: "n", Via: &route.Via{Hop: hopA}, Import: all}); err != nil {
		b.Fatal(err)
	}
	s := &bgp.Session{Neighbor: &bgp.Neighbor{Name: "n"}, Peer: &route.Peer{Source: route.BGP, Name: "n"}}
	r.begin(s, new(heard))
	var in, out []bgp.Route
	for i := range 1000 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i)}), 24)
		in, out = append(in, bgp.Route{Prefix: p, Attrs: path(65001)}), append(out, bgp.Route{Prefix: p})
	}
	b.ReportAllocs()
	for b.Loop() {
		r.Update(s, in)
		r.Update(s, out)
	}
}
