package packettest

import (
	"encoding/binary"
	"net/netip"

	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
)

// UDP makes a packet of n bytes with DF set, whose payload begins with a number. Its UDP checksum is zero: none.
func UDP(src, dst string, n int, number uint32) []byte {
	b := make([]byte, n)
	s, d := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	hdr := 20
	if s.Is4() {
		b[0], b[8], b[9], b[6] = 0x45, 64, wire.ProtoUDP, 0x40
		binary.BigEndian.PutUint16(b[2:], uint16(n))
		copy(b[12:], s.AsSlice())
		copy(b[16:], d.AsSlice())
		wire.SetIPv4Checksum(b)
	} else {
		hdr = 40
		b[0], b[6], b[7] = 0x60, wire.ProtoUDP, 64
		binary.BigEndian.PutUint16(b[4:], uint16(n-40))
		copy(b[8:], s.AsSlice())
		copy(b[24:], d.AsSlice())
	}
	binary.BigEndian.PutUint16(b[hdr+4:], uint16(n-hdr))
	binary.BigEndian.PutUint32(b[hdr+8:], number)
	for i := hdr + 12; i < n; i++ {
		b[i] = byte(i) ^ byte(number)
	}
	return b
}

// Number is the number of a packet that UDP made for IPv4.
func Number(b []byte) uint32 { return binary.BigEndian.Uint32(b[28:]) }

// Put appends a packet to a batch, with room around it, as a port does.
func Put(b *packet.Batch, p []byte, o wire.Offload) {
	copy(b.Space(len(p)), p)
	in := b.Commit(0, len(p))
	in.Offload = o
	wire.Parse(in.Bytes(), &in.Info, o.GSO != wire.GSONone)
}
