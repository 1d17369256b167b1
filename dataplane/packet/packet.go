package packet

import "github.com/warrenvpn/warren/dataplane/wire"

// Room that a port's reader leaves around every packet, in bytes.
const (
	// HeadRoom is enough for the ESP header with the longest IV (8 + 16) and for WireGuard's 16, rounded up so that
	// packets start on a cache line.
	HeadRoom = 64
	// TailRoom is enough for the longest ESP trailer: 15 bytes of padding, 2 of trailer, 32 of ICV.
	TailRoom = 64
	// MaxSize is the largest packet that may stand in a slot: an IPv4 or IPv6 super-packet of 64 KiB.
	MaxSize = 65535 + 40
)

// Packet is one clear IP packet in a worker's hand, or one super-packet whose segments are still to be cut.
type Packet struct {
	// Buf is the slot. The packet is Buf[Off:Off+Len]; what lies around it may be overwritten.
	Buf []byte
	Off int
	Len int

	// Info is what the one parse found; valid once the worker has parsed the packet.
	Info wire.Info

	// Offload is what the port left undone: a partial checksum, segments to cut. Zero for a packet that is complete.
	Offload Offload

	// Ingress is the tunnel that the packet came out of, an index into the plane's tunnels; 0 if it came from a port.
	Ingress uint32

	// Drop, when not zero, says that the packet goes no further and why.
	Drop Reason
}

// Bytes returns the packet. The slice borrows the slot.
func (p *Packet) Bytes() []byte { return p.Buf[p.Off : p.Off+p.Len] }

// Head returns how many bytes in front of the packet may be overwritten.
func (p *Packet) Head() int { return p.Off }

// Tail returns how many bytes behind the packet may be overwritten.
func (p *Packet) Tail() int { return len(p.Buf) - p.Off - p.Len }

// SegmentSize returns the length in bytes of the largest IP packet that p stands for: its own length, or for a
// super-packet the length of a full segment.
func (p *Packet) SegmentSize() int {
	if p.Offload.GSO == wire.GSONone {
		return p.Len
	}
	return int(p.Offload.HdrLen) + int(p.Offload.Size)
}

// Offload is what a port's offloads left to be done, in the terms of the virtio network header (virtio 1.2 section
// 5.1.6). A reader has checked that all offsets lie within the packet.
type Offload = wire.Offload
