package dataplane

import (
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/internal/prefetch"
)

// Tunnel is a next hop that seals packets for one peer.
type Tunnel interface {
	// Name is unique in the engine.
	Name() string
	// InnerMTU is the largest clear packet in bytes that fits now. It changes with the path's MTU.
	InnerMTU() int
	// KeepNear gives the tunnel a list, on which from now on it keeps what Seal reads of it. A worker whose batch goes to many
	// tunnels asks for those to come, so that it need not wait for their cache misses. It is called once. A tunnel may leave the
	// list empty.
	KeepNear(l *Near)
	// Seal seals the packets whose Drop is none and appends the frames to ctx.Tx in order, one for each packet or each
	// segment of a super-packet. In place where there is room: the bytes of what was sealed are spent afterwards. On
	// those it refuses it sets Drop, leaves their bytes alone, and returns how many they are; it counts what it sealed. Where
	// the sequence numbers end in the middle of a super-packet, its first segments leave and the packet is refused for the rest.
	// The worker has parsed the packets and seen that they fit.
	Seal(ctx *Ctx, pkts []packet.Packet) (refused int)
}

// Divider is a Tunnel that does not take fragments of every packet.
type Divider interface {
	// Whole says that a packet which does not fit must not be fragmented before it is sealed, since its later fragments would not
	// be covered as it is. Seal takes it as it is then, and its frame is fragmented outside.
	Whole(p *packet.Packet) bool
}

// Near is a list of pieces of memory.
type Near = prefetch.List

// Opener is the inbound half of a kind of tunnel: it knows by a frame's first bytes which tunnel it belongs to.
type Opener interface {
	// Open opens the datagrams of one train in place and appends the clear packets to out, parsed and checked against
	// their tunnel's selectors, with Ingress set. Datagrams that yield no packet are counted in ctx. The worker makes
	// sure that out has room for as many packets as the train has datagrams.
	Open(ctx *Ctx, u Underlay, t *Train, out *packet.Batch)
	// PathError is told of ICMP errors that came for frames sent through u. Nobody authenticated them.
	PathError(u Underlay, e *PathError)
}

// Ctx is what a worker lends to whoever works for it during one batch. It belongs to the worker's goroutine.
type Ctx struct {
	// Worker is the worker's index, below MaxWorkers: the element of per-worker arrays that is ours.
	Worker int
	// Tx takes the sealed frames.
	Tx Tx
	// Counters are the worker's own.
	Counters *Counters
}

// NewCtx returns a context for whoever tests a tunnel or an opener without a plane. Its frames go where their paths
// say; its counters count for nobody.
func NewCtx() *Ctx {
	c := &Counters{tunnels: new(tunnelTable), worker: MaxWorkers - 1}
	return &Ctx{Worker: MaxWorkers - 1, Tx: newTx(c), Counters: c}
}
