package fib

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/warrenvpn/warren/internal/race"
)

// TestRoutesAgainstMap: prefixes near each other, of all lengths, come, change and go.
func TestRoutesAgainstMap(t *testing.T) {
	const seed = 8
	r := rand.New(rand.NewPCG(seed, seed))
	f, want := newFlat(1, defaultSizes()), map[netip.Prefix]uint32{}
	x := &f.routes
	most, steps := 0, 60_000
	if race.Enabled {
		steps = 15_000
	}
	for step := range steps {
		p := randomPrefix(r)
		if r.IntN(4) > 0 {
			p = netip.PrefixFrom(p.Addr(), p.Addr().BitLen()-r.IntN(16)).Masked()
		}
		route, number := f.route(p), 1+r.Uint32N(slotNumber)
		if got := x.find(&route); got != want[p] {
			t.Fatalf("seed %d step %d: %v has %d, want %d", seed, step, p, got, want[p])
		}
		if r.IntN(steps) > step { // ever fewer stay
			x.put(&route, number)
			want[p] = number
		} else {
			if got := x.take(&route); got != want[p] {
				t.Fatalf("seed %d step %d: %v had %d, want %d", seed, step, p, got, want[p])
			}
			delete(want, p)
		}
		most = max(most, len(want))
		if step%(steps/20) == 0 {
			sameAsMap(t, x, want)
		}
	}
	for p := range want {
		route := f.route(p)
		x.take(&route)
		delete(want, p)
	}
	if sameAsMap(t, x, want); most < 1000 || len(x.v4.slots) != minHashed || len(x.v6.slots) != minHashed {
		t.Errorf("after %d prefixes, %d and %d slots are left, want %d", most, len(x.v4.slots), len(x.v6.slots), minHashed)
	}
	for bits := range 129 {
		if x.lengths6[bits] != 0 || bits <= 32 && x.lengths4[bits] != 0 {
			t.Errorf("something is counted as /%d", bits)
		}
	}
}

func sameAsMap(t *testing.T, x *routes, want map[netip.Prefix]uint32) {
	t.Helper()
	n := 0
	for p, number := range x.all() {
		if n++; want[p] != number {
			t.Fatalf("%v has %d, want %d", p, number, want[p])
		}
	}
	if n != len(want) || x.len() != n {
		t.Fatalf("%d routes, and %d said, want %d", n, x.len(), len(want))
	}
}

// TestRoutesNearEachOther: all that can have one hash stands close together, and so do the hosts below one /24. Seeds are chosen
// at random, and with some of them what has nothing to do with each other stands in a row: the best of a few counts.
func TestRoutesNearEachOther(t *testing.T) {
	best := map[string]int{"IPv4": 1 << 30, "IPv6": 1 << 30}
	for range 12 {
		f := newFlat(1, defaultSizes())
		put := func(of netip.Prefix, from, to int) {
			for bits := from; bits <= to; bits++ {
				for i := range 1 << max(0, bits-of.Bits()) {
					k := f.route(of)
					k.key.Hi |= uint64(i) << (64 - bits)
					k.key, k.bits = k.key.masked(bits), bits
					f.routes.put(&k, 1)
				}
			}
		}
		put(netip.MustParsePrefix("10.0.0.0/21"), 0, 24)
		put(netip.MustParsePrefix("10.0.0.0/24"), 25, 32)
		put(netip.MustParsePrefix("2001:db8::/45"), 0, 48)
		put(netip.MustParsePrefix("2001:db8::/48"), 49, 56)
		best["IPv4"] = min(best["IPv4"], longestRun(f.routes.v4))
		best["IPv6"] = min(best["IPv6"], longestRun(f.routes.v6))
	}
	for name, longest := range best {
		if longest > 120 {
			t.Errorf("%s: %d slots in a row, want fewer", name, longest)
		}
	}
}

// longestRun is how many slots in a row are taken at most.
func longestRun[A address](h hashed[A]) (longest int) {
	n := 0
	for i := range 2 * len(h.slots) {
		if n++; h.slots[i%len(h.slots)].what == 0 {
			n = 0
		}
		longest = max(longest, n)
	}
	return longest
}

// TestWhatCovers takes out, from among all prefixes of a small tree, every one with each of what may be around it, so that what
// covers it is found beside it, by its length, or not at all.
func TestWhatCovers(t *testing.T) {
	for _, root := range []string{"10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/27", "10.0.0.0/7", "2001:db8::/44", "2001:db8::/62"} {
		top := netip.MustParsePrefix(root).Masked()
		var tree []netip.Prefix
		a := top.Addr()
		for _, bits := range []int{0, 1, 3} {
			p := netip.PrefixFrom(a, top.Bits()+bits).Masked()
			tree = append(tree, p, beside(p))
		}
		if top.Bits() > 16 {
			tree = append(tree, netip.PrefixFrom(a, 10).Masked())
		}
		table := newTable(flatSizes())
		_ = table.Insert(netip.MustParsePrefix("192.0.2.0/24"), []Hop{{1000, 1}}) // it stays flat
		for set := range 1 << len(tree) {
			for gone, p := range tree {
				if set>>gone&1 == 0 || race.Enabled && (set+gone)%5 != 0 {
					continue
				}
				want := model{}
				for i, q := range tree {
					if set>>i&1 == 1 {
						want[q] = []Hop{{HopID(i + 1), 1}}
						_ = table.Insert(q, want[q])
					}
				}
				table.Delete(p)
				delete(want, p)
				for _, q := range tree {
					for _, a := range []netip.Addr{q.Addr(), last(q)} {
						if err := sameAsModel(table, want, a, 0); err != nil {
							t.Fatalf("without %v, which was among %v: %v", p, want, err)
						}
					}
				}
				for q := range want {
					table.Delete(q)
				}
			}
		}
	}
}

// beside is the other half of what covers a prefix and is longer by one address bit.
func beside(p netip.Prefix) netip.Prefix {
	b := p.Addr().AsSlice()
	bit := p.Bits() - 1
	b[bit/8] ^= 0x80 >> (bit % 8)
	a, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(a, p.Bits())
}
