package netstack

import (
	"fmt"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
)

// packetOverhead is what a queued packet costs in memory beyond its bytes, roughly: gVisor's packet buffer and views.
const packetOverhead = 512

// queue holds what the stack has sent until the worker reads it. Everybody in the stack may push; one worker takes.
//
// The stack holds an endpoint's lock while it pushes, and the worker may need that lock to deliver a packet: so push
// never waits, and a full queue refuses.
type queue struct {
	limit int // in bytes, with packetOverhead for each packet

	mu     sync.Mutex
	filled sync.Cond // somebody pushed, or closed
	pkts   []*stack.PacketBuffer
	bytes  int
	closed bool

	dropped atomic.Uint64
}

func newQueue(limit int) *queue {
	q := &queue{limit: limit}
	q.filled.L = &q.mu
	return q
}

// push takes a reference to the packet. It reports false where the queue is full or closed.
func (q *queue) push(pkt *stack.PacketBuffer) bool {
	cost := pkt.Size() + packetOverhead
	q.mu.Lock()
	if q.closed || (q.bytes+cost > q.limit && q.bytes > 0) {
		q.mu.Unlock()
		q.dropped.Add(1)
		return false
	}
	q.pkts = append(q.pkts, pkt.IncRef())
	q.bytes += cost
	first := len(q.pkts) == 1
	q.mu.Unlock()
	if first {
		q.filled.Signal()
	}
	return true
}

// swap takes everything that is queued and leaves spare, emptied, in its place. If wait is set it waits until there is
// something. It returns nothing where nothing is there, and false once the queue is closed and empty.
func (q *queue) swap(spare []*stack.PacketBuffer, wait bool) ([]*stack.PacketBuffer, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for wait && len(q.pkts) == 0 && !q.closed {
		q.filled.Wait()
	}
	if q.closed && len(q.pkts) == 0 {
		return spare[:0], false
	}
	taken := q.pkts
	q.pkts, q.bytes = spare[:0], 0
	return taken, true
}

// close wakes the reader, which has what is queued and then the end: the last of it are the resets by which peers learn that their
// connections are gone.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.filled.Broadcast()
}

// reader is one receive queue of the port.
type reader struct {
	q *queue
	// taken is what the last swap yielded; taken[next:] has not been read yet.
	taken []*stack.PacketBuffer
	next  int
	// lost is how many packets the queue had refused when last read.
	lost uint64
}

// Read waits for the stack to send and takes what it has sent, after Close what was sent before. The queue's lock is taken once for
// all packets that were queued together.
func (r *reader) Read(b *packet.Batch) error {
	err := r.read(b)
	before := r.lost
	r.lost = r.q.dropped.Load()
	b.Lost = int(r.lost - before)
	return err
}

func (r *reader) read(b *packet.Batch) error {
	b.Reset()
	for {
		if r.next == len(r.taken) {
			var open bool
			r.next = 0
			if r.taken, open = r.q.swap(r.taken, b.Len() == 0); !open && b.Len() == 0 {
				return dataplane.ErrClosed
			}
			if len(r.taken) == 0 {
				return nil
			}
		}
		pkt := r.taken[r.next]
		space := b.Space(pkt.Size())
		if space == nil && b.Len() > 0 {
			return nil
		}
		r.taken[r.next] = nil
		r.next++
		if space == nil {
			err := fmt.Errorf("read a packet of %d bytes: the batch's arena is smaller", pkt.Size())
			pkt.DecRef()
			return err
		}
		p := b.Commit(0, copyPacket(space, pkt))
		offloadOf(&p.Offload, pkt)
		pkt.DecRef()
	}
}

// copyPacket copies the packet from its headers to its end. dst is large enough.
func copyPacket(dst []byte, pkt *stack.PacketBuffer) int {
	views, skip := pkt.AsViewList()
	n := 0
	for v := views.Front(); v != nil; v = v.Next() {
		b := v.AsSlice()
		if skip >= len(b) {
			skip -= len(b)
			continue
		}
		n += copy(dst[n:], b[skip:])
		skip = 0
	}
	return n
}

// offloadOf says in our terms what the stack left undone. It leaves checksums and segmentation of TCP to us on
// established connections (host GSO), and completes everything else.
func offloadOf(o *packet.Offload, pkt *stack.PacketBuffer) {
	gso := &pkt.GSOOptions
	if gso.Type == stack.GSONone || !gso.NeedsCsum {
		return
	}
	network := len(pkt.NetworkHeader().Slice())
	o.NeedsCsum = true
	o.CsumStart, o.CsumOffset = uint16(network), gso.CsumOffset
	hdr := network + len(pkt.TransportHeader().Slice())
	if pkt.Size()-hdr <= int(gso.MSS) {
		return
	}
	o.GSO = wire.GSOTCP4
	if pkt.NetworkProtocolNumber == header.IPv6ProtocolNumber {
		o.GSO = wire.GSOTCP6
	}
	o.Size, o.HdrLen = gso.MSS, uint16(hdr)
}
