package ike

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/warrenvpn/warren/tunnel/ike/crypto"
	"github.com/warrenvpn/warren/tunnel/ike/message"
	"github.com/warrenvpn/warren/tunnel/ike/proposal"
)

// CREATE_CHILD_SA that rekeys the IKE SA (RFC 7296 sections 1.3.2, 2.8.2, 2.18, 2.25.2).
//
// Collisions are resolved as those of children: the exchange with the lowest nonce has lost, and its initiator deletes the
// IKE SA that it made. The other one inherits the children.

// rekeying is the state of an IKE SA that is being replaced, or that replaces one.
type rekeying struct {
	// ours is our exchange, from its request to its answer.
	ours *rekeyIKE
	// theirs is what the peer's exchange made while ours was out, low the lowest nonce of that exchange.
	theirs *ikeSA
	low    []byte
	// old is the IKE SA whose theirs this one is: whether it inherits is open.
	old *ikeSA
	// redundant: it does not inherit. Its initiator deletes it.
	redundant bool
	follow    *followup
	// heir is what inherited; hold ends its waiting for a sign that the peer knows it.
	heir *ikeSA
	hold timer
	// replaced counts those of one number, this one's, that were rekeyed and are not deleted yet.
	replaced *int
}

type rekeyIKE struct {
	group    crypto.GroupID
	tried    bool
	spi      uint64
	nonce    []byte
	exchange crypto.Exchange
	offered  []message.Proposal
}

func (r *rekeyIKE) begin(sa *ikeSA) (message.ExchangeType, []message.Payload, bool) {
	if !sa.alive() || sa.swap.theirs != nil || sa.swap.old != nil {
		return 0, nil, false
	}
	if !r.tried {
		r.group = sa.sec.choice.KE() // what was agreed on will be so again
	}
	method, err := r.group.Group()
	if err == nil {
		r.exchange, err = method.Begin()
	}
	if err != nil {
		sa.log(slog.LevelWarn, err, "the IKE SA cannot be rekeyed")
		return 0, nil, false
	}
	r.spi, r.nonce = sa.e.newSPI(), sa.e.nonce()
	r.offered = sa.peer.cfg.Proposals.Offer(binary.BigEndian.AppendUint64(nil, r.spi))
	sa.swap.ours = r
	return message.CreateChildSA, []message.Payload{&message.SA{Proposals: r.offered}, &message.Nonce{Data: r.nonce},
		&message.KE{Method: uint16(r.group), Data: r.exchange.Public()}}, true
}

func (r *rekeyIKE) lost(sa *ikeSA, _ error) { sa.swap.ours = nil }

func (r *rekeyIKE) done(sa *ikeSA, payloads []message.Payload) {
	if n := message.FindError(payloads); n != nil {
		sa.swap.ours = nil
		r.refused(sa, n)
		return
	}
	choice, nonces, shared, err := r.accept(sa, payloads)
	if err != nil {
		sa.swap.ours = nil
		sa.log(slog.LevelWarn, err, "rekeying the IKE SA failed")
		r.failed(sa)
		return
	}
	sa.followUp(choice, payloads, true, func(more [][]byte, err error) {
		sa.swap.ours = nil
		var fresh *ikeSA
		if err == nil {
			spi, _ := message.Proposal{SPI: choice.SPI}.SPI64()
			fresh, err = sa.succeed(crypto.SPIs{Initiator: r.spi, Responder: spi}, true, choice, nonces, append(shared, more...))
		}
		if err != nil {
			sa.log(slog.LevelWarn, err, "rekeying the IKE SA failed")
			r.failed(sa)
			return
		}
		r.made(sa, fresh, nonces)
	})
}

func (r *rekeyIKE) accept(sa *ikeSA, payloads []message.Payload) (proposal.Choice, crypto.Nonces, [][]byte, error) {
	answer, nonce := message.Find[*message.SA](payloads), message.Find[*message.Nonce](payloads)
	if answer == nil || nonce == nil {
		return proposal.Choice{}, crypto.Nonces{}, nil, errIncompleteAnswer
	}
	nonces := crypto.Nonces{Initiator: r.nonce, Responder: nonce.Data}
	choice, err := proposal.Accept(r.offered, answer.Proposals)
	if err != nil {
		return choice, nonces, nil, err
	}
	if spi, ok := (message.Proposal{SPI: choice.SPI}).SPI64(); !ok || spi == 0 {
		return choice, nonces, nil, errors.New("the answer has no SPI of an IKE SA")
	}
	shared, err := finishKE(choice, r.group, r.exchange, payloads)
	if err == nil && len(shared) == 0 {
		err = errors.New("an IKE SA is not rekeyed without a key exchange")
	}
	return choice, nonces, shared, err
}

// made goes on with the IKE SA that our exchange made.
func (r *rekeyIKE) made(sa, fresh *ikeSA, nonces crypto.Nonces) {
	theirs := sa.swap.theirs
	if theirs != nil {
		sa.log(slog.LevelDebug, nil, "both sides rekeyed the IKE SA at once")
	}
	if !sa.alive() || theirs != nil && bytes.Compare(lowest(nonces), sa.swap.low) < 0 {
		fresh.swap.redundant = true
		fresh.become(deleting, errRekeyLost)
		sa.yield()
		return
	}
	if theirs != nil {
		sa.swap.theirs = nil
		theirs.discard()
	}
	sa.bequeath(fresh)
	sa.enqueue(&deleteIKE{})
}

// discard makes an IKE SA of the peer's redundant: the peer deletes it.
func (sa *ikeSA) discard() {
	sa.swap.old, sa.swap.redundant = nil, true
	sa.e.timers.set(&sa.life.handshake, sa.e.now.Add(sa.replacedFor()), func() { sa.become(dead, errRekeyLost) })
}

// yield lets the IKE SA that the peer made inherit, if there is one.
func (sa *ikeSA) yield() {
	if theirs := sa.swap.theirs; theirs != nil && sa.alive() {
		sa.swap.theirs = nil
		theirs.swap.old = nil
		sa.bequeath(theirs)
	}
}

// inherit is called when the peer uses an IKE SA: then it regards it as the one that inherits, since it has our answer and
// deletes what it made in vain.
func (sa *ikeSA) inherit() {
	if old := sa.swap.old; old != nil {
		old.yield()
	}
	sa.ready()
}

func (r *rekeyIKE) failed(sa *ikeSA) {
	if sa.swap.theirs != nil {
		sa.yield()
		return
	}
	sa.rekeyLater(rekeyRetry)
}

func (r *rekeyIKE) refused(sa *ikeSA, n *message.Notify) {
	if n.Type == message.InvalidKEPayload && !r.tried && sa.swap.theirs == nil {
		if wanted, ok := n.Uint16s(); ok && len(wanted) == 1 && sa.peer.cfg.Proposals.Retry(r.group, crypto.GroupID(wanted[0])) == nil {
			sa.enqueueFirst(&rekeyIKE{group: crypto.GroupID(wanted[0]), tried: true})
			return
		}
	}
	if n.Type == message.TemporaryFailure && sa.swap.theirs == nil {
		sa.rekeyLater(temporaryRetry)
		return
	}
	if n.Type == message.NoAdditionalSAs && sa.swap.theirs == nil && sa.startOver() {
		return
	}
	if n.Type != message.TemporaryFailure {
		sa.log(slog.LevelWarn, &RefusedError{Notify: n.Type, Offered: sa.peer.cfg.Proposals.String()}, "rekeying the IKE SA failed")
	}
	r.failed(sa)
}

// maxReplaced bounds how many IKE SAs a peer can have us keep that rekeys on and on, and deletes nothing.
const maxReplaced = 8

func (sa *ikeSA) handleRekeyIKE(offer *message.SA, nonce []byte, payloads []message.Payload) reply {
	if sa.swap.theirs != nil || sa.busyWithChildren() || *sa.swap.replaced >= maxReplaced {
		return replyNotify(message.TemporaryFailure)
	}
	choice, err := proposal.Select(sa.peer.cfg.Proposals, offer.Proposals)
	if err != nil {
		return replyNotify(message.NoProposalChosen).logged(sa, err)
	}
	spi, ok := message.Proposal{SPI: choice.SPI}.SPI64()
	if !ok || spi == 0 {
		return replyNotify(message.InvalidSyntax)
	}
	if err := crypto.CheckNonce(choice.Suite().PRF, nonce); err != nil {
		return replyNotify(message.InvalidSyntax).logged(sa, err)
	}
	public, shared, ref := respondKE(choice, payloads)
	if ref != nil {
		return ref.reply().logged(sa, ref.err)
	}
	nonces := crypto.Nonces{Initiator: nonce, Responder: sa.e.nonce()}
	spis := crypto.SPIs{Initiator: spi, Responder: sa.e.newSPI()}
	answer := []message.Payload{&message.SA{Proposals: choice.Answer(binary.BigEndian.AppendUint64(nil, spis.Responder))},
		&message.Nonce{Data: nonces.Responder}, &message.KE{Method: uint16(choice.KE()), Data: public}}
	finish := func(more [][]byte) reply {
		return sa.agreeIKE(spis, choice, nonces, append([][]byte{shared}, more...))
	}
	if additional := choice.AdditionalKE(); len(additional) > 0 {
		return reply{payloads: append(answer, sa.awaitFollowup(additional, finish, func() {}))}
	}
	r := finish(nil)
	if r.payloads == nil {
		r.payloads = answer
	}
	return r
}

// agreeIKE makes the IKE SA that the peer asked for. It inherits when the answer is sent, unless our own exchange is out.
func (sa *ikeSA) agreeIKE(spis crypto.SPIs, choice proposal.Choice, nonces crypto.Nonces, shared [][]byte) reply {
	if sa.swap.theirs != nil || sa.busyWithChildren() || !sa.alive() {
		return replyNotify(message.TemporaryFailure)
	}
	fresh, err := sa.succeed(spis, false, choice, nonces, shared)
	if err != nil {
		return replyNotify(message.NoProposalChosen).logged(sa, err)
	}
	sa.swap.theirs, sa.swap.low = fresh, lowest(nonces)
	fresh.swap.old = sa
	if sa.swap.ours != nil {
		return reply{}
	}
	return reply{then: sa.yield}
}

// busyWithChildren says whether a request of ours about a child is not answered (RFC 7296 section 2.25.2).
func (sa *ikeSA) busyWithChildren() bool {
	p := sa.out.pending
	if p == nil {
		return false
	}
	switch p.req.(type) {
	case *newChild, *rekeyChild, *deleteChild, *followUpKE:
		return sa.swap.ours == nil
	}
	return false
}

// succeed makes an IKE SA that is to replace this one (RFC 7296 section 2.18).
func (sa *ikeSA) succeed(spis crypto.SPIs, initiator bool, choice proposal.Choice, nonces crypto.Nonces, shared [][]byte) (*ikeSA, error) {
	suite := choice.Suite()
	if err := crypto.CheckNonce(suite.PRF, nonces.Responder); err != nil {
		return nil, err
	}
	keys, err := suite.Rekeyed(sa.sec.suite.PRF, sa.sec.keys, shared, nonces, spis)
	if err != nil {
		return nil, fmt.Errorf("deriving the keys of a rekeyed IKE SA: %w", err)
	}
	fresh := sa.e.newSA(spis, initiator, established)
	fresh.number, fresh.peer, fresh.path, fresh.nat, fresh.ids, fresh.can = sa.number, sa.peer, sa.path, sa.nat, sa.ids, sa.can
	fresh.life.established, fresh.life.heard = sa.e.now, sa.e.now
	fresh.life.born, fresh.life.authenticated = sa.life.born, sa.life.authenticated
	fresh.sec.choice, fresh.swap.replaced = choice, sa.swap.replaced
	if err := fresh.setKeys(suite, keys); err != nil {
		fresh.swap.redundant = true
		fresh.become(dead, err)
		return nil, err
	}
	return fresh, nil
}

// bequeath hands everything over to another IKE SA.
func (sa *ikeSA) bequeath(heir *ikeSA) {
	heir.children, sa.children = sa.children, nil
	for _, c := range heir.children {
		c.sa = heir
		c.is.IKE = heir.info()
	}
	heir.life.reauthAt, heir.life.validUntil, heir.life.introduced = sa.life.reauthAt, sa.life.validUntil, sa.life.introduced
	heir.path, heir.leased, heir.assigned = sa.path, sa.leased, sa.assigned
	sa.leased = Lease{}
	if i := slices.Index(sa.peer.sas, sa); i >= 0 {
		sa.peer.sas[i] = heir
	}
	heir.out.queue = append(heir.out.queue, sa.out.queue...)
	sa.out.queue = nil
	sa.swap.heir = heir
	heir.replaces, sa.replaces = sa.replaces, nil
	if heir.in.next == 0 {
		heir.hold()
	}
	heir.wake()
	sa.become(replaced, errReplaced)
	heir.startLifetimes()
	sa.e.emit(IKERekeyed{IKE: heir.info(), Suite: heir.sec.choice.String()})
}

// hold keeps our requests back until the old IKE SA is deleted or the peer asks something in this one. If the peer rekeyed, it
// does not know this IKE SA before it has our answer, which the request might overtake. If we did, it may hand the children
// over not before our DELETE.
func (sa *ikeSA) hold() {
	sa.out.held = true
	sa.e.timers.set(&sa.swap.hold, sa.e.now.Add(sa.e.cfg.Retransmit.Timeout), sa.ready)
}

func (sa *ikeSA) ready() {
	if sa.out.held {
		sa.out.held = false
		sa.e.timers.stop(&sa.swap.hold)
		sa.wake()
	}
}

// readyHeir is called when an IKE SA that was replaced ends.
func (sa *ikeSA) readyHeir() {
	sa.ready()
	if sa.swap.heir != nil {
		sa.swap.heir.ready()
	}
}

// dropRekeying ends what is under way to replace an IKE SA that ends.
func (sa *ikeSA) dropRekeying(reason error) {
	sa.dropFollowup()
	if theirs := sa.swap.theirs; theirs != nil {
		sa.swap.theirs = nil
		theirs.discard()
		if sa.state == deleting {
			theirs.become(deleting, reason) // the peer may regard it as the one that inherits
		} else {
			theirs.become(dead, reason)
		}
	}
	if old := sa.swap.old; old != nil && old.swap.theirs == sa {
		old.swap.theirs = nil
	}
	sa.swap.old = nil
}
