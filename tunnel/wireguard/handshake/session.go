package handshake

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"golang.zx2c4.com/wireguard/tai64n"

	"github.com/warrenvpn/warren/internal/deadline"
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
	p.begun = &begun{state: s, index: d.allocate(p), at: now}
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

// commitAnswer answers an initiation, at once or, where one of ours may be on its way, when that should have been answered.
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
	if until := p.crossing(); until.After(now) {
		p.hold(a)
		p.due[reply] = until
	} else {
		p.respond(now, a)
	}
	p.schedule()
	return None
}

// crossing is until when an answer is held back. Two who begin at the same time would send each other an initiation and a response
// almost together. Of the usual implementations an initiation ends what they have begun, so that they have no use for the
// response; wireguard-go, which works on both at the same time, may even mix the two into a session whose index nobody knows, and
// then it hears nothing until the next handshake. Held back, the answer is forgotten when the response to ours comes. Two of us do not
// hold it back equally long, so that one of two handshakes remains.
func (p *Peer) crossing() time.Time {
	if p.begun == nil {
		return time.Time{}
	}
	if p.yields() {
		return p.begun.at.Add(crossTime)
	}
	return p.begun.at.Add(2 * crossTime)
}

// yields says whether of two handshakes at the same time the peer's is the better one. Of the two sides one says so.
func (p *Peer) yields() bool {
	own := p.device.PublicKey()
	return bytes.Compare(own[:], p.public[:]) > 0
}

// hold holds an answer back, in place of another; nil is none.
func (p *Peer) hold(a *answer) {
	if p.held != nil {
		p.held.keys = transportKeys{}
	}
	p.held = a
	p.due[reply] = time.Time{}
}

// respond answers an initiation. The new session is Next until the initiator has used it, since only that shows that it has the keys
// too. Until then it sends by what it has, and so all that there is but another Next is kept.
func (p *Peer) respond(now time.Time, a *answer) {
	k := &Keypair{SendKey: a.keys.send, RecvKey: a.keys.receive, LocalIndex: p.device.allocate(p), RemoteIndex: a.remote, Created: now}
	p.hold(nil)
	to := p.keypairs
	to.Next = k
	p.rotate(to)
	p.handshaken = now
	m := Response{Sender: k.LocalIndex, Receiver: k.RemoteIndex, Noise: a.noise}
	p.send(now, m.Append(make([]byte, 0, ResponseSize)))
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

	// A session that we answered and that nobody has used may yet be used: both sides may have begun at the same time. The peer
	// sends by that or, until it hears by the new one, by what was current. Where it is used, two of us agree on one of the two.
	to := Keypairs{Previous: p.keypairs.Current, Current: k, Next: p.keypairs.Next, Crossed: p.keypairs.Crossed}
	if to.Next != nil && !p.yields() {
		to.Next, to.Crossed = nil, to.Next
	}
	p.hold(nil)
	p.rotate(to)
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
	was, kept := p.keypairs, to.all()
	p.keypairs = to
	p.device.do(Rotate{Peer: p, Keypairs: to})
	for _, k := range was.all() {
		if k != nil && !slices.Contains(kept[:], k) {
			p.device.release(k.LocalIndex)
			p.device.do(Erase{Peer: p, Keypair: k})
		}
	}
	p.due[reject] = time.Time{}
	for _, k := range kept {
		if k != nil {
			p.due[reject] = deadline.Earliest(p.due[reject], k.Created.Add(RejectAfterTime))
		}
	}
}

// expire drops the keypairs that are too old.
func (p *Peer) expire(now time.Time) {
	k := p.keypairs
	for _, slot := range []**Keypair{&k.Previous, &k.Current, &k.Next, &k.Crossed} {
		if *slot != nil && now.Sub((*slot).Created) >= RejectAfterTime {
			*slot = nil
		}
	}
	p.rotate(k)
}
