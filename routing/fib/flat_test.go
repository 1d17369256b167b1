package fib

import (
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"

	"github.com/gaissmai/bart"

	"github.com/warrenvpn/warren/internal/race"
	"github.com/warrenvpn/warren/routing/fib/fibtest"
)

// flatSizes make a table flat from its first route, and give back what they can.
func flatSizes() sizes { return sizes{flatFrom: 1, chunks: 4096, idle: 2, generation: 4} }

// some returns a sample of the Internet table with the default routes and what hosts add to it.
func some(t *testing.T, r *rand.Rand, n int) []netip.Prefix {
	t.Helper()
	table, err := fibtest.Internet()
	if err != nil {
		t.Fatal(err)
	}
	t.Log("table:", table.Origin)
	v4, v6 := table.Split()
	all := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	seen := map[netip.Prefix]bool{all[0]: true, all[1]: true}
	for len(all) < n {
		family := [][]netip.Prefix{v4, v6}[r.IntN(2)]
		p := family[r.IntN(len(family))]
		if r.IntN(50) == 0 {
			p = netip.PrefixFrom(fibtest.Destinations(r, []netip.Prefix{p}, 1)[0], p.Addr().BitLen())
		}
		if !seen[p] {
			seen[p] = true
			all = append(all, p)
		}
	}
	return all
}

// TestAgainstBart takes a table of the usual sizes from trie to flat and back, with routes of the Internet.
func TestAgainstBart(t *testing.T) {
	const seed = 3
	r := rand.New(rand.NewPCG(seed, seed))
	n, table, want := 30_000, New(Options{}), new(bart.Fast[[]Hop])
	if race.Enabled {
		n, table = 2000, newTable(sizes{flatFrom: 1500, trieBelow: 700, chunks: 4096, idle: 100, generation: 20})
	}
	all := some(t, r, n)
	check := func(n int) {
		t.Helper()
		for _, a := range fibtest.Destinations(r, all, n) {
			g := find(table, a)
			hops, ok := want.Lookup(a)
			if ok != (g != nil) || ok && (len(hops) != len(g.hops) || hops[0] != g.hops[0]) {
				t.Fatalf("seed %d: %v leads to %v, want %v", seed, a, g, hops)
			}
		}
	}
	toFlat, toTrie := 0, 0
	for _, grow := range []bool{true, false, true, false} {
		for at := 0; at < len(all); {
			var changes []Change
			for range 1 + r.IntN(len(all)/50) {
				if at++; at > len(all) {
					break
				}
				c := Change{Prefix: all[at-1]}
				if grow {
					c.Hops = randomHops(r)
					want.Insert(c.Prefix, c.Hops)
				} else {
					want.Delete(c.Prefix)
				}
				changes = append(changes, c)
			}
			was := table.view.Load().flat != nil
			if err := table.Apply(changes); err != nil {
				t.Fatal(err)
			}
			if is := table.view.Load().flat != nil; is && !was {
				toFlat++
			} else if was && !is {
				toTrie++
			}
			if check(100); table.Len() != want.Size() {
				t.Fatalf("%d routes, want %d", table.Len(), want.Size())
			}
		}
		check(len(all))
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	}
	if toFlat != 2 || toTrie != 2 {
		t.Errorf("the table became flat %d times and a trie %d times, want 2 and 2", toFlat, toTrie)
	}
	if n := len(table.groups.single) + len(table.groups.several); n != 0 {
		t.Errorf("%d groups are left of an empty table", n)
	}
}

// TestNothingIsLeft: when the last route goes, the stages are as they were, but for idle chunks.
func TestNothingIsLeft(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	all := some(t, r, 1000)
	s := flatSizes()
	s.idle = 0
	table := newTable(s)
	for range 2 {
		for i, p := range all {
			_ = table.Insert(p, []Hop{{HopID(i + 1), 1}})
		}
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, p := range all {
			table.Delete(p)
		}
		f := table.view.Load().flat
		for _, family := range []*family{&f.v4, &f.v6} {
			for i := range family.top {
				b := family.top[i].Load()
				for j := range b {
					if b == family.empty {
						break
					}
					if e := b[j].Load(); e != 0 {
						t.Fatalf("entry %d of block %d is %#x", j, i, e)
					}
				}
			}
			if *family.cover.Load() != [256]uint32{} {
				t.Error("something is in cover")
			}
		}
		if f.live != 0 {
			t.Errorf("%d chunks are in use", f.live)
		}
		f.turn(table.view.Load())
		table.view.Store(&view{flat: f})
		runtime.GC()
		f.reclaim()
		if free := len(f.freeChunks) + 1; free != len(f.chunks) {
			t.Errorf("%d chunks of %d are free", free, len(f.chunks))
		}
		if free := len(f.freeGroups) + 1; free != int(f.pool.groups) {
			t.Errorf("%d groups of %d are free", free, f.pool.groups)
		}
	}
}

// TestTooManyHosts: routes that would take more memory than they are worth stay in a trie, and the table is flat again when
// most of them have gone.
func TestTooManyHosts(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	hosts := fibtest.Destinations(r, []netip.Prefix{netip.MustParsePrefix("fd00::/8")}, 200)
	table := newTable(sizes{flatFrom: 20, trieBelow: 5, chunks: 500, idle: 10, generation: 10})
	check := func(n int) {
		t.Helper()
		for i, a := range hosts {
			var want HopID
			if i < n {
				want = HopID(i + 1)
			}
			if got, _ := table.Single(find(table, a)); got != want {
				t.Fatalf("%d hosts: %v leads to %d, want %d", n, a, got, want)
			}
		}
	}
	flats := []bool{}
	look := func(n int) {
		check(n)
		flats = append(flats, table.view.Load().flat != nil)
	}
	for i, a := range hosts {
		_ = table.Insert(netip.PrefixFrom(a, 128), []Hop{{HopID(i + 1), 1}})
		if i == 30 {
			look(i + 1)
		}
	}
	look(len(hosts))
	for i := len(hosts) - 1; i >= 30; i-- {
		table.Delete(netip.PrefixFrom(hosts[i], 128))
	}
	look(30)
	if !flats[0] || flats[1] || !flats[2] {
		t.Errorf("flat with few, many and few hosts: %v, want true, false, true", flats)
	}
}

// TestBlocks: few routes are flat where they are close together, many wherever they are, and who hovers about a limit is not
// rebuilt again and again.
func TestBlocks(t *testing.T) {
	table := newTable(sizes{flatFrom: 20, trieBelow: 10, perBlock: 10, wideFrom: 100, chunks: 4096, idle: 10, generation: 10})
	prefix := func(i, first int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(first), byte(i)}), 24)
	}
	n := 0
	step := func(name string, to int, first func(i int) int, flat bool) {
		t.Helper()
		for ; n < to; n++ {
			_ = table.Insert(prefix(n, first(n)), []Hop{{HopID(n + 1), 1}})
		}
		for ; n > to; n-- {
			table.Delete(prefix(n-1, first(n-1)))
		}
		if is := table.view.Load().flat != nil; is != flat {
			t.Errorf("%s: %d routes are flat: %v", name, n, is)
		}
		for i := range n {
			if got, _ := table.Single(find(table, prefix(i, first(i)).Addr())); got != HopID(i+1) {
				t.Fatalf("%s: route %d leads to %d", name, i, got)
			}
		}
	}
	near, far := func(int) int { return 10 }, func(i int) int { return 10 + i%50 }
	step("few, near", 30, near, true)
	step("fewer", 9, near, false)
	step("none", 0, near, false)
	three := func(i int) int { return 10 + i%3 }
	step("three blocks", 45, three, true)
	step("half of what they want", 15, three, true)
	step("less than that", 14, three, false)
	step("none", 0, three, false)
	step("few, far", 30, far, false)
	step("more", 99, far, false)
	before := table.flats
	step("many", 100, far, true)
	for range 20 {
		step("hovering", 99, far, true)
		step("hovering", 101, far, true)
	}
	if table.flats != before+1 {
		t.Errorf("%d times flat about one limit", table.flats-before)
	}
	step("half", 50, far, true)
	step("less", 49, far, false)
	step("many again", 120, far, true)
}

// TestNoSecondTry: a table for which the flat form has no room is not built anew for each route that comes and goes.
func TestNoSecondTry(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	hosts := fibtest.Destinations(r, []netip.Prefix{netip.MustParsePrefix("fd00::/8")}, 100)
	table := newTable(sizes{flatFrom: 100, trieBelow: 80})
	for range 5 {
		for _, a := range hosts {
			_ = table.Insert(netip.PrefixFrom(a, 128), []Hop{{1, 1}})
		}
		for _, a := range hosts[:10] {
			table.Delete(netip.PrefixFrom(a, 128))
		}
	}
	if table.flats != 1 {
		t.Errorf("it was tried %d times, want 1", table.flats)
	}
}

func TestFlatLookupAllocatesNothing(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	r := rand.New(rand.NewPCG(7, 7))
	all := some(t, r, 2000)
	table := newTable(flatSizes())
	for i, p := range all {
		_ = table.Insert(p, []Hop{{HopID(i + 1), 1}})
	}
	var v4, v6 []netip.Prefix
	for _, p := range all {
		if p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	dst4, dst6 := keys4(fibtest.Destinations(r, v4, 1000)), keys6(fibtest.Destinations(r, v6, 1000))
	got := make([]Group, 1000)
	if n := testing.AllocsPerRun(100, func() {
		table.LookupBatch4(dst4, got)
		table.LookupBatch6(dst6, got)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestMemory: a small table costs little, and the whole Internet table no more than it may.
func TestMemory(t *testing.T) {
	base := heap()
	small := New(Options{})
	for i := range 100 {
		_ = small.Insert(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i)}), 16), []Hop{{HopID(i + 1), 1}})
	}
	if held := heap() - base; held > 1<<20 {
		t.Errorf("a hundred routes take %d bytes, want at most 1 MB", held)
	}
	runtime.KeepAlive(small)
	if race.Enabled || testing.Short() {
		return
	}
	from, err := fibtest.Internet()
	if err != nil {
		t.Fatal(err)
	}
	changes := make([]Change, len(from.Prefixes))
	for i, p := range from.Prefixes {
		changes[i] = Change{p, fullHops(i)}
	}
	base = heap()
	large := New(Options{})
	if err := large.Apply(changes); err != nil {
		t.Fatal(err)
	}
	held := heap() - base
	t.Logf("%d routes (%s) take %d MB", large.Len(), from.Origin, held/1e6)
	if large.view.Load().flat == nil {
		t.Error("the table is not flat")
	}
	if held > 200e6 {
		t.Errorf("%d routes take %d bytes, want at most 200 MB", large.Len(), held)
	}
	runtime.KeepAlive(changes)
}
