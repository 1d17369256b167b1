package fib

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/warrenvpn/warren/internal/race"
)

// model is the definition of longest-prefix match: look at every route.
type model map[netip.Prefix][]Hop

func (m model) lookup(a netip.Addr) (best netip.Prefix, hops []Hop) {
	for p, h := range m {
		if p.Contains(a) && (!best.IsValid() || p.Bits() > best.Bits()) {
			best, hops = p, h
		}
	}
	return best, hops
}

func randomAddr(r *rand.Rand, v6 bool) netip.Addr {
	if v6 {
		// few bits, so that prefixes cover each other
		return netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 2: byte(r.IntN(4)), 7: byte(r.IntN(4)), 15: byte(r.IntN(256))})
	}
	return netip.AddrFrom4([4]byte{10, byte(r.IntN(4)), byte(r.IntN(4)), byte(r.IntN(256))})
}

func randomPrefix(r *rand.Rand) netip.Prefix {
	a := randomAddr(r, r.IntN(2) == 1)
	return netip.PrefixFrom(a, r.IntN(a.BitLen()+1)).Masked()
}

func randomHops(r *rand.Rand) []Hop {
	hops := make([]Hop, 1+r.IntN(3))
	for i := range hops {
		hops[i] = Hop{ID: HopID(1 + r.IntN(50)*4 + i), Weight: uint32(1 + r.IntN(3))}
	}
	return hops
}

// find looks an address up as the packet path does.
func find(t *Table, a netip.Addr) Group {
	var got [1]Group
	if a.Is4() {
		b := a.As4()
		t.LookupBatch4([]uint32{binary.BigEndian.Uint32(b[:])}, got[:])
	} else {
		b := a.As16()
		t.LookupBatch6([]Key6{{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}}, got[:])
	}
	return got[0]
}

// testSizes are such that few routes take a table through all that it can be.
func testSizes() map[string]sizes {
	return map[string]sizes{
		"trie":  {flatFrom: 1 << 30},
		"flat":  {flatFrom: 1, trieBelow: 0, chunks: 4096, idle: 3, generation: 5},
		"both":  {flatFrom: 60, trieBelow: 50, chunks: 4096, idle: 3, generation: 5},
		"wide":  {flatFrom: 20, trieBelow: 10, perBlock: 4, wideFrom: 70, chunks: 4096, idle: 3, generation: 5},
		"usual": defaultSizes(),
	}
}

func TestAgainstModel(t *testing.T) {
	for name, s := range testSizes() {
		t.Run(name, func(t *testing.T) { againstModel(t, newTable(s)) })
	}
}

// last returns the last address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for bit := p.Bits(); bit < 8*len(b); bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// sameAsModel compares all ways to look an address up.
func sameAsModel(table *Table, want model, a netip.Addr, hash uint32) error {
	best, hops := want.lookup(a)
	if p, h, ok := table.Lookup(a); ok != best.IsValid() || p != best || !slices.Equal(h, hops) {
		return fmt.Errorf("%v is in %v %v, want %v %v", a, p, h, best, hops)
	}
	g := find(table, a)
	id := table.Pick(g, hash)
	one, single := table.Single(g)
	switch {
	case len(hops) == 0 && (id != 0 || one != 0 || !single):
		return fmt.Errorf("%v has no route, got %d", a, id)
	case len(hops) > 0 && (g == nil || !slices.Equal(g.hops, hops)):
		return fmt.Errorf("%v goes to %v, want %v of %v", a, g, hops, best)
	case len(hops) > 0 && !slices.ContainsFunc(hops, func(h Hop) bool { return h.ID == id }):
		return fmt.Errorf("%v goes to %d, want one of %v", a, id, hops)
	case len(hops) == 1 && (!single || one != hops[0].ID), len(hops) > 1 && single:
		return fmt.Errorf("single %v %d of %v", single, one, hops)
	}
	return nil
}

// againstModel lets a table grow and shrink a few times, past the sizes at which it changes its form.
func againstModel(t *testing.T, table *Table) {
	const seed = 1
	r := rand.New(rand.NewPCG(seed, seed))
	want, forms := model{}, 0
	steps := 5000
	if race.Enabled {
		steps = 1700
	}
	for step := range steps {
		p := randomPrefix(r)
		was := table.view.Load().flat
		if step/400%2 == 1 && len(want) > 0 {
			p = slices.SortedFunc(maps.Keys(want), netip.Prefix.Compare)[r.IntN(len(want))]
		}
		if step/400%2 == 1 && r.IntN(8) > 0 || r.IntN(8) == 0 {
			_, there := want[p]
			if table.Delete(p) != there {
				t.Fatalf("seed %d step %d: delete %v, there: %v", seed, step, p, there)
			}
			delete(want, p)
		} else {
			hops := randomHops(r)
			if err := table.Insert(p, hops); err != nil {
				t.Fatal(err)
			}
			want[p] = hops
		}
		if table.view.Load().flat != was {
			forms++
		}
		for _, a := range []netip.Addr{randomAddr(r, r.IntN(2) == 1), p.Addr(), last(p)} {
			if err := sameAsModel(table, want, a, r.Uint32()); err != nil {
				t.Fatalf("seed %d step %d, after a change of %v: %v", seed, step, p, err)
			}
		}
		if step%250 == 0 {
			runtime.GC() // without it, nothing is used again
		}
	}
	t.Logf("%d changes of form", forms)
	if s := table.sizes.flatFrom; (s == 60 || s == 20) && forms < 4 {
		t.Errorf("%d changes of form: this tests little", forms)
	}
	if table.Len() != len(want) {
		t.Errorf("%d routes, want %d", table.Len(), len(want))
	}
	for p, hops := range table.All() {
		if !slices.Equal(want[p], hops) {
			t.Errorf("%v leads to %v, want %v", p, hops, want[p])
		}
		if got, ok := table.Get(p); !ok || !slices.Equal(got, hops) {
			t.Errorf("get %v: %v %v", p, got, ok)
		}
	}
}

func TestMistakesAreRefused(t *testing.T) {
	table := New(Options{})
	p := netip.MustParsePrefix("10.0.0.0/8")
	for name, err := range map[string]error{
		"host bits": table.Insert(netip.MustParsePrefix("10.0.0.1/8"), []Hop{{1, 1}}),
		"no prefix": table.Insert(netip.Prefix{}, []Hop{{1, 1}}),
		"hop 0":     table.Insert(p, []Hop{{0, 1}}),
		"weight 0":  table.Insert(p, []Hop{{1, 0}}),
	} {
		if err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if err := table.Insert(p, nil); !errors.Is(err, ErrNoHops) {
		t.Errorf("no hops: %v", err)
	}
	if table.Len() != 0 {
		t.Error("something was entered")
	}
}

// tally counts which hop each of many flows takes.
func tally(table *Table, g Group) (flows []HopID, count map[HopID]int) {
	r := rand.New(rand.NewPCG(7, 7))
	count = map[HopID]int{}
	for range 20_000 {
		id := table.Pick(g, r.Uint32())
		flows = append(flows, id)
		count[id]++
	}
	return flows, count
}

func TestFlowsSpreadByWeight(t *testing.T) {
	p := netip.MustParsePrefix("10.0.0.0/8")
	for _, hops := range [][]Hop{{{1, 1}, {2, 2}, {3, 5}}, {{1, 100}, {2, 1}}, {{1, 1}, {2, 1000}}, {{1, 300}, {2, 3}, {3, 700}}} {
		table, total := New(Options{}), 0
		if err := table.Insert(p, hops); err != nil {
			t.Fatal(err)
		}
		for _, h := range hops {
			total += int(h.Weight)
		}
		_, count := tally(table, find(table, p.Addr()))
		for _, h := range hops {
			want := 20_000 * int(h.Weight) / total
			slack := max(want/10, 8) // of few flows chance has more
			if n := count[h.ID]; n < want-slack || n > want+slack {
				t.Errorf("hop %d of %v has %d flows, want about %d", h.ID, hops, n, want)
			}
		}
	}
}

// TestFlowsStay: when a hop goes, only its flows move; when one comes, no more than it is owed.
func TestFlowsStay(t *testing.T) {
	for name, s := range testSizes() {
		t.Run(name, func(t *testing.T) { flowsStay(t, newTable(s)) })
	}
}

func flowsStay(t *testing.T, table *Table) {
	p := netip.MustParsePrefix("2001:db8::/32")
	enter := func(hops ...Hop) []HopID {
		t.Helper()
		if err := table.Insert(p, hops); err != nil {
			t.Fatal(err)
		}
		flows, _ := tally(table, find(table, p.Addr()))
		return flows
	}
	four := enter(Hop{1, 1}, Hop{2, 1}, Hop{3, 1}, Hop{4, 1})
	three := enter(Hop{1, 1}, Hop{2, 1}, Hop{4, 1})
	moved := 0
	for i := range four {
		if four[i] != 3 && four[i] != three[i] {
			moved++
		}
	}
	if moved > 20_000/20 { // rounding to buckets
		t.Errorf("%d flows of hops that stayed have moved", moved)
	}
	back := enter(Hop{1, 1}, Hop{2, 1}, Hop{3, 1}, Hop{4, 1})
	moved = 0
	for i := range three {
		if back[i] != 3 && back[i] != three[i] {
			moved++
		}
	}
	if moved > 20_000/20 {
		t.Errorf("%d flows moved between hops that were there", moved)
	}
}

// TestReadersSeeOldOrNew: while a route flips between two groups under a wider one, readers see one of the three.
func TestReadersSeeOldOrNew(t *testing.T) {
	table := New(Options{})
	wide, narrow := netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.1.0.0/16")
	if err := table.Insert(wide, []Hop{{1, 1}}); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			dst := []uint32{10<<24 | 1<<16 | 5, 10<<24 | 2<<16}
			got := make([]Group, 2)
			for {
				select {
				case <-stop:
					return
				default:
				}
				table.LookupBatch4(dst, got)
				if id := table.Pick(got[0], 3); id < 1 || id > 4 {
					t.Errorf("hop %d", id)
					return
				}
				if id, _ := table.Single(got[1]); id != 1 {
					t.Errorf("a neighbour's hop became %d", id)
					return
				}
			}
		})
	}
	for i := range 3000 {
		switch i % 3 {
		case 0:
			_ = table.Insert(narrow, []Hop{{2, 1}})
		case 1:
			_ = table.Insert(narrow, []Hop{{3, 1}, {4, 1}})
		default:
			table.Delete(narrow)
		}
	}
	close(stop)
	readers.Wait()
}

func TestLookupAllocatesNothing(t *testing.T) {
	table := New(Options{})
	_ = table.Insert(netip.MustParsePrefix("0.0.0.0/0"), []Hop{{1, 1}, {2, 1}})
	_ = table.Insert(netip.MustParsePrefix("2001:db8::/32"), []Hop{{1, 1}})
	dst4, dst6, got := []uint32{1, 2, 3}, []Key6{{0x20010db8 << 32, 1}, {1, 1}}, make([]Group, 3)
	n := testing.AllocsPerRun(100, func() {
		table.LookupBatch4(dst4, got)
		table.Pick(got[0], 99)
		table.LookupBatch6(dst6, got[:2])
		table.Single(got[0])
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkLookup4(b *testing.B) {
	for name, spread := range map[string]uint32{"one": 0, "many": 1} {
		b.Run(name+"/100routes", func(b *testing.B) {
			table := New(Options{})
			for i := range 100 {
				_ = table.Insert(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i)}), 16), []Hop{{HopID(i + 1), 1}})
			}
			dst, got := make([]uint32, 64), make([]Group, 64)
			for i := range dst {
				dst[i] = 10<<24 | uint32(i)*spread<<16
			}
			for i := 0; i < b.N; i += len(dst) {
				table.LookupBatch4(dst, got)
			}
		})
	}
}
