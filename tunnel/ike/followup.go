package ike

import (
	"bytes"
	"errors"
	"log/slog"

	"github.com/warrenvpn/warren/tunnel/ike/crypto"
	"github.com/warrenvpn/warren/tunnel/ike/message"
	"github.com/warrenvpn/warren/tunnel/ike/proposal"
)

// IKE_FOLLOWUP_KE carries the additional key exchanges of CREATE_CHILD_SA (RFC 9370 section 2.2.4).

// A followUpKE asks for the next additional key exchange.
type followUpKE struct {
	methods  []crypto.GroupID // the first is the one to be made
	link     []byte
	ike      bool // it is the IKE SA that is rekeyed
	exchange crypto.Exchange
	shared   [][]byte
	finish   func([][]byte, error)
}

var errNoLink = errors.New("the answer names no additional key exchange to go on with")

// followUp makes the additional key exchanges of a choice; finish gets their results. An answer of the responder's before,
// in payloads, has the link to go on with.
func (sa *ikeSA) followUp(choice proposal.Choice, payloads []message.Payload, ike bool, finish func([][]byte, error)) {
	methods := choice.AdditionalKE()
	if len(methods) == 0 {
		finish(nil, nil)
		return
	}
	link := message.FindNotify(payloads, message.AdditionalKeyExchange)
	if link == nil || len(link.Data) == 0 {
		finish(nil, errNoLink)
		return
	}
	sa.enqueueFirst(&followUpKE{methods: methods, link: link.Data, ike: ike, finish: finish})
}

func (r *followUpKE) begin(*ikeSA) (message.ExchangeType, []message.Payload, bool) {
	method, err := r.methods[0].Group()
	if err == nil {
		r.exchange, err = method.Begin()
	}
	if err != nil {
		r.finish(nil, err)
		return 0, nil, false
	}
	return message.IKEFollowupKE, []message.Payload{
		&message.KE{Method: uint16(r.methods[0]), Data: r.exchange.Public()},
		&message.Notify{Type: message.AdditionalKeyExchange, Data: r.link},
	}, true
}

func (r *followUpKE) done(sa *ikeSA, payloads []message.Payload) {
	if n := message.FindError(payloads); n != nil {
		r.finish(nil, &RefusedError{Notify: n.Type})
		return
	}
	ke := message.Find[*message.KE](payloads)
	if ke == nil || crypto.GroupID(ke.Method) != r.methods[0] {
		r.finish(nil, errAdditionalKE)
		return
	}
	shared, err := r.exchange.Finish(ke.Data)
	if err != nil {
		r.finish(nil, err)
		return
	}
	r.shared = append(r.shared, shared)
	if r.methods = r.methods[1:]; len(r.methods) == 0 {
		r.finish(r.shared, nil)
		return
	}
	link := message.FindNotify(payloads, message.AdditionalKeyExchange)
	if link == nil || len(link.Data) == 0 {
		r.finish(nil, errNoLink)
		return
	}
	r.link = link.Data
	sa.enqueueFirst(r)
}

func (r *followUpKE) lost(_ *ikeSA, err error) { r.finish(nil, err) }

// A followup is what a responder waits for between CREATE_CHILD_SA and the last additional key exchange.
type followup struct {
	methods []crypto.GroupID
	link    []byte
	shared  [][]byte
	finish  func([][]byte) reply
	drop    func()
	timer   timer
}

// linkLen is the length in bytes of what links the exchanges.
const linkLen = 16

// awaitFollowup begins to wait and returns the notification with the link. drop is called if it was in vain.
func (sa *ikeSA) awaitFollowup(methods []crypto.GroupID, finish func([][]byte) reply, drop func()) *message.Notify {
	f := &followup{methods: methods, link: sa.e.random(make([]byte, linkLen)), finish: finish, drop: drop}
	sa.swap.follow = f
	sa.e.timers.set(&f.timer, sa.e.now.Add(sa.replacedFor()), func() { sa.dropFollowup() })
	return &message.Notify{Type: message.AdditionalKeyExchange, Data: f.link}
}

func (sa *ikeSA) dropFollowup() {
	if f := sa.swap.follow; f != nil {
		sa.swap.follow = nil
		sa.e.timers.stop(&f.timer)
		f.drop()
	}
}

func (sa *ikeSA) handleFollowup(payloads []message.Payload) reply {
	f := sa.swap.follow
	ke, link := message.Find[*message.KE](payloads), message.FindNotify(payloads, message.AdditionalKeyExchange)
	if f == nil || link == nil || !bytes.Equal(link.Data, f.link) {
		return replyNotify(message.StateNotFound)
	}
	refuse := func(err error) reply {
		sa.dropFollowup()
		return replyNotify(message.InvalidSyntax).logged(sa, err)
	}
	if ke == nil || crypto.GroupID(ke.Method) != f.methods[0] {
		return refuse(errAdditionalKE)
	}
	method, err := f.methods[0].Group()
	if err != nil {
		return refuse(err)
	}
	public, shared, err := method.Respond(ke.Data)
	if err != nil {
		return refuse(err)
	}
	f.shared = append(f.shared, shared)
	answer := []message.Payload{&message.KE{Method: ke.Method, Data: public}}
	if f.methods = f.methods[1:]; len(f.methods) > 0 {
		f.link = sa.e.random(make([]byte, linkLen))
		return reply{payloads: append(answer, &message.Notify{Type: message.AdditionalKeyExchange, Data: f.link})}
	}
	sa.swap.follow = nil
	sa.e.timers.stop(&f.timer)
	r := f.finish(f.shared)
	if r.payloads == nil {
		r.payloads = answer
	}
	return r
}

// logged logs why a reply refuses.
func (r reply) logged(sa *ikeSA, err error) reply {
	sa.log(slog.LevelWarn, err, "refused a request")
	return r
}
