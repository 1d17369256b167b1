package dataplane

import (
	"slices"

	"github.com/warrenvpn/warren/dataplane/packet"
)

// Tap is given the packets of tunnels, to copy them. Workers call it in the middle of their batch, so it must not wait, and
// keeps nothing that it is given. worker is below MaxWorkers, and then the only one that calls with that number at a time; or it is
// MaxWorkers for the control side, which is any number of goroutines.
type Tap interface {
	// Clear is given clear packets: on their way out right before they are sealed, else right after they were opened. Those
	// whose Drop is set are not among them any more.
	Clear(worker int, out bool, pkts []packet.Packet)
	// Sent is given frames of one tunnel right before they leave, as they leave.
	Sent(worker int, frames []Frame)
	// Received is given datagrams of one tunnel before they are opened: nobody knows yet who they are from.
	Received(worker int, u Underlay, t Train)
}

// Finder is an Opener that can tell which tunnel a datagram would belong to.
type Finder interface {
	// Find returns the index of the tunnel that the datagram names. Workers call it.
	Find(datagram []byte) (tunnel uint32, ok bool)
}

// taps are who copies the packets of which tunnels: immutable, and nil while there is nobody, so that the packet path looks at
// one pointer a run. It stands beside the tunnels' own snapshot, which every run reads.
type taps map[uint32][]Tap

// AddTap gives the packets of a tunnel to t from now on, as well as to others. It reports false where there is no such
// tunnel. With the tunnel the tap goes too.
func (p *Plane) AddTap(tunnel uint32, t Tap) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tunnels.get(tunnel) == nil {
		return false
	}
	p.changeTaps(tunnel, func(ts []Tap) []Tap { return append(slices.Clip(ts), t) })
	return true
}

// RemoveTap ends what AddTap began. A worker may still be in a last call.
func (p *Plane) RemoveTap(tunnel uint32, t Tap) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changeTaps(tunnel, func(ts []Tap) []Tap {
		return slices.DeleteFunc(slices.Clone(ts), func(o Tap) bool { return o == t })
	})
}

// changeTaps publishes another snapshot. The caller holds p.mu.
func (p *Plane) changeTaps(tunnel uint32, change func([]Tap) []Tap) {
	next := taps{}
	if old := p.tunnels.taps.Load(); old != nil {
		for i, ts := range *old {
			next[i] = ts
		}
	}
	if next[tunnel] = change(next[tunnel]); len(next[tunnel]) == 0 {
		delete(next, tunnel)
	}
	if len(next) == 0 {
		p.tunnels.taps.Store(nil)
		return
	}
	p.tunnels.taps.Store(&next)
}

// Sending gives the taps the frames of one underlay that leave without a worker, such as handshakes and keepalives. It is called
// before they do.
func (p *Plane) Sending(frames []Frame) {
	if ts := p.tunnels.taps.Load(); ts != nil {
		ts.sent(MaxWorkers, frames)
	}
}

// Arrived gives the tunnel's taps a datagram that was taken for control before anybody knew that it is the tunnel's.
func (p *Plane) Arrived(tunnel uint32, u Underlay, t Train) {
	if ts := p.tunnels.taps.Load(); ts != nil {
		ts.datagrams(MaxWorkers, u, t, tunnel, t.Data)
	}
}

// tapClear shows clear packets to who captures their tunnel, once.
func (w *worker) tapClear(tunnel uint32, out bool, pkts []packet.Packet) {
	if ts := w.plane.tunnels.taps.Load(); ts != nil && !w.offered {
		ts.clear(w.ctx.Worker, tunnel, out, pkts)
	}
}

func (ts taps) clear(worker int, tunnel uint32, out bool, pkts []packet.Packet) {
	for _, t := range ts[tunnel] {
		t.Clear(worker, out, pkts)
	}
}

// sent shows frames, those of one tunnel together.
func (ts taps) sent(worker int, frames []Frame) {
	for lo := 0; lo < len(frames); {
		hi := lo + 1
		for hi < len(frames) && frames[hi].Tunnel == frames[lo].Tunnel {
			hi++
		}
		for _, t := range ts[frames[lo].Tunnel] {
			t.Sent(worker, frames[lo:hi])
		}
		lo = hi
	}
}

// received shows the datagrams of trains, those of one tunnel together.
func (ts taps) received(worker int, u Underlay, o Opener, trains []Train) {
	f, ok := o.(Finder)
	if !ok {
		return
	}
	for i := range trains {
		part := trains[i]
		rest, held, of := part.Data, 0, uint32(0) // rest[:held] are of one tunnel
		for held < len(rest) {
			d := rest[held:]
			if part.Size > 0 && len(d) > part.Size {
				d = d[:part.Size]
			}
			tunnel, ok := f.Find(d)
			if !ok {
				tunnel = 0
			}
			if tunnel != of {
				ts.datagrams(worker, u, part, of, rest[:held])
				rest, held, of = rest[held:], 0, tunnel
			}
			held += len(d)
		}
		ts.datagrams(worker, u, part, of, rest)
	}
}

func (ts taps) datagrams(worker int, u Underlay, part Train, tunnel uint32, data []byte) {
	if part.Data = data; len(data) == 0 {
		return
	}
	for _, t := range ts[tunnel] {
		t.Received(worker, u, part)
	}
}
