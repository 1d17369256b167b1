package wire

import "encoding/binary"

// DecrementTTL lowers the TTL or hop limit of the packet b by one and mends the IPv4 header checksum. The TTL must not
// be zero.
func DecrementTTL(b []byte) {
	if b[0]>>4 == 6 {
		b[7]--
		return
	}
	old := binary.BigEndian.Uint16(b[8:])
	b[8]--
	updateChecksum(b[10:12], old, binary.BigEndian.Uint16(b[8:]))
}

// SetTOS replaces the type-of-service octet or traffic class of the packet b and mends the IPv4 header checksum.
func SetTOS(b []byte, tos uint8) {
	if b[0]>>4 == 6 {
		v := binary.BigEndian.Uint16(b)
		binary.BigEndian.PutUint16(b, v&0xf00f|uint16(tos)<<4)
		return
	}
	old := binary.BigEndian.Uint16(b)
	b[1] = tos
	updateChecksum(b[10:12], old, binary.BigEndian.Uint16(b))
}

// ECN codepoints, the low two bits of the type-of-service octet (RFC 3168 section 5).
const (
	NotECT = 0
	ECT1   = 1
	ECT0   = 2
	CE     = 3
)

// ecnDecap is figure 4 of RFC 6040, indexed by the inner and the outer codepoint; 0xff: the packet is dropped.
var ecnDecap = [4][4]uint8{
	NotECT: {NotECT: NotECT, ECT1: NotECT, ECT0: NotECT, CE: 0xff},
	ECT1:   {NotECT: ECT1, ECT1: ECT1, ECT0: ECT1, CE: CE},
	ECT0:   {NotECT: ECT0, ECT1: ECT1, ECT0: ECT0, CE: CE},
	CE:     {NotECT: CE, ECT1: CE, ECT0: CE, CE: CE},
}

// DecapECN returns the inner type-of-service octet after decapsulation (RFC 6040 section 4.2): the outer header's
// congestion mark is carried over, the DSCP stays the inner one. ok is false where the packet must be dropped. On the
// way in, encapsulation in normal mode copies the whole octet (RFC 6040 section 4.1, RFC 2983 section 4).
func DecapECN(inner, outer uint8) (tos uint8, ok bool) {
	e := ecnDecap[inner&3][outer&3]
	return inner&^3 | e, e != 0xff
}

// ClampMSS lowers the maximum segment size that a TCP SYN announces to what fits packets of mtu bytes, and mends the
// checksum, unless o says that it is still to be computed. Other packets, and options that it cannot follow, stay as they are.
// It reports whether it changed b.
func ClampMSS(b []byte, info *Info, o *Offload, mtu int) bool {
	if info.Proto != ProtoTCP || info.Flags&(FlagLater|FlagOpaque) != 0 {
		return false
	}
	t := b[info.HdrLen:]
	if len(t) < TCPHeaderLen || t[13]&tcpSYN == 0 {
		return false
	}
	limit := mtu - IPv4HeaderLen - TCPHeaderLen
	if info.Version == 6 {
		limit = mtu - IPv6HeaderLen - TCPHeaderLen
	}
	end := int(t[12]>>4) * 4
	if end > len(t) {
		return false
	}
	for i := TCPHeaderLen; i < end; {
		kind := t[i]
		if kind == 0 {
			return false
		}
		if kind == 1 {
			i++
			continue
		}
		if i+1 >= end || t[i+1] < 2 || i+int(t[i+1]) > end {
			return false
		}
		if kind == 2 && t[i+1] == 4 {
			return setMSS(t, i+2, limit, o.NeedsCsum)
		}
		i += int(t[i+1])
	}
	return false
}

func setMSS(t []byte, at, limit int, partial bool) bool {
	old := binary.BigEndian.Uint16(t[at:])
	if int(old) <= limit || limit < 1 {
		return false
	}
	binary.BigEndian.PutUint16(t[at:], uint16(limit))
	if partial {
		return true
	}
	// An option may stand at an odd offset: the sum then sees its octets swapped.
	was, is := old, uint16(limit)
	if at%2 == 1 {
		was, is = was<<8|was>>8, is<<8|is>>8
	}
	updateChecksum(t[16:18], was, is)
	return true
}
