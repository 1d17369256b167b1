package handshake

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// FuzzHandleMessage gives a machine in the middle of its work whatever comes, as it is and with right MACs, so that what is
// behind them is reached. Nothing that is not authentic may change a session or a handshake.
func FuzzHandleMessage(f *testing.F) {
	for _, b := range wellFormed() {
		f.Add(b, false)
		f.Add(b, true)
	}
	now := func() time.Time { return start }
	keys := [2]PrivateKey{{8}, {16}}
	f.Fuzz(func(t *testing.T, b []byte, load bool) {
		h := newHost(t, "fuzzed", keys[0], rand.New(rand.NewPCG(1, 1)), now, now, newLedger(t))
		h.out = func(netip.AddrPort, []byte) {}
		p := h.add(PeerConfig{PublicKey: keys[1].Public()}, address(1))
		h.send(p, "begins")
		index := p.begun.index
		h.load = load
		for _, b := range signed(b, h.d.PublicKey(), index) {
			h.receive(b, address(2))
		}
		if h.drops[None] != 0 || p.begun == nil || p.begun.index != index || len(h.actions) != 0 {
			t.Fatalf("something was accepted: %v, %v", h.drops, h.actions)
		}
		h.checkIndices()
	})
}

// signed is b, and b to a receiver and with a right mac1 where it has one.
func signed(b []byte, to PublicKey, receiver uint32) [][]byte {
	all := [][]byte{b}
	kind, ok := TypeOf(b)
	b = bytes.Clone(b)
	switch {
	case !ok || kind == TypeTransport:
		return all
	case kind == TypeResponse:
		m, _ := ParseResponse(b)
		m.Receiver = receiver
		b = m.Append(nil)
	case kind == TypeCookieReply:
		m, _ := ParseCookieReply(b)
		m.Receiver = receiver
		return append(all, m.Append(nil))
	}
	new(purse).sign(start, to, b)
	return append(all, b)
}

// FuzzInitiation, FuzzResponse and FuzzCookieReply change a right message of each type somewhere: it must be refused, and the
// right one still be accepted afterwards.

func FuzzInitiation(f *testing.F) { fuzzChanged(f, TypeInitiation) }

func FuzzResponse(f *testing.F) { fuzzChanged(f, TypeResponse) }

func FuzzCookieReply(f *testing.F) { fuzzChanged(f, TypeCookieReply) }

func fuzzChanged(f *testing.F, kind Type) {
	for _, at := range []uint8{0, 1, 4, 8, 12, 40, 60, 100, 120, 140} {
		f.Add(at, uint8(0x80), true)
		f.Add(at, uint8(1), false)
	}
	f.Fuzz(func(t *testing.T, at, flip uint8, resign bool) {
		w := newPair(t, 1)
		w.lose = func(flight) bool { return true }
		w.hosts[1].load = kind == TypeCookieReply
		w.hosts[0].send(w.peers[0], "first")
		w.hosts[1].receive(w.sent[0].b, w.hosts[0].at)
		m, h := w.sent[len(w.sent)-1], w.hosts[0]
		if kind == TypeInitiation {
			w.restart(1, w.hosts[1].key)
			m, h = w.sent[0], w.hosts[1]
		}
		bad := bytes.Clone(m.b)
		bad[int(at)%len(bad)] ^= flip
		if resign && kind != TypeCookieReply {
			new(purse).sign(start, h.d.PublicKey(), bad)
		}
		// The index of the sender is not authenticated, nor is mac2 looked at.
		sender, unread := int(at)%len(bad) >= 4 && int(at)%len(bad) < 8, int(at)%len(bad) >= len(bad)-macSize
		if !bytes.Equal(bad, m.b) && !unread && (!sender || !resign || kind == TypeCookieReply) {
			h.receive(bad, m.from)
			if h.drops[None] != 0 {
				t.Fatalf("octet %d changed by %#x was accepted", at, flip)
			}
		}
		h.receive(m.b, m.from)
		if h.drops[None] != 1 {
			t.Fatalf("after it the right one was refused: %v", h.drops)
		}
	})
}
