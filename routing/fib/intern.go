package fib

import (
	"encoding/binary"
	"slices"
)

// groups are those that routes lead to, each once: routes are many and what they lead to is little, so a route's change
// seldom makes a group. A group may have the hops of another and other buckets, because where a route led before decides
// which flows stay where they are.
type groups struct {
	single map[Hop]*group
	// several is by the hops as key makes it.
	several map[string][]*group
	buf     []byte
	last    *group // that was found
}

func newGroups() groups {
	return groups{single: map[Hop]*group{}, several: map[string][]*group{}}
}

// key is valid until the next one.
func (s *groups) key(hops []Hop) []byte {
	s.buf = s.buf[:0]
	for _, h := range hops {
		s.buf = binary.NativeEndian.AppendUint32(s.buf, uint32(h.ID))
		s.buf = binary.NativeEndian.AppendUint32(s.buf, h.Weight)
	}
	return s.buf
}

// take returns the group for a route that led to before, which may be nil, and counts the route.
func (s *groups) take(hops []Hop, before *group) *group {
	g := s.find(hops, before)
	g.routes++
	if before != nil && before != g {
		before.next = g
	}
	return g
}

func (s *groups) find(hops []Hop, before *group) *group {
	// Changes that come together mostly lead to one place.
	if g := s.last; g != nil && g.routes > 0 && (len(hops) == 1 || before == nil && g.fresh) && slices.Equal(g.hops, hops) {
		return g
	}
	s.last = s.known(hops, before)
	return s.last
}

// known looks among all groups, and makes one that is missing.
func (s *groups) known(hops []Hop, before *group) *group {
	if len(hops) == 1 {
		g := s.single[hops[0]]
		if g == nil {
			g = newGroup(slices.Clone(hops), nil)
			s.single[hops[0]] = g
		}
		return g
	}
	if before != nil {
		if slices.Equal(before.hops, hops) {
			return before
		}
		// Routes that led to one place mostly go on to one place.
		if g := before.next; g != nil && g.routes > 0 && slices.Equal(g.hops, hops) {
			return g
		}
	}
	same := s.several[string(s.key(hops))]
	if before == nil {
		if i := slices.IndexFunc(same, func(g *group) bool { return g.fresh }); i >= 0 {
			return same[i]
		}
	}
	made := newGroup(slices.Clone(hops), before)
	if i := slices.IndexFunc(same, func(g *group) bool { return slices.Equal(g.buckets, made.buckets) }); i >= 0 {
		same[i].fresh = same[i].fresh || made.fresh
		return same[i]
	}
	s.several[string(s.key(hops))] = append(same, made)
	return made
}

// drop takes a route off a group, and reports whether it was the last.
func (s *groups) drop(g *group) bool {
	if g.routes--; g.routes > 0 {
		return false
	}
	g.next = nil
	if len(g.hops) == 1 {
		delete(s.single, g.hops[0])
		return true
	}
	k := s.key(g.hops)
	if same := slices.DeleteFunc(s.several[string(k)], func(o *group) bool { return o == g }); len(same) > 0 {
		s.several[string(k)] = same
	} else {
		delete(s.several, string(k))
	}
	return true
}
