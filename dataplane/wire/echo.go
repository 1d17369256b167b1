package wire

import (
	"encoding/binary"
	"net/netip"
)

// Echo returns an ICMP or ICMPv6 echo request without data from one address to another of the same family (RFC 792, RFC 4443
// section 4.1).
func Echo(from, to netip.Addr) []byte {
	const body = 8
	if from.Is4() {
		b := make([]byte, IPv4HeaderLen+body)
		s, d := from.As4(), to.As4()
		b[0], b[8], b[9] = 0x45, 64, ProtoICMP
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		copy(b[12:], s[:])
		copy(b[16:], d[:])
		SetIPv4Checksum(b)
		t := b[IPv4HeaderLen:]
		t[0] = 8
		binary.BigEndian.PutUint16(t[2:], Checksum(t, 0))
		return b
	}
	b := make([]byte, IPv6HeaderLen+body)
	s, d := from.As16(), to.As16()
	b[0], b[6], b[7] = 0x60, ProtoICMPv6, 64
	binary.BigEndian.PutUint16(b[4:], body)
	copy(b[8:], s[:])
	copy(b[24:], d[:])
	t := b[IPv6HeaderLen:]
	t[0] = 128
	binary.BigEndian.PutUint16(t[2:], Checksum(t, PseudoSum(b, ProtoICMPv6, len(t))))
	return b
}
