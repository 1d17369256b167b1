package ike

import (
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// Narrowing of traffic selectors (RFC 7296 section 2.9).

// narrow returns what both sides cover, without what is covered twice, in the order of ours.
func narrow(ours, offered []message.TrafficSelector) []message.TrafficSelector {
	var out []message.TrafficSelector
	for _, a := range ours {
		for _, b := range offered {
			s, ok := intersect(a, b)
			if !ok || slices.ContainsFunc(out, func(o message.TrafficSelector) bool { return covers(o, s) }) {
				continue
			}
			out = slices.DeleteFunc(out, func(o message.TrafficSelector) bool { return covers(s, o) })
			if out = append(out, s); len(out) == message.MaxSelectors {
				return out
			}
		}
	}
	return out
}

// intersect returns what is in both. OPAQUE ports are their own kind, in any ports and in themselves.
func intersect(a, b message.TrafficSelector) (message.TrafficSelector, bool) {
	if a.Unknown != nil || b.Unknown != nil || a.Start.BitLen() != b.Start.BitLen() {
		return a, false
	}
	s := a
	switch {
	case a.Protocol == 0:
		s.Protocol = b.Protocol
	case b.Protocol != 0 && a.Protocol != b.Protocol:
		return a, false
	}
	if s.Start.Less(b.Start) {
		s.Start = b.Start
	}
	if b.End.Less(s.End) {
		s.End = b.End
	}
	ok := intersectPorts(&s, a, b)
	return s, ok && s.Start.Compare(s.End) <= 0
}

func intersectPorts(s *message.TrafficSelector, a, b message.TrafficSelector) bool {
	switch {
	case a.AnyPort():
		s.StartPort, s.EndPort = b.StartPort, b.EndPort
		return true
	case b.AnyPort():
		return true
	case a.Opaque() || b.Opaque():
		return a.Opaque() && b.Opaque()
	}
	s.StartPort, s.EndPort = max(a.StartPort, b.StartPort), min(a.EndPort, b.EndPort)
	return s.StartPort <= s.EndPort
}

// covers says whether all of b is in a.
func covers(a, b message.TrafficSelector) bool {
	s, ok := intersect(a, b)
	return ok && s == b
}

// within says whether each of the selectors is covered by one of those offered.
func within(offered, answer []message.TrafficSelector) bool {
	for _, s := range answer {
		if !slices.ContainsFunc(offered, func(o message.TrafficSelector) bool { return covers(o, s) }) {
			return false
		}
	}
	return len(answer) > 0
}

// bothFamilies drops selectors of an address family that the other side does not have.
func bothFamilies(a, b []message.TrafficSelector) (left, right []message.TrafficSelector) {
	only := func(these, those []message.TrafficSelector) []message.TrafficSelector {
		return slices.DeleteFunc(slices.Clone(these), func(s message.TrafficSelector) bool {
			return !slices.ContainsFunc(those, func(o message.TrafficSelector) bool { return o.Start.BitLen() == s.Start.BitLen() })
		})
	}
	return only(a, b), only(b, a)
}

// selectors returns what a child's configuration means in this IKE SA: where it says nothing, a host's own address.
func (sa *ikeSA) selectors(c *ChildConfig) (local, remote []message.TrafficSelector) {
	local, remote = c.Local, c.Remote
	if len(local) == 0 {
		local = hosts(sa.assigned.Addresses, sa.path.Local.Addr())
		if len(sa.assigned.Addresses) == 0 && len(sa.peer.cfg.Ask) > 0 {
			local = everything(sa.peer.cfg.Ask)
		}
	}
	if len(remote) == 0 {
		remote = hosts(sa.leased.Addresses, sa.path.Remote.Addr())
	}
	return local, remote
}

func hosts(all []netip.Addr, otherwise netip.Addr) []message.TrafficSelector {
	if len(all) == 0 {
		all = []netip.Addr{otherwise}
	}
	var out []message.TrafficSelector
	for _, a := range all {
		if a.IsValid() {
			out = append(out, message.SelectorOf(netip.PrefixFrom(a, a.BitLen())))
		}
	}
	return out
}

// everything covers the families of addresses: what is offered before the address is known.
func everything(of []netip.Addr) []message.TrafficSelector {
	var out []message.TrafficSelector
	for _, a := range of {
		s := message.TrafficSelector{EndPort: math.MaxUint16, Start: netip.IPv4Unspecified(), End: netip.AddrFrom4([4]byte{255, 255, 255, 255})}
		if a.Is6() {
			s = message.SelectorOf(netip.PrefixFrom(netip.IPv6Unspecified(), 0))
		}
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// maxSpelled bounds how many selectors are repeated in an error.
const maxSpelled = 8

func spellSelectors(all []message.TrafficSelector) string {
	var words []string
	for i, s := range all {
		if i == maxSpelled {
			words = append(words, "...")
			break
		}
		words = append(words, s.String())
	}
	return "[" + strings.Join(words, " ") + "]"
}
