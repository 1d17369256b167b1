package rib

import (
	"slices"

	"github.com/warrenvpn/warren/routing/route"
)

// offer is what paths of a peer have in common: all but the attributes.
type offer struct {
	path route.Path
	peer *peer
	via  *via // nil for a path that leads nowhere in particular, which is always up
	// inPeer and inVia are where it is among their offers.
	inPeer, inVia int

	count int // of paths
	// entries are where the paths are, while they are so few that to look for them in the whole table would take longer.
	entries []uint32
	many    bool
}

// defaultFew is up to how many paths an offer knows where they are.
const defaultFew = 128

func (o *offer) up() bool { return o.via == nil || o.via.up }

// peer and via are what is known of a route.Peer or a route.Via while there are paths of it, or it is down.
type peer struct {
	serial uint64 // of first sight
	offers []*offer
	paths6 int // to IPv6 prefixes
	wins   int // as reported
}

type via struct {
	up     bool
	offers []*offer
}

// acquire returns the offer that the path is one of, and counts it.
func (t *Table) acquire(id uint32, r route.Path) *offer {
	r.Attrs = nil
	o := t.known(r)
	if o == nil {
		o = t.newOffer(r)
	}
	o.count++
	if IPv6.has(t.slab.at(id)) {
		o.peer.paths6++
	}
	switch {
	case o.many:
	case len(o.entries) < t.few:
		o.entries = append(o.entries, id)
	default:
		o.entries, o.many = nil, true
	}
	return o
}

// known returns the offer if there is one: by looking at those of the peer where they are few, as they mostly are.
func (t *Table) known(r route.Path) *offer {
	p := t.peers[r.Peer]
	if p == nil || len(p.offers) > 4 {
		return t.offers[r]
	}
	for _, o := range p.offers {
		if o.path == r {
			return o
		}
	}
	return nil
}

func (t *Table) newOffer(r route.Path) *offer {
	o := &offer{path: r, peer: t.peers[r.Peer]}
	t.offers[r] = o
	if o.peer == nil {
		t.serial++
		o.peer = &peer{serial: t.serial}
		t.peers[r.Peer] = o.peer
	}
	o.inPeer = len(o.peer.offers)
	o.peer.offers = append(o.peer.offers, o)
	if r.Via != nil {
		o.via = t.via(r.Via)
		o.inVia = len(o.via.offers)
		o.via.offers = append(o.via.offers, o)
	}
	return o
}

func (t *Table) via(v *route.Via) *via {
	known := t.vias[v]
	if known == nil {
		known = &via{up: true}
		t.vias[v] = known
	}
	return known
}

// release counts a path less.
func (t *Table) release(id uint32, o *offer) {
	o.count--
	if IPv6.has(t.slab.at(id)) {
		o.peer.paths6--
	}
	if i := slices.Index(o.entries, id); i >= 0 {
		last := len(o.entries) - 1
		o.entries[i] = o.entries[last]
		o.entries = o.entries[:last]
	}
	if o.count > 0 {
		return
	}
	delete(t.offers, o.path)
	o.peer.offers = without(o.peer.offers, o.inPeer, func(moved *offer) { moved.inPeer = o.inPeer })
	if len(o.peer.offers) == 0 {
		delete(t.peers, o.path.Peer)
	}
	if o.via != nil {
		o.via.offers = without(o.via.offers, o.inVia, func(moved *offer) { moved.inVia = o.inVia })
		t.forget(o.path.Via)
	}
}

// forget drops what is known of a way that says nothing.
func (t *Table) forget(v *route.Via) {
	if known := t.vias[v]; known.up && len(known.offers) == 0 {
		delete(t.vias, v)
	}
}

// without puts the last in the place of the one that goes.
func without(all []*offer, i int, moved func(*offer)) []*offer {
	last := len(all) - 1
	all[i] = all[last]
	moved(all[i])
	all[last] = nil
	return all[:last]
}

// entriesOf calls f for each entry that has a path of one of the offers. f may change the entry and add and remove offers.
func (t *Table) entriesOf(offers []*offer, f func(id uint32, e *entry)) {
	if len(offers) == 0 {
		return
	}
	wanted := make(map[*offer]bool, len(offers))
	var ids []uint32
	scan := false
	for _, o := range offers {
		wanted[o] = true
		scan = scan || o.many
		ids = append(ids, o.entries...)
	}
	if !scan {
		slices.Sort(ids)
		for _, id := range slices.Compact(ids) {
			f(id, t.slab.at(id))
		}
		return
	}
	t.into = &t.bulk
	defer func() { t.into = &t.changed }()
	for id := range t.slab.used {
		e := t.slab.at(id)
		for i := range e.len() {
			if wanted[e.at(i).offer] {
				f(id, e)
				break
			}
		}
	}
}

// sameAttrs says whether attributes are the same or say the same.
func sameAttrs(a, b *route.Attrs) bool {
	switch {
	case a == b:
		return true
	case a == nil || b == nil:
		return false
	}
	return equalAttrs(a, b)
}

func equalAttrs(a, b *route.Attrs) bool {
	sameAggregator := a.Aggregator == b.Aggregator ||
		a.Aggregator != nil && b.Aggregator != nil && *a.Aggregator == *b.Aggregator
	return sameAggregator && a.AtomicAggregate == b.AtomicAggregate && a.Origin == b.Origin &&
		a.NextHop == b.NextHop && a.LinkLocal == b.LinkLocal &&
		a.HasMED == b.HasMED && a.MED == b.MED && a.HasLocalPref == b.HasLocalPref && a.LocalPref == b.LocalPref &&
		slices.EqualFunc(a.ASPath, b.ASPath, func(a, b route.Segment) bool {
			return a.Type == b.Type && slices.Equal(a.ASNs, b.ASNs)
		}) &&
		slices.Equal(a.Communities, b.Communities) && slices.Equal(a.ExtCommunities, b.ExtCommunities) &&
		slices.Equal(a.LargeCommunities, b.LargeCommunities) &&
		a.OriginatorID == b.OriginatorID && slices.Equal(a.ClusterList, b.ClusterList) &&
		slices.EqualFunc(a.Unknown, b.Unknown, func(a, b route.Unknown) bool {
			return a.Flags == b.Flags && a.Type == b.Type && string(a.Value) == string(b.Value)
		})
}
