package wireguard

import (
	"context"
	"slices"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/internal/deadline"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

// What runs beside the workers:
//
//	control     takes notes, ticks timers, tells events: one goroutine
//	shakeHands  takes handshake messages from the inbox: one goroutine for each processor
//	obey        carries out what the handshake machine wants done, for both and for whoever configures

const (
	// noteEvery is how close to each other control looks at notes that are not urgent, which is how exact timers are.
	noteEvery = 25 * time.Millisecond
	// atOnce is how many peers control works for before it lets others have the machine.
	atOnce = 32

	// handshakeTOS is AF41, as Linux marks them.
	handshakeTOS = 0x88
)

// control is the loop of the control goroutine.
func (d *Device) control(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var taken time.Time
	for {
		now := d.now()
		urgent := d.notes.urgent.Swap(false)
		if d.notes.any() && (urgent || now.Sub(taken) >= noteEvery) {
			d.takeNotes()
			taken = now
		}
		next := deadline.Earliest(d.tick(), d.forgetMTUs(now))
		if d.notes.any() {
			next = deadline.Earliest(next, taken.Add(noteEvery))
		}
		d.tell()
		sleep := time.Hour
		if !next.IsZero() {
			sleep = max(0, next.Sub(d.now()))
		}
		timer.Reset(sleep)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-d.poke:
		}
	}
}

// takeNotes tells the machine what workers saw.
func (d *Device) takeNotes() {
	held := 0
	var now time.Time
	d.notes.take(func(p *Peer, bits uint32) {
		if held == 0 {
			d.mu.Lock()
			now = d.now()
		}
		p.saw(now, bits)
		d.obey()
		if held++; held == atOnce {
			d.mu.Unlock()
			held = 0
		}
	})
	if held > 0 {
		d.mu.Unlock()
	}
}

// saw tells the machine what workers saw of a peer. Where packets went both ways since it was last told, it is as if the last
// had come in: at worst that costs a keepalive, the other way round it would cost a handshake.
func (p *Peer) saw(now time.Time, bits uint32) {
	if bits&noteSent != 0 {
		p.hs.Sent(now, true)
		if kp := p.current.Load(); kp != nil {
			next := kp.next.Load()
			if next >= sendLimit {
				next = handshake.RejectAfterMessages
			}
			p.hs.Counter(now, kp.hs, next)
		}
	}
	if bits&(noteReceived|noteKeepalive|noteConfirmed) != 0 {
		var by *handshake.Keypair
		if kp := p.heard.Swap(nil); kp != nil {
			by = kp.hs
		}
		p.hs.Received(now, bits&noteReceived != 0, by)
		if p.current.Load() != nil {
			p.set(Up) // it may have been given up before its keys were
		}
	}
	if bits&noteWaits != 0 {
		p.hs.NeedSession(now)
	}
	if bits&noteMoved != 0 {
		p.settleIn(now)
	}
}

// tick lets the machine do what is due, and returns when there is more.
func (d *Device) tick() time.Time {
	for {
		d.mu.Lock()
		due, now := d.hs.Deadline(), d.now()
		if due.IsZero() || due.After(now) {
			d.armed = due
			d.mu.Unlock()
			return due
		}
		d.hs.Tick(now)
		d.obey()
		d.mu.Unlock()
	}
}

// tell tells what has happened.
func (d *Device) tell() {
	d.mu.Lock()
	events := d.events
	d.events = nil
	d.mu.Unlock()
	for _, e := range events {
		e.tell(e.state)
	}
}

// obey carries out what the machine wants done. The caller holds mu.
func (d *Device) obey() {
	d.carryOut()
	d.flush()
}

// carryOut is obey, but for sending handshake messages.
func (d *Device) carryOut() {
	var flushed *Peer // packets went to it just now, which do for a keepalive
	for _, a := range d.hs.Actions() {
		switch a := a.(type) {
		case handshake.Send:
			d.sendHandshake(a)
		case handshake.Rotate:
			p := a.Peer.Owner().(*Peer)
			if p.rotate(a.Keypairs) {
				flushed = p
			}
		case handshake.SendKeepalive:
			if p := a.Peer.Owner().(*Peer); p != flushed {
				p.sendKeepalive()
			}
		case handshake.Roam:
			p := a.Peer.Owner().(*Peer)
			p.arrived(d.inHand)
			p.moved(d.via, a.From)
		case handshake.GiveUp:
			p := a.Peer.Owner().(*Peer)
			p.dropKept()
			p.set(Down)
		case handshake.Erase: // rotate has taken the keypair away
		}
	}
}

// arrived is told of a handshake message once it has proved to be the peer's.
func (p *Peer) arrived(m *message) {
	p.received += uint64(m.n)
	if taps := p.device.taps; taps != nil {
		taps.Arrived(p.index, m.underlay, dataplane.Train{Data: m.bytes[:m.n], Remote: m.from})
	}
}

// sendHandshake lets the next flush send a message.
func (d *Device) sendHandshake(a handshake.Send) {
	var path *dataplane.Path
	f := dataplane.Frame{Data: a.Bytes, TOS: handshakeTOS}
	if a.Peer != nil {
		p := a.Peer.Owner().(*Peer)
		path, f.Tunnel = p.path.Load(), p.index
		p.sent += uint64(len(a.Bytes))
	}
	if a.To.IsValid() {
		path = &dataplane.Path{Underlay: d.via, Remote: a.To}
	}
	if path != nil {
		f.Path = path
		d.unsent = append(d.unsent, f)
	}
}

// flush sends the handshake messages, those that go through the same underlay together. The caller holds mu.
func (d *Device) flush() {
	for rest := d.unsent; len(rest) > 0; {
		u, n := rest[0].Path.Underlay, 1
		for n < len(rest) && rest[n].Path.Underlay == u {
			n++
		}
		d.send(u, rest[:n])
		rest = rest[n:]
	}
	clear(d.unsent)
	d.unsent = d.unsent[:0]
}

// sendKeepalive sends an empty transport message.
func (p *Peer) sendKeepalive() {
	kp, path := p.current.Load(), p.path.Load()
	if kp == nil || path == nil {
		return
	}
	r := kp.reserve(1)
	if r.left == 0 {
		return
	}
	b := make([]byte, overhead)
	r.seal(p.device.scratchMu, b, nil)
	kp.sent.Add(uint64(len(b)))
	p.device.send(path.Underlay, []dataplane.Frame{{Data: b, Path: path, Tunnel: p.index}})
}

// send sends what does not come from a worker, if the underlay has not been removed. The caller holds mu.
func (d *Device) send(u dataplane.Underlay, frames []dataplane.Frame) {
	for _, o := range d.underlays {
		if o.underlay == u {
			if d.taps != nil {
				d.taps.Sending(frames)
			}
			o.sender.Send(frames)
			return
		}
	}
	for i := range frames {
		frames[i].Drop = packet.UnderlayUnreachable
	}
}

// rotate makes the peer's sessions these, and says whether packets that waited were sent.
func (p *Peer) rotate(to handshake.Keypairs) (flushed bool) {
	was := p.sessions
	p.sessions = [...]*keypair{p.session(to.Previous), p.session(to.Current), p.session(to.Next), p.session(to.Crossed)}
	previous, current, crossed := p.sessions[0], p.sessions[1], p.sessions[3]
	p.retire(previous, current, crossed)
	for _, k := range was {
		if k != nil && !slices.Contains(p.sessions[:], k) {
			p.retire(k)
			p.device.senders.Remove(k.remote, p)
			p.sent += k.sent.Load()
			p.received += k.receivedBytes()
		}
	}
	if previous != nil {
		previous.trusted.Store(false)
	}
	switch {
	case current != nil:
		if current != p.current.Load() {
			flushed = p.publish(current)
		}
		p.set(Up)
	default:
		p.current.Store(nil)
		p.keepNear()
		if p.state == Up {
			p.set(Idle)
		}
	}
	return flushed
}

// session returns the peer's keypair for the machine's, a new one where it is new.
func (p *Peer) session(k *handshake.Keypair) *keypair {
	if k == nil {
		return nil
	}
	for _, kp := range p.sessions {
		if kp != nil && kp.hs == k {
			return kp
		}
	}
	kp := newKeypair(p, k)
	if !p.device.indices.Publish(k.LocalIndex, kp) {
		return nil // it was rotated out again by the same call
	}
	p.device.senders.Add(kp.remote, p)
	return kp
}
