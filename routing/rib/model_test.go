package rib

import (
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"slices"

	"github.com/warrenvpn/warren/routing/route"
)

// model is the table as one would write it down first: all paths in a map, and the choice made anew whenever one asks.
type model struct {
	o      Options
	offers map[netip.Prefix]map[*route.Peer]route.Path
	down   map[*route.Via]bool
}

func newModel(o Options) *model {
	return &model{o: o, offers: make(map[netip.Prefix]map[*route.Peer]route.Path), down: make(map[*route.Via]bool)}
}

func (m *model) set(p netip.Prefix, r route.Path) {
	if m.offers[p] == nil {
		m.offers[p] = make(map[*route.Peer]route.Path)
	}
	m.offers[p][r.Peer] = r
}

func (m *model) remove(p netip.Prefix, peer *route.Peer) {
	delete(m.offers[p], peer)
	if len(m.offers[p]) == 0 {
		delete(m.offers, p)
	}
}

func (m *model) removePeer(peer *route.Peer, staleOnly bool, f Families) {
	for p, paths := range m.offers {
		if r, ok := paths[peer]; ok && meant(p, f) && (r.Stale || !staleOnly) {
			m.remove(p, peer)
		}
	}
}

// meant says whether a prefix is of one of the families.
func meant(p netip.Prefix, f Families) bool {
	return p.Addr().Is4() && f&IPv4 != 0 || p.Addr().Is6() && f&IPv6 != 0
}

func (m *model) markStale(peer *route.Peer, f Families) {
	for p, paths := range m.offers {
		if r, ok := paths[peer]; ok && meant(p, f) {
			r.Stale = true
			paths[peer] = r
		}
	}
}

// without removes from consideration, as the RFC says it, each m for which there is an n that is better at this step.
func remaining(paths []route.Path, better func(n, m route.Path) bool) (left []route.Path) {
	for _, m := range paths {
		if !slices.ContainsFunc(paths, func(n route.Path) bool { return better(n, m) }) {
			left = append(left, m)
		}
	}
	return left
}

func attrs(p route.Path) route.Attrs {
	if p.Attrs == nil {
		return route.Attrs{}
	}
	return *p.Attrs
}

func isBGP(p route.Path) bool { return p.Peer.Source == route.BGP }

// degree is what RFC 4271 section 9.1.1 calls the degree of preference.
func degree(p route.Path) uint32 {
	if a := attrs(p); a.HasLocalPref {
		return a.LocalPref
	}
	return 100
}

func asLength(p route.Path) (n int) {
	for _, s := range attrs(p).ASPath {
		if s.Type == route.ASSet {
			n++
		} else {
			n += len(s.ASNs)
		}
	}
	return n
}

// winners are all that win together, best first.
func (m *model) winners(p netip.Prefix) []route.Path {
	var paths []route.Path
	for _, r := range m.offers[p] {
		if !m.down[r.Via] {
			paths = append(paths, r)
		}
	}
	paths = remaining(paths, func(n, m route.Path) bool { return m.Stale && !n.Stale })
	paths = remaining(paths, func(n, m route.Path) bool { return n.Preference > m.Preference })
	if len(paths) == 0 {
		return nil
	}
	if !slices.ContainsFunc(paths, func(r route.Path) bool { return !isBGP(r) }) {
		paths = m.decide(paths)
	} else {
		paths = remaining(paths, func(n, m route.Path) bool { return n.Metric < m.Metric })
		first := slices.MinFunc(paths, func(a, b route.Path) int { return cmp.Compare(a.Peer.Source, b.Peer.Source) })
		paths = slices.DeleteFunc(paths, func(r route.Path) bool { return isBGP(r) != isBGP(first) })
		if isBGP(first) {
			paths = m.decide(paths)
		}
	}
	slices.SortFunc(paths, m.breakTie)
	best := paths[0]
	var won []route.Path
	for _, r := range paths {
		as, bestAS := attrs(r), attrs(best)
		if (len(won) < max(m.o.MultipathMax, 1) || !isBGP(best)) && (!isBGP(r) || m.o.MultipathAcrossAS || as.NeighborAS() == bestAS.NeighborAS()) {
			won = append(won, r)
		}
	}
	return won
}

// decide is RFC 4271 section 9.1.2.2, a to d.
func (m *model) decide(paths []route.Path) []route.Path {
	paths = remaining(paths, func(n, m route.Path) bool { return degree(n) > degree(m) })
	paths = remaining(paths, func(n, m route.Path) bool { return asLength(n) < asLength(m) })
	paths = remaining(paths, func(n, m route.Path) bool { return attrs(n).Origin < attrs(m).Origin })
	paths = remaining(paths, func(n, m route.Path) bool {
		an, am := attrs(n), attrs(m)
		return an.NeighborAS() == am.NeighborAS() && an.MED < am.MED
	})
	return remaining(paths, func(n, m route.Path) bool { return !n.Peer.IBGP && m.Peer.IBGP })
}

// breakTie is f, the step of RFC 4456 after it, and g.
func (m *model) breakTie(a, b route.Path) int {
	id := func(p route.Path) uint32 {
		if o := attrs(p).OriginatorID; o.IsValid() {
			var n uint32
			for _, b := range o.AsSlice() {
				n = n*256 + uint32(b)
			}
			return n
		}
		return p.Peer.RouterID
	}
	return cmp.Or(
		cmp.Compare(a.Peer.Source, b.Peer.Source),
		cmp.Compare(id(a), id(b)),
		cmp.Compare(len(attrs(a).ClusterList), len(attrs(b).ClusterList)),
		a.Peer.Address.Compare(b.Peer.Address),
		cmp.Compare(a.Peer.Name, b.Peer.Name))
}

// lookup asks each prefix.
func (m *model) lookup(a netip.Addr) (best netip.Prefix, found bool) {
	for p := range m.offers {
		if p.Contains(a) && (!found || p.Bits() > best.Bits()) && len(m.winners(p)) > 0 {
			best, found = p, true
		}
	}
	return best, found
}

func (m *model) counts(peer *route.Peer) (c Counts) {
	for p, paths := range m.offers {
		if r, ok := paths[peer]; ok {
			c.Paths++
			if p.Addr().Is4() {
				c.IPv4++
			} else {
				c.IPv6++
			}
			if r.Stale {
				c.Stale++
			}
		}
		if slices.ContainsFunc(m.winners(p), func(r route.Path) bool { return r.Peer == peer }) {
			c.Winners++
		}
	}
	return c
}

// same compares winners as those see them who are told: stale or not makes no difference.
func same(a, b []route.Path) bool {
	return slices.EqualFunc(a, b, func(x, y route.Path) bool {
		if (x.Attrs == nil) != (y.Attrs == nil) {
			return false
		}
		x.Stale, y.Stale = false, false
		ax, ay := attrs(x), attrs(y)
		x.Attrs, y.Attrs = nil, nil
		return x == y && reflect.DeepEqual(ax, ay)
	})
}

func show(paths []route.Path) string {
	s := ""
	for _, r := range paths {
		s += fmt.Sprintf("\n\t%s via %v pref %d metric %d stale %v %+v", r.Peer.Name, r.Via, r.Preference, r.Metric, r.Stale, attrs(r))
	}
	return s
}
