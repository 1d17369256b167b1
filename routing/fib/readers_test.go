package fib

import (
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/warrenvpn/warren/internal/race"
)

// TestReadersWhileChunksAreUsedAgain: each route leads to a hop of its own, so that whoever reads a chunk that has become
// another's, or a number that has become another group's, sees a hop that is none of its address's.
func TestReadersWhileChunksAreUsedAgain(t *testing.T) {
	const routes = 400
	table := newTable(flatSizes())
	_ = table.Insert(netip.MustParsePrefix("2001:db8::/32"), []Hop{{1 << 20, 1}})
	prefix := func(i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(i), byte(i >> 8), 7, 9}), 64)
	}
	var keys []Key6
	for i := range routes {
		keys = append(keys, key6(prefix(i).Addr()))
	}
	var stop atomic.Bool
	var lookups [2]atomic.Uint64
	var readers sync.WaitGroup
	for n := range lookups {
		readers.Go(func() {
			r := rand.New(rand.NewPCG(uint64(n), 6))
			dst, got, at := make([]Key6, 13), make([]Group, 13), make([]int, 13)
			for !stop.Load() {
				for i := range dst {
					at[i] = r.IntN(routes)
					dst[i] = keys[at[i]]
				}
				table.LookupBatch6(dst, got)
				for i, g := range got {
					if id, _ := table.Single(g); id != 1<<20 && int(id)%routes != at[i] {
						t.Errorf("%v leads to %d", prefix(at[i]), id)
						return
					}
				}
				lookups[n].Add(1)
			}
		})
	}
	// look waits until both have looked up once more, so that what was given up before nobody holds: a reader may stand still at any
	// place for as long as the machine likes.
	look := func() {
		for i := range lookups {
			for before := lookups[i].Load(); lookups[i].Load() < before+2 && !t.Failed(); {
				runtime.Gosched()
			}
		}
	}
	r := rand.New(rand.NewPCG(6, 6))
	steps := 16_000 // each second one of which gives up three chunks
	if race.Enabled {
		steps = 6_000
	}
	for step := range steps {
		i := r.IntN(routes)
		if !table.Delete(prefix(i)) {
			_ = table.Insert(prefix(i), []Hop{{HopID(i + routes*(1+r.IntN(1000))), 1}})
		}
		if step%1000 == 0 {
			look()
			runtime.GC()
		}
	}
	look()
	stop.Store(true)
	readers.Wait()
	f := table.view.Load().flat
	if t.Logf("%d chunks, %d groups", len(f.chunks), f.pool.groups); len(f.chunks) > steps || int(f.pool.groups) > steps/3 {
		t.Error("they are not used again")
	}
}

// TestCoverThatChanged: while a reader is between two loads, the default route comes and the address's own goes.
func TestCoverThatChanged(t *testing.T) {
	table := newTable(flatSizes())
	wide, own := netip.MustParsePrefix("::/0"), netip.MustParsePrefix("2001:db8::/48")
	_ = table.Insert(own, []Hop{{1, 1}})
	f := table.view.Load().flat
	before := f.v6.cover.Load()
	_ = table.Insert(wide, []Hop{{2, 1}})
	table.Delete(own)
	if g, ok := f.coveredBy(before, &f.v6, key6(own.Addr())); ok {
		t.Errorf("it goes to %v, where it led at no moment", g)
	}
	if id, _ := table.Single(f.covered(&f.v6, key6(own.Addr()))); id != 2 {
		t.Errorf("it goes to %d, want 2", id)
	}
}

// TestNoGapBetweenRoutes: at each moment an address has the default route, or one of its own, or both. Readers never see none.
func TestNoGapBetweenRoutes(t *testing.T) {
	table := newTable(flatSizes())
	wide, own := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("10.1.2.128/25")
	_ = table.Insert(wide, []Hop{{1, 1}})
	var stop atomic.Bool
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			dst, got := []uint32{10<<24 | 1<<16 | 2<<8 | 200}, make([]Group, 1)
			for !stop.Load() {
				if table.LookupBatch4(dst, got); got[0] == nil {
					t.Error("no route")
					return
				}
			}
		})
	}
	for range 8_000 {
		_ = table.Insert(own, []Hop{{2, 1}})
		table.Delete(wide)
		_ = table.Insert(wide, []Hop{{3, 1}})
		table.Delete(own)
	}
	stop.Store(true)
	readers.Wait()
}

// TestReadersWhileTheFormChanges: all kinds of readers, while a table becomes flat and a trie again.
func TestReadersWhileTheFormChanges(t *testing.T) {
	table := newTable(sizes{flatFrom: 60, trieBelow: 50, chunks: 100, idle: 3, generation: 5})
	stays := netip.MustParsePrefix("192.0.2.0/24")
	_ = table.Insert(stays, []Hop{{7, 1}})
	var stop atomic.Bool
	var readers sync.WaitGroup
	reader := func(ok func() bool) {
		readers.Go(func() {
			for !stop.Load() {
				if !ok() {
					t.Error("the route that stays was not found")
					return
				}
			}
		})
	}
	reader(func() bool {
		id, _ := table.Single(find(table, stays.Addr()))
		return id == 7
	})
	reader(func() bool {
		_, there := table.Get(stays)
		p, hops, _ := table.Lookup(last(stays))
		return there && p == stays && hops[0].ID == 7
	})
	reader(func() bool {
		n, seen := 0, false
		for p := range table.All() {
			n++
			seen = seen || p == stays
		}
		return seen && n <= 101 && table.Len() <= 101
	})
	for range 20 {
		for i := range 100 {
			_ = table.Insert(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i)}), 16), []Hop{{1, 1}})
		}
		for i := range 100 {
			table.Delete(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i)}), 16))
		}
	}
	stop.Store(true)
	readers.Wait()
	if table.flats < 20 {
		t.Errorf("the table became flat %d times, want 20", table.flats)
	}
}
