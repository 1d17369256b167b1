package tun

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane/wire"
)

// The virtio network header, which stands in front of every packet (virtio 1.2 section 5.1.6.1). TUN's numbers are in the
// machine's own byte order.
//
//	0 flags · 1 gso_type · 2 hdr_len · 4 gso_size · 6 csum_start · 8 csum_offset
const vnetLen = 10

// Where the checksum field stands in a TCP and in a UDP header.
const (
	tcpChecksum = 16
	udpChecksum = 6
)

// decode reads the header h of the packet b into o, which is zero. It reports false where they contradict each other. A
// super-packet that would not be cut becomes a packet with a partial checksum.
func decode(h, b []byte, o *wire.Offload) bool {
	flags, gso := h[0], h[1]&^unix.VIRTIO_NET_HDR_GSO_ECN
	if flags&unix.VIRTIO_NET_HDR_F_NEEDS_CSUM == 0 {
		return gso == unix.VIRTIO_NET_HDR_GSO_NONE
	}
	start, offset := binary.NativeEndian.Uint16(h[6:]), binary.NativeEndian.Uint16(h[8:])
	if start < wire.IPv4HeaderLen || int(start)+int(offset)+2 > len(b) {
		return false
	}
	o.NeedsCsum, o.CsumStart, o.CsumOffset = true, start, offset
	if gso == unix.VIRTIO_NET_HDR_GSO_NONE {
		return true
	}
	return decodeGSO(gso, binary.NativeEndian.Uint16(h[4:]), b, o)
}

// decodeGSO reads what a super-packet is made of. The length of its headers comes from the headers: what the kernel says
// of it (hdr_len) is only how much of the packet it had in one piece.
func decodeGSO(gso uint8, size uint16, b []byte, o *wire.Offload) bool {
	start := int(o.CsumStart)
	v4 := b[0]>>4 == 4 && start == int(b[0]&0xf)*4
	v6 := b[0]>>4 == 6 && start >= wire.IPv6HeaderLen
	kind, hdr := wire.GSONone, 0
	switch {
	case gso == unix.VIRTIO_NET_HDR_GSO_TCPV4 && v4:
		kind = wire.GSOTCP4
	case gso == unix.VIRTIO_NET_HDR_GSO_TCPV6 && v6:
		kind = wire.GSOTCP6
	case gso == unix.VIRTIO_NET_HDR_GSO_UDP_L4 && (v4 || v6):
		kind, hdr = wire.GSOUDP, start+wire.UDPHeaderLen
	}
	switch kind {
	case wire.GSONone:
		return false
	case wire.GSOUDP:
		if o.CsumOffset != udpChecksum {
			return false
		}
	default:
		if o.CsumOffset != tcpChecksum || start+wire.TCPHeaderLen > len(b) {
			return false
		}
		data := int(b[start+12]>>4) * 4
		if data < wire.TCPHeaderLen {
			return false
		}
		hdr = start + data
	}
	if hdr > len(b) || size == 0 {
		return false
	}
	if len(b)-hdr > int(size) {
		o.GSO, o.Size, o.HdrLen = kind, size, uint16(hdr)
	}
	return true
}

// encode writes the header for the packet b, of which o says what is to be done.
func encode(h, b []byte, o *wire.Offload) {
	clear(h[:vnetLen])
	if !o.NeedsCsum {
		return
	}
	h[0] = unix.VIRTIO_NET_HDR_F_NEEDS_CSUM
	binary.NativeEndian.PutUint16(h[6:], o.CsumStart)
	binary.NativeEndian.PutUint16(h[8:], o.CsumOffset)
	switch o.GSO {
	case wire.GSONone:
		return
	case wire.GSOTCP4:
		h[1] = unix.VIRTIO_NET_HDR_GSO_TCPV4
	case wire.GSOTCP6:
		h[1] = unix.VIRTIO_NET_HDR_GSO_TCPV6
	case wire.GSOUDP:
		h[1] = unix.VIRTIO_NET_HDR_GSO_UDP_L4
	}
	if flags := int(o.CsumStart) + 13; o.GSO != wire.GSOUDP && flags < len(b) && b[flags]&tcpCWR != 0 {
		h[1] |= unix.VIRTIO_NET_HDR_GSO_ECN // CWR belongs to the first segment alone (RFC 3168 section 6.1.2)
	}
	binary.NativeEndian.PutUint16(h[2:], o.HdrLen)
	binary.NativeEndian.PutUint16(h[4:], o.Size)
}
