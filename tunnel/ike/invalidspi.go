package ike

import (
	"encoding/binary"
	"log/slog"
	"net/netip"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// INVALID_SPI (RFC 7296 section 1.5): a peer that sends by a child SA which we do not have is told so, in its IKE SA and nowhere else,
// and a peer's word in one that it does not have ours is checked by rekeying it: if that is so, it answers CHILD_SA_NOT_FOUND.
//
// Anybody can send ESP from any address. So nobody is told whose SPI does not go on coming, and each peer seldom.

const (
	// strayFor is how long an SPI has to come before its sender is told: longer than packets are on their way after its child SA
	// has ended. So long, too, a child SA may be new to the peer.
	strayFor = 5 * time.Second
	// strayGap is after how long without it an SPI begins anew to come.
	strayGap = time.Minute
	// strayEvery is the time between two messages to a peer, at least.
	strayEvery = 30 * time.Second
)

// A stray is an SPI that we do not have and by which ESP comes from a peer's address. Of several the first is watched.
type stray struct {
	spi               uint32
	since, last, told time.Time
}

// Stray tells that ESP came from an address, with a port of 0 where it was not in UDP, by an SPI that no child SA has and that is not
// reserved. It need not be told of each packet.
func (e *Endpoint) Stray(now time.Time, from netip.AddrPort, spi uint32) []Action {
	return e.handle(now, func() {
		if sa := e.sender(unmap(from)); sa != nil {
			sa.strayed(spi)
		}
	})
}

// sender finds the newest IKE SA with whoever sends ESP from an address.
func (e *Endpoint) sender(from netip.AddrPort) *ikeSA {
	var newest *ikeSA
	for _, p := range e.peers {
		for _, sa := range p.sas {
			if sa.alive() && sa.sends(from) && (newest == nil || sa.number > newest.number) {
				newest = sa
			}
		}
	}
	return newest
}

// sends says whether an address is one from which the peer may send ESP.
func (sa *ikeSA) sends(from netip.AddrPort) bool {
	remote := sa.path.Remote
	return remote.Addr() == from.Addr() && (!sa.path.NATT || from.Port() == 0 || from.Port() == remote.Port())
}

func (sa *ikeSA) strayed(spi uint32) {
	s, now := &sa.stray, sa.e.now
	quiet := now.Sub(s.last)
	switch {
	case s.last.IsZero() || quiet >= strayGap || spi != s.spi && quiet >= strayFor:
		s.spi, s.since, s.last = spi, now, now
		return
	case spi != s.spi:
		return
	}
	s.last = now
	if now.Sub(s.since) < strayFor || !s.told.IsZero() && now.Sub(s.told) < strayEvery {
		return
	}
	s.told = now
	sa.log(slog.LevelInfo, nil, "the peer sends by SPI %08x, which is no child SA's here: it is told", spi)
	sa.enqueue(invalidSPI{spi})
}

// An invalidSPI tells the peer that its outbound SPI is unknown.
type invalidSPI struct{ spi uint32 }

func (r invalidSPI) begin(sa *ikeSA) (message.ExchangeType, []message.Payload, bool) {
	return message.Informational, []message.Payload{&message.Notify{Type: message.InvalidSPI, Data: binary.BigEndian.AppendUint32(nil, r.spi)}}, sa.alive()
}

func (invalidSPI) done(*ikeSA, []message.Payload) {}

func (invalidSPI) lost(*ikeSA, error) {}

// checkSPIs rekeys the children of which the peer says that it does not have them.
func (sa *ikeSA) checkSPIs(payloads []message.Payload) {
	for _, n := range message.FindNotifies(payloads, message.InvalidSPI) {
		if len(n.Data) != 4 {
			continue
		}
		c := sa.childByOut(binary.BigEndian.Uint32(n.Data))
		if c == nil || !c.live() || sa.e.now.Sub(c.born) < strayFor {
			continue // on the way when it ended, or when it began
		}
		sa.log(slog.LevelInfo, nil, "the peer does not have child %q, SPI %08x: rekeying it", c.is.Name, c.is.Out)
		c.rekeyNow()
	}
}
