package ike

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/warrenvpn/warren/tunnel/ike/crypto"
	"github.com/warrenvpn/warren/tunnel/ike/message"
	"github.com/warrenvpn/warren/tunnel/ike/proposal"
)

// IKE_AUTH as responder (RFC 7296 sections 1.2, 2.15).

func (sa *ikeSA) handleAuth(payloads []message.Payload) reply {
	if len(sa.hs.methods) > 0 {
		return sa.refuseHandshake(message.InvalidSyntax, errAdditionalKE)
	}
	idi, idr := message.Find[*message.IDi](payloads), message.Find[*message.IDr](payloads)
	if idi == nil {
		return sa.refuseHandshake(message.InvalidSyntax, errors.New("there is no IDi payload"))
	}
	p, err := sa.identify(idi.ID, idr)
	if err != nil {
		return sa.refuseHandshake(message.AuthenticationFailed, err)
	}
	sa.peer = p
	sa.hs.requests = message.FindAll[*message.CertReq](payloads)
	if err := sa.verify(idi.ID, payloads, sa.in.next); err != nil {
		sa.peer = nil
		return sa.refuseHandshake(message.AuthenticationFailed, err)
	}
	sa.ids.local, sa.ids.remote = p.cfg.Credentials.LocalID(), idi.ID
	if idr != nil {
		sa.ids.local = idr.ID // one of ours, as the peer writes it
	}
	auth, certs, err := sa.sign(sa.in.next)
	if err != nil {
		sa.peer = nil
		return sa.refuseHandshake(message.AuthenticationFailed, err)
	}
	all := []message.Payload{&message.IDr{ID: sa.ids.local}}
	for _, c := range certs {
		all = append(all, c)
	}
	return sa.authenticated(append(all, auth), payloads)
}

// identify finds the peer of an identity among those that may come from this address and agree to what IKE_SA_INIT chose;
// those for which just this identity is configured come first. idr is whom the initiator wants to speak with, if it said so.
func (sa *ikeSA) identify(id message.ID, idr *message.IDr) (*peer, error) {
	for _, template := range []bool{false, true} {
		for _, p := range sa.e.byID[idKey(id)] {
			if p.cfg.template() == template && p.at(sa.path) && sa.suits(p, id, idr) == nil {
				return p, nil
			}
		}
	}
	var why refusals
	for p := range sa.e.candidates(sa.path) {
		err := sa.suits(p, id, idr)
		if err == nil {
			return p, nil
		}
		if len(why) < maxRefusals {
			why = append(why, fmt.Errorf("peer %q: %w", p.cfg.Name, err))
		}
	}
	if len(why) == 0 {
		return nil, fmt.Errorf("%w: %v: %w", errAuthentication, id, errNoPeer)
	}
	return nil, fmt.Errorf("%w: %w", errAuthentication, why)
}

// suits says why an initiator cannot be a peer, if it cannot.
func (sa *ikeSA) suits(p *peer, id message.ID, idr *message.IDr) error {
	c := p.cfg.Credentials
	if idr != nil && !c.IsLocalID(idr.ID) {
		return fmt.Errorf("our identity: asked for %v, wanted %v", idr.ID, c.LocalID())
	}
	if err := c.AcceptsID(id); err != nil {
		return err
	}
	_, err := proposal.Select(p.cfg.Proposals, sa.sec.choice.Answer(nil))
	return err
}

// refusals are why several peers were not chosen.
type refusals []error

// maxRefusals is how many of them are told.
const maxRefusals = 4

// Error tells them in one line.
func (r refusals) Error() string {
	var words []string
	for _, err := range r {
		words = append(words, err.Error())
	}
	return strings.Join(words, "; ")
}

// Unwrap gives each of them.
func (r refusals) Unwrap() []error { return r }

// authenticated establishes the IKE SA and adds what comes behind AUTH to the answer.
func (sa *ikeSA) authenticated(answer, payloads []message.Payload) reply {
	p, hs := sa.peer, sa.hs
	p.sas = append(p.sas, sa)
	if message.FindNotify(payloads, message.InitialContact) != nil {
		p.forgetOthers(sa)
	}
	cp, leaseError := sa.lend(message.Find[*message.CP](payloads))
	sa.life.validFor = p.cfg.ReauthTime
	sa.become(established, nil)
	if cp != nil {
		answer = append(answer, cp)
	}
	if p.cfg.ReauthTime > 0 {
		answer = append(answer, authLifetimeNotify(p.cfg.ReauthTime))
	}
	defer func() {
		p.settle(sa, hs)
		sa.hs = nil
	}()
	if leaseError != nil {
		sa.log(slog.LevelWarn, leaseError, "no address for %v", sa.ids.remote)
		return reply{payloads: append(answer, &message.Notify{Type: message.InternalAddressFailure})}
	}
	if message.Find[*message.SA](payloads) == nil {
		return reply{payloads: answer}
	}
	child, ref := sa.firstChild(payloads, hs.nonces)
	if ref != nil {
		sa.log(slog.LevelWarn, ref.err, "refused a child: %v", ref.notify.Type)
		return reply{payloads: append(answer, ref.notify)}
	}
	return reply{payloads: append(answer, child...)}
}

// firstChild agrees to the child of IKE_AUTH.
func (sa *ikeSA) firstChild(payloads []message.Payload, nonces crypto.Nonces) ([]message.Payload, *refusal) {
	a, ref := sa.respondChild(nil, payloads, true, nonces)
	if ref != nil {
		return nil, ref
	}
	if err := sa.finishChild(a.agreement); err != nil {
		sa.e.cfg.SPIs.Release(a.in)
		return nil, refuse(message.NoProposalChosen, err)
	}
	sa.logDeclined(payloads)
	return a.payloads(true), nil
}

// forgetOthers drops the peer's older IKE SAs without a word: the peer says that it knows none (RFC 7296 section 2.4). Those
// that were not established yet when this one began may be such that both sides made at once: they stay.
func (p *peer) forgetOthers(but *ikeSA) {
	for _, sa := range slices.Clone(p.sas) {
		if sa != but && sa.state == established && sa.ids.remote.Equal(but.ids.remote) && !sa.life.established.After(but.life.born) {
			sa.become(dead, errRestarted)
		}
	}
}
