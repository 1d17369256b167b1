package ike

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"github.com/warrenvpn/warren/tunnel/ike/crypto"
	"github.com/warrenvpn/warren/tunnel/ike/message"
	"github.com/warrenvpn/warren/tunnel/ike/proposal"
)

// IKE_SA_INIT as initiator (RFC 7296 section 1.2).

// maxRestarts bounds how often COOKIE and INVALID_KE_PAYLOAD make us begin anew: forged ones must not go on for ever.
const maxRestarts = 6

// maxCookie is the longest cookie in bytes that is sent back (RFC 7296 section 2.6).
const maxCookie = 64

// connect begins an IKE SA with a peer; the children are made once it is established, the first with IKE_AUTH.
func (p *peer) connect(children []string, reauth *ikeSA) {
	e := p.e
	sa := e.newSA(crypto.SPIs{Initiator: e.newSPI()}, true, initiating)
	sa.peer = p
	sa.path = p.firstPath()
	sa.hs = &handshake{nonces: crypto.Nonces{Initiator: e.nonce()}, wanted: slices.Clone(children), reauth: reauth}
	sa.hs.offered = p.cfg.Proposals.Offer(nil)
	p.sas = append(p.sas, sa)
	sa.log(slog.LevelInfo, nil, "initiating to %v", sa.path.Remote)
	sa.sendInit(p.cfg.Proposals.Guess())
}

// firstPath is where the first message goes: to port 500, unless that is not wanted or not there.
func (p *peer) firstPath() Path {
	c := &p.e.cfg
	if p.cfg.RemotePort == 500 && c.Port != NoPort {
		return Path{Local: netip.AddrPortFrom(p.cfg.Local, uint16(c.Port)), Remote: netip.AddrPortFrom(p.cfg.Remote, 500)}
	}
	port := p.cfg.RemotePort
	if port == 500 {
		port = 4500
	}
	return Path{Local: netip.AddrPortFrom(p.cfg.Local, uint16(c.NATPort)), Remote: netip.AddrPortFrom(p.cfg.Remote, port), NATT: true}
}

// sendInit sends the request with a key of a group, in place of one that may be out.
func (sa *ikeSA) sendInit(group crypto.GroupID) {
	hs := sa.hs
	if hs.exchange == nil || hs.group != group {
		method, err := group.Group()
		if err == nil {
			hs.exchange, err = method.Begin()
		}
		if err != nil {
			sa.become(dead, fmt.Errorf("beginning a key exchange: %w", err))
			return
		}
		hs.group = group
	}
	datagram, err := sa.initRequest().Append(nil)
	if err != nil {
		sa.become(dead, err)
		return
	}
	hs.ours = datagram
	sa.silence()
	sa.out.next = 0
	sa.transmit(message.IKESAInit, [][]byte{datagram}, nil)
}

func (sa *ikeSA) initRequest() *message.Message {
	hs, cfg := sa.hs, &sa.peer.cfg
	m := &message.Message{Header: sa.header(message.IKESAInit, 0, false)}
	add := func(p ...message.Payload) { m.Payloads = append(m.Payloads, p...) }
	if hs.cookie != nil {
		add(&message.Notify{Type: message.Cookie, Data: hs.cookie})
	}
	add(&message.SA{Proposals: hs.offered}, &message.KE{Method: uint16(hs.group), Data: hs.exchange.Public()},
		&message.Nonce{Data: hs.nonces.Initiator})
	if cfg.Encap != EncapNever {
		add(natNotifies(sa.spi, sa.path, cfg.Encap == EncapAlways)...)
	}
	if !cfg.NoFragmentation {
		add(&message.Notify{Type: message.FragmentationSupported})
	}
	add(hashesNotify())
	if offersAdditional(cfg.Proposals) {
		add(&message.Notify{Type: message.IntermediateExchangeSupported})
	}
	return m
}

func offersAdditional(l proposal.List) bool {
	return slices.ContainsFunc(l, func(p proposal.Proposal) bool {
		return slices.ContainsFunc(p.Transforms, func(t message.Transform) bool { return t.Type.AdditionalKE() && t.ID != message.KENone })
	})
}

// receiveInit takes an answer to the request. Anybody can have sent it: what it refuses is believed when nothing better has
// come until the request is given up (RFC 7296 section 2.21.1).
func (sa *ikeSA) receiveInit(path Path, datagram []byte) {
	if sa.overtaken() {
		return
	}
	m, err := message.Parse(datagram)
	if err != nil {
		return
	}
	hs := sa.hs
	if n := message.FindNotify(m.Payloads, message.Cookie); n != nil {
		if len(n.Data) == 0 || len(n.Data) > maxCookie || bytes.Equal(n.Data, hs.cookie) || hs.restarts >= maxRestarts {
			return
		}
		hs.restarts++
		hs.cookie = n.Data
		sa.sendInit(hs.group)
		return
	}
	if n := message.FindNotify(m.Payloads, message.InvalidKEPayload); n != nil {
		sa.retryInit(n)
		return
	}
	if n := message.FindError(m.Payloads); n != nil {
		sa.refusedInit(&RefusedError{Notify: n.Type, Offered: sa.peer.cfg.Proposals.String()})
		return
	}
	if err := sa.acceptInit(path, m, datagram); err != nil {
		sa.refusedInit(err)
	}
}

// refusedInit keeps what an unauthenticated answer said and logs it, once.
func (sa *ikeSA) refusedInit(err error) {
	if sa.hs.refused == nil {
		sa.log(slog.LevelWarn, err, "IKE_SA_INIT with %v failed", sa.path.Remote)
		sa.hs.refused = err
	}
}

// retryInit begins anew with the group that the responder wants, if it was offered.
func (sa *ikeSA) retryInit(n *message.Notify) {
	hs := sa.hs
	wanted, ok := n.Uint16s()
	if !ok || len(wanted) != 1 || hs.restarts >= maxRestarts {
		return
	}
	if err := sa.peer.cfg.Proposals.Retry(hs.group, crypto.GroupID(wanted[0])); err != nil {
		sa.refusedInit(err)
		return
	}
	hs.restarts++
	sa.sendInit(crypto.GroupID(wanted[0]))
}

// acceptInit goes on with the answer, if it is one to what was offered.
func (sa *ikeSA) acceptInit(path Path, m *message.Message, datagram []byte) error {
	hs, cfg := sa.hs, &sa.peer.cfg
	offer, ke, nonce := message.Find[*message.SA](m.Payloads), message.Find[*message.KE](m.Payloads), message.Find[*message.Nonce](m.Payloads)
	if offer == nil || ke == nil || nonce == nil || m.SPIr == 0 {
		return errors.New("the answer lacks an SA, KE or Nonce payload or the responder's SPI")
	}
	choice, err := proposal.Accept(hs.offered, offer.Proposals)
	if err != nil {
		return err
	}
	can := readAbilities(m.Payloads)
	if choice.KE() != hs.group || crypto.GroupID(ke.Method) != hs.group {
		return fmt.Errorf("key exchange: offered %v, wanted %v", ke.Method, hs.group)
	}
	if len(choice.AdditionalKE()) > 0 && !can.intermediate {
		return errors.New("the responder chose additional key exchanges without IKE_INTERMEDIATE")
	}
	if err := crypto.CheckNonce(choice.Suite().PRF, nonce.Data); err != nil {
		return err
	}
	shared, err := hs.exchange.Finish(ke.Data)
	if err != nil {
		return err
	}
	sa.spi.Responder = m.SPIr
	hs.nonces.Responder = nonce.Data
	sa.sec.choice, sa.can = choice, can
	if err := sa.deriveInitial(shared); err != nil {
		return err
	}
	hs.theirs = bytes.Clone(datagram)
	hs.requests = message.FindAll[*message.CertReq](m.Payloads)
	hs.methods = choice.AdditionalKE()
	sa.path.Local = path.Local
	if cfg.Encap != EncapNever {
		sa.nat = detectNAT(m.Payloads, sa.spi, path)
		sa.float()
	}
	sa.answered()
	sa.become(authenticating, nil)
	sa.continueHandshake()
	return nil
}

// overtaken ends our initiation if the peer's was faster, and asks for the children in the IKE SA that there is.
func (sa *ikeSA) overtaken() bool {
	p, hs := sa.peer, sa.hs
	if hs.reauth != nil || !p.known() || p.parting > 0 {
		return false
	}
	names := hs.wanted
	sa.become(dead, errDuplicate)
	p.initiate(names...)
	return true
}

// float goes to port 4500 where there is a NAT, or shall be one (RFC 7296 section 2.23).
func (sa *ikeSA) float() {
	if !sa.nat.supported || sa.path.NATT || !sa.encap() {
		return
	}
	sa.path.NATT = true
	sa.path.Local = netip.AddrPortFrom(sa.path.Local.Addr(), uint16(sa.e.cfg.NATPort))
	sa.path.Remote = netip.AddrPortFrom(sa.path.Remote.Addr(), 4500)
}

// encap says whether ESP goes in UDP.
func (sa *ikeSA) encap() bool {
	return sa.nat.us || sa.nat.them || sa.peer != nil && sa.peer.cfg.Encap == EncapAlways && sa.nat.supported
}

// continueHandshake asks what comes next: an additional key exchange, or IKE_AUTH.
func (sa *ikeSA) continueHandshake() {
	if len(sa.hs.methods) > 0 {
		sa.enqueue(&intermediate{method: sa.hs.methods[0]})
		return
	}
	sa.enqueue(&authenticate{})
}

// A RefusedError says that the peer refused something.
type RefusedError struct {
	Notify  message.NotifyType
	Offered string // what we had offered, if that is what was refused
}

// Error names the notification, and what was offered.
func (e *RefusedError) Error() string {
	if e.Offered == "" {
		return fmt.Sprintf("the peer answered %v", e.Notify)
	}
	return fmt.Sprintf("the peer answered %v; offered was %s", e.Notify, e.Offered)
}
