package ike

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"log/slog"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// What arrives, from the datagram to the function of its exchange. Until a datagram's integrity is proved it changes
// nothing, but in IKE_SA_INIT.

type incoming struct {
	next uint32 // message ID of the peer's next request
	// request is the hash of the last one that was answered, of its first fragment; answer is what was answered. A repetition
	// has the same octets (RFC 7296 section 2.1), so that nothing need be decrypted to know it. Anything else with its message ID
	// is dropped without a word: anybody can send that, and so is a repetition's second fragment.
	request             [sha256.Size]byte
	answer              [][]byte
	requests, responses fragments
	partial             [sha256.Size]byte // hash of the first fragment of requests
}

// A reply answers a request: with payloads, then what is to happen once it is sent.
type reply struct {
	payloads []message.Payload
	then     func()
}

func replyNotify(t message.NotifyType) reply {
	return reply{payloads: []message.Payload{&message.Notify{Type: t}}}
}

func (e *Endpoint) receive(path Path, datagram []byte) {
	h, err := message.ParseHeader(datagram)
	if err != nil {
		e.answerVersion(path, h, err)
		return
	}
	if !h.Response() && h.Exchange == message.IKESAInit {
		if h.FromInitiator() && h.SPIr == 0 && h.MessageID == 0 {
			e.respondInit(path, datagram)
		}
		return
	}
	ours := h.SPIi
	if h.FromInitiator() {
		ours = h.SPIr
	}
	sa := e.sas[ours]
	switch {
	case sa == nil || sa.initiator == h.FromInitiator():
		// Not ours, or no longer. Nothing is answered: it would be worth as much as any other unprotected message.
	case sa.state == initiating:
		if h.Response() && h.Exchange == message.IKESAInit && h.MessageID == 0 {
			sa.receiveInit(path, datagram)
		}
	case h.SPIi != sa.spi.Initiator || h.SPIr != sa.spi.Responder || h.Exchange == message.IKESAInit:
	case h.Response():
		sa.receiveResponse(path, h, datagram)
	default:
		sa.receiveRequest(path, h, datagram)
	}
}

// answerVersion tells who speaks a later version which one is spoken here (RFC 7296 section 2.5).
func (e *Endpoint) answerVersion(path Path, h message.Header, err error) {
	var version *message.VersionError
	if !errors.As(err, &version) || h.Response() || h.SPIi == 0 {
		return
	}
	if n := version.Answer(); n != nil {
		e.sendClear(path, message.Message{
			Header:   message.Header{SPIi: h.SPIi, SPIr: h.SPIr, Exchange: h.Exchange, Flags: message.FlagResponse, MessageID: h.MessageID},
			Payloads: []message.Payload{n},
		})
	}
}

// sendClear sends an unprotected message. What cannot be encoded is not sent; nothing here makes such.
func (e *Endpoint) sendClear(path Path, m message.Message) []byte {
	datagram, err := m.Append(nil)
	if err != nil {
		e.log(slog.LevelError, "", nil, err, "building an %v message failed", m.Exchange)
		return nil
	}
	e.emit(Send{From: path.Local, To: path.Remote, NATT: path.NATT, Datagram: datagram})
	return datagram
}

// receiveRequest is the responder's half of RFC 7296 sections 2.1 to 2.3, with a window of 1.
func (sa *ikeSA) receiveRequest(path Path, h message.Header, datagram []byte) {
	if h.MessageID == sa.in.next-1 && sa.in.answer != nil && sha256.Sum256(datagram) == sa.in.request {
		sa.send(path, sa.in.answer)
		return
	}
	if h.MessageID != sa.in.next || sa.state == closed {
		return
	}
	if sa.state == authenticating {
		sa.hs.early = &earlyRequest{path, h, bytes.Clone(datagram)}
		return
	}
	m, err := message.Parse(datagram)
	if err != nil {
		return // no answer to what is not authentic
	}
	first, content, authentic, err := sa.open(&sa.in.requests, m, datagram)
	if !authentic {
		return
	}
	if skf := message.Find[*message.SKF](m.Payloads); skf == nil || skf.Number == 1 {
		sa.in.partial = sha256.Sum256(datagram)
	}
	if err != nil {
		return // more fragments are to come
	}
	sa.in.requests = fragments{}
	sa.heard(path)
	sa.ready()
	payloads, err := message.ParsePayloads(first, content)
	if err != nil {
		sa.answer(path, h, sa.malformed(h, err))
		return
	}
	if h.Exchange == message.IKEIntermediate && sa.state == halfOpen {
		sa.hs.authenticateParsed(sa, h, first, content)
	}
	sa.answer(path, h, sa.dispatch(h.Exchange, payloads))
}

// An earlyRequest is one that has overtaken the answer to IKE_AUTH: the responder may ask as soon as it has sent that.
type earlyRequest struct {
	path     Path
	h        message.Header
	datagram []byte
}

// answer sends the reply to the request h and keeps it.
func (sa *ikeSA) answer(path Path, h message.Header, r reply) {
	datagrams, err := sa.protect(h.Exchange, h.MessageID, true, r.payloads)
	if err != nil {
		sa.become(dead, err)
		return
	}
	sa.in.next++
	sa.in.request, sa.in.answer = sa.in.partial, datagrams
	sa.send(path, datagrams)
	if r.then != nil {
		r.then()
	}
	sa.wake()
}

// malformed answers an authentic request that cannot be parsed. What breaks the syntax ends the IKE SA on both sides, a
// critical payload that is not known ends the request only (RFC 7296 sections 2.5, 2.21.3).
func (sa *ikeSA) malformed(h message.Header, err error) reply {
	if n := message.Answer(err); sa.state == halfOpen {
		r := sa.refuseHandshake(n.Type, err)
		r.payloads = []message.Payload{n}
		return r
	}
	sa.log(slog.LevelWarn, err, "refused an %v request", h.Exchange)
	r := reply{payloads: []message.Payload{message.Answer(err)}}
	var critical *message.UnsupportedCriticalPayload
	if !errors.As(err, &critical) {
		r.then = func() { sa.become(closed, err) }
	}
	return r
}

// dispatch finds the function of an exchange.
func (sa *ikeSA) dispatch(exchange message.ExchangeType, payloads []message.Payload) reply {
	switch {
	case sa.state == halfOpen && exchange == message.IKEIntermediate:
		return sa.handleIntermediate(payloads)
	case sa.state == halfOpen && exchange == message.IKEAuth:
		return sa.handleAuth(payloads)
	case sa.state == halfOpen:
		return sa.refuseHandshake(message.InvalidSyntax, errors.New("an exchange before authentication"))
	case exchange == message.CreateChildSA:
		return sa.handleCreateChild(payloads)
	case exchange == message.IKEFollowupKE:
		return sa.handleFollowup(payloads)
	case exchange == message.Informational:
		return sa.handleInformational(payloads)
	}
	return replyNotify(message.InvalidSyntax)
}

// receiveResponse is the initiator's half.
func (sa *ikeSA) receiveResponse(path Path, h message.Header, datagram []byte) {
	p := sa.out.pending
	if p == nil || h.MessageID != p.id || h.Exchange != p.exchange {
		return
	}
	m, err := message.Parse(datagram)
	if err != nil {
		return
	}
	first, content, authentic, err := sa.open(&sa.in.responses, m, datagram)
	if !authentic || err != nil {
		return
	}
	sa.heard(path)
	payloads, err := message.ParsePayloads(first, content)
	if err != nil {
		sa.misunderstood(h.Exchange, err)
		return
	}
	if h.Exchange == message.IKEIntermediate {
		sa.hs.authenticateParsed(sa, h, first, content)
	}
	if r := sa.answered(); r != nil {
		r.done(sa, payloads)
	}
}

// misunderstood ends an IKE SA in which an authentic answer cannot be understood. The peer did what was asked, and what that was cannot
// be known: it is told, so that both start over (RFC 7296 section 2.21.3).
func (sa *ikeSA) misunderstood(exchange message.ExchangeType, err error) {
	sa.log(slog.LevelWarn, err, "the answer to an %v request cannot be understood", exchange)
	if r := sa.answered(); r != nil {
		r.lost(sa, err)
	}
	if sa.state == established || sa.state == authenticating && exchange == message.IKEAuth {
		sa.become(deleting, err)
		return
	}
	sa.become(dead, err)
}

// heard takes note of an authentic message that is no repetition.
func (sa *ikeSA) heard(path Path) {
	sa.life.heard = sa.e.now
	switch {
	case path == sa.path:
	case sa.state == halfOpen:
		sa.path = path // the initiator floats to port 4500 (RFC 7296 section 2.23)
	default:
		sa.moved(path)
	}
}

// roams says whether the peer is followed.
func (sa *ikeSA) roams() bool { return sa.nat.them && !sa.nat.us }

// moved follows a peer whose NAT mapping changed. Only who is not behind a NAT does so, and only with a peer that is (RFC 7296
// section 2.23): else whoever forwards our peer's packets from elsewhere could lead us away from it.
func (sa *ikeSA) moved(path Path) {
	if path == sa.path || sa.state > established || !sa.roams() {
		return
	}
	from := sa.path
	sa.path = path
	sa.log(slog.LevelInfo, nil, "the peer moved from %v to %v", from.Remote, path.Remote)
	sa.e.emit(PeerMoved{IKE: sa.info(), From: from})
}
