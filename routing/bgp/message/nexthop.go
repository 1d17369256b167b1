package message

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/warrenvpn/warren/routing/route"
)

// mpReach reads MP_REACH_NLRI (RFC 4760 section 3): its next hop and its prefixes. Where the length of the next hop is wrong
// the prefixes cannot be found, and the session ends (RFC 7606 section 7.11).
func (p *parser) mpReach(v []byte) error {
	if len(v) < 5 || len(v) < 5+int(v[3]) { // of which one is reserved, behind the next hop
		return p.reset(UpdateOptionalAttribute, nil, fmt.Sprintf("MP_REACH_NLRI of %d octets", len(v)))
	}
	f := familyOf(binary.BigEndian.Uint16(v), v[2])
	if !p.o.Families.Has(f) {
		p.note(PartIgnored, fmt.Sprintf("prefixes of AFI %d SAFI %d, which was not agreed on", binary.BigEndian.Uint16(v), v[2]))
		return nil
	}
	n := int(v[3])
	hop, nlri := v[4:4+n], v[5+n:]
	if !p.hopLength(f, len(hop)) {
		return p.reset(UpdateOptionalAttribute, nil, fmt.Sprintf("MP_REACH_NLRI with a next hop of %d octets for %s", len(hop), f))
	}
	p.mp.family = f
	p.mp.nextHop, p.mp.linkLocal = nextHops(hop)
	if !unicast(p.mp.nextHop) {
		p.note(TreatAsWithdraw, fmt.Sprintf("next hop %s is not the address of a host", p.mp.nextHop))
	}
	return p.prefixes(nlri, f, UpdateOptionalAttribute)
}

// hopLength says whether the next hop of a family may have n octets (RFC 2545 section 3, RFC 4760, RFC 8950 section 3).
func (p *parser) hopLength(f Family, n int) bool {
	switch n {
	case 4:
		return f == IPv4Unicast
	case 16, 32:
		return f == IPv6Unicast || p.o.ExtendedNextHop
	}
	return false
}

// nextHops reads a next hop of 4, 16 or 32 octets. The forms of 16 octets are a global or a link-local address; those of 32 a
// global and a link-local one, and, from neighbours without a global one, the link-local twice or behind ::. A second address that
// is not link-local says nothing. A link-local address that comes without a global one is returned as both.
func nextHops(b []byte) (hop, linkLocal netip.Addr) {
	if len(b) == 4 {
		return addr4(b), netip.Addr{}
	}
	hop = netip.AddrFrom16([16]byte(b))
	if len(b) == 32 {
		if second := netip.AddrFrom16([16]byte(b[16:])); second.IsLinkLocalUnicast() {
			linkLocal = second
		}
	}
	switch {
	case hop.IsLinkLocalUnicast():
		linkLocal = hop
	case hop.IsUnspecified() && linkLocal.IsValid():
		hop = linkLocal
	}
	return hop, linkLocal
}

// unicast says whether an address can be that of a neighbour's interface.
func unicast(a netip.Addr) bool {
	if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
		return false
	}
	if a.Is4() {
		first := a.As4()[0]
		return first != 0 && first < 224
	}
	return true
}

// appendNextHop appends the next hop of MP_REACH_NLRI with its length: what attrs have, in the order NextHop, LinkLocal. ok is false
// where they have nothing that the family can be sent with.
func appendNextHop(dst []byte, f Family, attrs *route.Attrs, o *Options) (out []byte, ok bool) {
	var hops [32]byte
	n := 0
	for _, a := range [...]netip.Addr{attrs.NextHop, attrs.LinkLocal} {
		if !a.IsValid() {
			continue
		}
		if a.Is4() {
			return dst, false
		}
		b := a.As16()
		n += copy(hops[n:], b[:])
	}
	if n == 0 || f == IPv4Unicast && !o.ExtendedNextHop {
		return dst, false
	}
	return append(append(dst, byte(n)), hops[:n]...), true
}
