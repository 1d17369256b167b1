package raw

import (
	"fmt"
	"net/netip"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/internal/sock"
)

const (
	// slots is how many packets one Recv takes, slotLen how long one may be: a path with jumbo frames.
	slots   = 64
	slotLen = 9216 + 5*64
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
	rx.Trains, rx.Errors = rx.Trains[:0], rx.Errors[:0]
	for !r.q.Closed() {
		if r.take(rx); len(rx.Trains) > 0 {
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
		if truncated {
			continue
		}
		t := dataplane.Train{Data: data, Remote: withoutPort(r.q.Remote(i))}
		if r.s.place.V6 {
			t.TOS = trafficClass(r.q.Control(i))
		} else {
			hdr := headerLen(data)
			if hdr == 0 {
				continue // the kernel delivers no such packet
			}
			t.Data, t.TOS = data[hdr:], data[1]
		}
		if t.Size = len(t.Data); t.Size > 0 {
			rx.Trains = append(rx.Trains, t)
		}
	}
}

// report hands on the ICMP errors. What they quote begins, on IPv4, with the outer header that was sent.
func (r *receiver) report(errs []sock.Error, rx *dataplane.Rx) {
	for _, e := range errs {
		e.Remote = withoutPort(e.Remote)
		if hdr := headerLen(e.Quote); !r.s.place.V6 && hdr > 0 && e.Quote[0]>>4 == 4 && e.Quote[9] == protocolESP {
			e.Quote = e.Quote[hdr:]
		}
		rx.Errors = append(rx.Errors, dataplane.PathError(e))
	}
}

// headerLen is the length of the IPv4 header that b begins with, or 0 where there is none.
func headerLen(b []byte) int {
	if len(b) < 20 {
		return 0
	}
	if n := int(b[0]&0xf) * 4; n >= 20 && n <= len(b) {
		return n
	}
	return 0
}

func withoutPort(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), 0) }

func trafficClass(c []byte) uint8 {
	for m, rest, ok := sock.NextControl(c); ok; m, rest, ok = sock.NextControl(rest) {
		if tos, ok := m.TOS(); ok {
			return tos
		}
	}
	return 0
}
