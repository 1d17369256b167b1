package ike

import (
	"bytes"
	"cmp"
	"log/slog"

	"github.com/warrenvpn/warren/tunnel/ike/crypto"
	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// CREATE_CHILD_SA that rekeys a child (RFC 7296 sections 1.3.3, 2.8, 2.8.1, 2.25.1).
//
// Both sides may rekey one child at once. Each answers the other's request, and when both have both answers the exchange with
// the lowest of the four nonces has lost: its initiator deletes what it made, the other deletes the old child.

type rekeyChild struct {
	old   *child
	group crypto.GroupID
	tried bool
	offer *offer
}

func (r *rekeyChild) begin(sa *ikeSA) (message.ExchangeType, []message.Payload, bool) {
	if !r.old.live() || !sa.alive() || r.old.theirs != nil {
		return 0, nil, false
	}
	if !r.tried {
		r.group = cmp.Or(r.old.group, r.old.cfg.Proposals.Guess()) // what was agreed on will be so again
	}
	var err error
	if r.offer, err = sa.offerAlone(r.old.cfg, r.group); err != nil {
		sa.log(slog.LevelWarn, err, "child %q cannot be rekeyed", r.old.is.Name)
		r.old.rekeyLater(rekeyRetry)
		return 0, nil, false
	}
	r.old.rekey = r
	rekey := message.NotifySPI(message.RekeySA, message.ProtocolESP, r.old.is.In)
	return message.CreateChildSA, append([]message.Payload{rekey}, r.offer.payloads()...), true
}

func (r *rekeyChild) done(sa *ikeSA, payloads []message.Payload) {
	o := r.offer
	if n := message.FindError(payloads); n != nil {
		r.end(sa)
		r.refused(sa, o, n)
		return
	}
	sa.completeOffer(o, payloads, func(a *agreement, err error) {
		r.offer, r.old.rekey = nil, nil
		var c *child
		if err == nil {
			c, err = sa.install(a)
		}
		if err != nil {
			sa.dropOffer(o)
			sa.log(slog.LevelWarn, err, "rekeying child %q failed", r.old.is.Name)
			r.failed(sa)
			return
		}
		r.made(sa, c, a.nonces)
	})
}

// end gives up the offer.
func (r *rekeyChild) end(sa *ikeSA) {
	r.old.rekey = nil
	if r.offer != nil {
		sa.e.cfg.SPIs.Release(r.offer.spi)
		r.offer = nil
	}
}

func (r *rekeyChild) lost(sa *ikeSA, _ error) { r.end(sa) }

// made goes on with what our exchange made.
func (r *rekeyChild) made(sa *ikeSA, c *child, nonces crypto.Nonces) {
	old := r.old
	if old.theirs != nil {
		sa.log(slog.LevelDebug, nil, "both sides rekeyed child %q at once", old.is.Name)
	}
	if old.yielded || old.theirs != nil && bytes.Compare(lowest(nonces), old.low) < 0 {
		c.become(redundant, errRekeyLost)
		sa.enqueue(&deleteChild{child: c, reason: errRekeyLost})
		old.yield()
		return
	}
	if old.state >= lingering {
		c.announce(nil, true) // the peer deleted the old one meanwhile
		return
	}
	if old.theirs != nil {
		old.theirs.become(redundant, errRekeyLost)
		old.theirs = nil
	}
	c.announce(old, true)
	old.become(rekeyed, errReplaced)
	sa.enqueue(&deleteChild{child: old, reason: errReplaced})
}

// yield leaves the old child to what the peer's exchange made: the peer deletes it.
func (c *child) yield() {
	if c.theirs == nil {
		return
	}
	c.replacement, c.theirs, c.yielded = c.theirs, nil, true
	c.become(rekeyed, errReplaced)
}

// failed goes on after an exchange that made nothing.
func (r *rekeyChild) failed(sa *ikeSA) {
	switch old := r.old; {
	case old.theirs != nil:
		old.yield()
	case old.live():
		old.rekeyLater(rekeyRetry)
	case old.state >= lingering && !old.yielded:
		sa.peer.childClosed(old, errPeerClosed) // it was deleted while we hoped to replace it
	}
}

func (r *rekeyChild) refused(sa *ikeSA, o *offer, n *message.Notify) {
	group, again := retryGroup(o.cfg, o.group, n)
	sa.log(slog.LevelDebug, refusedChild(o, n), "child %q is not rekeyed now", r.old.is.Name)
	switch {
	case again && !r.tried && r.old.live():
		sa.enqueueFirst(&rekeyChild{old: r.old, group: group, tried: true})
	case n.Type == message.ChildSANotFound && r.old.theirs == nil && r.old.live():
		// The peer has it no more: it goes, and a new one is made (RFC 7296 section 2.25).
		r.old.become(gone, errPeerClosed)
		sa.peer.initiate(r.old.cfg.Name)
	case n.Type == message.TemporaryFailure && r.old.theirs == nil && r.old.live():
		r.old.rekeyLater(temporaryRetry)
	case n.Type == message.NoAdditionalSAs && r.old.theirs == nil && r.old.live() && sa.startOver():
	default:
		if n.Type != message.TemporaryFailure && n.Type != message.ChildSANotFound {
			sa.log(slog.LevelWarn, refusedChild(o, n), "rekeying child %q failed", r.old.is.Name)
		}
		r.failed(sa)
	}
}

func (sa *ikeSA) handleRekeyChild(rekey *message.Notify, nonce []byte, payloads []message.Payload) reply {
	spi, ok := rekey.SPI32()
	var old *child
	if ok && rekey.Protocol == message.ProtocolESP {
		old = sa.childByOut(spi)
	}
	switch {
	case old == nil && sa.making():
		return replyNotify(message.TemporaryFailure)
	case old == nil:
		return reply{payloads: []message.Payload{message.NotifySPI(message.ChildSANotFound, message.ProtocolESP, spi)}}
	case !old.live() || old.theirs != nil:
		return replyNotify(message.TemporaryFailure) // it is being closed (section 2.25.1)
	case len(sa.children) >= maxChildren:
		return replyNotify(message.NoAdditionalSAs) // the peer rekeys on and on, and deletes nothing
	}
	a, ref := sa.respondChild(old.cfg, payloads, false, crypto.Nonces{Initiator: nonce})
	if ref != nil {
		sa.log(slog.LevelWarn, ref.err, "refused to rekey child %q: %v", old.is.Name, ref.notify.Type)
		return ref.reply()
	}
	return sa.agree(a, func() *refusal {
		if !old.live() || old.theirs != nil {
			return refuse(message.TemporaryFailure, errReplaced)
		}
		c, err := sa.install(a.agreement)
		if err != nil {
			return refuse(message.NoProposalChosen, err)
		}
		c.announce(old, false)
		if old.rekey != nil {
			old.replacement, old.theirs, old.low = nil, c, lowest(a.nonces)
			return nil
		}
		old.become(rekeyed, errReplaced)
		return nil
	})
}
