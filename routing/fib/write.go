package fib

import (
	"net/netip"

	"github.com/gaissmai/bart"
)

// sizes decide when memory is spent. Tests have smaller ones.
type sizes struct {
	// A table of flatFrom routes becomes flat, one of less than trieBelow a trie again.
	flatFrom, trieBelow int
	// A flat table takes another block if it has perBlock routes for each, and is a trie again when it has half of that. From
	// wideFrom routes on until half of those are left it takes as many blocks as there are.
	perBlock, wideFrom int
	// chunks is how many a flat table may have besides one for each of its routes.
	chunks int
	// idle is how many chunks without a route of their own stay where they are, for routes that come and go.
	idle int
	// generation is how much is given back at once.
	generation int
}

func defaultSizes() sizes {
	return sizes{flatFrom: 2000, trieBelow: 1000, perBlock: 256, wideFrom: 20_000, chunks: 4096, idle: 1024, generation: 256}
}

// insert enters a route; it is the writer that calls it.
func (t *Table) insert(p netip.Prefix, hops []Hop) {
	v := t.view.Load()
	if v.flat != nil {
		t.insertFlat(v, p, hops)
		return
	}
	before, _ := v.trie.Get(p)
	g := t.groups.take(hops, before)
	if g == before {
		g.routes--
		return
	}
	v = &view{trie: v.trie.InsertPersist(p, g)}
	t.view.Store(v)
	t.drop(v, before)
	t.fit(v)
}

func (t *Table) insertFlat(v *view, p netip.Prefix, hops []Hop) {
	r, before := v.flat.route(p), (*group)(nil)
	if n := v.flat.routes.find(&r); n != 0 {
		before = v.flat.group(n)
	}
	g := t.groups.take(hops, before)
	if g == before {
		g.routes--
		return
	}
	if !v.flat.insert(&r, g, before == nil, v.flat.routes.len()+1) {
		v = t.toTrie(v.flat, p, g)
	}
	t.drop(v, before)
	t.fit(v)
}

// remove takes a route out and reports whether it was there; it is the writer that calls it.
func (t *Table) remove(p netip.Prefix) bool {
	v := t.view.Load()
	var before *group
	if v.flat != nil {
		r := v.flat.route(p)
		n := v.flat.routes.take(&r)
		if n == 0 {
			return false
		}
		before = v.flat.group(n)
		v.flat.remove(&r)
	} else {
		var there bool
		if before, there = v.trie.Get(p); !there {
			return false
		}
		v = &view{trie: v.trie.DeletePersist(p)}
		t.view.Store(v)
	}
	t.drop(v, before)
	t.fit(v)
	return true
}

// drop notes that a route has left a group.
func (t *Table) drop(v *view, g *group) {
	if g != nil && t.groups.drop(g) && v.flat != nil {
		v.flat.forget(g)
	}
}

// fit gives the table the form that fits its size, and lets the stages take back what they gave up.
func (t *Table) fit(v *view) {
	switch {
	case v.flat == nil:
		n := v.trie.Size()
		if n < t.sizes.trieBelow {
			t.refused = 0
		} else if n >= t.sizes.flatFrom && (t.refused == 0 || n > 2*t.refused || n < t.refused/2 || t.refused < t.sizes.wideFrom && n >= t.sizes.wideFrom) {
			t.toFlat(v.trie)
		}
	case v.flat.small():
		t.toTrie(v.flat, netip.Prefix{}, nil)
	case v.flat.full():
		v.flat.turn(v)
		t.view.Store(&view{flat: v.flat})
	}
}

// toFlat builds the stages from a trie, which stays if the routes have no room there.
func (t *Table) toFlat(trie *bart.Fast[*group]) {
	t.flats++
	f := newFlat(t.flats, t.sizes)
	f.wide = trie.Size() >= t.sizes.wideFrom
	for p, g := range trie.All() {
		if r := f.route(p); !f.insert(&r, g, true, trie.Size()) {
			t.refused = trie.Size()
			return
		}
	}
	t.refused = 0
	t.view.Store(&view{flat: f})
}

// toTrie goes back from the stages to a trie, with one more route or another group of one where p is valid.
func (t *Table) toTrie(f *flat, p netip.Prefix, g *group) *view {
	trie := new(bart.Fast[*group])
	for p, n := range f.routes.all() {
		trie.Insert(p, f.group(n))
	}
	if p.IsValid() {
		trie.Insert(p, g)
	}
	if trie.Size() >= t.sizes.flatFrom {
		t.refused = trie.Size()
	}
	v := &view{trie: trie}
	t.view.Store(v)
	return v
}
