package rib

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/warrenvpn/warren/routing/fib"
	"github.com/warrenvpn/warren/routing/route"
)

// world is few peers, tunnels and values, so that ties are common.
type world struct {
	r        *rand.Rand
	peers    []*route.Peer
	vias     []*route.Via
	prefixes []netip.Prefix
}

func newWorld(r *rand.Rand) *world {
	w := &world{r: r, vias: []*route.Via{nil}}
	for i := range 4 {
		w.vias = append(w.vias, &route.Via{Name: fmt.Sprint("tunnel", i), Hop: fib.HopID(i + 1)})
	}
	for i := range 6 {
		w.peers = append(w.peers, &route.Peer{Source: route.BGP, Name: fmt.Sprint("bgp", i), IBGP: i%3 == 0,
			RouterID: uint32(r.IntN(3)), Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(3))})})
	}
	for _, s := range []route.Source{route.Static, route.IPsec, route.Kernel, route.Static} {
		w.peers = append(w.peers, &route.Peer{Source: s, Name: fmt.Sprint(s, len(w.peers))})
	}
	for _, s := range []string{"0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24", "10.1.1.1/32", "192.0.2.0/24",
		"::/0", "2001:db8::/32", "2001:db8:1::/48", "2001:db8:1::1/128"} {
		w.prefixes = append(w.prefixes, netip.MustParsePrefix(s))
	}
	return w
}

func pick[T any](w *world, of []T) T { return of[w.r.IntN(len(of))] }

func (w *world) path(p *route.Peer) route.Path {
	path := route.Path{Peer: p, Via: pick(w, w.vias), Preference: pick(w, []uint32{100, 100, 200}), Metric: uint32(w.r.IntN(2)),
		Stale: w.r.IntN(10) == 0}
	if p.Source != route.BGP || w.r.IntN(8) == 0 {
		return path
	}
	a := &route.Attrs{Origin: route.Origin(w.r.IntN(6) / 5), HasMED: w.r.IntN(2) == 0, HasLocalPref: w.r.IntN(2) == 0}
	if a.HasMED {
		a.MED = uint32(w.r.IntN(3))
	}
	if a.HasLocalPref {
		a.LocalPref = pick(w, []uint32{99, 100, 100, 100, 101})
	}
	if w.r.IntN(8) > 0 {
		s := route.Segment{Type: route.ASSequence, ASNs: []uint32{pick(w, []uint32{65001, 65002})}}
		if w.r.IntN(4) == 0 {
			s.ASNs = append(s.ASNs, 65003)
		}
		a.ASPath = append(a.ASPath, s)
	}
	if w.r.IntN(5) == 0 {
		a.OriginatorID = netip.AddrFrom4([4]byte{0, 0, 0, byte(w.r.IntN(3))})
		a.ClusterList = make([]netip.Addr, w.r.IntN(3))
	}
	path.Attrs = a
	return path
}

// step does the same to both.
func (w *world) step(t *Table, m *model) string {
	peer, p := pick(w, w.peers), pick(w, w.prefixes)
	switch w.r.IntN(40) {
	case 0:
		t.RemovePeer(peer)
		m.removePeer(peer, false, Both)
		return "remove peer " + peer.Name
	case 1:
		f := Families(1 + w.r.IntN(3))
		t.MarkStale(peer, f)
		m.markStale(peer, f)
		return "mark stale " + peer.Name
	case 2:
		f := Families(1 + w.r.IntN(3))
		t.SweepStale(peer, f)
		m.removePeer(peer, true, f)
		return "sweep stale " + peer.Name
	case 3, 4, 5:
		v, up := pick(w, w.vias[1:]), w.r.IntN(2) == 0
		t.SetUp(v, up)
		m.down[v] = !up
		return fmt.Sprint(v.Name, " up ", up)
	case 6, 7, 8, 9, 10, 11, 12, 13:
		t.Remove(p, peer)
		m.remove(p, peer)
		return fmt.Sprint("remove ", p, " of ", peer.Name)
	default:
		r := w.path(peer)
		t.Set(p, r)
		m.set(p, r)
		return fmt.Sprint("set ", p, show([]route.Path{r}))
	}
}

// check compares all that the table says with the model.
func (w *world) check(t *Table, m *model) error {
	seen := 0
	for p, all := range t.All(nil) {
		if seen++; !slices.ContainsFunc(all, func(Candidate) bool { return true }) || len(all) != len(m.offers[p]) {
			return fmt.Errorf("All gives %d paths to %v, want %d", len(all), p, len(m.offers[p]))
		}
	}
	if seen != len(m.offers) || t.Len() != len(m.offers) {
		return fmt.Errorf("All gives %d prefixes, Len %d, want %d", seen, t.Len(), len(m.offers))
	}
	only := w.prefixes[0]
	for p := range t.All(func(p netip.Prefix) bool { return p == only }) {
		if p != only {
			return fmt.Errorf("All gives %v where %v is asked for", p, only)
		}
		seen--
	}
	if _, there := m.offers[only]; there != (seen < len(m.offers)) {
		return fmt.Errorf("All gives %v: %v, want %v", only, !there, there)
	}
	for _, p := range w.prefixes {
		want := m.winners(p)
		var won []route.Path
		for i, c := range t.Get(p) {
			if c.Rank != i+1 || c.Why() == "" {
				return fmt.Errorf("%v: candidate %d has rank %d and reason %q", p, i, c.Rank, c.Why())
			}
			if c.Won {
				won = append(won, c.Path)
			}
		}
		if !same(won, want) {
			return fmt.Errorf("%v: Get gives winners%s\nwant%s", p, show(won), show(want))
		}
		wantPrefix, wantFound := m.lookup(p.Addr())
		gotPrefix, got, found := t.Lookup(p.Addr())
		if found != wantFound || gotPrefix != wantPrefix || !same(got, m.winners(wantPrefix)) {
			return fmt.Errorf("Lookup(%v) = %v, %v, want %v, %v", p.Addr(), gotPrefix, found, wantPrefix, wantFound)
		}
	}
	return nil
}

// flush takes what the table reports, all of it or the first n, into what was reported before.
func (w *world) flush(t *Table, m *model, reported map[netip.Prefix][]route.Path, n int) error {
	for c := range t.Flush() {
		if same(reported[c.Prefix], c.Winners) {
			return fmt.Errorf("%v is reported and has not changed:%s", c.Prefix, show(c.Winners))
		}
		if (c.Best == nil) != (len(c.Winners) == 0) || c.Best != nil && c.Best != &c.Winners[0] {
			return fmt.Errorf("%v: the best is not the first winner", c.Prefix)
		}
		if reported[c.Prefix] = slices.Clone(c.Winners); c.Best == nil {
			delete(reported, c.Prefix)
		}
		if n--; n == 0 {
			return nil
		}
	}
	for _, p := range w.prefixes {
		if want := m.winners(p); !same(reported[p], want) {
			return fmt.Errorf("%v: reported winners%s\nwant%s", p, show(reported[p]), show(want))
		}
	}
	for _, peer := range w.peers {
		if got, want := t.Counts(peer), m.counts(peer); got != want {
			return fmt.Errorf("%s: counts %+v, want %+v", peer.Name, got, want)
		}
	}
	return nil
}

func TestAgainstModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for round := range 30 {
		r := rand.New(rand.NewPCG(seed, uint64(round)))
		w := newWorld(r)
		for i, p := range w.peers { // no two that nothing tells apart
			p.Name = fmt.Sprint(p.Name, "-", i)
		}
		o := Options{MultipathMax: r.IntN(4), MultipathAcrossAS: r.IntN(2) == 0}
		table, m, reported := New(o), newModel(o), make(map[netip.Prefix][]route.Path)
		table.few = r.IntN(4) // so that some offers are looked for in the whole table
		for i := range 400 {
			did := w.step(table, m)
			if err := w.check(table, m); err != nil {
				t.Fatalf("round %d with %+v, step %d, %s: %v", round, o, i, did, err)
			}
			if r.IntN(4) > 0 {
				continue
			}
			if err := w.flush(table, m, reported, r.IntN(3)); err != nil {
				t.Fatalf("round %d with %+v, flush after step %d, %s: %v", round, o, i, did, err)
			}
		}
		empties(t, table, w, m, reported)
	}
}

// empties takes all out and looks for what is left behind.
func empties(t *testing.T, table *Table, w *world, m *model, reported map[netip.Prefix][]route.Path) {
	t.Helper()
	for _, p := range w.peers {
		table.RemovePeer(p)
		m.removePeer(p, false, Both)
	}
	for _, v := range w.vias {
		table.SetUp(v, true)
	}
	m.down = make(map[*route.Via]bool)
	if err := w.flush(table, m, reported, 0); err != nil {
		t.Fatal(err)
	}
	if len(reported) != 0 || table.Len() != 0 || len(table.offers) != 0 || len(table.peers) != 0 || len(table.vias) != 0 ||
		table.slab.used != 0 || table.index.len() != 0 || len(table.changed.head.list) != 0 {
		t.Errorf("the empty table keeps something: %+v", table)
	}
}
