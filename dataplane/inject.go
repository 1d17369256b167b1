package dataplane

import (
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
)

// Held is a packet that somebody kept while it waited for a key.
type Held struct {
	Data    []byte
	Offload wire.Offload
	Ingress uint32
	// Offered says that it has been on its way into the tunnel before, and was captured then.
	Offered bool
}

// Inject sends packets into a tunnel for the control side, as a worker that had them in hand would: packets that waited, or
// that the engine makes itself. It may be called while the plane runs, by any number of goroutines, which take turns. What the
// tunnel refuses is counted, and answered if it came out of another tunnel: the way back to a port is not known any more.
func (p *Plane) Inject(index uint32, held []Held) error {
	p.injecting.Lock()
	defer p.injecting.Unlock()
	if p.injector == nil {
		w := newWorker(p, "control")
		p.mu.Lock()
		err := p.start([]*worker{w})
		p.mu.Unlock()
		if err != nil {
			return err
		}
		p.injector = w
	}
	e := p.tunnels.get(index)
	if e == nil {
		p.injector.counters.Drop(packet.TunnelDown, 0, uint64(len(held)))
		return nil
	}
	p.injector.inject(e, held)
	return nil
}

func (w *worker) inject(e *tunnelEntry, held []Held) {
	w.origin = origin{vrf: e.vrf}
	for i := range held {
		h := &held[i]
		b := packet.NewBatch(packet.HeadRoom + len(h.Data) + packet.TailRoom + 64)
		copy(b.Space(len(h.Data)), h.Data)
		pkt := b.Commit(0, len(h.Data))
		pkt.Offload, pkt.Ingress = h.Offload, h.Ingress
		if wire.Parse(pkt.Bytes(), &pkt.Info, h.Offload.GSO != wire.GSONone) != wire.OK {
			w.counters.Drop(packet.Malformed, e.index, 1)
			continue
		}
		w.offered = h.Offered
		w.intoTunnel(e, b.Packets())
		w.offered = false
		w.ctx.Tx.Flush()
	}
	w.sendReplies()
}
