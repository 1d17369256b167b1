package message

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
)

// ConfigAddr returns an attribute that is an address: INTERNAL_IP4_ADDRESS, INTERNAL_IP4_DNS, INTERNAL_IP6_DNS and the like.
// INTERNAL_IP6_ADDRESS has a prefix length: see ConfigPrefix.
func ConfigAddr(t ConfigAttributeType, a netip.Addr) ConfigAttribute {
	return ConfigAttribute{Type: t, Value: a.AsSlice()}
}

// ConfigPrefix returns an attribute that is a prefix: INTERNAL_IP6_ADDRESS (an address with its network's length),
// INTERNAL_IP4_SUBNET (an address and a mask) and INTERNAL_IP6_SUBNET.
func ConfigPrefix(t ConfigAttributeType, p netip.Prefix) ConfigAttribute {
	value := p.Addr().AsSlice()
	if p.Addr().Is4() {
		value = binary.BigEndian.AppendUint32(value, netmask(p.Bits()))
	} else {
		value = append(value, byte(p.Bits()))
	}
	return ConfigAttribute{Type: t, Value: value}
}

// ConfigNetmask returns INTERNAL_IP4_NETMASK for a prefix length.
func ConfigNetmask(bits int) ConfigAttribute {
	return ConfigAttribute{Type: InternalIP4Netmask, Value: binary.BigEndian.AppendUint32(nil, netmask(bits))}
}

func netmask(n int) uint32 { return uint32(math.MaxUint32 << (32 - n)) }

// Attrs returns the attributes of a type, in order.
func (c *CP) Attrs(t ConfigAttributeType) []ConfigAttribute {
	var all []ConfigAttribute
	for _, a := range c.Attributes {
		if a.Type == t {
			all = append(all, a)
		}
	}
	return all
}

// Addr returns the address of an attribute that has one: for INTERNAL_IP6_ADDRESS without its prefix length.
func (a ConfigAttribute) Addr() (addr netip.Addr, ok bool) {
	switch a.Type {
	case InternalIP4Address, InternalIP4DNS, InternalIP4NBNS, InternalIP4DHCP, InternalIP6DNS, InternalIP6DHCP:
		return netip.AddrFromSlice(a.Value)
	case InternalIP6Address:
		p, ok := a.Prefix()
		return p.Addr(), ok
	}
	return addr, false
}

// Prefix returns the prefix of INTERNAL_IP6_ADDRESS, INTERNAL_IP4_SUBNET and INTERNAL_IP6_SUBNET. Bits beyond its length
// are as received.
func (a ConfigAttribute) Prefix() (p netip.Prefix, ok bool) {
	switch {
	case a.Type == InternalIP6Address && len(a.Value) == 16:
		return netip.PrefixFrom(netip.AddrFrom16([16]byte(a.Value)), 128), true
	case (a.Type == InternalIP6Address || a.Type == InternalIP6Subnet) && len(a.Value) == 17:
		p = netip.PrefixFrom(netip.AddrFrom16([16]byte(a.Value)), int(a.Value[16]))
	case a.Type == InternalIP4Subnet && len(a.Value) == 8:
		n, ok := maskBits(a.Value[4:])
		if !ok {
			return p, false
		}
		p = netip.PrefixFrom(netip.AddrFrom4([4]byte(a.Value)), n)
	}
	return p, p.IsValid()
}

// Netmask returns the prefix length of INTERNAL_IP4_NETMASK.
func (a ConfigAttribute) Netmask() (bits int, ok bool) {
	if a.Type != InternalIP4Netmask || len(a.Value) != 4 {
		return 0, false
	}
	return maskBits(a.Value)
}

func maskBits(b []byte) (n int, ok bool) {
	mask := binary.BigEndian.Uint32(b)
	n = bits.LeadingZeros32(^mask)
	return n, mask == netmask(n)
}

// check says what lengths a value of a type may have: "" if that of the value is right.
func (a ConfigAttribute) check() (wanted string) {
	n := len(a.Value)
	switch a.Type {
	case InternalIP4Address, InternalIP4Netmask, InternalIP4DNS, InternalIP4NBNS, InternalIP4DHCP:
		if n != 0 && n != 4 {
			return "0 or 4 octets"
		}
	case InternalIP6DNS, InternalIP6DHCP:
		if n != 0 && n != 16 {
			return "0 or 16 octets"
		}
	case InternalIP6Address:
		// The RFC says 17; 16 was the length in an early draft that some still send.
		if n != 0 && n != 16 && n != 17 {
			return "0 or 17 octets"
		}
	case InternalIP6Subnet:
		if n != 0 && n != 17 {
			return "0 or 17 octets"
		}
	case InternalIP4Subnet:
		if n != 0 && n != 8 {
			return "0 or 8 octets"
		}
	case SupportedAttributes:
		if n%2 != 0 {
			return "a multiple of 2 octets"
		}
	}
	return ""
}

func parseCP(r *reader) (*CP, error) {
	if err := r.need(4, "configuration"); err != nil {
		return nil, err
	}
	c := &CP{Type: ConfigType(r.u8())}
	r.take(3)
	for len(r.b) != 0 {
		if len(c.Attributes) == MaxAttributes {
			return nil, r.bad("number of attributes", 0, "more", fmt.Sprintf("at most %d", MaxAttributes))
		}
		if err := r.need(4, "attribute"); err != nil {
			return nil, err
		}
		a := ConfigAttribute{Type: ConfigAttributeType(r.u16() & maxConfigAttribute)}
		n := int(r.u16())
		if err := r.need(n, a.Type.String()); err != nil {
			return nil, err
		}
		a.Value = r.bytes(n)
		if wanted := a.check(); wanted != "" {
			return nil, r.bad(a.Type.String(), n, octets(n), wanted)
		}
		c.Attributes = append(c.Attributes, a)
	}
	return c, nil
}

func (c *CP) appendBody(b []byte) ([]byte, error) {
	if n := len(c.Attributes); n > MaxAttributes {
		return nil, fmt.Errorf("%d attributes, at most %d can be sent", n, MaxAttributes)
	}
	b = append(b, byte(c.Type), 0, 0, 0)
	for _, a := range c.Attributes {
		if wanted := a.check(); wanted != "" {
			return nil, fmt.Errorf("%v of %s, wanted %s", a.Type, octets(len(a.Value)), wanted)
		}
		if a.Type > maxConfigAttribute || len(a.Value) > math.MaxUint16 {
			return nil, fmt.Errorf("%v of %s does not fit its format", a.Type, octets(len(a.Value)))
		}
		b = binary.BigEndian.AppendUint16(b, uint16(a.Type))
		b = binary.BigEndian.AppendUint16(b, uint16(len(a.Value)))
		b = append(b, a.Value...)
	}
	return b, nil
}
