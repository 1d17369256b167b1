package fibtest

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

func TestGenerateHasTheLengthsOfTheRealTable(t *testing.T) {
	all := Generate(1)
	have4, have6 := map[int]int{}, map[int]int{}
	seen := make(map[netip.Prefix]bool, len(all))
	for _, p := range all {
		if p != p.Masked() || seen[p] {
			t.Fatalf("%v has host bits or is there twice", p)
		}
		seen[p] = true
		if p.Addr().Is4() {
			have4[p.Bits()]++
		} else {
			have6[p.Bits()]++
		}
	}
	for _, c := range counts4 {
		if have4[c.bits] != c.n {
			t.Errorf("IPv4 /%d: %d, want %d", c.bits, have4[c.bits], c.n)
		}
	}
	for _, c := range counts6 {
		if have6[c.bits] != c.n {
			t.Errorf("IPv6 /%d: %d, want %d", c.bits, have6[c.bits], c.n)
		}
	}
	if again := Generate(1); !slices.Equal(all, again) {
		t.Error("the same seed gave another table")
	}
}

func TestInternetAndItsDestinations(t *testing.T) {
	table, err := Internet()
	if err != nil {
		t.Fatal(err)
	}
	t.Log(table.Origin)
	v4, v6 := table.Split()
	if len(v4)+len(v6) != 1_062_046 {
		t.Errorf("%d and %d prefixes, want 1,062,046", len(v4), len(v6))
	}
	r := rand.New(rand.NewPCG(1, 1))
	one := []netip.Prefix{netip.MustParsePrefix("10.1.2.64/27")}
	for _, a := range Destinations(r, one, 100) {
		if !one[0].Contains(a) {
			t.Errorf("%v is not within %v", a, one[0])
		}
	}
}
