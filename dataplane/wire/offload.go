package wire

// GSO says what a super-packet is made of.
type GSO uint8

// Kinds of super-packets.
const (
	GSONone GSO = iota
	GSOTCP4
	GSOTCP6
	// GSOUDP is UDP of either family, cut into datagrams of their own (virtio's USO, VIRTIO_NET_HDR_GSO_UDP_L4).
	GSOUDP
)

// Offload is what a port's offloads left to be done, in the terms of the virtio network header (virtio 1.2 section
// 5.1.6).
type Offload struct {
	GSO GSO
	// NeedsCsum: the transport checksum field holds only the sum over the pseudo header. Always set with a GSO.
	NeedsCsum bool
	// Size is the payload of a full segment in bytes, without headers.
	Size uint16
	// HdrLen is the length in bytes of all headers, IP and transport, which every segment repeats.
	HdrLen uint16
	// CsumStart is the offset of the transport header, CsumOffset that of its checksum field behind it.
	CsumStart, CsumOffset uint16
}

// Within says whether the partial checksum is that of something behind the IP headers of a packet of n bytes.
func (o *Offload) Within(info *Info, n int) bool {
	return o.CsumStart >= info.HdrLen && int(o.CsumStart)+int(o.CsumOffset)+2 <= n
}
