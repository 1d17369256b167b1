package ike

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"iter"
	"log/slog"

	"github.com/warrenvpn/warren/tunnel/ike/crypto"
	"github.com/warrenvpn/warren/tunnel/ike/message"
	"github.com/warrenvpn/warren/tunnel/ike/proposal"
)

// IKE_SA_INIT as responder (RFC 7296 section 1.2). Whoever sends it can do so from any address: it gets at most one datagram,
// no state above MaxHalfOpen and, from CookieThreshold on, no key exchange before its address is proved.

// An initOffer is a request that has what it needs.
type initOffer struct {
	path     Path
	m        *message.Message
	sa       *message.SA
	ke       *message.KE
	nonce    []byte
	datagram []byte
}

func (e *Endpoint) respondInit(path Path, datagram []byte) {
	key := initKey{path.Remote, sha256.Sum256(datagram)}
	if sa := e.inits[key]; sa != nil {
		if sa.state == halfOpen && sa.in.next == 1 {
			sa.send(path, sa.in.answer)
		}
		return
	}
	o := initOffer{path: path, datagram: datagram}
	var err error
	if o.m, err = message.Parse(datagram); err != nil {
		if h, headerErr := message.ParseHeader(datagram); headerErr == nil {
			e.refuseInit(path, h, message.Answer(err), err)
		}
		return
	}
	offer, nonce := message.Find[*message.SA](o.m.Payloads), message.Find[*message.Nonce](o.m.Payloads)
	o.sa, o.ke = offer, message.Find[*message.KE](o.m.Payloads)
	if offer == nil || o.ke == nil || nonce == nil {
		return
	}
	o.nonce = nonce.Data
	if !e.admits(&o) {
		return
	}
	p, choice, refusal, err := e.chooseInit(&o)
	if err != nil {
		e.refuseInit(path, o.m.Header, refusal, err)
		return
	}
	e.acceptInit(&o, key, p, choice)
}

// admits asks for a cookie where too many are half-open (RFC 7296 section 2.6), and takes nobody more where far too many are.
func (e *Endpoint) admits(o *initOffer) bool {
	if e.halfOpen < e.cfg.CookieThreshold {
		return true
	}
	from := o.path.Remote.Addr()
	n := message.FindNotify(o.m.Payloads, message.Cookie)
	if n != nil && e.cookies.Valid(e.now, n.Data, from, o.m.SPIi, o.nonce) {
		return e.halfOpen < e.cfg.MaxHalfOpen
	}
	cookie := e.cookies.Make(e.now, from, o.m.SPIi, o.nonce)
	e.answerInit(o.path, o.m.Header, &message.Notify{Type: message.Cookie, Data: cookie})
	return false
}

// answerInit answers without keeping anything.
func (e *Endpoint) answerInit(path Path, h message.Header, n *message.Notify) {
	e.sendClear(path, message.Message{
		Header:   message.Header{SPIi: h.SPIi, Exchange: message.IKESAInit, Flags: message.FlagResponse},
		Payloads: []message.Payload{n},
	})
}

func (e *Endpoint) refuseInit(path Path, h message.Header, n *message.Notify, err error) {
	level := slog.LevelWarn
	if n != nil && n.Type == message.InvalidKEPayload {
		level = slog.LevelDebug // the peer guessed wrong, and comes again
	}
	e.logUnauthenticated(level, err, "refused IKE_SA_INIT from %v", path.Remote)
	if n != nil {
		e.answerInit(path, h, n)
	}
}

// logUnauthenticated logs what anybody can provoke: no more than some entries a second.
func (e *Endpoint) logUnauthenticated(level slog.Level, err error, format string, args ...any) {
	second := e.now.Unix()
	if second != e.noise.second {
		e.noise.second, e.noise.entries = second, 0
	}
	if e.noise.entries++; e.noise.entries <= maxNoise {
		e.log(level, "", nil, err, format, args...)
	}
}

// maxNoise is how many entries a second whoever is not authenticated can have logged.
const maxNoise = 20

// candidates are the peers that a message on this path may come from, the more specific first.
func (e *Endpoint) candidates(path Path) iter.Seq[*peer] {
	return func(yield func(*peer) bool) {
		for _, some := range [][]*peer{e.byAddr[path.Remote.Addr()], e.templates} {
			for _, p := range some {
				if p.at(path) && !yield(p) {
					return
				}
			}
		}
	}
}

// at says whether a message on a path may come from a peer.
func (p *peer) at(path Path) bool {
	return (p.cfg.template() || p.cfg.Remote == path.Remote.Addr()) && (!p.cfg.Local.IsValid() || p.cfg.Local == path.Local.Addr())
}

var errNoPeer = errors.New("no peer is configured for these addresses")

// chooseInit chooses the algorithms, by the first peer that it may be and that agrees. Which peer it is IKE_AUTH tells.
func (e *Endpoint) chooseInit(o *initOffer) (*peer, proposal.Choice, *message.Notify, error) {
	refuse := func(t message.NotifyType, err error) (*peer, proposal.Choice, *message.Notify, error) {
		return nil, proposal.Choice{}, &message.Notify{Type: t}, err
	}
	first := errNoPeer
	for p := range e.candidates(o.path) {
		choice, err := proposal.Select(p.cfg.Proposals, o.sa.Proposals)
		if err != nil {
			if first == errNoPeer {
				first = err
			}
			continue
		}
		var wrong *proposal.InvalidKE
		if err := choice.CheckKE(crypto.GroupID(o.ke.Method)); errors.As(err, &wrong) {
			return nil, choice, message.NotifyUint16s(message.InvalidKEPayload, uint16(wrong.Want)), err
		}
		return p, choice, nil, nil
	}
	return refuse(message.NoProposalChosen, first)
}

// acceptInit makes the IKE SA and answers.
func (e *Endpoint) acceptInit(o *initOffer, key initKey, p *peer, choice proposal.Choice) {
	can := readAbilities(o.m.Payloads)
	err := crypto.CheckNonce(choice.Suite().PRF, o.nonce)
	if err == nil && len(choice.AdditionalKE()) > 0 && !can.intermediate {
		err = errors.New("additional key exchanges without IKE_INTERMEDIATE")
	}
	var method crypto.Group
	if err == nil {
		method, err = choice.KE().Group()
	}
	var public, shared []byte
	if err == nil {
		public, shared, err = method.Respond(o.ke.Data)
	}
	if err != nil {
		e.refuseInit(o.path, o.m.Header, &message.Notify{Type: message.InvalidSyntax}, err)
		return
	}
	sa := e.newSA(crypto.SPIs{Initiator: o.m.SPIi, Responder: e.newSPI()}, false, halfOpen)
	e.halfOpen++
	sa.path, sa.can, sa.sec.choice = o.path, can, choice
	sa.hs = &handshake{
		key: key, nonces: crypto.Nonces{Initiator: o.nonce, Responder: e.nonce()}, theirs: bytes.Clone(o.datagram),
		group: choice.KE(), methods: choice.AdditionalKE(),
	}
	if err := sa.deriveInitial(shared); err != nil {
		sa.become(dead, err)
		return
	}
	if p.cfg.Encap != EncapNever {
		sa.nat = detectNAT(o.m.Payloads, crypto.SPIs{Initiator: o.m.SPIi}, o.path)
	}
	m := message.Message{Header: sa.header(message.IKESAInit, 0, true)}
	m.Payloads = []message.Payload{&message.SA{Proposals: choice.Answer(nil)}, &message.KE{Method: uint16(choice.KE()), Data: public},
		&message.Nonce{Data: sa.hs.nonces.Responder}}
	m.Payloads = append(m.Payloads, sa.initNotifies(p)...)
	e.inits[key] = sa
	sa.hs.ours = e.sendClear(o.path, m)
	sa.in.next, sa.in.answer = 1, [][]byte{sa.hs.ours}
	e.timers.set(&sa.life.handshake, e.now.Add(e.cfg.HalfOpenTimeout), func() {
		e.logUnauthenticated(slog.LevelWarn, errHalfOpen, "gave up on %v", sa.path.Remote)
		sa.become(dead, errHalfOpen)
	})
}

// initNotifies is what the answer says besides.
func (sa *ikeSA) initNotifies(p *peer) []message.Payload {
	var all []message.Payload
	if sa.nat.supported {
		all = natNotifies(sa.spi, sa.path, p.cfg.Encap == EncapAlways)
	}
	sa.can.fragments = sa.can.fragments && !p.cfg.NoFragmentation
	if sa.can.fragments {
		all = append(all, &message.Notify{Type: message.FragmentationSupported})
	}
	if len(sa.can.hashes) > 0 {
		all = append(all, hashesNotify())
	}
	if len(sa.hs.methods) > 0 {
		all = append(all, &message.Notify{Type: message.IntermediateExchangeSupported})
	}
	for _, r := range p.cfg.Credentials.Requests() {
		all = append(all, r)
	}
	return all
}

// noise counts the log entries of a second that are somebody's whom nobody knows.
type noise struct {
	second  int64
	entries int
}
