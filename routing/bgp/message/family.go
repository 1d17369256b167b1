package message

import (
	"math/bits"
	"net/netip"
	"strings"
)

// Family is an address family with its subsequent family (RFC 4760). The zero value is none.
type Family uint8

// The families that are spoken here.
const (
	IPv4Unicast Family = 1
	IPv6Unicast Family = 2
)

const (
	afiIPv4     = 1
	afiIPv6     = 2
	safiUnicast = 1
)

// FamilyOf is the family of an address or prefix.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4Unicast
	}
	return IPv6Unicast
}

func familyOf(afi uint16, safi uint8) Family {
	if safi != safiUnicast || afi != afiIPv4 && afi != afiIPv6 {
		return 0
	}
	return Family(afi)
}

// AFI is the address family identifier.
func (f Family) AFI() uint16 { return uint16(f) }

// SAFI is the subsequent address family identifier.
func (f Family) SAFI() uint8 { return safiUnicast }

func (f Family) String() string {
	switch f {
	case IPv4Unicast:
		return "IPv4 unicast"
	case IPv6Unicast:
		return "IPv6 unicast"
	}
	return "no family"
}

// Families is a set of families.
type Families uint8

// FamiliesOf is the set of these families.
func FamiliesOf(fs ...Family) (s Families) {
	for _, f := range fs {
		s |= 1 << f
	}
	return s &^ 1
}

// Has says whether f is in the set.
func (s Families) Has(f Family) bool { return f != 0 && s&(1<<f) != 0 }

// Intersect is what both sets have, which is what may be spoken.
func (s Families) Intersect(t Families) Families { return s & t }

// Len is the number of families.
func (s Families) Len() int { return bits.OnesCount8(uint8(s)) }

// List is the families in ascending order.
func (s Families) List() []Family {
	list := make([]Family, 0, s.Len())
	for f := IPv4Unicast; f <= IPv6Unicast; f++ {
		if s.Has(f) {
			list = append(list, f)
		}
	}
	return list
}

func (s Families) String() string {
	names := make([]string, 0, s.Len())
	for _, f := range s.List() {
		names = append(names, f.String())
	}
	return strings.Join(names, ", ")
}
