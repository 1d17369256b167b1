package ike

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/warrenvpn/warren/tunnel/ike/crypto"
	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// IKE_INTERMEDIATE carries the additional key exchanges of a new IKE SA (RFC 9242, RFC 9370 section 2.2.2).

var errAdditionalKE = errors.New("the KE payload is not that of the additional key exchange that comes next")

type intermediate struct {
	method   crypto.GroupID
	exchange crypto.Exchange
}

func (r *intermediate) begin(sa *ikeSA) (message.ExchangeType, []message.Payload, bool) {
	method, err := r.method.Group()
	if err == nil {
		r.exchange, err = method.Begin()
	}
	if err != nil {
		sa.become(dead, err)
		return 0, nil, false
	}
	return message.IKEIntermediate, []message.Payload{&message.KE{Method: uint16(r.method), Data: r.exchange.Public()}}, true
}

func (r *intermediate) done(sa *ikeSA, payloads []message.Payload) {
	if n := message.FindError(payloads); n != nil {
		sa.become(dead, &RefusedError{Notify: n.Type})
		return
	}
	ke := message.Find[*message.KE](payloads)
	if ke == nil || crypto.GroupID(ke.Method) != r.method {
		sa.become(dead, errAdditionalKE)
		return
	}
	shared, err := r.exchange.Finish(ke.Data)
	if err == nil {
		err = sa.mixIn(shared)
	}
	if err != nil {
		sa.become(dead, err)
		return
	}
	sa.continueHandshake()
}

func (r *intermediate) lost(*ikeSA, error) {}

// mixIn replaces the keys after an additional key exchange.
func (sa *ikeSA) mixIn(shared []byte) error {
	old := sa.sec.keys
	keys, err := sa.sec.suite.Additional(old, shared, sa.hs.nonces, sa.spi)
	if err != nil {
		return fmt.Errorf("mixing in an additional key exchange: %w", err)
	}
	sa.hs.methods = sa.hs.methods[1:]
	defer old.Wipe()
	return sa.setKeys(sa.sec.suite, keys)
}

func (sa *ikeSA) handleIntermediate(payloads []message.Payload) reply {
	ke := message.Find[*message.KE](payloads)
	if len(sa.hs.methods) == 0 || ke == nil || crypto.GroupID(ke.Method) != sa.hs.methods[0] {
		return sa.refuseHandshake(message.InvalidSyntax, errAdditionalKE)
	}
	method, err := sa.hs.methods[0].Group()
	if err != nil {
		return sa.refuseHandshake(message.InvalidSyntax, err)
	}
	public, shared, err := method.Respond(ke.Data)
	if err != nil {
		return sa.refuseHandshake(message.InvalidSyntax, err)
	}
	return reply{
		payloads: []message.Payload{&message.KE{Method: ke.Method, Data: public}},
		then: func() {
			if err := sa.mixIn(shared); err != nil {
				sa.become(dead, err)
			}
		},
	}
}

// refuseHandshake answers with an error and ends the IKE SA: nobody was authenticated.
func (sa *ikeSA) refuseHandshake(t message.NotifyType, err error) reply {
	sa.e.logUnauthenticated(slog.LevelWarn, err, "refused the handshake with %v: %v", sa.path.Remote, t)
	r := replyNotify(t)
	r.then = func() { sa.become(closed, err) }
	return r
}
