package handshake

import (
	"time"

	"github.com/warrenvpn/warren/internal/deadline"
)

// The constants of the paper's section 6.1, and what else it says in numbers.
const (
	RekeyAfterMessages  = 1 << 60
	RejectAfterMessages = 1<<64 - 1<<13 - 1
	RekeyAfterTime      = 120 * time.Second
	RejectAfterTime     = 180 * time.Second
	RekeyAttemptTime    = 90 * time.Second
	RekeyTimeout        = 5 * time.Second
	KeepaliveTimeout    = 10 * time.Second
	CookieRefreshTime   = 120 * time.Second

	// rekeyJitter is the most that is added to RekeyTimeout, so that two who began at the same time do not go on so.
	rekeyJitter = 333 * time.Millisecond
	// initiationInterval is how close to each other two initiations of a peer may be answered.
	initiationInterval = 20 * time.Millisecond
	// crossTime is how long after an initiation of ours the answer to one of the peer's is held back; twice that where our
	// handshake is the better one.
	crossTime = 50 * time.Millisecond
	// tickPeers is for how many peers a Tick works at most, since each may begin a handshake.
	tickPeers = 64
)

// The timers of a peer.
const (
	retry      = iota // the handshake is tried again, or given up
	passive           // a keepalive, since data came in and nothing went out
	silence           // a handshake, since data went out and nothing came in
	persistent        // a keepalive, since nothing went or came
	reject            // the oldest keypair is too old
	reply             // the answer that was held back is sent
	timerCount
)

// Deadline is when Tick is to be called next; zero is never. It is never too late, and may be too early.
func (d *Device) Deadline() time.Time {
	_, at := d.timers.First()
	return at
}

// Tick does what is due. It works for some peers only; while there are more, Deadline is not after now, so that messages can
// be handled in between.
func (d *Device) Tick(now time.Time) {
	for range tickPeers {
		p, at := d.timers.First()
		if at.IsZero() || at.After(now) {
			return
		}
		p.fire(now)
		d.timers.Set(p, p.earliest())
	}
}

// fire does what is due for a peer. Keys come first: what is too old is not used by what follows.
func (p *Peer) fire(now time.Time) {
	if p.took(reject, now) {
		p.expire(now)
	}
	if p.took(reply, now) && p.held != nil {
		p.respond(now, p.held)
	}
	if p.took(retry, now) {
		if now.Sub(p.firstTry) >= RekeyAttemptTime {
			p.giveUp()
		} else {
			p.initiate(now, false)
		}
	}
	if p.took(passive, now) {
		p.keepalive(now)
	}
	if p.took(silence, now) {
		p.unanswered = time.Time{}
		p.initiate(now, true)
	}
	if p.took(persistent, now) {
		p.due[persistent] = now.Add(p.interval)
		p.keepalive(now)
	}
}

// took says that a timer was due, and takes it.
func (p *Peer) took(timer int, now time.Time) bool {
	if p.due[timer].IsZero() || p.due[timer].After(now) {
		return false
	}
	p.due[timer] = time.Time{}
	return true
}

func (p *Peer) giveUp() {
	p.forget()
	p.firstTry = time.Time{}
	p.due[passive] = time.Time{}
	p.device.do(GiveUp{Peer: p})
}

// keepalive sends a keepalive, or begins a session so that there can be one.
func (p *Peer) keepalive(now time.Time) {
	if p.keypairs.Current == nil {
		p.initiate(now, true)
		return
	}
	p.device.do(SendKeepalive{Peer: p})
	p.Sent(now, false)
}

// wentOut sets the timers for authenticated packets that went out. The caller may be behind: at is compared with when the other
// direction was last used.
func (p *Peer) wentOut(at time.Time, data bool) {
	if at.After(p.sent) {
		p.sent = at
	}
	if since := p.due[passive].Add(-KeepaliveTimeout); !p.due[passive].IsZero() && !at.Before(since) {
		p.due[passive] = time.Time{}
	}
	if data && p.unanswered.IsZero() && !at.Before(p.received) {
		p.unanswered = at
		p.due[silence] = at.Add(KeepaliveTimeout + RekeyTimeout + p.jitter())
	}
	p.traversed(at)
}

// cameIn sets the timers for authenticated packets that came in.
func (p *Peer) cameIn(at time.Time, data bool) {
	if at.After(p.received) {
		p.received = at
	}
	if !p.unanswered.IsZero() && !at.Before(p.unanswered) {
		p.unanswered = time.Time{}
		p.due[silence] = time.Time{}
	}
	if data && p.due[passive].IsZero() && !at.Before(p.sent) {
		p.due[passive] = at.Add(KeepaliveTimeout)
	}
	p.traversed(at)
}

func (p *Peer) traversed(at time.Time) {
	if p.interval > 0 {
		p.due[persistent] = at.Add(p.interval)
	}
}

func (p *Peer) jitter() time.Duration { return p.device.jitter(rekeyJitter) }

func (p *Peer) earliest() time.Time { return deadline.Earliest(p.due[:]...) }

// schedule sees to it that the peer is worked for in time. A timer that was put off stays where it was until then: that
// happens with every packet, and its being due less often.
func (p *Peer) schedule() {
	t, at := p.earliest(), p.device.timers.At(p)
	if !t.IsZero() && (at.IsZero() || t.Before(at)) {
		p.device.timers.Set(p, t)
	}
}
