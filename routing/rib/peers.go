package rib

import (
	"slices"

	"github.com/warrenvpn/warren/routing/route"
)

// RemovePeer takes out all that a peer offered.
func (t *Table) RemovePeer(p *route.Peer) {
	t.removeWhere(p, func(*offer) bool { return true })
}

// MarkStale makes all that a peer offered stale: it is kept until the peer offers it again or SweepStale takes it out.
func (t *Table) MarkStale(p *route.Peer) {
	t.entriesOf(t.offersOf(p, func(o *offer) bool { return !o.path.Stale }), func(id uint32, e *entry) {
		old := e.at(e.find(p))
		r := old.route()
		r.Stale = true
		t.touch(id, e)
		t.replace(id, old, r)
	})
}

// SweepStale takes out what is still stale of a peer's.
func (t *Table) SweepStale(p *route.Peer) {
	t.removeWhere(p, func(o *offer) bool { return o.path.Stale })
}

func (t *Table) removeWhere(p *route.Peer, keep func(*offer) bool) {
	t.entriesOf(t.offersOf(p, keep), func(id uint32, e *entry) { t.removeAt(id, e, e.find(p)) })
}

func (t *Table) offersOf(p *route.Peer, keep func(*offer) bool) []*offer {
	known := t.peers[p]
	if known == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(known.offers), func(o *offer) bool { return !keep(o) })
}

// SetUp says whether a way leads anywhere; it is taken to until something else is said. Paths that lead a way that is down
// are no candidates. A way that is down is remembered until it is up again, even without paths.
func (t *Table) SetUp(v *route.Via, up bool) {
	if v == nil {
		return
	}
	known := t.via(v)
	if known.up != up {
		t.entriesOf(known.offers, t.touch)
		known.up = up
	}
	t.forget(v)
}

// Up is the inverse of SetUp.
func (t *Table) Up(v *route.Via) bool {
	known := t.vias[v]
	return known == nil || known.up
}

// Counts are a peer's numbers of paths.
type Counts struct {
	// Paths are all, Stale those of them that are.
	Paths, Stale int
	// Winners are the prefixes whose paths from this peer won, as reported by Flush.
	Winners int
}

// Counts returns a peer's.
func (t *Table) Counts(p *route.Peer) (c Counts) {
	known := t.peers[p]
	if known == nil {
		return c
	}
	for _, o := range known.offers {
		c.Paths += o.count
		if o.path.Stale {
			c.Stale += o.count
		}
	}
	c.Winners = known.wins
	return c
}
