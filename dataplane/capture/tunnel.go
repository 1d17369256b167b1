package capture

import (
	"sync"
	"sync/atomic"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
)

// Sides are what is copied of a tunnel: clear packets, sealed frames, or both.
type Sides struct{ Clear, Sealed bool }

// TapTunnel returns what copies packets of tunnels to w, for [dataplane.Plane.AddTap]. The file has an interface for each
// side: "name clear" and "name sealed". Several tunnels may share a tap, and then the interfaces.
func TapTunnel(name string, sides Sides, w *Writer) dataplane.Tap {
	t := &tunnelTap{w: w}
	if sides.Clear {
		t.clear = &side{iface: w.addInterface(name+" clear", "before Seal and after Open", nil)}
	}
	if sides.Sealed {
		o := new(outers)
		t.sealed = &side{iface: w.addInterface(name+" sealed", "sealed frames", o), outers: o}
	}
	return t
}

type tunnelTap struct {
	w             *Writer
	clear, sealed *side // nil for one that is not wanted
	// control is held by whoever is MaxWorkers.
	control sync.Mutex
}

// side is one interface of the file, with a ring for each worker that has come by.
type side struct {
	iface  int
	outers *outers
	rings  [dataplane.MaxWorkers + 1]atomic.Pointer[ring]
}

// ring returns the worker's ring. Once in a capture it makes it, which takes memory and a lock that nobody holds for long.
func (s *side) ring(w *Writer, worker int) *ring {
	r := s.rings[worker].Load()
	if r == nil {
		r = w.addRing(s.iface)
		s.rings[worker].Store(r)
	}
	return r
}

// Clear implements dataplane.Tap.
func (t *tunnelTap) Clear(worker int, out bool, pkts []packet.Packet) {
	if t.clear == nil || !t.w.live.Load() {
		return
	}
	dir := uint8(inbound)
	if out {
		dir = outbound
	}
	t.w.clear(t.clear.ring(t.w, worker), dir, pkts)
}

// Sent implements dataplane.Tap.
func (t *tunnelTap) Sent(worker int, frames []dataplane.Frame) {
	if t.sealed == nil || !t.w.live.Load() {
		return
	}
	defer t.lock(worker)()
	r := t.sealed.ring(t.w, worker)
	m := meta{kind: kindFrame, dir: outbound, time: t.w.stamp()}
	var last *dataplane.Path
	for i := range frames {
		f := &frames[i]
		if f.Path != last {
			last = f.Path
			m.under = t.sealed.outers.index(last.Underlay)
		}
		m.remote, m.tos, m.df = f.Path.Remote, f.TOS, f.DF
		r.put(&m, f.Data)
	}
	t.w.publish(r)
}

// Received implements dataplane.Tap.
func (t *tunnelTap) Received(worker int, u dataplane.Underlay, train dataplane.Train) {
	if t.sealed == nil || !t.w.live.Load() {
		return
	}
	defer t.lock(worker)()
	m := meta{kind: kindFrame, dir: inbound, time: t.w.stamp(), under: t.sealed.outers.index(u), remote: train.Remote, tos: train.TOS}
	r := t.sealed.ring(t.w, worker)
	r.putTrain(&m, &train)
	t.w.publish(r)
}

func nothing() {}

// lock has the goroutines of the control side take turns. Workers need not: each has a ring of its own.
func (t *tunnelTap) lock(worker int) (unlock func()) {
	if worker < dataplane.MaxWorkers {
		return nothing
	}
	t.control.Lock()
	return t.control.Unlock
}
