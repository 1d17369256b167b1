package pipe

import (
	"fmt"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
)

// reader is one receive queue.
type reader struct {
	q      *queue
	closed <-chan struct{}
	// held is a packet that found no room in the last batch; it stands first in the next.
	held *slot
}

// Read waits for an injected packet and takes what else is there.
func (r *reader) Read(b *packet.Batch) error {
	b.Reset()
	s := r.held
	r.held = nil
	if s == nil {
		var err error
		if s, err = r.wait(); err != nil {
			return err
		}
	}
	for {
		space := b.Space(len(s.buf))
		if space == nil {
			r.held = s
			if b.Len() == 0 {
				return fmt.Errorf("read a packet of %d bytes: the batch's arena is smaller", len(s.buf))
			}
			return nil
		}
		b.Commit(0, copy(space, s.buf)).Offload = s.offload
		r.q.free <- s
		select {
		case s = <-r.q.full:
		default:
			return nil
		}
	}
}

func (r *reader) wait() (*slot, error) {
	select {
	case <-r.closed:
		return nil, dataplane.ErrClosed
	default:
	}
	select {
	case s := <-r.q.full:
		return s, nil
	case <-r.closed:
		return nil, dataplane.ErrClosed
	}
}

// writer is one worker's way to the test.
type writer struct {
	q      *queue
	closed <-chan struct{}
}

// Write queues copies of the packets, and sets Drop to PortFull where there is no room, to PortDown on a closed port.
func (w *writer) Write(pkts []packet.Packet) {
	full := packet.PortFull
	select {
	case <-w.closed:
		full = packet.PortDown
	default:
	}
	for i := range pkts {
		p := &pkts[i]
		if p.Drop != packet.None {
			continue
		}
		if full == packet.PortDown {
			p.Drop = full
			continue
		}
		select {
		case s := <-w.q.free:
			s.fill(p.Bytes(), p.Offload)
			w.q.full <- s // there is room: as many slots as places
		default:
			p.Drop = packet.PortFull
		}
	}
}
