package rib

import (
	"cmp"
	"slices"

	"github.com/warrenvpn/warren/routing/route"
)

// Reason is the step of the selection at which a path won or lost.
type Reason uint8

// The steps, in their order. Later ones see only what is equal in all that are before.
const (
	// Only means that there was nothing to compare with.
	Only Reason = iota
	Down
	Stale
	Preference
	Metric
	Source
	LocalPreference
	ASPathLength
	Origin
	MED
	External
	// Equal paths are those that win together; the steps that follow say which of them is the best.
	Equal
	RouterID
	ClusterLength
	Address
	Name
	Age
)

var reasons = [...]struct{ won, lost string }{
	Only:            {"only path", ""},
	Down:            {"others are down", "next hop is down"},
	Stale:           {"others are stale", "stale"},
	Preference:      {"higher preference", "lower preference"},
	Metric:          {"lower metric", "higher metric"},
	Source:          {"preferred source", "less preferred source"},
	LocalPreference: {"higher local preference", "lower local preference"},
	ASPathLength:    {"shorter AS path", "longer AS path"},
	Origin:          {"better origin", "worse origin"},
	MED:             {"lower MED", "higher MED"},
	External:        {"eBGP over iBGP", "iBGP, and another is eBGP"},
	Equal:           {"equal to others", "equal to others"},
	RouterID:        {"lower router ID", "higher router ID"},
	ClusterLength:   {"shorter cluster list", "longer cluster list"},
	Address:         {"lower address", "higher address"},
	Name:            {"name sorts first", "name sorts later"},
	Age:             {"peer seen first", "peer seen later"},
}

// Won says it of a winner, Lost of another.
func (r Reason) Won() string { return reasons[r].won }

// Lost says why a path is not among the winners.
func (r Reason) Lost() string { return reasons[r].lost }

// ranked is a path while a choice is made: 0 until it lost, then the step and how it compared there.
type ranked struct {
	path
	lost Reason
	key  uint64
}

// noAttrs stand for those of a path without.
var noAttrs = new(route.Attrs)

func (r *ranked) known() *route.Attrs {
	if r.attrs == nil {
		return noAttrs
	}
	return r.attrs
}

func (r *ranked) bgp() bool { return r.offer.path.Peer.Source == route.BGP }

// choose brings the winners to the front, best first, and returns how many they are.
func (t *Table) choose(all []ranked) int {
	left := reduce(all)
	if left < 2 {
		return left
	}
	slices.SortFunc(all[:left], func(a, b ranked) int { c, _ := tie(&a, &b); return c })
	best := &all[0]
	most, wins := t.max, 1
	if !best.bgp() {
		most = maxConfigured
	}
	for i := 1; i < left; i++ {
		r := &all[i]
		if wins < most && (t.across || !r.bgp() || r.known().NeighborAS() == best.known().NeighborAS()) {
			all[wins], all[i] = all[i], all[wins]
			wins++
			continue
		}
		_, r.lost = tie(best, r)
	}
	return wins
}

// reduce removes at each step what is worse than the best there, and returns how many are left at the front.
func reduce(all []ranked) int {
	for i := range all {
		all[i].lost, all[i].key = 0, 0
	}
	down := func(r *ranked) uint64 { return flag(!r.offer.up()) }
	if all = keepLeast(all, Down, down); down(&all[0]) != 0 {
		all[0].lost = Down
		return markDown(all)
	}
	all = keepLeast(all, Stale, func(r *ranked) uint64 { return flag(r.offer.path.Stale) })
	all = keepLeast(all, Preference, func(r *ranked) uint64 { return uint64(^r.offer.path.Preference) })
	if all = bySource(all); !all[0].bgp() {
		return len(all)
	}
	all = keepLeast(all, LocalPreference, func(r *ranked) uint64 { return uint64(^localPref(r.known())) })
	all = keepLeast(all, ASPathLength, func(r *ranked) uint64 { return uint64(r.known().PathLength()) })
	all = keepLeast(all, Origin, func(r *ranked) uint64 { return uint64(r.known().Origin) })
	all = byMED(all)
	all = keepLeast(all, External, func(r *ranked) uint64 { return flag(r.offer.path.Peer.IBGP) })
	return len(all)
}

func markDown(all []ranked) int {
	for i := range all {
		all[i].lost = Down
	}
	return 0
}

// bySource leaves paths that are all from BGP or all not.
func bySource(all []ranked) []ranked {
	first, other := route.Source(0), false // the preferred source, and whether any is not BGP
	for i := range all {
		s := all[i].offer.path.Peer.Source
		if first == 0 || s < first {
			first = s
		}
		other = other || s != route.BGP
	}
	if !other {
		return all
	}
	all = keepLeast(all, Metric, func(r *ranked) uint64 { return uint64(r.offer.path.Metric) })
	first = all[0].offer.path.Peer.Source
	for i := range all {
		first = min(first, all[i].offer.path.Peer.Source)
	}
	return keepLeast(all, Source, func(r *ranked) uint64 { return flag(r.bgp() != (first == route.BGP)) })
}

// byMED compares within each neighbouring AS; a path without MED has the least (RFC 4271 section 9.1.2.2 c).
func byMED(all []ranked) []ranked {
	if len(all) == 1 {
		return all
	}
	for i := range all {
		all[i].key = uint64(med(all[i].known()))
	}
	return keep(all, MED, func(m *ranked) bool {
		for i := range all {
			if n := &all[i]; n.key < m.key && n.known().NeighborAS() == m.known().NeighborAS() {
				return false
			}
		}
		return true
	})
}

// keepLeast leaves those with the least key.
func keepLeast(all []ranked, step Reason, key func(*ranked) uint64) []ranked {
	if len(all) == 1 {
		return all
	}
	least := ^uint64(0)
	for i := range all {
		all[i].key = key(&all[i])
		least = min(least, all[i].key)
	}
	return keep(all, step, func(r *ranked) bool { return r.key == least })
}

// keep brings to the front, and returns, those that pass; of the others it notes where they lost. What it asks of the
// one does not depend on whether others are still there.
func keep(all []ranked, step Reason, pass func(*ranked) bool) []ranked {
	for i := range all {
		if !pass(&all[i]) {
			all[i].lost = step
		}
	}
	n := 0
	for i := range all {
		if all[i].lost == 0 {
			all[n], all[i] = all[i], all[n]
			n++
		}
	}
	return all[:n]
}

// tie orders what is equal, best first, and says at which step.
func tie(a, b *ranked) (int, Reason) {
	p, q := a.offer.path.Peer, b.offer.path.Peer
	if c := cmp.Compare(p.Source, q.Source); c != 0 {
		return c, Source
	}
	if c := cmp.Compare(routerID(a), routerID(b)); c != 0 {
		return c, RouterID
	}
	if c := cmp.Compare(len(a.known().ClusterList), len(b.known().ClusterList)); c != 0 {
		return c, ClusterLength
	}
	if c := p.Address.Compare(q.Address); c != 0 {
		return c, Address
	}
	if c := cmp.Compare(p.Name, q.Name); c != 0 {
		return c, Name
	}
	return cmp.Compare(a.offer.peer.serial, b.offer.peer.serial), Age
}

// routerID is that of the speaker, or of who brought the route into the AS (RFC 4456 section 9).
func routerID(r *ranked) uint32 {
	if id := r.known().OriginatorID; id.Is4() {
		b := id.As4()
		return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	}
	return r.offer.path.Peer.RouterID
}

// defaultLocalPref is what a path has that came from another AS, unless a policy said otherwise.
const defaultLocalPref = 100

func localPref(a *route.Attrs) uint32 {
	if a.HasLocalPref {
		return a.LocalPref
	}
	return defaultLocalPref
}

func med(a *route.Attrs) uint32 {
	if a.HasMED {
		return a.MED
	}
	return 0
}

func flag(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
