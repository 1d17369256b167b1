package ike

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// IKE_AUTH as initiator (RFC 7296 sections 1.2, 2.15).

// errAuthentication is wrapped by what ends an IKE SA whose peer did not prove its identity.
var errAuthentication = errors.New("authentication failed")

type authenticate struct {
	id uint32 // message ID
}

func (r *authenticate) begin(sa *ikeSA) (message.ExchangeType, []message.Payload, bool) {
	payloads, err := r.payloads(sa)
	if err != nil {
		sa.become(dead, err)
		return 0, nil, false
	}
	return message.IKEAuth, payloads, true
}

func (r *authenticate) payloads(sa *ikeSA) ([]message.Payload, error) {
	hs, cfg := sa.hs, &sa.peer.cfg
	r.id = sa.out.next
	sa.ids.local = cfg.Credentials.LocalID()
	auth, certs, err := sa.sign(r.id)
	if err != nil {
		return nil, err
	}
	all := []message.Payload{&message.IDi{ID: sa.ids.local}}
	for _, c := range certs {
		all = append(all, c)
	}
	for _, c := range cfg.Credentials.Requests() {
		all = append(all, c)
	}
	if id, ok := cfg.Credentials.RemoteID(); ok {
		all = append(all, &message.IDr{ID: id})
	}
	all = append(all, auth)
	if !sa.peer.known() {
		all = append(all, &message.Notify{Type: message.InitialContact})
	}
	if cp := askFor(sa.wishes()); cp != nil {
		all = append(all, cp)
	}
	for len(hs.wanted) > 0 && hs.child == nil {
		child := cfg.child(hs.wanted[0])
		hs.wanted = hs.wanted[1:]
		if child == nil {
			continue
		}
		if hs.child, err = sa.offerInAuth(child); err != nil {
			return nil, err
		}
	}
	if hs.child == nil {
		return nil, errors.New("there is no child to be made")
	}
	return append(all, hs.child.payloads()...), nil
}

// wishes are the addresses to ask for: who authenticates anew wants to keep those that it has.
func (sa *ikeSA) wishes() []netip.Addr {
	if old := sa.hs.reauth; old != nil && len(old.assigned.Addresses) > 0 {
		return old.assigned.Addresses
	}
	return sa.peer.cfg.Ask
}

// sign proves who we are. authID is the message ID of IKE_AUTH.
func (sa *ikeSA) sign(authID uint32) (*message.Auth, []*message.Cert, error) {
	auth, certs, err := sa.peer.cfg.Credentials.Sign(Proof{
		PRF: sa.sec.suite.PRF, Octets: sa.signed(sa.initiator, sa.ids.local, authID), Peer: sa.ids.remote,
		PeerHashes: sa.can.hashes, PeerRequests: sa.hs.requests,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("authenticating as %v: %w", sa.ids.local, err)
	}
	return auth, certs, nil
}

// verify checks who the peer is.
func (sa *ikeSA) verify(id message.ID, payloads []message.Payload, authID uint32) error {
	auth := message.Find[*message.Auth](payloads)
	if auth == nil {
		return fmt.Errorf("%w: %v did not authenticate (EAP is not spoken here)", errAuthentication, id)
	}
	proof := Proof{PRF: sa.sec.suite.PRF, Octets: sa.signed(!sa.initiator, id, authID), Peer: id}
	if err := sa.peer.cfg.Credentials.Verify(id, auth, message.FindAll[*message.Cert](payloads), proof); err != nil {
		return fmt.Errorf("%w: %v with %v: %w", errAuthentication, id, auth.Method, err)
	}
	return nil
}

func (r *authenticate) done(sa *ikeSA, payloads []message.Payload) {
	idr := message.Find[*message.IDr](payloads)
	if n := message.FindError(payloads); n != nil && (idr == nil || message.Find[*message.Auth](payloads) == nil) {
		sa.become(dead, &RefusedError{Notify: n.Type, Offered: sa.introduction()})
		return
	}
	if idr == nil {
		sa.become(dead, fmt.Errorf("%w: there is no IDr payload", errAuthentication))
		return
	}
	err := sa.peer.cfg.Credentials.AcceptsID(idr.ID)
	if err != nil {
		err = fmt.Errorf("%w: %w", errAuthentication, err)
	} else {
		err = sa.verify(idr.ID, payloads, r.id)
	}
	if err != nil {
		sa.become(deleting, err) // the peer believes that all is well: it is told (RFC 7296 section 2.21.2)
		return
	}
	sa.ids.remote = idr.ID
	sa.assigned = given(payloads)
	hs := sa.hs
	sa.life.introduced, sa.life.validFor = true, sa.authLifetime(payloads)
	sa.become(established, nil)
	sa.finishFirstChild(hs, payloads)
	sa.hs = nil
	if hs.reauth == nil {
		sa.peer.initiate(hs.wanted...)
	}
	sa.peer.settle(sa, hs)
	if e := hs.early; e != nil {
		sa.receiveRequest(e.path, e.h, e.datagram)
	}
}

// introduction is who we said we are, and to whom.
func (sa *ikeSA) introduction() string {
	who := sa.ids.local.String()
	if id, ok := sa.peer.cfg.Credentials.RemoteID(); ok {
		who += " to " + id.String()
	}
	return who
}

// finishFirstChild installs the child that IKE_AUTH made. If it did not, the IKE SA stays (RFC 7296 section 1.2).
func (sa *ikeSA) finishFirstChild(hs *handshake, payloads []message.Payload) {
	o := hs.child
	hs.child = nil
	var err error
	if n := message.FindError(payloads); n != nil {
		err = refusedChild(o, n)
	} else {
		o.local, o.remote = sa.afterLease(o)
		var a *agreement
		if a, err = o.accept(sa, payloads); err == nil {
			err = sa.finishChild(a)
		} else {
			sa.enqueue(&deleteChild{spi: o.spi})
		}
	}
	if err != nil {
		sa.e.cfg.SPIs.Release(o.spi)
		sa.peer.childFailed(sa, o.cfg.Name, err)
	}
}

// afterLease returns the selectors that an answer must be within: those of the offer, with the address that the peer
// assigned in place of any.
func (sa *ikeSA) afterLease(o *offer) (local, remote []message.TrafficSelector) {
	if len(o.cfg.Local) > 0 || len(sa.assigned.Addresses) == 0 {
		return o.local, o.remote
	}
	local, _ = sa.selectors(o.cfg)
	return local, o.remote
}

// refusedChild says what was offered and refused.
func refusedChild(o *offer, n *message.Notify) error {
	e := &RefusedError{Notify: n.Type}
	switch n.Type {
	case message.TSUnacceptable:
		e.Offered = spellSelectors(o.local) + " to " + spellSelectors(o.remote)
	case message.NoProposalChosen:
		e.Offered = o.cfg.Proposals.String()
	}
	return e
}

// lost is without consequences of its own: the IKE SA ended, and whoever ended it goes on.
func (r *authenticate) lost(sa *ikeSA, _ error) {
	if sa.hs != nil && sa.hs.child != nil {
		sa.e.cfg.SPIs.Release(sa.hs.child.spi)
		sa.hs.wanted = append([]string{sa.hs.child.cfg.Name}, sa.hs.wanted...)
		sa.hs.child = nil
	}
}
