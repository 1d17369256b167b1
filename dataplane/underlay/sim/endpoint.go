package sim

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"

	"github.com/warrenvpn/warren/dataplane"
)

// atOnce is how many datagrams one Recv takes.
const atOnce = 64

// Endpoint is an underlay on a simulated network.
type Endpoint struct {
	net    *Network
	local  netip.AddrPort
	queues []*queue
}

// queue is one receive queue. Waiting is done on a channel, so that it counts as durably blocked in a synctest bubble.
type queue struct {
	limit  int
	ready  chan struct{} // has room for one
	done   chan struct{}
	once   sync.Once
	mu     sync.Mutex
	in     []*datagram
	errs   []dataplane.PathError
	inHand []*datagram
	lost   int // for want of room, since the last Recv
}

func newEndpoint(n *Network, local netip.AddrPort, queues int) *Endpoint {
	e := &Endpoint{net: n, local: local}
	for range queues {
		e.queues = append(e.queues, &queue{limit: n.cfg.Queue, ready: make(chan struct{}, 1), done: make(chan struct{})})
	}
	return e
}

// Name implements dataplane.Underlay.
func (e *Endpoint) Name() string { return "sim " + e.local.String() }

// Local implements dataplane.Underlay.
func (e *Endpoint) Local() netip.AddrPort { return e.local }

// Encap implements dataplane.Underlay: UDP where the endpoint has a port, else an IP protocol.
func (e *Endpoint) Encap() dataplane.Encap {
	return dataplane.Encap{IPv6: e.local.Addr().Is6(), UDP: e.local.Port() != 0}
}

// Receivers implements dataplane.Underlay.
func (e *Endpoint) Receivers() []dataplane.Receiver {
	rs := make([]dataplane.Receiver, len(e.queues))
	for i, q := range e.queues {
		rs[i] = q
	}
	return rs
}

// NewSender implements dataplane.Underlay.
func (e *Endpoint) NewSender() dataplane.Sender { return e }

// PathMTU implements dataplane.Underlay.
func (e *Endpoint) PathMTU(remote netip.Addr) (int, error) {
	e.net.mu.Lock()
	defer e.net.mu.Unlock()
	return e.net.faults(way{e.local.Addr(), remote}).MTU, nil
}

// Close implements dataplane.Underlay.
func (e *Endpoint) Close() error {
	e.net.detach(e)
	for _, q := range e.queues {
		q.once.Do(func() { close(q.done) })
	}
	return nil
}

// Send implements dataplane.Sender.
func (e *Endpoint) Send(frames []dataplane.Frame) {
	for i := range frames {
		frames[i].Drop = e.net.carry(e, &frames[i])
	}
}

// push queues a datagram by its SPI and reports whether there was room.
func (e *Endpoint) push(d *datagram) bool {
	i := 0
	if len(d.data) >= 4 {
		i = int(binary.BigEndian.Uint32(d.data) % uint32(len(e.queues)))
	}
	q := e.queues[i]
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.in) >= q.limit {
		q.lost++
		return false
	}
	q.in = append(q.in, d)
	q.wake()
	return true
}

// tooBig tells the endpoint what an ICMP error would.
func (e *Endpoint) tooBig(to netip.AddrPort, mtu int, data []byte) {
	q := e.queues[0]
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.errs) < q.limit {
		q.errs = append(q.errs, dataplane.PathError{Remote: to, MTU: mtu, Code: "message too long", Quote: slices.Clone(data[:min(64, len(data))])})
		q.wake()
	}
}

func (q *queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// Recv implements dataplane.Receiver.
func (q *queue) Recv(rx *dataplane.Rx) error {
	rx.Reset()
	for {
		select {
		case <-q.done:
			return dataplane.ErrClosed
		default:
		}
		if q.take(rx) {
			return nil
		}
		select {
		case <-q.done:
		case <-q.ready:
		}
	}
}

func (q *queue) take(rx *dataplane.Rx) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(atOnce, len(q.in))
	q.inHand = append(q.inHand[:0], q.in[:n]...)
	q.in = slices.Delete(q.in, 0, n)
	for _, d := range q.inHand {
		rx.Trains = append(rx.Trains, dataplane.Train{Data: d.data, Size: len(d.data), Remote: d.from, TOS: d.tos})
	}
	rx.Errors = append(rx.Errors, q.errs...)
	q.errs = nil
	rx.Lost, q.lost = q.lost, 0
	if len(q.in) > 0 {
		q.wake()
	}
	return len(rx.Trains)+len(rx.Errors) > 0
}
