package ike

import (
	"encoding/binary"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// The times of an IKE SA: rekeying, reauthentication, its end, signs of life, NAT keepalives.

func (sa *ikeSA) startLifetimes() {
	e, c, l := sa.e, &sa.peer.cfg, &sa.life
	if c.RekeyTime > 0 {
		e.timers.set(&l.rekey, e.now.Add(e.somewhatLess(c.RekeyTime, c.RandTime)), sa.rekeyNow)
		e.timers.set(&l.hard, e.now.Add(c.RekeyTime+c.OverTime), func() { sa.terminate(errLifetime) })
	}
	if d := l.validFor; d > 0 {
		sa.limitAuth(d)
		l.validFor = 0
	}
	sa.startAuthTimers()
	sa.watchPeer()
	if sa.nat.us {
		sa.keepAlive()
	}
}

// somewhatLess is a time less a random part of random, which may be meant for a longer time: at most half of it.
func (e *Endpoint) somewhatLess(d, random time.Duration) time.Duration {
	return max(time.Second, d-upTo(e, min(random, d/2)))
}

// How long an authentication lasts (RFC 4478): the responder of IKE_AUTH tells it, there or later, the initiator repeats the
// authentication in that time, or in its own if that is shorter. On both sides the IKE SA of one that was not repeated ends.

// authGrace is the least time that is left for making another IKE SA and all children in it.
const authGrace = readyAfter

// limitAuth has the authentication last for a time from now on.
func (sa *ikeSA) limitAuth(d time.Duration) {
	e, c, l := sa.e, &sa.peer.cfg, &sa.life
	l.validUntil = e.now.Add(d + max(c.OverTime, authGrace))
	if l.introduced {
		l.reauthAt = e.now.Add(e.somewhatLess(d, c.RandTime))
	}
}

func (sa *ikeSA) startAuthTimers() {
	l := &sa.life
	if !l.reauthAt.IsZero() {
		sa.e.timers.set(&l.reauth, l.reauthAt, sa.reauthenticate)
	}
	if !l.validUntil.IsZero() {
		sa.e.timers.set(&l.auth, l.validUntil, func() { sa.terminate(errAuthOld) })
	}
}

// authLifetime is the shorter of what the peer tells and our configuration says; zero for ever.
func (sa *ikeSA) authLifetime(payloads []message.Payload) time.Duration {
	d := sa.peer.cfg.ReauthTime
	if told := toldLifetime(payloads); told > 0 && (d == 0 || told < d) {
		return told
	}
	return d
}

// toldLifetime is what AUTH_LIFETIME says; zero if it is not there.
func toldLifetime(payloads []message.Payload) time.Duration {
	n := message.FindNotify(payloads, message.AuthLifetime)
	if n == nil || len(n.Data) != 4 {
		return 0
	}
	return time.Duration(binary.BigEndian.Uint32(n.Data)) * time.Second
}

// shortenAuth obeys an AUTH_LIFETIME that comes in an IKE SA that is up.
func (sa *ikeSA) shortenAuth(payloads []message.Payload) {
	told := toldLifetime(payloads)
	until := sa.e.now.Add(told + max(sa.peer.cfg.OverTime, authGrace))
	if told == 0 || !sa.alive() || !sa.life.introduced || !sa.life.validUntil.IsZero() && !until.Before(sa.life.validUntil) {
		return
	}
	sa.limitAuth(told)
	sa.startAuthTimers()
}

func authLifetimeNotify(d time.Duration) *message.Notify {
	seconds := min(max(1, uint64(d/time.Second)), math.MaxUint32)
	return &message.Notify{Type: message.AuthLifetime, Data: binary.BigEndian.AppendUint32(nil, uint32(seconds))}
}

func (sa *ikeSA) stopLifetimes() {
	l := &sa.life
	for _, t := range []*timer{&l.rekey, &l.reauth, &l.auth, &l.hard, &l.dpd, &l.keepalive} {
		sa.e.timers.stop(t)
	}
}

// rekeyNow begins to rekey, unless that is on its way.
func (sa *ikeSA) rekeyNow() {
	if sa.alive() && sa.swap.theirs == nil && !sa.queued(func(r request) bool { _, ok := r.(*rekeyIKE); return ok }) && sa.swap.ours == nil {
		sa.enqueue(&rekeyIKE{})
	}
}

func (sa *ikeSA) rekeyLater(d time.Duration) {
	if sa.alive() {
		sa.e.timers.set(&sa.life.rekey, sa.e.now.Add(sa.e.jitter(d)), sa.rekeyNow)
	}
}

// reauthenticate makes another IKE SA with the same children, which then takes the place of this one.
func (sa *ikeSA) reauthenticate() {
	sa.life.reauthAt = time.Time{}
	if names := sa.liveChildren(); len(names) > 0 {
		sa.log(slog.LevelInfo, nil, "authenticating anew")
		sa.peer.connect(names, sa)
	}
}

// startOver makes another IKE SA with the same children where the peer rekeys nothing, as those do that have no CREATE_CHILD_SA (RFC 7296
// sections 1.3 and 4), and says whether it can.
func (sa *ikeSA) startOver() bool {
	if sa.peer.cfg.template() || !sa.alive() || len(sa.liveChildren()) == 0 {
		return false
	}
	if !slices.ContainsFunc(sa.peer.sas, func(o *ikeSA) bool { return o.hs != nil && o.hs.reauth != nil && o.hs.reauth.successor() == sa }) {
		sa.log(slog.LevelInfo, nil, "the peer makes no other SAs in this IKE SA")
		sa.e.timers.stop(&sa.life.reauth)
		sa.reauthenticate()
	}
	return true
}

func (sa *ikeSA) hasChild(name string) bool { return slices.Contains(sa.liveChildren(), name) }

func (sa *ikeSA) liveChildren() []string {
	var names []string
	for _, c := range sa.children {
		if c.live() {
			names = appendNew(names, c.is.Name)
		}
	}
	return names
}

// watchPeer asks a peer that was silent for too long for a sign of life (RFC 7296 section 2.4).
func (sa *ikeSA) watchPeer() {
	delay := sa.peer.cfg.DPDDelay
	if delay <= 0 || !sa.alive() {
		return
	}
	due := sa.life.heard.Add(delay)
	if !due.After(sa.e.now) {
		if sa.out.pending == nil && len(sa.out.queue) == 0 {
			sa.enqueue(probe{}) // else the request that is out is question enough
		}
		due = sa.e.now.Add(delay)
	}
	sa.e.timers.set(&sa.life.dpd, due, sa.watchPeer)
}

// keepAlive keeps the mapping of the NAT before us where no ESP tunnel does (RFC 3948 section 2.3).
func (sa *ikeSA) keepAlive() {
	if len(sa.children) == 0 {
		sa.send(sa.path, [][]byte{{0xff}})
	}
	sa.e.timers.set(&sa.life.keepalive, sa.e.now.Add(sa.e.cfg.Keepalive), sa.keepAlive)
}

// terminate ends an IKE SA and tells the peer, as far as there is one that could be told.
func (sa *ikeSA) terminate(reason error) {
	switch sa.state {
	case established:
		sa.become(deleting, reason)
	case authenticating:
		// The peer may believe that it is established by now.
		if p := sa.out.pending; p != nil && p.exchange == message.IKEAuth {
			sa.become(deleting, reason)
			return
		}
		sa.become(dead, reason)
	case initiating, halfOpen:
		sa.become(dead, reason)
	}
}
