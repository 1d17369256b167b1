package fibtest

import (
	"math/rand/v2"
	"net/netip"
)

const seed = 20

// A count says how many prefixes of a length the real table has.
type count struct{ bits, n int }

var counts4 = []count{
	{8, 16}, {9, 13}, {10, 38}, {11, 103}, {12, 299}, {13, 581}, {14, 1203}, {15, 2100},
	{16, 13490}, {17, 8235}, {18, 13798}, {19, 24870}, {20, 42611}, {21, 50750}, {22, 108623}, {23, 96510},
	{24, 537698}, {25, 20}, {26, 3}, {27, 11}, {28, 18}, {29, 17}, {30, 3}, {31, 3},
	{32, 886},
}

var counts6 = []count{
	{16, 1}, {19, 1}, {20, 16}, {21, 3}, {22, 7}, {23, 8}, {24, 30}, {25, 8},
	{26, 15}, {27, 20}, {28, 193}, {29, 4371}, {30, 650}, {31, 284}, {32, 22548}, {33, 2926},
	{34, 2603}, {35, 1043}, {36, 5996}, {37, 880}, {38, 1617}, {39, 1377}, {40, 13418}, {41, 903},
	{42, 2301}, {43, 1001}, {44, 14365}, {45, 1553}, {46, 3039}, {47, 3153}, {48, 75488}, {49, 11},
	{50, 3}, {52, 1}, {55, 1}, {56, 24}, {58, 20}, {60, 2}, {64, 184}, {112, 2},
	{122, 1}, {124, 4}, {125, 9}, {126, 19}, {127, 42}, {128, 6},
}

// roots are where addresses are handed out; what they have in common with the real ones is that there are few.
var (
	roots4 = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/1"), netip.MustParsePrefix("128.0.0.0/2"), netip.MustParsePrefix("192.0.0.0/3")}
	roots6 = []netip.Prefix{
		netip.MustParsePrefix("2001::/16"), netip.MustParsePrefix("2400::/12"), netip.MustParsePrefix("2600::/12"),
		netip.MustParsePrefix("2800::/12"), netip.MustParsePrefix("2a00::/12"), netip.MustParsePrefix("2a10::/12"),
		netip.MustParsePrefix("2c00::/12"),
	}
)

// Generate makes up a table of the real one's size and distribution of lengths. The same seed gives the same table.
func Generate(seed uint64) []netip.Prefix {
	r := rand.New(rand.NewPCG(seed, seed))
	return append(generate(r, roots4, counts4), generate(r, roots6, counts6)...)
}

// generate makes the prefixes of one family, the shorter ones first. Holders of addresses announce parts of them, and parts side by
// side: most of the prefixes are near another of their length, half of the others within a shorter one, and the rest anywhere.
func generate(r *rand.Rand, roots []netip.Prefix, counts []count) (all []netip.Prefix) {
	seen := map[netip.Prefix]bool{}
	for _, c := range counts {
		for n := 0; n < c.n; {
			from := roots[r.IntN(len(roots))]
			if kind := r.IntN(20); kind < 16 && n > 0 {
				near := all[len(all)-1-r.IntN(n)]
				from = netip.PrefixFrom(near.Addr(), max(from.Bits(), c.bits-6)).Masked()
			} else if kind < 18 && len(all) > 0 {
				from = all[r.IntN(len(all))]
			}
			for from.Bits() > c.bits {
				from = roots[r.IntN(len(roots))]
			}
			if p := below(r, from, c.bits); !seen[p] {
				seen[p] = true
				all = append(all, p)
				n++
			}
		}
	}
	return all
}
