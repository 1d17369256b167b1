package router

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/warrenvpn/warren/internal/until"
	"github.com/warrenvpn/warren/routing/bgp"
	"github.com/warrenvpn/warren/routing/fib"
	"github.com/warrenvpn/warren/routing/route"
)

// TestNothingWithoutPolicies is RFC 8212: what a neighbour announces is counted, and goes nowhere.
func TestNothingWithoutPolicies(t *testing.T) {
	w := newWorld(t)
	w.offer(w.b, "10.9.0.0/16")
	h := w.up(w.neighbor("n", 65001, w.a, nil, nil))
	if c := h.announce(path(65001), "10.1.0.0/16", "2001:db8::/32"); c != (bgp.Counts{IPv4: 1, IPv6: 1}) {
		t.Errorf("counts %+v", c)
	}
	w.forwards("10.1.0.0/16", "")
	h.hears()
	if h.ends != 1 {
		t.Errorf("%d ends of what there is, want 1", h.ends)
	}
}

// TestImportPolicy: it decides and changes, and what it refuses counts among what the neighbour announces, and no more when it
// is withdrawn, let in, or of a session before.
func TestImportPolicy(t *testing.T) {
	w := newWorld(t)
	in := policyFunc(func(p netip.Prefix, r route.Path) (route.Path, bool) {
		r.Preference = 300
		return r, r.Attrs.MED == 0
	})
	h := w.up(w.neighbor("n", 65001, w.a, in, nil))
	w.offer(w.b, "10.1.0.0/16", "10.2.0.0/16")
	bad := path(65001)
	bad.MED = 1
	for _, step := range []struct {
		attrs    *route.Attrs
		prefix   string
		v4, v6   int
		leads    string
		whatItIs string
	}{
		{path(65001), "10.1.0.0/16", 1, 0, "1", "accepted, and preferred"},
		{bad, "10.2.0.0/16", 2, 0, "2", "refused"},
		{bad, "10.2.0.0/16", 2, 0, "2", "refused again"},
		{bad, "2001:db8::/32", 2, 1, "", "refused"},
		{bad, "10.1.0.0/16", 2, 1, "2", "not accepted any more"},
		{path(65001), "10.1.0.0/16", 2, 1, "1", "accepted again"},
		{nil, "10.2.0.0/16", 1, 1, "2", "withdrawn, though it was refused"},
		{nil, "2001:db8::/32", 1, 0, "", "withdrawn, though it was refused"},
		{nil, "2001:db8::/32", 1, 0, "", "withdrawn twice"},
	} {
		if c := h.announce(step.attrs, step.prefix); c != (bgp.Counts{IPv4: step.v4, IPv6: step.v6}) {
			t.Errorf("%s, %s: counts %+v, want %d, %d", step.prefix, step.whatItIs, c, step.v4, step.v6)
		}
		w.forwards(step.prefix, step.leads)
	}
	h.announce(bad, "10.2.0.0/16")
	h.down()
	if c := w.up(h.Peer).announce(path(65001), "10.3.0.0/16"); c.IPv4 != 1 {
		t.Errorf("a new session begins with %d prefixes", c.IPv4)
	}
}

// TestWhatNeighborsHear: the best of the winners, but nobody his own; with what it carries made fit for him.
func TestWhatNeighborsHear(t *testing.T) {
	w := newWorld(t)
	a, b := w.join("a", 65001, w.a), w.join("b", 65002, w.b)
	inner := w.up(func() *route.Peer {
		p := w.neighbor("inner", 65000, w.port, all, all)
		p.IBGP = true
		return p
	}())
	med := path(65001)
	med.MED, med.HasMED = 50, true
	a.announce(med, "10.1.0.0/16")
	a.hears()
	b.hears("10.1.0.0/16 65001")
	p := netip.MustParsePrefix("10.1.0.0/16")
	if got := b.routes[p]; got.Attrs.HasMED || got.Attrs.MED != 0 || got.From != a.Peer {
		t.Errorf("another AS hears %+v", got)
	}
	if got := inner.routes[p]; got.Attrs.MED != 50 {
		t.Errorf("our own AS hears %+v", got)
	}
	if med.MED != 50 {
		t.Error("the neighbour's attributes were changed")
	}
	w.offer(w.b, "10.1.0.0/16")
	a.hears("10.1.0.0/16")
	if got := a.routes[p]; got.From != nil || got.Attrs.Origin != route.OriginIGP {
		t.Errorf("of a static route %+v", got)
	}
	w.RemovePeer(w.static)
	a.hears()
	b.hears("10.1.0.0/16 65001")
	b.announce(path(65002), "10.1.0.0/16") // equal, and only one wins: a has the lower router id
	b.hears("10.1.0.0/16 65001")
	a.down()
	b.hears()
	inner.hears("10.1.0.0/16 65002")
}

// TestSharedAttributes: prefixes that came together are told together, so that they fit one message.
func TestSharedAttributes(t *testing.T) {
	w := newWorld(t)
	a, b := w.join("a", 65001, w.a), w.join("b", 65002, w.b)
	med := path(65001)
	med.MED, med.HasMED = 50, true
	a.announce(med, "10.1.0.0/16", "10.2.0.0/16")
	if x, y := b.routes[netip.MustParsePrefix("10.1.0.0/16")], b.routes[netip.MustParsePrefix("10.2.0.0/16")]; x.Attrs != y.Attrs {
		t.Error("attributes that were one are two")
	}
}

// TestExportPolicy: it decides and changes, and a new one counts at once.
func TestExportPolicy(t *testing.T) {
	w := newWorld(t)
	w.offer(w.a, "10.1.0.0/16", "10.2.0.0/24")
	short := policyFunc(func(p netip.Prefix, r route.Path) (route.Path, bool) {
		a := *r.Attrs
		a.MED, a.HasMED = 7, true
		r.Attrs = &a
		return r, p.Bits() <= 16
	})
	h := w.up(w.neighbor("n", 65001, w.b, nil, short))
	h.hears("10.1.0.0/16")
	if got := h.routes[netip.MustParsePrefix("10.1.0.0/16")]; got.Attrs.MED != 7 {
		t.Errorf("heard %+v", got.Attrs)
	}
	w.neighbor("n", 65001, w.b, nil, all)
	h.hears("10.1.0.0/16", "10.2.0.0/24")
	w.neighbor("n", 65001, w.b, nil, nil)
	h.hears()
	h.down()
	told := h.told
	w.neighbor("n", 65001, w.b, nil, all)
	if h.told != told {
		t.Error("who is gone is told")
	}
}

// slowOutlet is a neighbour that takes its time, and does something when it is first told anything.
type slowOutlet struct {
	first func()
	told  []netip.Prefix
}

// Advertise implements outlet.
func (o *slowOutlet) Advertise(changes []bgp.Change) {
	if o.first != nil {
		o.first()
		o.first = nil
	}
	for _, c := range changes {
		o.told = append(o.told, c.Prefix)
	}
	time.Sleep(2 * time.Millisecond)
}

// EndOfRIB implements outlet.
func (*slowOutlet) EndOfRIB() {}

// TestAFullTableLetsOthersIn: while a neighbour's long table goes, the end of another tunnel is not the last to be told.
func TestAFullTableLetsOthersIn(t *testing.T) {
	w := newWorld(t)
	full, few := w.join("full", 65001, w.a), w.join("few", 65002, w.b)
	const n = 100 * atOnce
	var routes []bgp.Route
	attrs := path(65001)
	for i := range n {
		routes = append(routes, bgp.Route{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32), Attrs: attrs})
	}
	w.Update(full.Session, routes)
	few.announce(path(65002), "192.0.2.0/24")
	w.join("watcher", 65003, w.port)
	var others sync.WaitGroup
	slow := new(slowOutlet)
	w.sessions[len(w.sessions)-1].out = slow
	slow.first = func() { // with the router's lock
		others.Go(func() { w.SetUp(w.b, false) })
		until.True(t, "the end of the other tunnel waits to be let in", time.Minute, func() bool {
			return until.Waits("router.(*Router).SetUp", "sync.Mutex.Lock")
		})
	}
	full.down()
	others.Wait()
	at := slices.Index(slow.told, netip.MustParsePrefix("192.0.2.0/24"))
	if len(slow.told) != n+1 || at < 0 || at > n*9/10 {
		t.Errorf("of %d changes that of the other tunnel is number %d", len(slow.told), at)
	}
	if w.fib.Len() != 0 {
		t.Errorf("%d routes are left", w.fib.Len())
	}
}

// TestRandomChanges: whatever happens in whatever order, by several goroutines, in the end the fib has what wins, and each
// neighbour has heard the best of it.
func TestRandomChanges(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w := newWorld(t, func(c *Config) { c.MultipathMax, c.MultipathAcrossAS = 2, true })
	const neighbors, prefixes, steps = 4, 3000, 200
	vias := []*route.Via{w.a, w.b, w.port}
	peers := make([]*route.Peer, neighbors)
	for i := range peers {
		peers[i] = w.neighbor(fmt.Sprint("n", i), uint32(65001+i), vias[i%2], all, all)
	}
	sessions := make([]*heard, neighbors)
	var wg sync.WaitGroup
	for i := range neighbors {
		rnd := rand.New(rand.NewPCG(seed, uint64(i)))
		wg.Go(func() { sessions[i] = w.live(rnd, peers[i], prefixes, steps) })
	}
	wg.Go(func() {
		rnd := rand.New(rand.NewPCG(seed, neighbors))
		for range steps {
			w.SetUp(vias[rnd.IntN(2)], rnd.IntN(2) == 0)
			w.Offer(Change{Prefix: randomPrefix(rnd, prefixes), Path: route.Path{Peer: w.static, Via: w.port}, Withdraw: rnd.IntN(2) == 0})
		}
	})
	wg.Wait()
	w.check(sessions)
	w.SetUp(w.a, true)
	w.SetUp(w.b, true)
	w.check(sessions)
}

func randomPrefix(rnd *rand.Rand, n int) netip.Prefix {
	i := rnd.IntN(n)
	if i%3 == 0 {
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(i >> 8), byte(i)}), 48)
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i)}), 24)
}

// live is a neighbour's life: its sessions, of which it returns the last.
func (w *world) live(rnd *rand.Rand, p *route.Peer, prefixes, steps int) *heard {
	h := w.up(p)
	for range steps {
		switch rnd.IntN(20) {
		case 0:
			h.down()
			h = w.up(p)
		default:
			a := path(slices.Repeat([]uint32{p.AS}, 1+rnd.IntN(2))...)
			if rnd.IntN(3) == 0 {
				a = nil
			}
			var batch []bgp.Route
			for range 1 + rnd.IntN(100) {
				batch = append(batch, bgp.Route{Prefix: randomPrefix(rnd, prefixes), Attrs: a})
			}
			w.Update(h.Session, batch)
		}
	}
	return h
}

// check compares what was told with what is.
func (w *world) check(sessions []*heard) {
	w.t.Helper()
	winners := 0
	heard := make([]int, len(sessions))
	for _, e := range w.Entries(nil) {
		best := e.Candidates[0]
		hops, ok := w.fib.Get(e.Prefix)
		want := map[fib.HopID]bool{}
		for _, c := range e.Candidates {
			if c.Won {
				want[c.Via.Hop] = true
			}
		}
		if ok != best.Won || len(hops) != len(want) || slices.ContainsFunc(hops, func(h fib.Hop) bool { return !want[h.ID] }) {
			w.t.Fatalf("%v leads to %v, want %v", e.Prefix, hops, want)
		}
		if best.Won {
			winners++
		}
		for i, s := range sessions {
			got, ok := s.routes[e.Prefix]
			if wanted := best.Won && best.Peer != s.Peer; ok != wanted {
				w.t.Fatalf("%s heard of %v: %v, want %v", s.Peer.Name, e.Prefix, ok, wanted)
			}
			if ok {
				heard[i]++
			}
			if ok && best.Attrs != nil && got.Attrs != best.Attrs {
				w.t.Fatalf("%s heard of %v %+v, want %+v", s.Peer.Name, e.Prefix, got.Attrs, best.Attrs)
			}
		}
	}
	if w.fib.Len() != winners {
		w.t.Errorf("%d routes forward, want %d", w.fib.Len(), winners)
	}
	for i, s := range sessions {
		if len(s.routes) != heard[i] || s.ends != 1 {
			w.t.Errorf("%s has %d routes and %d ends, want %d and 1", s.Peer.Name, len(s.routes), s.ends, heard[i])
		}
	}
}

// checkedOutlet sees to it that what a neighbour is told is so already.
type checkedOutlet struct {
	w    *world
	told int
}

// Advertise implements outlet.
func (o *checkedOutlet) Advertise(changes []bgp.Change) {
	for _, c := range changes {
		o.told++
		if _, there := o.w.fib.Get(c.Prefix); there != (c.Attrs != nil) {
			o.w.t.Errorf("announced %v: %v; forwarded: %v", c.Prefix, c.Attrs != nil, there)
		}
	}
}

// EndOfRIB implements outlet.
func (*checkedOutlet) EndOfRIB() {}

// TestForwardedBeforeTold: what a neighbour hears of is forwarded already, and what it hears the end of is not any more, also when
// there is more than is done at once.
func TestForwardedBeforeTold(t *testing.T) {
	w := newWorld(t)
	a := w.join("a", 65001, w.a)
	w.join("b", 65002, w.b)
	o := &checkedOutlet{w: w}
	w.sessions[len(w.sessions)-1].out = o
	const n = 3*atOnce + 7
	var prefixes []string
	for i := range n {
		prefixes = append(prefixes, fmt.Sprintf("10.%d.%d.0/24", i/256, i%256))
	}
	a.announce(path(65001), prefixes...)
	if o.told != n {
		t.Errorf("%d of %d were told", o.told, n)
	}
	a.announce(nil, prefixes[:n/2]...)
	a.down()
	if o.told != 2*n {
		t.Errorf("%d of %d were told, and their end", o.told, n)
	}
}
