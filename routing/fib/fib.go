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
	mu   sync.Mutex
	snap atomic.Pointer[snapshot]
}

// snapshot is immutable.
type snapshot struct {
	trie *bart.Fast[*group]
}

// Group is what a lookup found: nil for no route.
type Group = *group

// New returns an empty table.
func New(Options) *Table {
	t := new(Table)
	t.snap.Store(&snapshot{trie: new(bart.Fast[*group])})
	return t
}

// ErrNoHops says that a route leads nowhere.
var ErrNoHops = errors.New("a route wants at least one next hop")

// Insert adds a route or replaces the one there is.
func (t *Table) Insert(p netip.Prefix, hops []Hop) error {
	if !p.IsValid() || p != p.Masked() {
		return fmt.Errorf("insert route %v: want a prefix without host bits", p)
	}
	for _, h := range hops {
		if h.ID == 0 || h.Weight == 0 {
			return fmt.Errorf("insert route %v: next hop %d with weight %d: neither may be 0", p, h.ID, h.Weight)
		}
	}
	if len(hops) == 0 {
		return fmt.Errorf("insert route %v: %w", p, ErrNoHops)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.snap.Load().trie
	before, _ := old.Get(p)
	t.snap.Store(&snapshot{old.InsertPersist(p, newGroup(slices.Clone(hops), before))})
	return nil
}

// Delete removes a route and reports whether it was there.
func (t *Table) Delete(p netip.Prefix) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.snap.Load().trie
	if _, there := old.Get(p); !there {
		return false
	}
	t.snap.Store(&snapshot{old.DeletePersist(p)})
	return true
}

// Get returns the next hops of exactly this prefix.
func (t *Table) Get(p netip.Prefix) ([]Hop, bool) {
	g, ok := t.snap.Load().trie.Get(p)
	if !ok {
		return nil, false
	}
	return slices.Clone(g.hops), true
}

// Lookup returns the most specific route that covers an address.
func (t *Table) Lookup(a netip.Addr) (netip.Prefix, []Hop, bool) {
	p, g, ok := t.snap.Load().trie.LookupPrefixLPM(netip.PrefixFrom(a, a.BitLen()))
	if !ok {
		return netip.Prefix{}, nil, false
	}
	return p, slices.Clone(g.hops), true
}

// All returns all routes of one moment, sorted.
func (t *Table) All() iter.Seq2[netip.Prefix, []Hop] {
	trie := t.snap.Load().trie
	return func(yield func(netip.Prefix, []Hop) bool) {
		for p, g := range trie.AllSorted() {
			if !yield(p, slices.Clone(g.hops)) {
				return
			}
		}
	}
}

// Len returns how many routes there are.
func (t *Table) Len() int { return t.snap.Load().trie.Size() }

// LookupBatch4 finds the groups of IPv4 destinations, in host order; out is as long as dst.
func (t *Table) LookupBatch4(dst []uint32, out []Group) {
	trie := t.snap.Load().trie
	var b [4]byte
	for i, d := range dst {
		if i > 0 && d == dst[i-1] {
			out[i] = out[i-1]
			continue
		}
		binary.BigEndian.PutUint32(b[:], d)
		out[i], _ = trie.Lookup(netip.AddrFrom4(b))
	}
}

// LookupBatch6 finds the groups of IPv6 destinations; out is as long as dst.
func (t *Table) LookupBatch6(dst []Key6, out []Group) {
	trie := t.snap.Load().trie
	var b [16]byte
	for i, d := range dst {
		if i > 0 && d == dst[i-1] {
			out[i] = out[i-1]
			continue
		}
		binary.BigEndian.PutUint64(b[:8], d.Hi)
		binary.BigEndian.PutUint64(b[8:], d.Lo)
		out[i], _ = trie.Lookup(netip.AddrFrom16(b))
	}
}
