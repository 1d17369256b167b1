package rib

import (
	"slices"

	"github.com/warrenvpn/warren/routing/route"
)

// RemovePeer takes out all that a peer offered.
func (t *Table) RemovePeer(p *route.Peer) {
	t.removeWhere(p, Both, func(*offer) bool { return true })
}

// Families says of which families a peer's paths are meant.
type Families uint8

// The families.
const (
	IPv4 Families = 1 << iota
	IPv6
	Both = IPv4 | IPv6
)

func (f Families) has(e *entry) bool {
	if e.is4 {
		return f&IPv4 != 0
	}
	return f&IPv6 != 0
}

// MarkStale makes all that a peer offered of some families stale: it is kept until the peer offers it again or SweepStale
// takes it out.
func (t *Table) MarkStale(p *route.Peer, f Families) {
	t.entriesOf(t.offersOf(p, func(o *offer) bool { return !o.path.Stale }), func(id uint32, e *entry) {
		if !f.has(e) {
			return
		}
		old := e.at(e.find(p))
		r := old.route()
		r.Stale = true
		t.touch(id, e)
		t.replace(id, old, r)
	})
}

// SweepStale takes out what is still stale of a peer's, of some families.
func (t *Table) SweepStale(p *route.Peer, f Families) {
	t.removeWhere(p, f, func(o *offer) bool { return o.path.Stale })
}

func (t *Table) removeWhere(p *route.Peer, f Families, which func(*offer) bool) {
	t.entriesOf(t.offersOf(p, which), func(id uint32, e *entry) {
		if f.has(e) {
			t.removeAt(id, e, e.find(p))
		}
	})
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
	// Paths are all, IPv4 and IPv6 those of one family, Stale those that are.
	Paths, IPv4, IPv6, Stale int
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
	c.IPv4, c.IPv6 = c.Paths-known.paths6, known.paths6
	c.Winners = known.wins
	return c
}
