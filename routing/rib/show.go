package rib

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"

	"github.com/warrenvpn/warren/routing/route"
)

// Candidate is a path and how it fared.
type Candidate struct {
	route.Path
	// Rank is 1 for the best path.
	Rank int
	// Won says that the path is among those that win together, Reason at which step it won or lost.
	Won    bool
	Reason Reason
}

// Why says in words why the path won or lost.
func (c Candidate) Why() string {
	if c.Won {
		return c.Reason.Won()
	}
	return c.Reason.Lost()
}

// Get returns all paths to exactly this prefix, best first.
func (t *Table) Get(p netip.Prefix) []Candidate {
	id, ok := t.index.get(p.Masked())
	if !ok {
		return nil
	}
	return t.candidates(t.slab.at(id))
}

func (t *Table) candidates(e *entry) []Candidate {
	if e.len() == 0 {
		return nil
	}
	work := e.appendTo(nil)
	wins := t.choose(work)
	losers := work[wins:]
	slices.SortFunc(losers, func(a, b ranked) int {
		if c := cmp.Or(cmp.Compare(b.lost, a.lost), cmp.Compare(a.key, b.key)); c != 0 {
			return c
		}
		c, _ := tie(&a, &b)
		return c
	})
	// A winner won where the last of the others lost.
	won := Only
	if len(losers) > 0 {
		won = losers[0].lost
	} else if wins > 1 {
		won = Equal
	}
	all := make([]Candidate, len(work))
	for i := range work {
		all[i] = Candidate{Path: work[i].route(), Rank: i + 1, Won: i < wins, Reason: work[i].lost}
		if i < wins {
			all[i].Reason = won
		}
	}
	return all
}

// Lookup returns the most specific prefix with a winner that covers an address, and its winners, best first.
func (t *Table) Lookup(a netip.Addr) (netip.Prefix, []route.Path, bool) {
	a = a.Unmap().WithZone("")
	if !a.IsValid() {
		return netip.Prefix{}, nil, false
	}
	for id := range t.index.covering(a) {
		e := t.slab.at(id)
		if t.settle(e); e.wins > 0 {
			var winners []route.Path
			p := e.prefix()
			return p, e.describe(p, &winners).Winners, true
		}
	}
	return netip.Prefix{}, nil, false
}

// All returns the prefixes that keep lets through with their paths, sorted. Nil lets all through; the fewer it does, the less there
// is to sort. The table must not be changed meanwhile.
func (t *Table) All(keep func(netip.Prefix) bool) iter.Seq2[netip.Prefix, []Candidate] {
	return func(yield func(netip.Prefix, []Candidate) bool) {
		var ids []uint32
		for id := range t.slab.used {
			if e := t.slab.at(id); e.len() > 0 && (keep == nil || keep(e.prefix())) {
				ids = append(ids, id)
			}
		}
		slices.SortFunc(ids, func(a, b uint32) int { return t.slab.at(a).prefix().Compare(t.slab.at(b).prefix()) })
		for _, id := range ids {
			e := t.slab.at(id)
			if !yield(e.prefix(), t.candidates(e)) {
				return
			}
		}
	}
}

// Cursor is a place in the table; the zero value is its beginning.
type Cursor uint32

// Scan calls yield for up to n prefixes that have winners, and returns where to go on, and whether there is more. It is for
// who must be told all that Flush said before it came: between two calls the table may be changed and flushed, and what
// changed in a part that was scanned, Flush reports.
func (t *Table) Scan(from Cursor, n int, yield func(Change)) (next Cursor, more bool) {
	var winners []route.Path
	id := uint32(from)
	for ; id < t.slab.used && n > 0; id++ {
		e := t.slab.at(id)
		if t.settle(e); e.wins > 0 {
			yield(e.describe(e.prefix(), &winners))
			n--
		}
	}
	return Cursor(id), id < t.slab.used
}

// Len returns to how many prefixes there are paths.
func (t *Table) Len() int { return t.live }
