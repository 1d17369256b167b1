package dataplane

import (
	"net/netip"

	"github.com/warrenvpn/warren/dataplane/packet"
)

// Underlay carries sealed packets: UDP sockets, raw sockets of one IP protocol, or a simulated network. One underlay
// has one local address (or all of a family) and, for UDP, one port.
type Underlay interface {
	// Name says what it is for people: "udp 192.0.2.1:4500", "esp 2001:db8::1".
	Name() string
	// Local is the address and port that frames leave from; the address is unspecified where the system chooses.
	Local() netip.AddrPort
	// Encap is how much the outer headers take in front of a frame.
	Encap() Encap
	// Receivers returns the receive queues, one worker each. Always the same ones. A frame whose first four bytes are
	// an SPI comes to receiver SPI mod N where the system can sort; any receiver must take any frame.
	Receivers() []Receiver
	// NewSender returns a sender for one worker's use.
	NewSender() Sender
	// PathMTU asks the system how large an IP packet to the peer may be, in bytes.
	PathMTU(remote netip.Addr) (int, error)
	// Close wakes every receiver, which return ErrClosed, and closes the sockets. It may be called twice.
	Close() error
}

// Encap says which outer headers an underlay puts in front of a frame.
type Encap struct {
	// IPv6 outer header of 40 bytes, otherwise IPv4 of 20.
	IPv6 bool
	// UDP header of 8 bytes behind it.
	UDP bool
}

// Len is the outer headers' length in bytes.
func (e Encap) Len() int {
	n := 20
	if e.IPv6 {
		n = 40
	}
	if e.UDP {
		n += 8
	}
	return n
}

// Receiver is one receive queue of an underlay. It belongs to one worker.
type Receiver interface {
	// Recv resets rx, waits for a datagram and then takes what is there without waiting, as long as rx has room.
	// Transient errors are not returned; an ICMP error that the system reports becomes a PathError.
	Recv(rx *Rx) error
}

// Train is one datagram, or several of equal size (the last may be shorter) from the same peer that the system
// delivered as one (UDP_GRO).
type Train struct {
	// Data holds the datagrams back to back. For raw sockets the outer IP header has been taken off.
	Data []byte
	// Size is the length of each datagram but the last; len(Data) where there is only one.
	Size int
	// Remote is where it came from; the port is 0 for raw sockets.
	Remote netip.AddrPort
	// TOS is the outer header's type-of-service octet or traffic class.
	TOS uint8
}

// Count returns how many datagrams the train has.
func (t *Train) Count() int {
	if t.Size <= 0 || len(t.Data) <= t.Size {
		return 1
	}
	return (len(t.Data) + t.Size - 1) / t.Size
}

// PathError is an ICMP or ICMPv6 error that came for one of our frames, as the system reports it. Nobody authenticated it, unless
// it is Local.
type PathError struct {
	// Remote is where the frame was going.
	Remote netip.AddrPort
	// MTU is what the router said would fit, in bytes of IP packet; 0 for errors other than packet-too-big.
	MTU int
	// Local: the system itself said it, of a frame that was too large for its device and never left. It may be believed, and
	// quotes nothing.
	Local bool
	// Code says what else it was, for the log: "port unreachable".
	Code string
	// Quote is what the error quotes of our frame, from the first byte behind the outer headers. It may be empty. Valid
	// until the next Recv.
	Quote []byte
}

// Rx is what one Recv yields. The receiver owns the buffers; Trains are valid until the next Recv.
type Rx struct {
	Trains []Train
	Errors []PathError
	// Malformed counts datagrams that are nobody's: empty, or longer than any frame.
	Malformed int
	// Lost counts those that the system had no room for before these, as far as it says so.
	Lost int
	// Via is the underlay by which the trains arrived first; nil for the one that yields them now.
	Via Underlay
}

// Reset forgets what the last Recv yielded.
func (rx *Rx) Reset() {
	rx.Trains, rx.Errors, rx.Malformed, rx.Lost, rx.Via = rx.Trains[:0], rx.Errors[:0], 0, 0, nil
}

// Sender is one worker's way out through an underlay.
type Sender interface {
	// Send sends the frames in order and sets Drop on those that did not leave. Neighbours that go the same way with
	// equal TOS, DF and size may leave in one system call. It never waits. The bytes are the caller's again on return.
	Send(frames []Frame)
}

// Frame is one sealed packet on its way to the underlay.
type Frame struct {
	// Data is what follows the outer headers: an ESP packet, a WireGuard message.
	Data []byte
	// Path says where to. Never nil.
	Path *Path
	// TOS is the outer header's type-of-service octet or traffic class.
	TOS uint8
	// DF: set don't-fragment on the outer IPv4 header; on IPv6, do not fragment at the source.
	DF bool
	// Drop is set by Send on a frame that did not leave.
	Drop packet.Reason
	// Tunnel is the index of the tunnel that sealed it, for the counters.
	Tunnel uint32
}

// Path is where a tunnel's frames go. It is immutable: a peer that moves gets a new one.
type Path struct {
	Underlay Underlay
	Remote   netip.AddrPort
}
