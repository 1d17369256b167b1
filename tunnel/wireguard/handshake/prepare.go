package handshake

import (
	"errors"
	"net/netip"
	"time"

	"golang.zx2c4.com/wireguard/tai64n"
)

// Prepared is a message on which the work was done that needs no order. Only Commit makes it count.
type Prepared struct {
	drop     Drop
	kind     Type
	from     netip.AddrPort
	answer   *answer
	response Response
	cookie   CookieReply // which came in, or is to be sent where drop is NeedsCookie
}

// Drop is why nothing will come of it, or None.
func (m *Prepared) Drop() Drop { return m.drop }

// Refusal appends to b the cookie reply that is all there is to send where Drop is NeedsCookie, and returns where to. To send it
// no Commit is needed, and so neither the Device's owner nor memory.
func (m *Prepared) Refusal(b []byte) ([]byte, netip.AddrPort) { return m.cookie.Append(b), m.from }

// An answer is an initiation that was read, and the response to it but for the index.
type answer struct {
	peer   *Peer
	id     *identity
	at     tai64n.Timestamp
	remote uint32
	noise  [noiseRespond]byte
	keys   transportKeys
}

// A Knock says that a message was checked already, and against which key. The zero Knock says nothing.
type Knock struct{ at *identity }

// Knocks says whether a datagram may be a handshake message to us: it has the size of one and, but for cookie replies, mac1 of
// somebody who knows our public key. It takes about a microsecond and allocates nothing, so a flood may be asked. Any goroutine
// may ask. Prepare asks again, unless it is given the Knock and the key is the same still.
func (d *Device) Knocks(b []byte) (Knock, bool) {
	kind, ok := TypeOf(b)
	id := d.id.Load()
	return Knock{id}, ok && kind != TypeTransport && (kind == TypeCookieReply || id.door.knocks(b))
}

// Prepare does the part of HandleMessage that takes long and may be done beside others: it checks the MACs, and of an initiation
// also computes the answer (four multiplications on the curve, of which one is enough to refuse a stranger). It may be called from any
// goroutine; b is not kept.
func (d *Device) Prepare(now time.Time, b []byte, from netip.AddrPort, underLoad bool, by Knock) Prepared {
	m := Prepared{from: from}
	var ok bool
	if m.kind, ok = TypeOf(b); !ok || m.kind == TypeTransport {
		m.drop = BadMessage
		return m
	}
	if m.kind == TypeCookieReply {
		m.cookie, _ = ParseCookieReply(b)
		return m
	}
	id := d.id.Load()
	if by.at != id && !id.door.knocks(b) {
		m.drop = BadMAC1
		return m
	}
	if underLoad {
		m.admit(d, id, now, b)
		if m.drop != None {
			return m
		}
	}
	if m.kind == TypeResponse {
		m.response, _ = ParseResponse(b)
		return m
	}
	in, _ := ParseInitiation(b)
	m.answer, m.drop = d.answer(now, id, &in)
	return m
}

// admit is the rule under load (paper, section 5.3).
func (m *Prepared) admit(d *Device, id *identity, now time.Time, b []byte) {
	switch {
	case !id.door.proves(now, b, m.from):
		sender := uint32(b[4]) | uint32(b[5])<<8 | uint32(b[6])<<16 | uint32(b[7])<<24
		m.cookie, m.drop = id.door.refuse(now, b, sender, m.from), NeedsCookie
	case !d.limit.allow(now, m.from.Addr()):
		m.drop = RateLimited
	}
}

// answer computes the response to an initiation. That the initiation is no repetition is checked in between, so that
// replaying one costs little, and again by Commit, since others may be at it.
func (d *Device) answer(now time.Time, id *identity, in *Initiation) (*answer, Drop) {
	var p *Peer
	s, at, err := readInitiation(id, &in.Noise, func(k PublicKey) (secret [KeySize]byte, err error) {
		if p = d.Peer(k); p == nil {
			return secret, errUnknownPeer
		}
		return p.secretWith(id)
	})
	defer s.x.erase()
	if errors.Is(err, errUnknownPeer) {
		return nil, UnknownPeer
	}
	if err != nil {
		return nil, BadHandshake
	}
	p.mu.Lock()
	psk, drop := p.psk, p.repeated(now, at)
	p.mu.Unlock()
	if drop != None {
		return nil, drop
	}
	a := &answer{peer: p, id: id, at: at, remote: in.Sender}
	if a.noise, a.keys, err = s.respond(psk); err != nil {
		return nil, BadHandshake
	}
	if d.keyLog != nil {
		d.keyLog(s.ephemeralKeys(p.public, psk))
	}
	return a, None
}

// repeated says whether an initiation may not be answered since it is not newer than the last, or follows it too closely. mu is
// held.
func (p *Peer) repeated(now time.Time, at tai64n.Timestamp) Drop {
	switch {
	case !at.After(p.newest):
		return Replayed
	case !p.consumed.IsZero() && now.Sub(p.consumed) < initiationInterval:
		return RateLimited
	}
	return None
}

// secretWith is the secret of the peer's static key and ours.
func (p *Peer) secretWith(id *identity) ([KeySize]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.secretOf != id {
		if err := multiply(&p.secret, &id.private, p.public[:]); err != nil {
			p.secretOf = nil
			return p.secret, err
		}
		p.secretOf = id
	}
	return p.secret, nil
}
