package ike

import (
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike/crypto"
	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// CREATE_CHILD_SA that makes a new child (RFC 7296 section 1.3.1), and what all CREATE_CHILD_SA exchanges share.

// A newChild asks for another child.
type newChild struct {
	cfg   *ChildConfig
	group crypto.GroupID
	tried bool // group is one that the responder asked for
	// again: it comes in the place of one of another IKE SA.
	again bool
	offer *offer
}

func (r *newChild) begin(sa *ikeSA) (message.ExchangeType, []message.Payload, bool) {
	if !sa.alive() || sa.hasChild(r.cfg.Name) || !r.again && sa.peer.hasChild(r.cfg.Name) {
		return 0, nil, false
	}
	if !r.tried {
		r.group = r.cfg.Proposals.Guess()
	}
	var err error
	if r.offer, err = sa.offerAlone(r.cfg, r.group); err != nil {
		sa.peer.childFailed(sa, r.cfg.Name, err)
		return 0, nil, false
	}
	return message.CreateChildSA, r.offer.payloads(), true
}

func (r *newChild) done(sa *ikeSA, payloads []message.Payload) {
	o := r.offer
	r.offer = nil
	if n := message.FindError(payloads); n != nil {
		sa.e.cfg.SPIs.Release(o.spi)
		r.refused(sa, o, n)
		return
	}
	sa.completeOffer(o, payloads, func(a *agreement, err error) {
		if err == nil {
			err = sa.finishChild(a)
		}
		switch {
		case errors.Is(err, errEarly):
			sa.e.cfg.SPIs.Release(o.spi)
			sa.peer.closed(r.cfg, errPeerClosed)
		case err != nil && !sa.alive():
			r.offer = o
			r.lost(sa, err)
		case err != nil:
			sa.dropOffer(o)
			sa.peer.childFailed(sa, r.cfg.Name, err)
		}
	})
}

func (r *newChild) refused(sa *ikeSA, o *offer, n *message.Notify) {
	group, again := retryGroup(o.cfg, o.group, n)
	switch {
	case again && !r.tried:
		sa.enqueueFirst(&newChild{cfg: r.cfg, group: group, tried: true, again: r.again})
	case n.Type == message.TemporaryFailure:
		sa.peer.wantLater(sa.e.jitter(temporaryRetry), r.cfg.Name)
	default:
		sa.peer.childFailed(sa, r.cfg.Name, refusedChild(o, n))
	}
}

func (r *newChild) lost(sa *ikeSA, err error) {
	if r.offer != nil {
		sa.e.cfg.SPIs.Release(r.offer.spi)
		r.offer = nil
	}
	if errors.Is(err, errTimeout) || errors.Is(err, errPeerClosed) {
		sa.peer.wantLater(0, r.cfg.Name)
	}
}

// temporaryRetry is about how long to wait after TEMPORARY_FAILURE (RFC 7296 section 2.25).
const temporaryRetry = time.Second

// retryGroup returns the group that INVALID_KE_PAYLOAD wants, if it was offered (RFC 7296 section 1.3).
func retryGroup(cfg *ChildConfig, sent crypto.GroupID, n *message.Notify) (crypto.GroupID, bool) {
	if n.Type != message.InvalidKEPayload {
		return 0, false
	}
	wanted, ok := n.Uint16s()
	if !ok || len(wanted) != 1 {
		return 0, false
	}
	group := crypto.GroupID(wanted[0])
	return group, cfg.Proposals.Retry(sent, group) == nil
}

// dropOffer gives up a child that the peer made and we cannot use: it has to delete it.
func (sa *ikeSA) dropOffer(o *offer) {
	sa.enqueue(&deleteChild{spi: o.spi})
	sa.e.cfg.SPIs.Release(o.spi)
}

// completeOffer checks the answer to an offer and carries out additional key exchanges, if there are any.
func (sa *ikeSA) completeOffer(o *offer, payloads []message.Payload, finish func(*agreement, error)) {
	a, err := o.accept(sa, payloads)
	if err != nil {
		finish(nil, err)
		return
	}
	sa.followUp(a.choice, payloads, false, func(shared [][]byte, err error) {
		a.shared = append(a.shared, shared...)
		if err == nil && slices.Contains(sa.out.early, a.out) {
			err = errEarly
		}
		finish(a, err)
	})
}

// finishChild installs and announces a child that is not made by rekeying.
func (sa *ikeSA) finishChild(a *agreement) error {
	c, err := sa.install(a)
	if err != nil {
		return err
	}
	old := sa.peer.sibling(c)
	if old != nil && !old.sa.before(sa) {
		// Both sides made it at once, and saw the two in another order: neither replaces the other until one is deleted.
		sa.log(slog.LevelDebug, nil, "child %q is there twice", c.is.Name)
		sa.peer.tidyLater()
		old = nil
	}
	c.announce(old, a.byUs)
	return nil
}

// making says whether a child may exist at the peer of which we do not know yet, since the answer is on its way.
func (sa *ikeSA) making() bool {
	p := sa.out.pending
	if p == nil {
		return false
	}
	switch p.req.(type) {
	case *newChild, *rekeyChild, *followUpKE:
		return true
	}
	return false
}

// handleCreateChild finds out what a CREATE_CHILD_SA request is for, and whether now is a time for it (RFC 7296 section 2.25).
func (sa *ikeSA) handleCreateChild(payloads []message.Payload) reply {
	offer := message.Find[*message.SA](payloads)
	nonce := message.Find[*message.Nonce](payloads)
	if offer == nil || nonce == nil || len(offer.Proposals) == 0 {
		return replyNotify(message.InvalidSyntax)
	}
	sa.inherit()
	if !sa.alive() {
		return replyNotify(message.TemporaryFailure)
	}
	rekey := message.FindNotify(payloads, message.RekeySA)
	switch {
	case sa.swap.follow != nil:
		return replyNotify(message.TemporaryFailure)
	case offer.Proposals[0].Protocol == message.ProtocolIKE:
		return sa.handleRekeyIKE(offer, nonce.Data, payloads)
	case sa.swap.ours != nil:
		return replyNotify(message.TemporaryFailure) // we are rekeying the IKE SA (section 2.25.2)
	case rekey != nil:
		return sa.handleRekeyChild(rekey, nonce.Data, payloads)
	}
	return sa.handleNewChild(nonce.Data, payloads)
}

// maxChildren bounds how many children a peer can make in an IKE SA.
const maxChildren = 256

func (sa *ikeSA) handleNewChild(nonce []byte, payloads []message.Payload) reply {
	if len(sa.children) >= maxChildren {
		return replyNotify(message.NoAdditionalSAs)
	}
	a, ref := sa.respondChild(nil, payloads, false, crypto.Nonces{Initiator: nonce})
	if ref != nil {
		sa.log(slog.LevelWarn, ref.err, "refused a child: %v", ref.notify.Type)
		return ref.reply()
	}
	return sa.agree(a, func() *refusal {
		if err := sa.finishChild(a.agreement); err != nil {
			return refuse(message.NoProposalChosen, err)
		}
		sa.logDeclined(payloads)
		return nil
	})
}

// agree answers with an agreement, and carries it out now or after the additional key exchanges.
func (sa *ikeSA) agree(a *answer, carryOut func() *refusal) reply {
	additional := a.choice.AdditionalKE()
	finish := func() reply {
		if ref := carryOut(); ref != nil {
			sa.e.cfg.SPIs.Release(a.in)
			sa.log(slog.LevelWarn, ref.err, "refused a child: %v", ref.notify.Type)
			return ref.reply()
		}
		return reply{}
	}
	answer := a.payloads(false)
	if len(additional) == 0 {
		if r := finish(); r.payloads != nil {
			return r
		}
		return reply{payloads: answer}
	}
	link := sa.awaitFollowup(additional, func(shared [][]byte) reply {
		a.shared = append(a.shared, shared...)
		return finish()
	}, func() { sa.e.cfg.SPIs.Release(a.in) })
	return reply{payloads: append(answer, link)}
}
