package pipe

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
)

// What Config leaves at zero.
const (
	DefaultMTU   = 1500
	DefaultDepth = 1024
)

// Config says what pipe to make. The zero Config is one queue of 1024 packets and an MTU of 1500.
type Config struct {
	// Name of the port; "pipe" if empty.
	Name string
	// MTU in bytes is what the port reports. Larger packets are taken all the same: the test sees what was written.
	MTU int
	// Queues is how many receive queues there are.
	Queues int
	// Depth is how many packets each queue holds, in each direction.
	Depth int
}

// Packet is what goes through a pipe: an IP packet and what is left to be done to it.
type Packet struct {
	Data    []byte
	Offload wire.Offload
}

// ErrOffload is returned for a packet whose offload fields point outside of it.
var ErrOffload = errors.New("offload outside the packet")

// Port is a [dataplane.Port] between a worker and a test.
type Port struct {
	name    string
	mtu     int
	in      []*queue
	out     *queue
	readers []dataplane.PortReader
	closed  chan struct{}
	once    sync.Once
}

// queue is a bounded queue of packets whose slots go round: from free to full by whoever puts a packet in, and back by
// whoever takes it out.
type queue struct {
	free, full chan *slot
}

type slot struct {
	buf     []byte
	offload wire.Offload
}

func newQueue(depth int) *queue {
	q := &queue{free: make(chan *slot, depth), full: make(chan *slot, depth)}
	for range depth {
		q.free <- &slot{}
	}
	return q
}

func (s *slot) fill(b []byte, o wire.Offload) {
	s.buf = append(s.buf[:0], b...)
	s.offload = o
}

// New makes a pipe.
func New(cfg Config) *Port {
	if cfg.Name == "" {
		cfg.Name = "pipe"
	}
	if cfg.MTU <= 0 {
		cfg.MTU = DefaultMTU
	}
	if cfg.Queues <= 0 {
		cfg.Queues = 1
	}
	if cfg.Depth <= 0 {
		cfg.Depth = DefaultDepth
	}
	p := &Port{name: cfg.Name, mtu: cfg.MTU, out: newQueue(cfg.Depth), closed: make(chan struct{})}
	for range cfg.Queues {
		q := newQueue(cfg.Depth)
		p.in = append(p.in, q)
		p.readers = append(p.readers, &reader{q: q, closed: p.closed})
	}
	return p
}

// Name returns the name in the Config.
func (p *Port) Name() string { return p.name }

// MTU returns the MTU in the Config.
func (p *Port) MTU() int { return p.mtu }

// Readers returns the receive queues.
func (p *Port) Readers() []dataplane.PortReader { return p.readers }

// NewWriter returns a sender for one worker's use. All writers share one queue.
func (p *Port) NewWriter() dataplane.PortWriter { return &writer{q: p.out, closed: p.closed} }

// Close wakes every reader and every Inject and Next. What was written before can still be taken out by Next.
func (p *Port) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Inject copies complete packets into the first receive queue, in order. It waits while the queue is full, and returns
// [dataplane.ErrClosed] once the port is closed.
func (p *Port) Inject(pkts ...[]byte) error {
	for _, b := range pkts {
		if err := p.InjectTo(0, Packet{Data: b}); err != nil {
			return err
		}
	}
	return nil
}

// InjectTo copies packets into one of the receive queues, in order, as Inject does. A packet with an offload that
// contradicts its length is refused with [ErrOffload], since readers promise that it never does.
func (p *Port) InjectTo(queue int, pkts ...Packet) error {
	if queue < 0 || queue >= len(p.in) {
		return fmt.Errorf("inject into queue %d of %d", queue, len(p.in))
	}
	q := p.in[queue]
	for i := range pkts {
		if err := check(&pkts[i]); err != nil {
			return err
		}
		select {
		case <-p.closed:
			return dataplane.ErrClosed
		default:
		}
		select {
		case s := <-q.free:
			s.fill(pkts[i].Data, pkts[i].Offload)
			q.full <- s // there is room: as many slots as places
		case <-p.closed:
			return dataplane.ErrClosed
		}
	}
	return nil
}

func check(p *Packet) error {
	n, o := len(p.Data), &p.Offload
	switch {
	case n == 0 || n > packet.MaxSize:
		return fmt.Errorf("inject a packet of %d bytes, want 1 to %d", n, packet.MaxSize)
	case o.NeedsCsum && int(o.CsumStart)+int(o.CsumOffset)+2 > n:
		return fmt.Errorf("%w: checksum at %d+%d of %d bytes", ErrOffload, o.CsumStart, o.CsumOffset, n)
	case o.GSO != wire.GSONone && (!o.NeedsCsum || o.Size == 0 || int(o.HdrLen) > n || o.HdrLen <= o.CsumStart):
		return fmt.Errorf("%w: segments of %d bytes behind headers of %d, of %d bytes", ErrOffload, o.Size, o.HdrLen, n)
	}
	return nil
}

// Next takes out a copy of the oldest packet that was written. It waits for one until ctx is done, and returns
// [dataplane.ErrClosed] once the port is closed and nothing is left.
func (p *Port) Next(ctx context.Context) (Packet, error) {
	select {
	case s := <-p.out.full:
		return p.takeOut(s), nil
	default:
	}
	select {
	case s := <-p.out.full:
		return p.takeOut(s), nil
	case <-ctx.Done():
		return Packet{}, ctx.Err()
	case <-p.closed:
		select { // both may have been ready
		case s := <-p.out.full:
			return p.takeOut(s), nil
		default:
			return Packet{}, dataplane.ErrClosed
		}
	}
}

func (p *Port) takeOut(s *slot) Packet {
	out := Packet{Data: append([]byte(nil), s.buf...), Offload: s.offload}
	p.out.free <- s
	return out
}

// Drain throws away what was written and not taken out, and returns how many packets that were.
func (p *Port) Drain() int {
	for n := 0; ; n++ {
		select {
		case s := <-p.out.full:
			p.out.free <- s
		default:
			return n
		}
	}
}
