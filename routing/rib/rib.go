package rib

import (
	"iter"
	"math"
	"net/netip"

	"github.com/warrenvpn/warren/routing/route"
)

// Options for a table.
type Options struct {
	// MultipathMax is how many equal BGP paths to a prefix may win together; 0 counts as 1. Equal paths of other sources always
	// win together: they are there because somebody configured them.
	MultipathMax int
	// MultipathAcrossAS lets BGP paths win together that come from different neighbouring ASes.
	MultipathAcrossAS bool
}

// maxConfigured is how many equal paths that are not from BGP may win together.
const maxConfigured = 256

// Table is what all peers offer. One goroutine owns it.
type Table struct {
	max    int
	across bool
	few    int

	index  index
	slab   slab
	offers map[route.Path]*offer // by their path, without attributes
	peers  map[*route.Peer]*peer
	vias   map[*route.Via]*via
	serial uint64
	live   int
	// changed are the entries that were touched, bulk those that were touched together with many others: Flush comes to them later.
	// into is the one of both that is filled.
	changed, bulk queue
	into          *queue

	work    []ranked     // of a selection
	winners []route.Path // of the change that is being reported
}

// New returns an empty table.
func New(o Options) *Table {
	t := &Table{
		max:    min(max(o.MultipathMax, 1), math.MaxUint16),
		across: o.MultipathAcrossAS,
		few:    defaultFew,
		index:  newIndex(),
		offers: make(map[route.Path]*offer),
		peers:  make(map[*route.Peer]*peer),
		vias:   make(map[*route.Via]*via),
	}
	t.into = &t.changed
	return t
}

// A Change is what a prefix leads to from now on. It is only good until the next one: copy what is to be kept.
type Change struct {
	Prefix netip.Prefix
	// Best is the first of Winners, nil where the prefix has none any more.
	Best *route.Path
	// Winners are those that win together, best first. Several may lead the same way.
	Winners []route.Path
}

// Set enters what path.Peer offers for a prefix, in place of what it offered before. An invalid prefix, or a path
// without a peer, is nobody's offer and is ignored.
func (t *Table) Set(p netip.Prefix, r route.Path) {
	if p = p.Masked(); !p.IsValid() || r.Peer == nil {
		return
	}
	id, ok := t.index.get(p)
	if !ok {
		id = t.slab.add(p)
		t.index.insert(p, id)
	}
	e := t.slab.at(id)
	i := e.find(r.Peer)
	if i >= 0 && e.at(i).offers(&r) {
		return
	}
	t.touch(id, e)
	if i >= 0 {
		t.replace(id, e.at(i), r)
		return
	}
	if e.len() == 0 {
		t.live++
	}
	e.add(path{t.acquire(id, r), r.Attrs})
}

// replace puts another path of the same peer in the place of one.
func (t *Table) replace(id uint32, old *path, r route.Path) {
	before := old.offer
	*old = path{t.acquire(id, r), r.Attrs}
	t.release(id, before)
}

// Remove takes out what a peer offered for a prefix.
func (t *Table) Remove(p netip.Prefix, peer *route.Peer) {
	id, ok := t.index.get(p.Masked())
	if !ok {
		return
	}
	e := t.slab.at(id)
	if i := e.find(peer); i >= 0 {
		t.removeAt(id, e, i)
	}
}

func (t *Table) removeAt(id uint32, e *entry, i int) {
	t.touch(id, e)
	before := e.at(i).offer
	e.remove(i)
	t.release(id, before)
	if e.len() == 0 {
		t.live--
	}
}

// touch notes, before anything changes in an entry or in the state of a way it leads, what has won until now.
func (t *Table) touch(id uint32, e *entry) {
	if !e.dirty {
		e.dirty = true
		t.into.push(id, e)
	}
	e.settled = false
}

// settle brings the winners of an entry to its front.
func (t *Table) settle(e *entry) {
	if e.settled {
		return
	}
	e.settled = true
	if len(e.more) == 0 {
		e.wins = 0
		if e.first.offer != nil && e.first.offer.up() {
			e.wins = 1
		}
		return
	}
	t.work = e.appendTo(t.work[:0])
	e.wins = uint16(t.choose(t.work))
	for i := range t.work {
		*e.at(i) = t.work[i].path
	}
}

// Flush reports, and counts as reported, each prefix whose winners are others than those reported last, in the order in which they
// were touched; what happened to all of a long table at once comes last, so that the death of one tunnel need not wait until all is
// said that another's neighbour has lost. That a winner became stale, or fresh again, is no change. A caller that stops early finds
// the rest at the next Flush. The table may be changed meanwhile: what that changes is reported in the same run.
func (t *Table) Flush() iter.Seq[Change] {
	return func(yield func(Change) bool) {
		for {
			id, old, ok := t.changed.pop()
			if !ok {
				id, old, ok = t.bulk.pop()
			}
			if !ok {
				break
			}
			e := t.slab.at(id)
			t.settle(e)
			e.dirty = false
			p, changed := e.prefix(), t.count(e, old)
			if e.len() == 0 {
				t.index.remove(p)
				t.slab.free(id)
				e = nil
			}
			if changed && !yield(e.describe(p, &t.winners)) {
				return
			}
		}
		if t.live == 0 {
			t.slab.reset()
			t.index = newIndex()
		}
	}
}

// count moves the peers' wins from the old winners to the new, and says whether they differ.
func (t *Table) count(e *entry, old []path) bool {
	for i := range old {
		old[i].offer.peer.wins--
	}
	changed := len(old) != int(e.wins)
	for i := range int(e.wins) {
		w := e.at(i)
		w.offer.peer.wins++
		changed = changed || !w.leadsAs(&old[i])
	}
	return changed
}

// describe returns the winners of a settled entry, in a buffer that is used again; nil has none.
func (e *entry) describe(p netip.Prefix, buf *[]route.Path) Change {
	c := Change{Prefix: p}
	if e == nil || e.wins == 0 {
		return c
	}
	*buf = (*buf)[:0]
	for i := range int(e.wins) {
		*buf = append(*buf, e.at(i).route())
	}
	c.Winners, c.Best = *buf, &(*buf)[0]
	return c
}
