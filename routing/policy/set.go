package policy

import (
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/warrenvpn/warren/routing/route"
)

// setter is a Set that was checked.
type setter struct {
	preference, metric, med, localPref *uint32
	remove, add                        []Community
	nextHopSelf                        bool
	prepend                            []uint32 // our AS, as often as asked

	// last are the attributes that were changed last: many prefixes come one after the other with the same.
	last atomic.Pointer[changed]
}

type changed struct{ from, to *route.Attrs }

func (s *setter) apply(p *route.Path) {
	if s.preference != nil {
		p.Preference = *s.preference
	}
	if s.metric != nil {
		p.Metric = *s.metric
	}
	if s.ofAttrs() {
		p.Attrs = s.attrs(p.Attrs)
	}
}

// ofAttrs says whether anything is set there.
func (s *setter) ofAttrs() bool {
	return s.med != nil || s.localPref != nil || len(s.remove)+len(s.add)+len(s.prepend) > 0 || s.nextHopSelf
}

func (s *setter) attrs(from *route.Attrs) *route.Attrs {
	if c := s.last.Load(); c != nil && c.from == from {
		return c.to
	}
	to := new(route.Attrs)
	if from != nil {
		*to = *from
	}
	if s.med != nil {
		to.MED, to.HasMED = *s.med, true
	}
	if s.localPref != nil {
		to.LocalPref, to.HasLocalPref = *s.localPref, true
	}
	if s.nextHopSelf {
		to.NextHop, to.LinkLocal = netip.Addr{}, netip.Addr{}
	}
	s.communities(to)
	to.ASPath = prepend(to.ASPath, s.prepend)
	s.last.Store(&changed{from, to})
	return to
}

// communities changes copies of the lists.
func (s *setter) communities(a *route.Attrs) {
	if len(s.remove)+len(s.add) == 0 {
		return
	}
	a.Communities, a.LargeCommunities = slices.Clone(a.Communities), slices.Clone(a.LargeCommunities)
	for i := range s.remove {
		c := &s.remove[i]
		a.Communities = slices.DeleteFunc(a.Communities, c.is)
		a.LargeCommunities = slices.DeleteFunc(a.LargeCommunities, c.isLarge)
	}
	for i := range s.add {
		c := &s.add[i]
		switch {
		case c.Matches(a):
		case c.large:
			a.LargeCommunities = append(a.LargeCommunities, route.LargeCommunity{Global: c.parts[0], Local1: c.parts[1], Local2: c.parts[2]})
		default:
			a.Communities = append(a.Communities, c.parts[0]<<16|c.parts[1])
		}
	}
}

// maxSegment is how many AS numbers one segment holds (RFC 4271 section 4.3).
const maxSegment = 255

// prepend returns a path with more in front, and leaves the one given as it is (RFC 4271 section 5.1.2).
func prepend(path []route.Segment, as []uint32) []route.Segment {
	if len(as) == 0 {
		return path
	}
	first := route.Segment{Type: route.ASSequence, ASNs: as}
	if len(path) > 0 && path[0].Type == route.ASSequence && len(path[0].ASNs)+len(as) <= maxSegment {
		first.ASNs = slices.Concat(as, path[0].ASNs)
		path = path[1:]
	}
	return append([]route.Segment{first}, path...)
}
