package policy

import (
	"fmt"
	"net/netip"

	"github.com/warrenvpn/warren/routing/route"
)

// Policy decides on routes. The zero value and a nil one reject all.
type Policy struct{ rules []*rule }

// rule is a Rule that was checked. What is not asked for is nil or 0.
type rule struct {
	from      route.Source
	device    *Glob
	protocol  *uint8
	prefixes  *prefixList
	community *Community
	length    *Length
	neighbor  *Glob
	address   netip.Addr // of neighbor, where it is one
	reject    bool
	set       *setter
}

// All accepts everything as it is, None nothing.
func All() *Policy { return &Policy{rules: []*rule{{}}} }

// None accepts nothing.
func None() *Policy { return &Policy{} }

// Parse returns the policy that one word stands for: all or none.
func Parse(word string) (*Policy, error) {
	switch word {
	case "all":
		return All(), nil
	case "none":
		return None(), nil
	}
	return nil, fmt.Errorf("policy %q: want all, none, or a list of rules", word)
}

// Default is the policy with a neighbour for whom none is written: with an external one, nothing (RFC 8212). An internal one
// may tell all, and is told what came from BGP.
func Default(d Direction, ibgp bool) *Policy {
	switch {
	case !ibgp:
		return None()
	case d == Import:
		return All()
	}
	return &Policy{rules: []*rule{{from: route.BGP}}}
}

// Apply returns the path as it goes on, or false where it does not. It changes nothing of what it is given.
func (p *Policy) Apply(prefix netip.Prefix, path route.Path) (route.Path, bool) {
	n := p.Match(prefix, &path)
	if n < 0 || p.rules[n].reject {
		return route.Path{}, false
	}
	if s := p.rules[n].set; s != nil {
		s.apply(&path)
	}
	return path, true
}

// Match returns which rule decides, counted from 0, and -1 where none does.
func (p *Policy) Match(prefix netip.Prefix, path *route.Path) int {
	if p == nil {
		return -1
	}
	for i, r := range p.rules {
		if r.takes(prefix, path) {
			return i
		}
	}
	return -1
}

func (r *rule) takes(prefix netip.Prefix, p *route.Path) bool {
	return (r.from == 0 || p.Peer != nil && p.Peer.Source == r.from) &&
		(r.device == nil || r.device.Matches(device(p))) &&
		(r.protocol == nil || p.Protocol == *r.protocol) &&
		(r.neighbor == nil || r.announced(p.Peer)) &&
		(r.prefixes == nil || r.prefixes.has(prefix)) &&
		(r.length == nil || r.length.Matches(attrs(p).PathLength())) &&
		(r.community == nil || r.community.Matches(attrs(p)))
}

// announced says whether the peer is the neighbour asked for.
func (r *rule) announced(p *route.Peer) bool {
	return p != nil && p.Source == route.BGP &&
		(r.neighbor.Matches(p.Name) || r.address.IsValid() && r.address == p.Address.Unmap())
}

func device(p *route.Path) string {
	if p.Device == "" && p.Via != nil {
		return p.Via.Device
	}
	return p.Device
}

// noAttrs stand for those of a path without.
var noAttrs = new(route.Attrs)

func attrs(p *route.Path) *route.Attrs {
	if p.Attrs == nil {
		return noAttrs
	}
	return p.Attrs
}
