package raw

import (
	"fmt"
	"net/netip"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/internal/sock"
	"github.com/warrenvpn/warren/dataplane/wire"
)

const (
	// slots is how many packets one Recv takes, slotLen how long one may be: any, since there are devices that take them whole, and
	// peers that fragment. Of what is not written to, nothing is in memory. The odd lines keep the slots' beginnings from falling
	// into the same sets of the cache.
	slots   = 64
	slotLen = 65536 + 5*64
)

// receiver is one worker's end.
type receiver struct {
	s *Socket
	q *sock.Queue
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

// take receives without waiting.
func (r *receiver) take(rx *dataplane.Rx) {
	for i := range r.q.Receive(0, slots) {
		data, truncated := r.q.Data(i)
		t := dataplane.Train{Data: data, Remote: withoutPort(r.q.Remote(i))}
		r.parseControl(r.q.Control(i), &t, rx)
		if !r.s.place.V6 && len(data) >= wire.IPv4HeaderLen { // the kernel delivers nothing else
			t.Data, t.TOS = data[min(len(data), int(data[0]&0xf)*4):], data[1]
		}
		if t.Size = len(t.Data); t.Size == 0 || truncated {
			rx.Malformed++
			continue
		}
		rx.Trains = append(rx.Trains, t)
	}
}

// report hands on the ICMP errors. What they quote begins with the ESP packet: the kernel takes the outer header off.
func (r *receiver) report(errs []sock.Error, rx *dataplane.Rx) {
	for _, e := range errs {
		e.Remote = withoutPort(e.Remote)
		rx.Errors = append(rx.Errors, dataplane.PathError(e))
	}
}

func withoutPort(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), 0) }

// parseControl reads the traffic class, which comes so over IPv6, and what was lost from the control messages.
func (r *receiver) parseControl(c []byte, t *dataplane.Train, rx *dataplane.Rx) {
	for m, rest, ok := sock.NextControl(c); ok; m, rest, ok = sock.NextControl(rest) {
		if tos, ok := m.TOS(); ok {
			t.TOS = tos
		} else if lost, ok := m.Lost(); ok {
			rx.Lost += r.q.Lost(lost)
		}
	}
}
