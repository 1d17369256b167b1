package fib

import (
	"net/netip"
	"slices"
	"testing"
)

// TestRoutesShareGroups: what many routes lead to is there once, also after all of them moved, and gone with the last.
func TestRoutesShareGroups(t *testing.T) {
	for name, s := range testSizes() {
		t.Run(name, func(t *testing.T) { shareGroups(t, newTable(s)) })
	}
}

func shareGroups(t *testing.T, table *Table) {
	const routes = 100
	prefix := func(i int) netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i)}), 24) }
	count := func() (n int) {
		for _, same := range table.groups.several {
			n += len(same)
		}
		return n + len(table.groups.single)
	}
	four := []Hop{{1, 1}, {2, 1}, {3, 1}, {4, 1}}
	for _, step := range []struct {
		name string
		hops []Hop
		want int
	}{
		{"all of them", four, 1}, {"3 goes", []Hop{{1, 1}, {2, 1}, {4, 1}}, 1}, {"3 comes back", four, 1}, {"one is left", four[:1], 1},
		{"again", four, 1},
	} {
		first := Group(nil)
		for i := range routes {
			for range 2 { // the second time changes nothing
				if err := table.Insert(prefix(i), step.hops); err != nil {
					t.Fatal(err)
				}
			}
			g := find(table, prefix(i).Addr())
			if first == nil {
				first = g
			}
			if g != first || !slices.Equal(g.hops, step.hops) {
				t.Fatalf("%s: route %d has the group %v, the first has %v", step.name, i, g, first)
			}
		}
		if n := count(); n != step.want {
			t.Errorf("%s: %d groups, want %d", step.name, n, step.want)
		}
	}
	for i := range routes {
		if !table.Delete(prefix(i)) {
			t.Errorf("%v was not there", prefix(i))
		}
	}
	if n := count(); n != 0 {
		t.Errorf("%d groups without routes", n)
	}
}

// TestGroupsByWhatWasBefore: of routes with the same hops, those that led elsewhere before have buckets of their own.
func TestGroupsByWhatWasBefore(t *testing.T) {
	table := New(Options{})
	p, q := netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")
	two := []Hop{{1, 1}, {2, 1}}
	_ = table.Insert(p, []Hop{{1, 1}, {2, 1}, {3, 1}})
	_ = table.Insert(p, two)
	_ = table.Insert(q, two)
	gp, gq := find(table, p.Addr()), find(table, q.Addr())
	if gp == gq || slices.Equal(gp.buckets, gq.buckets) {
		t.Error("they share a group: flows have moved")
	}
	table.Delete(p)
	_ = table.Insert(p, two)
	if find(table, p.Addr()) != gq {
		t.Error("two routes from nothing to the same hops do not share a group")
	}
}

// TestGroupThatHasGone: a route follows another to where nothing leads any more.
func TestGroupThatHasGone(t *testing.T) {
	table := New(Options{})
	p, q := netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")
	three, two := []Hop{{1, 1}, {2, 1}, {3, 1}}, []Hop{{1, 1}, {2, 1}}
	_ = table.Insert(p, three)
	_ = table.Insert(q, three)
	_ = table.Insert(p, two)
	table.Delete(p)
	_ = table.Insert(q, two)
	if g := find(table, q.Addr()); !slices.Contains(table.groups.several[string(table.groups.key(two))], g) {
		t.Error("the route's group is not among those that routes share")
	}
}

func TestApply(t *testing.T) {
	table := New(Options{})
	p, q := netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")
	one := []Hop{{1, 1}}
	for name, wrong := range map[string]Change{
		"host bits": {netip.MustParsePrefix("10.0.0.1/8"), one}, "no prefix": {Hops: one}, "hop 0": {p, []Hop{{0, 1}}},
	} {
		if err := table.Apply([]Change{{p, one}, wrong}); err == nil || table.Len() != 0 {
			t.Errorf("%s: %v, and %d routes", name, err, table.Len())
		}
	}
	if err := table.Apply([]Change{{p, one}, {q, one}, {p, nil}, {p, nil}}); err != nil {
		t.Fatal(err)
	}
	if _, there := table.Get(q); !there || table.Len() != 1 {
		t.Errorf("%d routes, %v is there: %v", table.Len(), q, there)
	}
	if table.Delete(netip.MustParsePrefix("2001:db8::1/32")) || table.Delete(netip.Prefix{}) {
		t.Error("deleted what cannot be there")
	}
}
