package handshake

import (
	"net/netip"
	"time"

	"golang.zx2c4.com/wireguard/tai64n"
)

// initiate begins a handshake, or another try of one. A fresh one has all of RekeyAttemptTime before it; a try of the same has
// what is left. There is never more than one handshake message in RekeyTimeout: what comes too early is done then.
func (p *Peer) initiate(now time.Time, fresh bool) {
	if fresh || p.firstTry.IsZero() {
		p.firstTry = now
	}
	if !p.handshaken.IsZero() && now.Sub(p.handshaken) < RekeyTimeout {
		if p.due[retry].IsZero() {
			p.due[retry] = p.handshaken.Add(RekeyTimeout + p.jitter())
		}
		return
	}
	p.handshaken = now
	p.due[retry] = now.Add(RekeyTimeout + p.jitter())

	d := p.device
	id := d.id.Load()
	secret, err := p.secretWith(id)
	if err != nil {
		return // AddPeer refuses such a key, and what makes it weak is the same for every private key
	}
	s, noise, err := initiate(id, p.public, secret, p.stamp())
	if err != nil {
		return // nothing in it depends on the other side
	}
	if d.keyLog != nil {
		d.keyLog(s.ephemeralKeys(p.public, p.PresharedKey()))
	}
	p.forget()
	p.begun = &begun{state: s, index: d.allocate(p)}
	m := Initiation{Sender: p.begun.index, Noise: noise}
	p.send(now, m.Append(make([]byte, 0, InitiationSize)))
}

// stamp is the timestamp of an initiation: the time of day, but always later than the last, so that a clock that is set back while
// we run does not matter.
func (p *Peer) stamp() tai64n.Timestamp {
	at := stamp(p.device.wall())
	if !at.After(p.stamped) {
		at = next(p.stamped)
	}
	p.stamped = at
	return at
}

// send sends a handshake message.
func (p *Peer) send(now time.Time, b []byte) {
	p.purse.sign(now, p.public, b)
	p.device.do(Send{Peer: p, Bytes: b})
	p.wentOut(now, false)
}

// commitAnswer answers an initiation. The new session is Next until the initiator has used it, since only that shows that it
// has the keys too.
func (d *Device) commitAnswer(now time.Time, a *answer, from netip.AddrPort) Drop {
	p := a.peer
	if p.gone || a.id != d.id.Load() {
		return Stale
	}
	p.mu.Lock()
	drop := p.repeated(now, a.at)
	if drop == None {
		p.newest, p.consumed = a.at, now
	}
	p.mu.Unlock()
	if drop != None {
		return drop
	}
	d.do(Roam{Peer: p, From: from})
	p.cameIn(now, false)
	k := &Keypair{SendKey: a.keys.send, RecvKey: a.keys.receive, LocalIndex: d.allocate(p), RemoteIndex: a.remote, Created: now}
	p.rotate(Keypairs{Current: p.keypairs.Current, Next: k})
	p.handshaken = now
	m := Response{Sender: k.LocalIndex, Receiver: k.RemoteIndex, Noise: a.noise}
	p.send(now, m.Append(make([]byte, 0, ResponseSize)))
	p.schedule()
	return None
}

// commitResponse completes the handshake that we began.
func (d *Device) commitResponse(now time.Time, m Response, from netip.AddrPort) Drop {
	p := d.owners[m.Receiver]
	if p == nil || p.begun == nil || p.begun.index != m.Receiver {
		return UnknownIndex
	}
	keys, err := p.begun.state.readResponse(p.PresharedKey(), &m.Noise)
	if err != nil {
		return BadHandshake
	}
	k := &Keypair{SendKey: keys.send, RecvKey: keys.receive, LocalIndex: m.Receiver, RemoteIndex: m.Sender, Initiator: true, Created: now}
	p.begun.state.x.erase()
	p.begun = nil // its index is the keypair's now
	d.do(Roam{Peer: p, From: from})
	p.cameIn(now, false)

	// A session that we answered and that nobody has used may yet be used: both sides may have begun at the same time.
	previous := p.keypairs.Current
	if p.keypairs.Next != nil {
		previous = p.keypairs.Next
	}
	p.rotate(Keypairs{Previous: previous, Current: k})
	p.completed(now)
	d.do(SendKeepalive{Peer: p, Confirm: true}) // the responder may not send before it has heard by these keys
	p.wentOut(now, false)
	p.schedule()
	return None
}

// commitCookie keeps a cookie for the next try.
func (d *Device) commitCookie(now time.Time, m CookieReply) Drop {
	p := d.owners[m.Receiver]
	if p == nil {
		return UnknownIndex
	}
	if !p.purse.take(now, p.public, &m) {
		return BadCookie
	}
	return None
}

// completed ends the tries: there is a session that both sides know of.
func (p *Peer) completed(now time.Time) {
	p.forget()
	p.due[retry] = time.Time{}
	p.firstTry = time.Time{}
	p.lastMinute = false
	p.established = now
}

// rotate makes the keypairs these. Those that are not among them are erased.
func (p *Peer) rotate(to Keypairs) {
	was := p.keypairs
	p.keypairs = to
	p.device.do(Rotate{Peer: p, Keypairs: to})
	for _, k := range was.all() {
		if k != nil && k != to.Previous && k != to.Current && k != to.Next {
			p.device.release(k.LocalIndex)
			p.device.do(Erase{Peer: p, Keypair: k})
		}
	}
	p.due[reject] = time.Time{}
	for _, k := range to.all() {
		if k != nil {
			p.due[reject] = earlier(p.due[reject], k.Created.Add(RejectAfterTime))
		}
	}
}

// expire drops the keypairs that are too old.
func (p *Peer) expire(now time.Time) {
	k := p.keypairs
	for _, slot := range []**Keypair{&k.Previous, &k.Current, &k.Next} {
		if *slot != nil && now.Sub((*slot).Created) >= RejectAfterTime {
			*slot = nil
		}
	}
	p.rotate(k)
}
