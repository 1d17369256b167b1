package wireguard

import (
	"sync"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
)

// How many packets wait at the most: of one peer, and of all peers of a device.
const (
	keepPeer   = 64
	keepDevice = 1 << 14
)

// waiting are a peer's packets without a session, the oldest first.
type waiting struct {
	mu    sync.Mutex
	queue []kept
}

// kept is the copy of a packet, with room around it to be sealed in place: buf[headerLen:headerLen+n].
type kept struct {
	buf []byte
	n   int
	tos uint8
	df  bool
}

func (w *waiting) any() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.queue) > 0
}

// wait keeps copies of packets until there is a session, super-packets as their segments. If there is one by now it keeps
// nothing and returns it. Where there are too many, the oldest of the peer go.
func (p *Peer) wait(ctx *dataplane.Ctx, pkts []packet.Packet) (refused int, kp *keypair) {
	w := &p.waiting
	w.mu.Lock()
	// Control publishes a session under this lock, when nothing waits.
	if kp = p.current.Load(); kp != nil {
		w.mu.Unlock()
		return 0, kp
	}
	if p.closed.Load() {
		w.mu.Unlock()
		return refuse(pkts, packet.TunnelDown), nil
	}
	lost := uint64(0)
	cut := &p.device.worker(ctx.Worker).cut
	for i := range pkts {
		c := &pkts[i]
		switch {
		case c.Drop != packet.None:
		case c.Offload.GSO == wire.GSONone:
			if c.Offload.NeedsCsum {
				wire.CompleteChecksum(c.Bytes(), &c.Offload)
			}
			lost += p.keep(c.Bytes(), c)
		case !cut.Reset(c.Buf, c.Off, c.Len, &c.Offload):
			c.Drop = packet.BadOffload
		default:
			for off, n := cut.Next(); n > 0; off, n = cut.Next() {
				lost += p.keep(c.Buf[off:off+n], c)
			}
		}
		if c.Drop != packet.None {
			refused++
		}
	}
	w.mu.Unlock()
	if lost > 0 {
		ctx.Counters.Drop(packet.NoSA, p.index, lost)
	}
	if refused < len(pkts) {
		p.note(noteWaits)
	}
	return refused, nil
}

// keep keeps a copy of b, in place of the oldest where there are too many, and returns how many packets that cost. The caller
// holds waiting.mu.
func (p *Peer) keep(b []byte, from *packet.Packet) (lost uint64) {
	w, total := &p.waiting, &p.device.kept
	var buf []byte
	if total.Add(1) > keepDevice || len(w.queue) == keepPeer {
		total.Add(-1)
		lost = 1
		if len(w.queue) == 0 {
			return lost
		}
		buf = w.queue[0].buf
		copy(w.queue, w.queue[1:])
		w.queue = w.queue[:len(w.queue)-1]
	}
	if room := overhead + len(b) + padTo; cap(buf) < room {
		buf = make([]byte, room)
	} else {
		buf = buf[:room]
	}
	copy(buf[headerLen:], b)
	w.queue = append(w.queue, kept{buf: buf, n: len(b), tos: from.Info.TOS, df: from.Info.Flags&wire.FlagDF != 0})
	return lost
}

// takeKept takes all that waits. The caller holds waiting.mu.
func (p *Peer) takeKept() []kept {
	q := p.waiting.queue
	p.waiting.queue = nil
	p.device.kept.Add(int32(-len(q)))
	return q
}

// dropKept drops all that waits. The caller holds Device.mu.
func (p *Peer) dropKept() {
	p.waiting.mu.Lock()
	defer p.waiting.mu.Unlock()
	p.lost += uint64(len(p.takeKept()))
}

// rounds is how often publish sends what has come to wait meanwhile before it lets newer packets go at the same time.
const rounds = 4

// publish makes a session current, after what waits was sent by it. It says whether something was. The caller holds Device.mu.
func (p *Peer) publish(kp *keypair) (sent bool) {
	for i := 0; ; i++ {
		p.waiting.mu.Lock()
		queue := p.takeKept()
		last := len(queue) == 0 || i == rounds
		if last {
			p.current.Store(kp)
		}
		p.waiting.mu.Unlock()
		if last {
			p.keepNear()
		}
		sent = p.sendKept(kp, queue) || sent
		if last {
			return sent
		}
	}
}

// promote is told that the peer has the keys of a session that is not confirmed. Where there is another, packets go by the new one
// from now on: a peer that has started again does not know the other. Without any control makes it current, after what waits.
func (p *Peer) promote(kp *keypair) {
	p.waiting.mu.Lock()
	if !kp.confirmed.Load() && p.current.Load() != nil {
		p.current.Store(kp)
	}
	p.waiting.mu.Unlock()
	p.keepNear()
	p.heard.Store(kp)
	p.note(noteConfirmed)
}

// retire keeps sessions from being promoted.
func (p *Peer) retire(kps ...*keypair) {
	p.waiting.mu.Lock()
	defer p.waiting.mu.Unlock()
	for _, k := range kps {
		if k != nil {
			k.confirmed.Store(true)
		}
	}
}

// sendKept seals what waited and sends it. The caller holds Device.mu.
func (p *Peer) sendKept(kp *keypair, queue []kept) (sent bool) {
	path := p.path.Load()
	if path == nil || len(queue) == 0 {
		p.lost += uint64(len(queue))
		return false
	}
	d := p.device
	r, room, mtu := kp.reserve(len(queue)), int(p.outer.Load()), int(p.inner.Load())
	frames := make([]dataplane.Frame, 0, len(queue))
	bytes := uint64(0)
	for i := range queue {
		k := &queue[i]
		if r.left == 0 {
			p.lost += uint64(len(queue) - i)
			break
		}
		body := padded(k.n, mtu)
		b := k.buf[:overhead+body]
		clear(b[headerLen+k.n : headerLen+body])
		r.seal(d.scratchMu, b, b[headerLen:headerLen+body])
		frames = append(frames, dataplane.Frame{Data: b, Path: path, TOS: k.tos, DF: k.df && len(b) <= room, Tunnel: p.index})
		bytes += uint64(len(b))
		p.keptBytes += uint64(k.n)
	}
	p.keptSent += uint64(len(frames))
	kp.sent.Add(bytes)
	d.send(path.Underlay, frames)
	for i := range frames {
		if frames[i].Drop != packet.None {
			p.lost++
		}
	}
	p.note(noteSent)
	return len(frames) > 0
}
