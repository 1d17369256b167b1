package handshake

import (
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/tai64n"

	"github.com/warrenvpn/warren/internal/deadline"
)

// PeerConfig is what is set of a peer.
type PeerConfig struct {
	PublicKey PublicKey
	// PresharedKey is all zero where there is none.
	PresharedKey PresharedKey
	// PersistentKeepalive is after how long a silence in both directions a keepalive is sent; 0 is never.
	PersistentKeepalive time.Duration
	// Owner is for whoever carries out the actions; the machine only gives it back.
	Owner any
}

// A Peer is one of a Device's peers. Its methods are for the owner of the Device.
type Peer struct {
	device *Device
	public PublicKey
	owner  any
	gone   bool

	mu       sync.Mutex // what Prepare reads
	psk      PresharedKey
	secret   [KeySize]byte // of the two static keys, with secretOf
	secretOf *identity
	newest   tai64n.Timestamp // of the initiations that were answered
	consumed time.Time        // the last of them

	begun    *begun
	held     *answer // until due[reply]
	keypairs Keypairs
	purse    purse
	stamped  tai64n.Timestamp // of our last initiation
	interval time.Duration    // of the persistent keepalive

	firstTry    time.Time // of the handshakes that have not come to an end
	handshaken  time.Time // when we last sent an initiation or a response
	established time.Time
	sent        time.Time // the last authenticated packet
	received    time.Time
	unanswered  time.Time // the first data packet since received
	lastMinute  bool      // this session had its handshake before it is rejected

	due           [timerCount]time.Time // zero: not set
	deadline.Slot                       // in Device.timers, never after the earliest of due
}

// begun is a handshake of ours that waits for its response.
type begun struct {
	state state
	index uint32
	at    time.Time
}

// PublicKey is the peer's name.
func (p *Peer) PublicKey() PublicKey { return p.public }

// Owner is PeerConfig.Owner.
func (p *Peer) Owner() any { return p.owner }

// PresharedKey is the key that the next handshake uses; all zero is none.
func (p *Peer) PresharedKey() PresharedKey {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.psk
}

// PersistentKeepalive is its interval, 0 without.
func (p *Peer) PersistentKeepalive() time.Duration { return p.interval }

// Keypairs are the sessions as of the last Rotate.
func (p *Peer) Keypairs() Keypairs { return p.keypairs }

// Established is when a handshake was last completed; zero is never.
func (p *Peer) Established() time.Time { return p.established }

// SetPresharedKey sets the key that the next handshake uses. Sessions stay.
func (p *Peer) SetPresharedKey(k PresharedKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.psk = k
}

// SetPersistentKeepalive sets the interval, and makes the first keepalive due at once; 0 ends them.
func (p *Peer) SetPersistentKeepalive(now time.Time, every time.Duration) {
	if p.gone || every == p.interval {
		return
	}
	p.interval = every
	p.due[persistent] = time.Time{}
	if every > 0 {
		p.due[persistent] = now
	}
	p.schedule()
}

// NeedSession says that a packet waits since there is no Current keypair. Say it when a packet begins to wait, not again for
// the same: it makes the machine try for another RekeyAttemptTime.
func (p *Peer) NeedSession(now time.Time) {
	if p.gone || p.keypairs.Current != nil {
		return
	}
	p.initiate(now, true)
	p.schedule()
}

// Renew begins a handshake although there may be a session, which goes on until the new one is there.
func (p *Peer) Renew(now time.Time) {
	if !p.gone {
		p.initiate(now, true)
		p.schedule()
	}
}

// Sent says that transport messages went to the peer, the last of them now, and whether any was not a keepalive.
func (p *Peer) Sent(now time.Time, data bool) {
	if p.gone {
		return
	}
	p.wentOut(now, data)
	if k := p.keypairs.Current; k != nil && k.Initiator && now.Sub(k.Created) >= RekeyAfterTime {
		p.initiate(now, true)
	}
	p.schedule()
}

// Received says that transport messages came from the peer that were authentic by k, the last of them now, and whether any was
// not a keepalive. For the first by Next it should be said at once, since what waits goes out only then.
func (p *Peer) Received(now time.Time, data bool, k *Keypair) {
	if p.gone {
		return
	}
	if k != nil && k == p.keypairs.Next {
		to := Keypairs{Previous: p.keypairs.Current, Current: k, Crossed: p.keypairs.Crossed}
		if was := p.keypairs.Current; was != nil && !k.Created.After(was.Created) {
			to.Previous, to.Crossed = p.keypairs.Previous, was // which the peer may never have sent by
		}
		p.rotate(to)
		p.completed(now)
	}
	p.cameIn(now, data)
	if k := p.keypairs.Current; k != nil && k.Initiator && !p.lastMinute &&
		now.Sub(k.Created) >= RejectAfterTime-KeepaliveTimeout-RekeyTimeout {
		p.lastMinute = true
		p.initiate(now, true)
	}
	p.schedule()
}

// Counter says which number the next transport message by k will have. It should be said before RekeyAfterMessages has
// passed by much; at RejectAfterMessages whoever sends must stop by itself.
func (p *Peer) Counter(now time.Time, k *Keypair, next uint64) {
	if p.gone || k == nil || k != p.keypairs.Current || next < RekeyAfterMessages {
		return
	}
	if next >= RejectAfterMessages {
		to := p.keypairs
		to.Current = nil
		p.rotate(to)
	}
	p.initiate(now, true)
	p.schedule()
}

// end takes away all that there is with the peer but its settings and what it must not repeat.
func (p *Peer) end() {
	p.forget()
	p.hold(nil)
	if p.keypairs != (Keypairs{}) {
		p.rotate(Keypairs{})
	}
	keep := p.due[persistent]
	p.due = [timerCount]time.Time{persistent: keep}
	p.firstTry, p.handshaken, p.unanswered = time.Time{}, time.Time{}, time.Time{}
	p.lastMinute = false
}

// forget gives up the handshake that we began.
func (p *Peer) forget() {
	if p.begun != nil {
		p.begun.state.x.erase()
		p.device.release(p.begun.index)
		p.begun = nil
	}
}
