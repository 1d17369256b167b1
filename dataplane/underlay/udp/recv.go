package udp

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/internal/sock"
)

const (
	// trainSlots is how many trains one Recv takes where the kernel coalesces, datagramSlots where it does not.
	trainSlots    = 32
	datagramSlots = 64
	// slotBytes holds the largest train, and the largest datagram: there are devices that take them whole, and peers that fragment.
	// Of what is not written to, nothing is in memory. The odd lines keep the slots' beginnings from falling into the same sets of
	// the cache.
	slotBytes = 65536 + 5*64
	// enough is how much one call may take before the worker looks at it: what fits a core's own cache.
	enough = 192 << 10
	// atOnce is how many messages one call asks for.
	atOnce = 8
)

// receiver is one worker's end of a socket.
type receiver struct {
	s *Socket
	q *sock.Queue
}

func newReceiver(s *Socket, i int) *receiver {
	slots := trainSlots
	if !s.gro {
		slots = datagramSlots
	}
	return &receiver{s, s.socks.NewQueue(i, s.place.V6, slots, slotBytes)}
}

// Recv implements dataplane.Receiver.
func (r *receiver) Recv(rx *dataplane.Rx) error {
	r.q.Lock()
	defer r.q.Unlock()
	rx.Reset()
	for !r.q.Closed() {
		if r.take(rx); len(rx.Trains) > 0 || rx.Malformed > 0 {
			r.report(r.q.Busy(), rx)
			return nil
		}
		errs, err := r.q.Wait()
		if err != nil {
			return fmt.Errorf("wait on %s: %w", r.s.Name(), err)
		}
		if r.report(errs, rx); len(rx.Errors) > 0 {
			return nil
		}
	}
	return dataplane.ErrClosed
}

// report hands on the ICMP errors. What they quote begins behind the UDP header.
func (r *receiver) report(errs []sock.Error, rx *dataplane.Rx) {
	for _, e := range errs {
		rx.Errors = append(rx.Errors, dataplane.PathError(e))
	}
}

// take receives without waiting, until there is nothing more, or enough.
func (r *receiver) take(rx *dataplane.Rx) {
	for next, size := 0, 0; next < r.q.Slots() && size < enough; {
		want := min(atOnce, r.q.Slots()-next)
		n := r.q.Receive(next, want)
		for i := next; i < next+n; i++ {
			size += r.train(i, rx)
		}
		if next += n; n < want {
			return
		}
	}
}

// train reads one message. It returns its length.
func (r *receiver) train(i int, rx *dataplane.Rx) int {
	data, truncated := r.q.Data(i)
	n := len(data)
	if n == 0 || truncated {
		rx.Malformed++
		return n
	}
	t := dataplane.Train{Data: data, Size: n, Remote: r.q.Remote(i)}
	r.parseControl(r.q.Control(i), &t, rx)
	if r.swallow(&t); len(t.Data) > 0 {
		rx.Trains = append(rx.Trains, t)
	}
	return n
}

// swallow takes NAT keepalives (RFC 3948 section 2.3) off a train: one that came alone, or as the shorter one at the end.
func (r *receiver) swallow(t *dataplane.Train) {
	for last := len(t.Data) - 1; last >= 0 && last%t.Size == 0 && t.Data[last] == 0xff; last-- {
		r.s.keepalives.Add(1)
		t.Data = t.Data[:last]
	}
	t.Size = min(t.Size, len(t.Data))
}

// parseControl reads segment size, TOS and what was lost from the control messages.
func (r *receiver) parseControl(c []byte, t *dataplane.Train, rx *dataplane.Rx) {
	for m, rest, ok := sock.NextControl(c); ok; m, rest, ok = sock.NextControl(rest) {
		if tos, ok := m.TOS(); ok {
			t.TOS = tos
		} else if m.Level == unix.IPPROTO_UDP && m.Type == unix.UDP_GRO && len(m.Data) >= 2 {
			if gso := int(binary.NativeEndian.Uint16(m.Data)); gso > 0 && gso < t.Size {
				t.Size = gso
			}
		} else if lost, ok := m.Lost(); ok {
			rx.Lost += r.q.Lost(lost)
		}
	}
}
