package wireguard_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/packet/packettest"
	"github.com/warrenvpn/warren/dataplane/underlay/sim"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/tunnel/wireguard"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// TestPeerMovesOnlyWhenAuthentic: a NAT changes the peer's address; what anybody else sends from another one moves nothing, and
// neither does an old packet that somebody held back.
func TestPeerMovesOnlyWhenAuthentic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last []byte
		net, h := pair(t, setup{net: sim.Config{Tap: func(_, _ netip.AddrPort, _ uint8, b []byte) { last = bytes.Clone(b) }}})
		meet(t, h)
		was := h[1].peer.Path().Remote
		forger, err := net.Underlay(addr("203.0.113.66:666"), 1)
		must(t, err)
		defer forger.Close()
		say := func(b []byte) {
			forger.NewSender().Send([]dataplane.Frame{{Data: b, Path: &dataplane.Path{Underlay: forger, Remote: h[1].underlay.Local()}}})
		}
		net.Cut(h[0].underlay.Local().Addr(), h[1].underlay.Local().Addr(), true)
		h[0].inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1))
		synctest.Wait()
		held := last
		net.Cut(h[0].underlay.Local().Addr(), h[1].underlay.Local().Addr(), false)
		h[0].inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 2))
		if got := packettest.Number(h[1].next(t)); got != 2 {
			t.Fatalf("packet %d", got)
		}
		forged := bytes.Clone(held)
		forged[40] ^= 1
		binary.LittleEndian.PutUint64(forged[8:], 1000)
		say(forged)
		h[1].dropped(t, packet.BadICV, 1)
		say(bytes.Clone(held))
		if got := packettest.Number(h[1].next(t)); got != 1 {
			t.Fatalf("packet %d", got)
		}
		if got := h[1].peer.Path().Remote; got != was {
			t.Fatalf("a forger moved the peer to %v", got)
		}
		now := addr("198.51.100.7:61234")
		net.Rebind(h[0].underlay.Local(), now)
		h[0].inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 3))
		h[1].next(t)
		if got := h[1].peer.Path().Remote; got != now {
			t.Fatalf("the peer is at %v, want %v", got, now)
		}
		h[1].inject(t, packettest.UDP("10.2.0.5", "10.1.0.5", 100, 4))
		h[0].next(t)
	})
}

// TestReplayedInitiation, from elsewhere, starts nothing and moves nobody.
func TestReplayedInitiation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var initiation []byte
		net, h := pair(t, setup{net: sim.Config{Tap: func(_, _ netip.AddrPort, _ uint8, b []byte) {
			if b[0] == 1 {
				initiation = bytes.Clone(b)
			}
		}}})
		meet(t, h)
		was := h[1].peer.Status()
		other, err := net.Underlay(addr("203.0.113.66:666"), 1)
		must(t, err)
		defer other.Close()
		other.NewSender().Send([]dataplane.Frame{{Data: initiation, Path: &dataplane.Path{Underlay: other, Remote: h[1].underlay.Local()}}})
		waitFor(t, "the drop", func() bool { return h[1].device.HandshakeDrops()[handshake.Replayed] == 1 })
		if now := h[1].peer.Status(); now.Endpoint != was.Endpoint || now.SentBytes != was.SentBytes {
			t.Errorf("%+v, was %+v", now, was)
		}
	})
}

// TestWaiting: packets without a session are kept in order up to a bound, the newest of them, and sent with the handshake.
func TestWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, h := pair(t, setup{})
		a, b := h[0].underlay.Local().Addr(), h[1].underlay.Local().Addr()
		net.Cut(a, b, true)
		for i := range uint32(100) {
			h[0].inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 60+int(i), i))
		}
		h[0].dropped(t, packet.NoSA, 36)
		if s := h[0].peer.Status(); s.Waiting != 64 || s.State != wireguard.Idle {
			t.Errorf("%+v", s)
		}
		net.Cut(a, b, false)
		for i := uint32(36); i < 100; i++ {
			if got := h[1].next(t); !bytes.Equal(got, packettest.UDP("10.1.0.5", "10.2.0.5", 60+int(i), i)) {
				t.Fatalf("packet %d came in place of %d", packettest.Number(got), i)
			}
		}
		if s := h[0].peer.Status(); s.Waiting != 0 || s.KeptSent != 64 || s.Lost != 0 || s.SentBytes == 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestStates: up with the first session, idle when the keys expire unused, down when nobody answers, and up again.
func TestStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, h := pair(t, setup{})
		meet(t, h)
		begin := time.Now()
		state := func(want wireguard.State, after time.Duration) {
			t.Helper()
			select {
			case s := <-h[0].states:
				if d := time.Since(begin); s != want || d < after-10*time.Second || d > after+10*time.Second {
					t.Fatalf("%v after %v, want %v after %v", s, d, want, after)
				}
			case <-time.After(20 * time.Minute):
				t.Fatalf("the state never became %v", want)
			}
		}
		state(wireguard.Up, 0)
		state(wireguard.Idle, 180*time.Second)
		net.Cut(h[0].underlay.Local().Addr(), h[1].underlay.Local().Addr(), true)
		begin = time.Now()
		h[0].inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1))
		state(wireguard.Down, 90*time.Second)
		if s := h[0].peer.Status(); s.Lost != 1 || s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
		net.Cut(h[0].underlay.Local().Addr(), h[1].underlay.Local().Addr(), false)
		begin = time.Now()
		h[0].inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 2))
		h[1].next(t)
		state(wireguard.Up, 0)

		// Given up while the keys are good still: what comes in says that it is up.
		net.Cut(h[0].underlay.Local().Addr(), h[1].underlay.Local().Addr(), true)
		begin = time.Now()
		h[0].inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 3))
		state(wireguard.Down, 105*time.Second)
		net.Cut(h[0].underlay.Local().Addr(), h[1].underlay.Local().Addr(), false)
		h[1].inject(t, packettest.UDP("10.2.0.5", "10.1.0.5", 100, 4))
		h[0].next(t)
		state(wireguard.Up, 105*time.Second)
	})
}

// TestKeepalives: a side that only receives answers after 10 s; persistent keepalives come when nothing else does.
func TestKeepalives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var short [2]atomic.Int32
		_, h := pair(t, setup{net: sim.Config{Tap: func(from, _ netip.AddrPort, _ uint8, b []byte) {
			if len(b) == 32 {
				short[from.Addr().As4()[3]-1].Add(1)
			}
		}}})
		meet(t, h)
		time.Sleep(30 * time.Second)
		for i := range short {
			short[i].Store(0)
		}
		h[0].inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1))
		h[1].next(t)
		time.Sleep(9 * time.Second)
		if n := short[1].Load(); n != 0 {
			t.Errorf("%d keepalives within 9 s", n)
		}
		time.Sleep(2 * time.Second)
		if n := short[1].Load(); n != 1 {
			t.Errorf("%d keepalives within 11 s", n)
		}
		h[0].peer.SetPersistentKeepalive(25 * time.Second)
		time.Sleep(time.Second)
		short[0].Store(0)
		time.Sleep(time.Hour)
		if n := short[0].Load(); n < 3600/25-5 || n > 3600/25+5+30 {
			t.Errorf("%d keepalives in an hour", n)
		}
		if s := h[0].peer.Status(); s.State != wireguard.Up || s.PersistentKeepalive != 25*time.Second {
			t.Errorf("%+v", s)
		}
	})
}

// TestRestart of either side: the other notices by itself, and what it sends meanwhile that is not lost on the way arrives.
func TestRestart(t *testing.T) {
	for who := range 2 {
		synctest.Test(t, func(t *testing.T) {
			s := setup{}
			s.defaults()
			net := sim.New(sim.Config{})
			keys := [2]handshake.PrivateKey{handshake.NewPrivateKey(), handshake.NewPrivateKey()}
			var h [2]*host
			for i := range h {
				h[i] = newHost(t, net, s, i, keys)
				h[i].run(t)
			}
			meet(t, h)
			h[who].stop()
			h[who] = newHost(t, net, s, who, keys)
			h[who].run(t)
			time.Sleep(time.Second)
			begin := time.Now()
			other := 1 - who
			from, to := []string{"10.1.0.5", "10.2.0.5"}[other], []string{"10.1.0.5", "10.2.0.5"}[who]
			h[other].inject(t, packettest.UDP(from, to, 100, 1)) // by the old session, into the void
			time.Sleep(20 * time.Second)
			h[other].inject(t, packettest.UDP(from, to, 100, 2))
			if got := packettest.Number(h[who].next(t)); got != 2 {
				t.Errorf("packet %d came", got)
			}
			if d := time.Since(begin); d > 21*time.Second {
				t.Errorf("after %v", d)
			}
			// The restarted side begins at once.
			h[who].inject(t, packettest.UDP(to, from, 100, 3))
			h[other].next(t)
			h[who].stop()
			h[who] = newHost(t, net, s, who, keys)
			h[who].run(t)
			time.Sleep(6 * time.Second)
			h[who].inject(t, packettest.UDP(to, from, 100, 4))
			if got := packettest.Number(h[other].next(t)); got != 4 {
				t.Errorf("packet %d came", got)
			}
		})
	}
}

func TestPresharedKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		psk := handshake.NewPresharedKey()
		_, h := pair(t, setup{cfg: wireguard.PeerConfig{PresharedKey: psk}})
		meet(t, h)
		h[1].peer.SetPresharedKey(handshake.NewPresharedKey())
		time.Sleep(200 * time.Second)
		h[0].inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1))
		time.Sleep(time.Second)
		if n := h[0].device.HandshakeDrops()[handshake.BadHandshake]; n != 1 {
			t.Errorf("%d responses by another pre-shared key were refused", n)
		}
		h[1].peer.SetPresharedKey(psk)
		if got := packettest.Number(h[1].next(t)); got != 1 {
			t.Errorf("packet %d", got)
		}
	})
}

// TestKeyChange ends all sessions; what waits goes out by the new ones.
func TestKeyChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, h := pair(t, setup{})
		meet(t, h)
		key := handshake.NewPrivateKey()
		if err := h[0].device.SetPrivateKey(h[1].key); !errors.Is(err, handshake.ErrOwnKey) {
			t.Errorf("the peer's key: %v", err)
		}
		must(t, h[0].device.SetPrivateKey(key))
		if h[0].device.PublicKey() != key.Public() {
			t.Error("another public key")
		}
		h[0].inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1))
		time.Sleep(time.Second)
		if n := h[1].device.HandshakeDrops()[handshake.UnknownPeer]; n == 0 {
			t.Error("the other side accepted an unknown key")
		}
		old := h[1].peer
		old.Close()
		h[1].plane.RemoveTunnel(h[1].index)
		h[1].addPeer(t, wireguard.PeerConfig{Name: "peer", PublicKey: key.Public()})
		if got := packettest.Number(h[1].next(t)); got != 1 {
			t.Errorf("packet %d", got)
		}
		if h[1].device.Peer(h[0].key.Public()) != nil || h[1].device.Peer(key.Public()) != h[1].peer {
			t.Error("peers are found by other keys than theirs")
		}
	})
}

// TestPortChange: the underlay goes and another comes; the peer follows.
func TestPortChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, h := pair(t, setup{})
		meet(t, h)
		h[0].device.RemoveUnderlay(h[0].underlay)
		if p := h[0].peer.Path(); p != nil {
			t.Fatalf("path %+v", p)
		}
		h[0].inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1))
		h[0].dropped(t, packet.PeerUnknown, 1)
		h[0].next(t) // host unreachable
		h[1].inject(t, packettest.UDP("10.2.0.5", "10.1.0.5", 100, 7))
		if got := packettest.Number(h[0].next(t)); got != 7 || h[0].peer.Path() != nil {
			t.Errorf("packet %d came by the old port, and moved the peer to %v", got, h[0].peer.Path())
		}
		must(t, h[0].underlay.Close())
		u, err := net.Underlay(addr("192.0.2.1:5555"), 1)
		must(t, err)
		h[0].device.AddUnderlay(u)
		must(t, h[0].plane.AddUnderlay(u, h[0].device))
		h[0].inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 2))
		if got := packettest.Number(h[1].next(t)); got != 2 {
			t.Errorf("packet %d", got)
		}
		if got := h[1].peer.Path().Remote; got != u.Local() {
			t.Errorf("the peer is at %v", got)
		}
		h[1].inject(t, packettest.UDP("10.2.0.5", "10.1.0.5", 100, 3))
		h[0].next(t)
	})
}

// TestSourceIsFiltered by allowed addresses and by who is asked.
func TestSourceIsFiltered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked sync.Map
		_, h := pair(t, setup{cfg: wireguard.PeerConfig{SourceCheck: func(i *wire.Info) bool {
			asked.Store(i.SrcAddr().String(), true)
			return i.SrcAddr() != netip.MustParseAddr("10.1.0.66")
		}}})
		must(t, h[1].peer.SetAllowedIPs([]netip.Prefix{netip.MustParsePrefix("10.1.0.5/24"), netip.MustParsePrefix("::/0")}))
		h[0].inject(t, packettest.UDP("10.1.7.5", "10.2.0.5", 100, 1), packettest.UDP("10.1.0.66", "10.2.0.5", 100, 2), packettest.UDP("fd01::5", "fd02::5", 100, 3), packettest.UDP("10.1.0.5", "10.2.0.5", 100, 4))
		if got := h[1].next(t); got[0]>>4 != 6 {
			t.Errorf("came %x", got)
		}
		if got := h[1].next(t); packettest.Number(got) != 4 {
			t.Errorf("came %x", got)
		}
		h[1].dropped(t, packet.SelectorIn, 2)
		if _, ok := asked.Load("10.1.7.5"); ok {
			t.Error("who is asked was asked of what is not allowed")
		}
		must(t, h[1].peer.SetAllowedIPs([]netip.Prefix{}))
		h[0].inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 5))
		h[1].dropped(t, packet.SelectorIn, 3)
		must(t, h[1].peer.SetAllowedIPs(nil))
		h[0].inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 6))
		h[1].next(t)
		h[1].peer.SetSourceCheck(nil)
		h[0].inject(t, packettest.UDP("10.1.0.66", "10.2.0.5", 100, 7))
		if got := h[1].next(t); packettest.Number(got) != 7 {
			t.Errorf("came %x", got)
		}
		h[1].peer.SetSourceCheck(func(*wire.Info) bool { return false })
		h[0].inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 8))
		h[1].dropped(t, packet.SelectorIn, 4)
		if err := h[1].peer.SetAllowedIPs([]netip.Prefix{{}}); err == nil {
			t.Error("no prefix is allowed")
		}
	})
}

func TestOuterHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var outer, marked atomic.Uint32
		net, h := pair(t, setup{net: sim.Config{Tap: func(_, _ netip.AddrPort, tos uint8, b []byte) {
			if b[0] == 4 && len(b) > 32 {
				outer.Store(uint32(tos))
			} else if b[0] != 4 {
				marked.Store(uint32(tos))
			}
		}}})
		for range 2 { // while there is no session, and with one
			p := packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1)
			wire.SetTOS(p, 46<<2|wire.ECT0)
			h[0].inject(t, p)
			if got := h[1].next(t); !bytes.Equal(got, p) || outer.Load() != 46<<2|wire.ECT0 {
				t.Errorf("outer %#x, inner %#x", outer.Load(), got[1])
			}
		}
		if marked.Load() != 0x88 {
			t.Errorf("handshakes are marked %#x", marked.Load())
		}
		// A frame with DF that is too large for the way is refused, one without passes.
		net.Set(h[0].underlay.Local().Addr(), h[1].underlay.Local().Addr(), sim.Faults{MTU: 80})
		h[0].inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 2))
		h[0].dropped(t, packet.UnderlayTooBig, 1)
		p := packettest.UDP("10.1.0.5", "10.2.0.5", 100, 3)
		p[6] &^= 0x40
		wire.SetIPv4Checksum(p)
		h[0].inject(t, p)
		if got := h[1].next(t); !bytes.Equal(got, p) {
			t.Errorf("came %x", got)
		}
	})
}

// TestCongestionComesIn: a router on the way marks what is sent.
func TestCongestionComesIn(t *testing.T) {
	for _, c := range []struct {
		inner, outer, want uint8
		drop               bool
	}{
		{wire.ECT0, wire.CE, wire.CE, false}, {wire.NotECT, wire.CE, 0, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			var last []byte
			net, h := pair(t, setup{net: sim.Config{Tap: func(_, _ netip.AddrPort, _ uint8, b []byte) { last = bytes.Clone(b) }}})
			meet(t, h)
			net.Set(h[0].underlay.Local().Addr(), h[1].underlay.Local().Addr(), sim.Faults{Cut: true})
			p := packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1)
			wire.SetTOS(p, c.inner)
			h[0].inject(t, p)
			synctest.Wait()
			third, err := net.Underlay(addr("192.0.2.9:51820"), 1)
			must(t, err)
			defer third.Close()
			third.NewSender().Send([]dataplane.Frame{{Data: last, Path: &dataplane.Path{Underlay: third, Remote: h[1].underlay.Local()}, TOS: c.outer}})
			if c.drop {
				h[1].dropped(t, packet.ECNInvalid, 1)
			} else if got := h[1].next(t); got[1] != c.want || wire.Checksum(got[:20], 0) != 0 {
				t.Errorf("inner %d outer %d: %d", c.inner, c.outer, got[1])
			}
		})
	}
}

func TestPathMTUIsLearntWithinFloorsAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var last []byte
		net, h := pair(t, setup{net: sim.Config{Tap: func(from, _ netip.AddrPort, _ uint8, b []byte) {
			if mu.Lock(); from.Addr() == netip.MustParseAddr("192.0.2.1") && b[0] == 4 {
				last = bytes.Clone(b)
			}
			mu.Unlock()
		}}})
		meet(t, h)
		a := h[0]
		net.Set(netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), sim.Faults{MTU: 1300})
		begin := time.Now()
		a.inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 1400, 1))
		waitFor(t, "the MTU to be learnt", func() bool { return a.peer.InnerMTU() == 1240 })
		a.inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 1400, 2))
		if told := a.next(t); binary.BigEndian.Uint16(told[26:]) != 1240 {
			t.Errorf("told %x", told[20:28])
		}
		remote := a.peer.Path().Remote
		mu.Lock()
		quote := slices.Clone(last[:8])
		mu.Unlock()
		another := bytes.Clone(quote)
		another[5]++
		for name, e := range map[string]dataplane.PathError{
			"another index": {Remote: remote, MTU: 1000, Quote: another},
			"no transport":  {Remote: remote, MTU: 1000, Quote: append([]byte{1}, quote[1:]...)},
			"no quote":      {Remote: remote, MTU: 1000},
			"another peer":  {Remote: addr("203.0.113.1:51820"), MTU: 1000, Quote: quote},
			"larger":        {Remote: remote, MTU: 1400, Quote: quote},
			"another kind":  {Remote: remote, Code: "refused", Quote: quote},
			"our own word":  {Remote: addr("203.0.113.1:0"), MTU: 1000, Local: true}, // of another way
		} {
			a.device.PathError(a.underlay, &e)
			if got := a.peer.InnerMTU(); got != 1240 {
				t.Errorf("%s: inner MTU %d", name, got)
			}
		}
		a.device.PathError(a.underlay, &dataplane.PathError{Remote: netip.AddrPortFrom(remote.Addr(), 0), MTU: 1000, Local: true})
		if got := a.peer.InnerMTU(); got != 1000-60 {
			t.Errorf("the system says 1000: %d", got)
		}
		a.device.PathError(a.underlay, &dataplane.PathError{Remote: remote, MTU: 68, Quote: quote})
		if got := a.peer.InnerMTU(); got != 576-60 {
			t.Errorf("below the floor: %d", got)
		}
		net.Set(netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), sim.Faults{})
		time.Sleep(599*time.Second - time.Since(begin))
		if got := a.peer.InnerMTU(); got != 576-60 {
			t.Errorf("after 599 s: %d", got)
		}
		time.Sleep(2 * time.Second)
		if got := a.peer.InnerMTU(); got != 1440 {
			t.Errorf("after 601 s: %d", got)
		}
		a.peer.SetMTU(1300)
		if got := a.peer.InnerMTU(); got != 1300 {
			t.Errorf("set to 1300: %d", got)
		}
	})
}

// TestRunsOnce and ends when it is told.
func TestRunsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, h := pair(t, setup{})
		synctest.Wait()
		if err := h[0].device.Run(t.Context()); err == nil {
			t.Error("it ran a second time")
		}
	})
}

// TestKeysAreRefused that are none, our own, or taken.
func TestKeysAreRefused(t *testing.T) {
	key, other := handshake.NewPrivateKey(), handshake.NewPrivateKey().Public()
	if _, err := wireguard.New(wireguard.Options{}); !errors.Is(err, handshake.ErrNoKey) {
		t.Errorf("no private key: %v", err)
	}
	d, err := wireguard.New(wireguard.Options{PrivateKey: key})
	must(t, err)
	_, err = d.AddPeer(1, wireguard.PeerConfig{PublicKey: other})
	must(t, err)
	for want, k := range map[error]handshake.PublicKey{handshake.ErrNoKey: {}, handshake.ErrOwnKey: key.Public(), handshake.ErrPeerExists: other} {
		if p, err := d.AddPeer(2, wireguard.PeerConfig{PublicKey: k}); !errors.Is(err, want) || p != nil {
			t.Errorf("%v, want %v", err, want)
		}
	}
	if n := len(d.Status()); n != 1 {
		t.Errorf("%d peers", n)
	}
}
