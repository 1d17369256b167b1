package ike

import (
	"errors"
	"log/slog"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// INFORMATIONAL: deletions and signs of life (RFC 7296 sections 1.4, 2.4).

// A deleteIKE deletes its IKE SA.
type deleteIKE struct{ reason error }

func (r *deleteIKE) begin(*ikeSA) (message.ExchangeType, []message.Payload, bool) {
	var all []message.Payload
	if errors.Is(r.reason, errAuthentication) {
		all = append(all, &message.Notify{Type: message.AuthenticationFailed})
	}
	return message.Informational, append(all, &message.Delete{Protocol: message.ProtocolIKE}), true
}

func (r *deleteIKE) done(sa *ikeSA, _ []message.Payload) { sa.become(dead, r.reason) }

func (r *deleteIKE) lost(*ikeSA, error) {}

// A deleteChild deletes a child, or all of a name, or one that only the peer has, by our SPI.
type deleteChild struct {
	child  *child
	name   string
	spi    uint32
	reason error

	deleted []*child
}

func (r *deleteChild) begin(sa *ikeSA) (message.ExchangeType, []message.Payload, bool) {
	var spis []uint32
	if r.spi != 0 {
		spis = append(spis, r.spi)
	}
	for _, c := range sa.children {
		if c.state < deletingChild && (c == r.child || r.name != "" && c.is.Name == r.name) {
			c.become(deletingChild, r.reason)
			r.deleted = append(r.deleted, c)
			spis = append(spis, c.is.In)
		}
	}
	return message.Informational, []message.Payload{&message.Delete{Protocol: message.ProtocolESP, SPIs: spis}}, len(spis) > 0
}

func (r *deleteChild) done(sa *ikeSA, _ []message.Payload) {
	for _, c := range r.deleted {
		if c.state != deletingChild {
			continue // the peer deleted it too
		}
		c.end(r.reason)
		if errors.Is(r.reason, errLifetime) {
			sa.peer.childClosed(c, r.reason)
		}
	}
}

func (r *deleteChild) lost(*ikeSA, error) {}

// A probe asks for a sign of life (RFC 7296 section 2.4).
type probe struct{}

func (probe) begin(*ikeSA) (message.ExchangeType, []message.Payload, bool) {
	return message.Informational, nil, true
}

func (probe) done(*ikeSA, []message.Payload) {}

func (probe) lost(*ikeSA, error) {}

func (sa *ikeSA) handleInformational(payloads []message.Payload) reply {
	var answer []message.Payload
	deletes := message.FindAll[*message.Delete](payloads)
	for _, d := range deletes {
		if d.Protocol == message.ProtocolIKE {
			sa.yield() // RFC 7296 section 2.25.2: what the peer made to replace it stays
			return reply{then: func() { sa.become(closed, errPeerClosed) }}
		}
	}
	sa.inherit()
	if message.FindNotify(payloads, message.AuthenticationFailed) != nil {
		sa.log(slog.LevelWarn, nil, "the peer did not accept our authentication")
		return reply{then: func() { sa.become(closed, &RefusedError{Notify: message.AuthenticationFailed}) }}
	}
	sa.shortenAuth(payloads)
	sa.checkSPIs(payloads)
	for _, d := range deletes {
		if d.Protocol == message.ProtocolESP {
			if spis := sa.deleted(d.SPIs); len(spis) > 0 {
				answer = append(answer, &message.Delete{Protocol: message.ProtocolESP, SPIs: spis})
			}
		}
	}
	return reply{payloads: answer}
}

// deleted ends the children that the peer deletes and returns our SPIs of them: not of those that we are deleting too, since
// the peer learns of these by our request (RFC 7296 section 1.4.1).
func (sa *ikeSA) deleted(spis []uint32) (ours []uint32) {
	for _, spi := range spis {
		c := sa.childByOut(spi)
		if c == nil {
			if sa.making() && len(sa.out.early) < maxChildren {
				sa.out.early = append(sa.out.early, spi)
			}
			continue
		}
		if c.state != deletingChild {
			ours = append(ours, c.is.In)
		}
		c.yield()
		wanted := c.live() && c.rekey == nil
		c.end(errPeerClosed)
		if wanted {
			sa.peer.childClosed(c, errPeerClosed)
		}
	}
	return ours
}
