package wireguard_test

import (
	"bytes"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet/packettest"
	"github.com/warrenvpn/warren/dataplane/underlay/sim"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

// TestOldSessionMovesNobody: what comes late by the session before is delivered, and says nothing of where the peer is now, although
// it is the newest of its session.
func TestOldSessionMovesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last []byte
		net, h := pair(t, setup{net: sim.Config{Tap: func(_, _ netip.AddrPort, _ uint8, b []byte) { last = bytes.Clone(b) }}})
		meet(t, h)
		a, b := h[0].underlay.Local(), h[1].underlay.Local()
		time.Sleep(10 * time.Second) // so that another session may begin
		net.Cut(a.Addr(), b.Addr(), true)
		h[0].inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1))
		synctest.Wait()
		late := last
		net.Cut(a.Addr(), b.Addr(), false)
		h[0].peer.Rekey()
		synctest.Wait()
		h[0].inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 2))
		if got := packettest.Number(h[1].next(t)); got != 2 {
			t.Fatalf("packet %d", got)
		}
		if n := h[1].device.HandshakeDrops()[handshake.None]; n != 2 {
			t.Fatalf("%d sessions, want 2", n)
		}
		elsewhere, err := net.Underlay(addr("203.0.113.66:666"), 1)
		must(t, err)
		defer elsewhere.Close()
		elsewhere.NewSender().Send([]dataplane.Frame{{Data: late, Path: &dataplane.Path{Underlay: elsewhere, Remote: b}}})
		if got := packettest.Number(h[1].next(t)); got != 1 {
			t.Fatalf("packet %d", got)
		}
		if got := h[1].peer.Path().Remote; got != a {
			t.Errorf("a message of the old session moved the peer to %v", got)
		}
	})
}

// TestNothingIsLostWhenBothRekey at the same time, be the other side near or far: the sessions of both handshakes are taken while
// either may be used.
func TestNothingIsLostWhenBothRekey(t *testing.T) {
	for _, delay := range []time.Duration{time.Millisecond, 30 * time.Millisecond, 80 * time.Millisecond, 150 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			_, h := pair(t, setup{net: sim.Config{Faults: sim.Faults{Delay: delay}}})
			meet(t, h)
			const packets, rounds = 1000, 3
			for n := range uint32(packets * rounds) {
				if n%packets == 0 {
					time.Sleep(6 * time.Second) // so that another session may begin
					h[0].peer.Rekey()
					h[1].peer.Rekey()
				}
				h[0].inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 100, n))
				h[1].inject(t, packettest.UDP("10.2.0.5", "10.1.0.5", 100, n))
				time.Sleep(time.Millisecond)
			}
			for i := range h {
				for n := range uint32(packets * rounds) {
					if got := packettest.Number(h[i].next(t)); got != n {
						t.Fatalf("%v away: host %d received packet %d after %d", delay, i, got, int(n)-1)
					}
				}
				if n := h[i].device.HandshakeDrops()[handshake.None]; n < rounds {
					t.Errorf("%v away: host %d took %d handshake messages", delay, i, n)
				}
			}
		})
	}
}

// counting allocates one number after the other.
type counting uint32

func (c *counting) Allocate(*handshake.Peer) uint32 { *c++; return uint32(*c) }
func (*counting) Release(uint32)                    {}

// TestPreparedTwice: of two copies of an initiation that are prepared at the same time, each good by itself, one is committed. The
// other is refused there, since the first may be answered by then.
func TestPreparedTwice(t *testing.T) {
	keys := [2]handshake.PrivateKey{handshake.NewPrivateKey(), handshake.NewPrivateKey()}
	now := time.Now()
	var devices [2]*handshake.Device
	for i := range devices {
		var err error
		devices[i], err = handshake.New(handshake.Config{PrivateKey: keys[i], Indices: new(counting), Wall: time.Now})
		must(t, err)
		_, err = devices[i].AddPeer(now, handshake.PeerConfig{PublicKey: keys[1-i].Public()})
		must(t, err)
	}
	devices[0].Peer(keys[1].Public()).NeedSession(now)
	var initiation []byte
	for _, a := range devices[0].Actions() {
		if s, ok := a.(handshake.Send); ok {
			initiation = bytes.Clone(s.Bytes)
		}
	}
	from := addr("192.0.2.2:51820")
	one, other := devices[1].Prepare(now, initiation, from, false, handshake.Knock{}), devices[1].Prepare(now, initiation, addr("203.0.113.66:666"), false, handshake.Knock{})
	if one.Drop() != handshake.None || other.Drop() != handshake.None {
		t.Fatalf("prepared with %v and %v", one.Drop(), other.Drop())
	}
	if drop := devices[1].Commit(now, one); drop != handshake.None {
		t.Fatalf("the first: %v", drop)
	}
	answers := devices[1].Actions()
	if drop := devices[1].Commit(now, other); drop != handshake.Replayed {
		t.Errorf("the second: %v, want %v", drop, handshake.Replayed)
	}
	if more := devices[1].Actions(); len(answers) == 0 || len(more) != 0 {
		t.Errorf("%d actions by the first, %d by the second", len(answers), len(more))
	}
}
