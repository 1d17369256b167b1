package wire

import (
	"encoding/binary"
	"net/netip"
)

// ICMPError is an error that a router owes the source of a packet.
type ICMPError uint8

// The errors that the engine sends.
const (
	ErrUnreachable  ICMPError = iota // no route: ICMP 3/0 net unreachable, ICMPv6 1/0
	ErrHost                          // the way is closed: ICMP 3/1 host unreachable, ICMPv6 1/3
	ErrProhibited                    // policy forbids it: ICMP 3/13, ICMPv6 1/1
	ErrTooBig                        // ICMP 3/4 fragmentation needed, ICMPv6 2/0; carries the MTU
	ErrTimeExceeded                  // ICMP 11/0, ICMPv6 3/0
)

// What the errors look like on the wire: type and code.
var (
	icmp4 = [...][2]byte{ErrUnreachable: {3, 0}, ErrHost: {3, 1}, ErrProhibited: {3, 13}, ErrTooBig: {3, 4}, ErrTimeExceeded: {11, 0}}
	icmp6 = [...][2]byte{ErrUnreachable: {1, 0}, ErrHost: {1, 3}, ErrProhibited: {1, 1}, ErrTooBig: {2, 0}, ErrTimeExceeded: {3, 0}}
)

const (
	// maxICMP4 is the largest ICMP error (RFC 1812 section 4.3.2.3), maxICMP6 the largest ICMPv6 error (RFC 4443
	// section 2.4(c)), in bytes with the IP header.
	maxICMP4 = 576
	maxICMP6 = 1280
	// MaxICMP holds either.
	MaxICMP = maxICMP6
)

// MayAnswer says whether an ICMP error may be sent for the packet b (RFC 1122 section 3.2.2, RFC 4443 section 2.4(e)):
// never for an ICMP error, a later fragment, or a packet to or from what is not one host.
func MayAnswer(b []byte, info *Info) bool {
	if info.Flags&FlagLater != 0 {
		return false
	}
	src, dst := info.SrcAddr(), info.DstAddr()
	if src.IsUnspecified() || src.IsMulticast() || src.IsLoopback() || dst.IsMulticast() || isBroadcast(src) || isBroadcast(dst) {
		return false
	}
	t := b[info.HdrLen:]
	switch info.Proto {
	case ProtoICMP:
		return len(t) > 0 && isICMP4Query(t[0])
	case ProtoICMPv6:
		return len(t) > 0 && t[0] >= 128 && t[0] != 137 // errors are below 128; 137 is redirect
	}
	return true
}

func isBroadcast(a netip.Addr) bool { return a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) }

// isICMP4Query: everything but destination unreachable, source quench, redirect, time exceeded, parameter problem.
func isICMP4Query(typ byte) bool {
	switch typ {
	case 3, 4, 5, 11, 12:
		return false
	}
	return true
}

// PutICMPError writes to dst, which must hold MaxICMP bytes, the error e about the packet orig from the address src, and
// returns its length. mtu is for ErrTooBig. src must be of the packet's family.
func PutICMPError(dst []byte, e ICMPError, src netip.Addr, orig []byte, mtu int) int {
	if orig[0]>>4 == 4 {
		return putICMP4(dst, e, src, orig, mtu)
	}
	return putICMP6(dst, e, src, orig, mtu)
}

func putICMP4(dst []byte, e ICMPError, src netip.Addr, orig []byte, mtu int) int {
	const hdr = IPv4HeaderLen + 8
	n := hdr + copy(dst[hdr:maxICMP4], orig)
	s := src.As4()
	clear(dst[:hdr])
	dst[0], dst[1] = 0x45, 0xc0 // internetwork control (RFC 1812 section 4.3.2.5)
	binary.BigEndian.PutUint16(dst[2:], uint16(n))
	dst[8], dst[9] = 64, ProtoICMP
	copy(dst[12:], s[:])
	copy(dst[16:20], orig[12:16])
	SetIPv4Checksum(dst)
	t := dst[IPv4HeaderLen:n]
	t[0], t[1] = icmp4[e][0], icmp4[e][1]
	if e == ErrTooBig {
		binary.BigEndian.PutUint16(t[6:], uint16(mtu)) // RFC 1191 section 4
	}
	binary.BigEndian.PutUint16(t[2:], Checksum(t, 0))
	return n
}

func putICMP6(dst []byte, e ICMPError, src netip.Addr, orig []byte, mtu int) int {
	const hdr = IPv6HeaderLen + 8
	n := hdr + copy(dst[hdr:maxICMP6], orig)
	s := src.As16()
	clear(dst[:hdr])
	dst[0] = 0x60
	binary.BigEndian.PutUint16(dst[4:], uint16(n-IPv6HeaderLen))
	dst[6], dst[7] = ProtoICMPv6, 64
	copy(dst[8:], s[:])
	copy(dst[24:40], orig[8:24])
	t := dst[IPv6HeaderLen:n]
	t[0], t[1] = icmp6[e][0], icmp6[e][1]
	if e == ErrTooBig {
		binary.BigEndian.PutUint32(t[4:], uint32(mtu))
	}
	binary.BigEndian.PutUint16(t[2:], Checksum(t, PseudoSum(dst, ProtoICMPv6, len(t))))
	return n
}

// AnswerAsDestination makes an ICMP error that PutICMPError wrote come from where the packet that it quotes was going.
func AnswerAsDestination(b []byte) {
	if b[0]>>4 == 4 {
		copy(b[12:16], b[IPv4HeaderLen+8+16:][:4])
		SetIPv4Checksum(b)
		return
	}
	copy(b[8:24], b[IPv6HeaderLen+8+24:][:16])
	t := b[IPv6HeaderLen:]
	t[2], t[3] = 0, 0
	binary.BigEndian.PutUint16(t[2:], Checksum(t, PseudoSum(b, ProtoICMPv6, len(t))))
}
