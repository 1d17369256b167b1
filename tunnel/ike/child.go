package ike

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike/crypto"
	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// A childState is that of a child SA. Only child.become changes it.
//
//	installed ──► rekeyed ──► deletingChild ──► lingering ──► gone
//
// Every state may go to any later one.
type childState uint8

const (
	installed     childState = iota
	rekeyed                  // another took its place; the DELETE is still to come
	redundant                // made by the exchange that lost a collision; whose initiator deletes it
	deletingChild            // our DELETE is out
	lingering                // deleted; what is on its way is still accepted
	gone
)

// String names the state as swanctl does.
func (s childState) String() string {
	return [...]string{"INSTALLED", "REKEYED", "REDUNDANT", "DELETING", "DELETED", "DESTROYED"}[s]
}

// A child is a pair of ESP SAs.
type child struct {
	sa    *ikeSA
	cfg   *ChildConfig
	state childState
	is    ChildSA // as it was announced; the keys are wiped once it was
	// announced: the caller knows of it, so that its SPI ends with a ChildDown.
	announced  bool
	born       time.Time
	group      crypto.GroupID // of its key exchange; GroupNone without
	soft, hard timer
	carried    Usage
	limit      struct{ bytes, packets uint64 } // from which on it is rekeyed; 0 for none
	// rekey is our rekeying of it, from its request to its answer.
	rekey *rekeyChild
	// theirs is what a rekeying of the peer's made while ours was out, low the lowest nonce of that exchange.
	theirs *child
	low    []byte
	// yielded: the peer's rekeying stays, whatever becomes of ours.
	yielded bool
	// replacement is what carries its traffic now.
	replacement *child
}

// install makes the child SA of an agreement. It is not announced yet.
func (sa *ikeSA) install(a *agreement) (*child, error) {
	suite, err := a.choice.ESPSuite()
	if err != nil {
		return nil, err
	}
	keys, err := crypto.Child(sa.sec.suite.PRF, sa.sec.keys, a.choice.Cipher(), a.shared, a.nonces)
	if err != nil {
		return nil, err
	}
	c := &child{sa: sa, cfg: a.cfg, born: sa.e.now, group: a.choice.KE()}
	c.is = ChildSA{
		Name: a.cfg.Name, In: a.in, Out: a.out, Suite: suite, Cipher: a.choice.Cipher(), InKey: keys.Initiator, OutKey: keys.Responder, ESN: a.choice.ESN(),
		Local: a.local, Remote: a.remote, ByUs: a.byUs,
	}
	if a.byUs {
		c.is.InKey, c.is.OutKey = keys.Responder, keys.Initiator
	}
	sa.children = append(sa.children, c)
	sa.e.children[a.in] = c
	return c, nil
}

// announce tells the caller of the child SA. old is what it replaces, or nil; outbound says whether it carries what is sent
// from now on.
func (c *child) announce(old *child, outbound bool) {
	sa := c.sa
	c.startLifetime()
	c.announced = true
	c.is.IKE, c.is.Encap, c.is.BehindNAT, c.is.Roams = sa.info(), sa.encap(), sa.nat.us, sa.roams()
	if old == nil {
		sa.e.emit(ChildUp{c.is})
	} else {
		old.replacement = c
		sa.e.emit(ChildRekeyed{ChildSA: c.is, Old: old.is.In, Outbound: outbound})
	}
	c.is.InKey, c.is.OutKey = nil, nil // they are the caller's now
	sa.peer.childUp(c)
}

// become is the one place where a child SA changes its state.
func (c *child) become(to childState, reason error) {
	if to <= c.state {
		return
	}
	c.state = to
	e := c.sa.e
	e.timers.stop(&c.soft)
	if to < lingering {
		return
	}
	e.timers.stop(&c.hard)
	c.sa.children = slices.DeleteFunc(c.sa.children, func(o *child) bool { return o == c })
	if to == lingering && c.announced {
		e.timers.set(&c.hard, e.now.Add(e.cfg.Linger), func() { c.become(gone, reason) })
		return
	}
	c.state = gone
	delete(e.children, c.is.In)
	if c.announced {
		e.emit(ChildDown{IKE: c.sa.info(), Name: c.is.Name, In: c.is.In, Reason: reason})
	} else {
		e.cfg.SPIs.Release(c.is.In)
	}
}

// live says whether it carries traffic, or could.
func (c *child) live() bool { return c.state == installed }

// heir is what carries its traffic now, if that lives.
func (c *child) heir() *child {
	h := c.replacement
	for h != nil && !h.live() {
		h = h.replacement
	}
	return h
}

// end ends it because the peer knows it no more: gradually if another took its place, since packets are on their way.
func (c *child) end(reason error) {
	h := c.heir()
	if h == nil && c.announced {
		h = c.sa.peer.sibling(c)
	}
	if h != nil && c.state < lingering {
		c.sa.e.emit(ChildOutbound{IKE: h.sa.info(), Name: h.is.Name, In: h.is.In})
		c.become(lingering, reason)
		return
	}
	c.become(gone, reason)
}

// childByOut finds a child SA by the peer's SPI.
func (sa *ikeSA) childByOut(spi uint32) *child {
	for _, c := range sa.children {
		if c.is.Out == spi {
			return c
		}
	}
	return nil
}

func (c *child) startLifetime() {
	e, l := c.sa.e, c.cfg.Lifetime
	if l.RekeyTime > 0 {
		soft := e.somewhatLess(l.RekeyTime, l.RandTime)
		c.is.Soft, c.is.Hard = e.now.Add(soft), e.now.Add(l.LifeTime)
		e.timers.set(&c.soft, c.is.Soft, c.rekeyNow)
	} else if l.LifeTime > 0 {
		c.is.Hard = e.now.Add(l.LifeTime)
	}
	if !c.is.Hard.IsZero() {
		e.timers.set(&c.hard, c.is.Hard, c.expire)
	}
	if l.RekeyBytes > 0 {
		c.limit.bytes = max(1, beyond(l.RekeyBytes, upTo(e, l.RandBytes)))
	}
	if l.RekeyPackets > 0 {
		c.limit.packets = max(1, beyond(l.RekeyPackets, upTo(e, l.RandPackets)))
	}
}

// used compares what was carried with what may be.
func (c *child) used(u Usage) {
	if u.InPackets > c.carried.InPackets {
		c.sa.life.heard = c.sa.e.now // a sign of life (RFC 7296 section 2.4)
	}
	c.carried = u
	l := c.cfg.Lifetime
	over := func(limit, in, out uint64) bool { return limit > 0 && max(in, out) >= limit }
	switch {
	case c.state >= deletingChild:
	case over(l.LifeBytes, u.InBytes, u.OutBytes) || over(l.LifePackets, u.InPackets, u.OutPackets):
		c.expire()
	case over(c.limit.bytes, u.InBytes, u.OutBytes) || over(c.limit.packets, u.InPackets, u.OutPackets):
		c.limit.bytes, c.limit.packets = 0, 0 // once is enough: what fails is tried again by time
		c.rekeyNow()
	}
}

// rekeyNow begins to rekey, unless that is on its way.
func (c *child) rekeyNow() {
	if c.live() && c.rekey == nil && c.theirs == nil && !c.sa.queued(func(r request) bool {
		q, ok := r.(*rekeyChild)
		return ok && q.old == c
	}) {
		c.sa.enqueue(&rekeyChild{old: c})
	}
}

// rekeyRetry is about how long after a failure rekeying is tried again.
const rekeyRetry = 5 * time.Second

func (e *Endpoint) jitter(d time.Duration) time.Duration { return d/2 + upTo(e, d) }

// rekeyLater tries again after a failure.
func (c *child) rekeyLater(d time.Duration) {
	if c.live() {
		c.sa.e.timers.set(&c.soft, c.sa.e.now.Add(c.sa.e.jitter(d)), c.rekeyNow)
	}
}

// expire ends a child SA whose lifetime is over, and makes a new one if it was wanted.
func (c *child) expire() {
	c.sa.log(slog.LevelWarn, nil, "child %q: its lifetime is over", c.is.Name)
	c.sa.enqueue(&deleteChild{child: c, reason: errLifetime})
}

func (sa *ikeSA) queued(is func(request) bool) bool {
	return slices.ContainsFunc(sa.out.queue, is) || sa.out.pending != nil && sa.out.pending.req != nil && is(sa.out.pending.req)
}

// errRekeyLost is why the child SA or IKE SA of an exchange that lost a collision ends.
var errRekeyLost = errors.New("both sides rekeyed at once, and the other exchange won")

// lowest returns the lower of an exchange's nonces (RFC 7296 section 2.8.1).
func lowest(n crypto.Nonces) []byte {
	if bytes.Compare(n.Initiator, n.Responder) < 0 {
		return n.Initiator
	}
	return n.Responder
}

// declined are offers in a request for a child that are declined by not being repeated (RFC 7296 sections 1.3.1, 2.22).
func (sa *ikeSA) logDeclined(payloads []message.Payload) {
	for _, t := range []message.NotifyType{message.UseTransportMode, message.IPCompSupported} {
		if message.FindNotify(payloads, t) != nil {
			sa.log(slog.LevelInfo, nil, "declined the peer's %v: the child is in tunnel mode without compression", t)
		}
	}
}
