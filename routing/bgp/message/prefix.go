package message

import (
	"encoding/binary"
	"net/netip"
)

// appendPrefixes appends the prefixes of an NLRI field (RFC 4271 section 4.3, RFC 4760 section 5), masked. Those that nobody can
// route to (multicast, link-local) are counted and left out, as RFC 4271 section 6.3 asks. ok is false if the field is malformed.
func appendPrefixes(dst []netip.Prefix, b []byte, f Family) (out []netip.Prefix, ignored int, ok bool) {
	if f == IPv4Unicast {
		return appendPrefixes4(dst, b)
	}
	return appendPrefixes6(dst, b)
}

func appendPrefixes4(dst []netip.Prefix, b []byte) (out []netip.Prefix, ignored int, ok bool) {
	for len(b) > 0 {
		bits := int(b[0])
		n := (bits + 7) / 8
		if bits > 32 || len(b) < 1+n {
			return dst, ignored, false
		}
		var v uint32
		if len(b) > 4 {
			v = binary.BigEndian.Uint32(b[1:])
		} else {
			for i, octet := range b[1 : 1+n] {
				v |= uint32(octet) << (24 - 8*i)
			}
		}
		b = b[1+n:]
		v &= ^uint32(0) << (32 - bits)
		if bits >= 4 && v>>28 == 0xe {
			ignored++
			continue
		}
		a := netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
		dst = append(dst, netip.PrefixFrom(a, bits))
	}
	return dst, ignored, true
}

func appendPrefixes6(dst []netip.Prefix, b []byte) (out []netip.Prefix, ignored int, ok bool) {
	for len(b) > 0 {
		bits := int(b[0])
		n := (bits + 7) / 8
		if bits > 128 || len(b) < 1+n {
			return dst, ignored, false
		}
		var a [16]byte
		copy(a[:], b[1:1+n])
		if rest := bits % 8; rest != 0 {
			a[n-1] &= 0xff << (8 - rest)
		}
		b = b[1+n:]
		if bits >= 8 && a[0] == 0xff || bits >= 10 && a[0] == 0xfe && a[1]&0xc0 == 0x80 {
			ignored++
			continue
		}
		dst = append(dst, netip.PrefixFrom(netip.AddrFrom16(a), bits))
	}
	return dst, ignored, true
}

// packPrefixes appends as many prefixes as fit into limit octets of dst, and returns those that do not.
func packPrefixes(dst []byte, f Family, prefixes []netip.Prefix, limit int) (out []byte, rest []netip.Prefix) {
	for i, p := range prefixes {
		n := (p.Bits() + 7) / 8
		if len(dst)+1+n > limit {
			return dst, prefixes[i:]
		}
		dst = append(dst, byte(p.Bits()))
		if f == IPv4Unicast {
			a := p.Addr().As4()
			dst = append(dst, a[:n]...)
		} else {
			a := p.Addr().As16()
			dst = append(dst, a[:n]...)
		}
	}
	return dst, nil
}
