package fib

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gaissmai/bart"
)

// HopID is what the owner of the table calls a next hop. 0 is none.
type HopID uint32

// Hop is one member of a group.
type Hop struct {
	ID HopID
	// Weight is the share of flows that the hop gets, compared with the others'; at least 1.
	Weight uint32
}

// Key6 is an IPv6 address as two big-endian halves.
type Key6 struct{ Hi, Lo uint64 }

// Options for a table. The zero value is ready to use.
type Options struct{}

// Table maps prefixes to groups of next hops.
type Table struct {
	view atomic.Pointer[view]

	// mu is held by the writer, and by who reads a flat table's routes. The packet path takes it never.
	mu     sync.RWMutex
	sizes  sizes
	groups groups
	// flats counts the flat forms there were; refused is how many routes there were when they had no room in one.
	flats   uint64
	refused int
}

// view is what readers start from: a trie that is immutable, or stages whose entries change.
type view struct {
	trie *bart.Fast[*group]
	flat *flat
}

// Group is what a lookup found: nil for no route.
type Group = *group

// New returns an empty table.
func New(Options) *Table { return newTable(defaultSizes()) }

func newTable(s sizes) *Table {
	t := &Table{sizes: s, groups: newGroups()}
	t.view.Store(&view{trie: new(bart.Fast[*group])})
	return t
}

// ErrNoHops says that a route leads nowhere.
var ErrNoHops = errors.New("a route wants at least one next hop")

// Change inserts a route or replaces the one there is; without hops it deletes it.
type Change struct {
	Prefix netip.Prefix
	Hops   []Hop
}

func (c *Change) check() error {
	if p := c.Prefix; !p.IsValid() || p != p.Masked() {
		return fmt.Errorf("route %v: want a prefix without host bits", p)
	}
	for _, h := range c.Hops {
		if h.ID == 0 || h.Weight == 0 {
			return fmt.Errorf("route %v: next hop %d with weight %d: neither may be 0", c.Prefix, h.ID, h.Weight)
		}
	}
	return nil
}

// Insert adds a route or replaces the one there is.
func (t *Table) Insert(p netip.Prefix, hops []Hop) error {
	c := Change{p, hops}
	if err := c.check(); err != nil {
		return fmt.Errorf("insert %w", err)
	}
	if len(hops) == 0 {
		return fmt.Errorf("insert route %v: %w", p, ErrNoHops)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.insert(p, hops)
	return nil
}

// Delete removes a route and reports whether it was there, which a prefix with host bits never is.
func (t *Table) Delete(p netip.Prefix) bool {
	if !p.IsValid() || p != p.Masked() {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.remove(p)
}

// Apply makes the changes in order. Where one of them is wrong it makes none and returns an error; deleting a route that is not
// there is not wrong. Readers see each change by itself.
func (t *Table) Apply(changes []Change) error {
	for i := range changes {
		if err := changes[i].check(); err != nil {
			return fmt.Errorf("apply change %d of %d: %w", i+1, len(changes), err)
		}
	}
	// In pieces, so that Get and Lookup wait for no more than one.
	for piece := range slices.Chunk(changes, 256) {
		t.applySome(piece)
	}
	return nil
}

func (t *Table) applySome(changes []Change) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if v := t.view.Load(); v.flat != nil {
		v.flat.touch(changes)
	}
	for _, c := range changes {
		if len(c.Hops) == 0 {
			t.remove(c.Prefix)
		} else {
			t.insert(c.Prefix, c.Hops)
		}
	}
}

// look returns what is to be read until done is called.
func (t *Table) look() (v *view, done func()) {
	if v := t.view.Load(); v.flat == nil {
		return v, func() {}
	}
	t.mu.RLock()
	return t.view.Load(), t.mu.RUnlock
}

// Get returns the next hops of exactly this prefix. Of a large table, it waits for a change that is being made, as do Lookup,
// All and Len.
func (t *Table) Get(p netip.Prefix) ([]Hop, bool) {
	v, done := t.look()
	defer done()
	if v.flat == nil {
		g, ok := v.trie.Get(p)
		return g.clone(), ok
	}
	if !p.IsValid() {
		return nil, false
	}
	r := v.flat.route(p.Masked())
	n := v.flat.routes.find(&r)
	return v.flat.group(n).clone(), n != 0
}

// Lookup returns the most specific route that covers an address.
func (t *Table) Lookup(a netip.Addr) (netip.Prefix, []Hop, bool) {
	v, done := t.look()
	defer done()
	p := netip.PrefixFrom(a, a.BitLen())
	if v.flat == nil {
		p, g, ok := v.trie.LookupPrefixLPM(p)
		return p, g.clone(), ok
	}
	if !a.IsValid() {
		return netip.Prefix{}, nil, false
	}
	r := v.flat.route(p)
	for bits := r.bits; bits >= 0; bits-- {
		if n := v.flat.routes.shorter(&r, bits); n != 0 {
			return netip.PrefixFrom(p.Addr(), bits).Masked(), v.flat.group(n).clone(), true
		}
	}
	return netip.Prefix{}, nil, false
}

// All returns all routes as of one moment, sorted. It copies a large table first.
func (t *Table) All() iter.Seq2[netip.Prefix, []Hop] {
	all := t.allGroups()
	return func(yield func(netip.Prefix, []Hop) bool) {
		for p, g := range all {
			if !yield(p, g.clone()) {
				return
			}
		}
	}
}

func (t *Table) allGroups() iter.Seq2[netip.Prefix, *group] {
	type pair struct {
		p netip.Prefix
		g *group
	}
	var pairs []pair
	v, done := t.look()
	if v.flat != nil {
		pairs = make([]pair, 0, v.flat.routes.len())
		for p, n := range v.flat.routes.all() {
			pairs = append(pairs, pair{p, v.flat.group(n)})
		}
	}
	if done(); v.flat == nil {
		return v.trie.AllSorted()
	}
	slices.SortFunc(pairs, func(a, b pair) int { return a.p.Compare(b.p) })
	return func(yield func(netip.Prefix, *group) bool) {
		for i := range pairs {
			if !yield(pairs[i].p, pairs[i].g) {
				return
			}
		}
	}
}

// Len returns how many routes there are.
func (t *Table) Len() int {
	v, done := t.look()
	defer done()
	if v.flat == nil {
		return v.trie.Size()
	}
	return v.flat.routes.len()
}

// LookupBatch4 finds the groups of IPv4 destinations, in host order; out is as long as dst.
func (t *Table) LookupBatch4(dst []uint32, out []Group) {
	v := t.view.Load()
	if v.flat != nil {
		v.lookup4(dst, out)
		return
	}
	var b [4]byte
	for i, d := range dst {
		if i > 0 && d == dst[i-1] {
			out[i] = out[i-1]
			continue
		}
		binary.BigEndian.PutUint32(b[:], d)
		out[i], _ = v.trie.Lookup(netip.AddrFrom4(b))
	}
}

// LookupBatch6 finds the groups of IPv6 destinations; out is as long as dst.
func (t *Table) LookupBatch6(dst []Key6, out []Group) {
	v := t.view.Load()
	if v.flat != nil {
		v.lookup6(dst, out)
		return
	}
	var b [16]byte
	for i, d := range dst {
		if i > 0 && d == dst[i-1] {
			out[i] = out[i-1]
			continue
		}
		binary.BigEndian.PutUint64(b[:8], d.Hi)
		binary.BigEndian.PutUint64(b[8:], d.Lo)
		out[i], _ = v.trie.Lookup(netip.AddrFrom16(b))
	}
}
