package dataplane

import (
	"errors"

	"github.com/warrenvpn/warren/dataplane/packet"
)

// ErrClosed is what a blocked Read or Recv returns once its port or underlay has been closed.
var ErrClosed = errors.New("closed")

// MaxWorkers is how many workers a plane may have. Whatever keeps something for each worker keeps it in an array of this
// size, indexed by [Ctx.Worker], and each worker touches only its own element.
const MaxWorkers = 64

// Port is where clear packets enter and leave a vrf: a TUN device, the built-in stack, a pipe in tests.
type Port interface {
	// Name is unique in the process's configuration: the device's name where there is one.
	Name() string
	// MTU is the largest packet in bytes that may be written.
	MTU() int
	// Readers returns the receive queues, one worker each. Always the same ones.
	Readers() []PortReader
	// NewWriter returns a sender for one worker's use.
	NewWriter() PortWriter
	// Close wakes every reader, which return ErrClosed, and gives back what the system lent. It may be called twice.
	Close() error
}

// PortReader is one receive queue of a port. It belongs to one worker.
type PortReader interface {
	// Read resets the batch, waits for a packet and then takes what is there without waiting, until the batch or its
	// arena is full. Super-packets and partial checksums are described in Offload; their offsets have been checked
	// against the packet's length. Packets that found no room before they could be read are said in the batch's Lost, as far as
	// the port knows. The only error that is returned while the port is open is one that cannot pass.
	Read(b *packet.Batch) error
}

// PortWriter is one worker's way out through a port.
type PortWriter interface {
	// Write writes the packets whose Drop is none, in order, and sets Drop on those that the port refused. Neighbours
	// that belong to one flow may leave as one super-packet. The bytes are the caller's again on return.
	Write(pkts []packet.Packet)
}
