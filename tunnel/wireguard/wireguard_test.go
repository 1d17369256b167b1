package wireguard_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warrenvpn/warren/dataplane/packet/packettest"
	"github.com/warrenvpn/warren/dataplane/port/pipe"
	"github.com/warrenvpn/warren/dataplane/underlay/sim"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/internal/race"
	"github.com/warrenvpn/warren/tunnel/wireguard"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

func TestPacketsCross(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, h := pair(t, setup{})
		for i, p := range [][]byte{packettest.UDP("10.1.0.5", "10.2.0.5", 64, 1), packettest.UDP("fd01::5", "fd02::5", 1200, 2), packettest.UDP("10.1.0.5", "10.2.0.5", 1301, 3)} {
			h[0].inject(t, p)
			if got := h[1].next(t); !bytes.Equal(got, p) {
				t.Fatalf("packet %d came out as %x", i, got)
			}
		}
		p := packettest.UDP("10.2.0.5", "10.1.0.5", 333, 4)
		h[1].inject(t, p)
		if got := h[0].next(t); !bytes.Equal(got, p) {
			t.Fatalf("the answer came out as %x", got)
		}
	})
}

// TestSuperPacketsCross with a session and while there is none.
func TestSuperPacketsCross(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, h := pair(t, setup{})
		for range 2 {
			p := packettest.UDP("10.1.0.5", "10.2.0.5", 28+5000, 7)
			o := wire.Offload{GSO: wire.GSOUDP, NeedsCsum: true, Size: 1000, HdrLen: 28, CsumStart: 20, CsumOffset: 6}
			must(t, h[0].port.InjectTo(0, pipe.Packet{Data: bytes.Clone(p), Offload: o}))
			var got []byte
			for range 5 {
				seg := h[1].next(t)
				if len(seg) != 1028 || wire.Checksum(seg[20:], wire.PseudoSum(seg, wire.ProtoUDP, 1008)) != 0 {
					t.Fatalf("segment of %d bytes", len(seg))
				}
				got = append(got, seg[28:]...)
			}
			if !bytes.Equal(got, p[28:]) {
				t.Error("segments do not make the super-packet")
			}
		}
	})
}

// TestInnerMTU is 1440 over IPv4 and 1420 over IPv6 for an outer path MTU of 1500, and exactly so much crosses. Padding makes no
// message larger than the path.
func TestInnerMTU(t *testing.T) {
	for _, c := range []struct {
		a, b      string
		path, mtu int // 0: 1500, from the path
		want      int
	}{
		{"192.0.2.1:51820", "192.0.2.2:51820", 0, 0, 1440}, {"[2001:db8::1]:51820", "[2001:db8::2]:51820", 0, 0, 1420},
		{"192.0.2.1:51820", "192.0.2.2:51820", 1463, 0, 1403}, {"192.0.2.1:51820", "192.0.2.2:51820", 0, 1397, 1397},
	} {
		synctest.Test(t, func(t *testing.T) {
			longest := 0
			encap := 28
			if c.want == 1420 {
				encap = 48
			}
			tap := func(_, _ netip.AddrPort, _ uint8, b []byte) { longest = max(longest, encap+len(b)) }
			_, h := pair(t, setup{addrs: [2]string{c.a, c.b}, cfg: wireguard.PeerConfig{MTU: c.mtu}, net: sim.Config{Tap: tap, Faults: sim.Faults{MTU: c.path}}})
			if got := h[0].peer.InnerMTU(); got != c.want {
				t.Errorf("%v: inner MTU %d", c, got)
			}
			for range 2 { // while there is no session, and with one
				fits, over := packettest.UDP("10.1.0.5", "10.2.0.5", c.want, 1), packettest.UDP("10.1.0.5", "10.2.0.5", c.want+1, 2)
				h[0].inject(t, over, fits)
				if got := h[1].next(t); !bytes.Equal(got, fits) {
					t.Errorf("%v: what fits did not cross", c)
				}
				told := h[0].next(t)
				if told[20] != 3 || told[21] != 4 || int(binary.BigEndian.Uint16(told[26:])) != c.want {
					t.Errorf("%v: told %x", c, told[20:28])
				}
			}
			if want := c.want + 32 + encap; longest != want {
				t.Errorf("%v: the longest message made a packet of %d, want %d", c, longest, want)
			}
			for n := c.want - 20; n < c.want; n++ { // padding up to the MTU and not beyond
				p := packettest.UDP("10.1.0.5", "10.2.0.5", n, 3)
				h[0].inject(t, p)
				if got := h[1].next(t); !bytes.Equal(got, p) {
					t.Fatalf("%v: %d bytes did not cross", c, n)
				}
			}
			if want := c.want + 32 + encap; longest != want {
				t.Errorf("%v: padding made a packet of %d, want %d", c, longest, want)
			}
		})
	}
}

// TestPadding to 16 bytes, of zeros that nobody sees.
func TestPadding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last []byte
		_, h := pair(t, setup{net: sim.Config{Tap: func(from, _ netip.AddrPort, _ uint8, b []byte) {
			if from.Addr() == netip.MustParseAddr("192.0.2.1") {
				last = bytes.Clone(b)
			}
		}}})
		meet(t, h)
		for n := 60; n < 100; n++ {
			h[0].inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", n, 3))
			h[1].next(t)
			if got, want := len(last), 32+(n+15)/16*16; got != want {
				t.Errorf("a packet of %d bytes made a message of %d, want %d", n, got, want)
			}
		}
	})
}

// TestFaultsDeliverNothingWrong: whatever the network does, each packet arrives as it was sent, and at most once.
func TestFaultsDeliverNothingWrong(t *testing.T) {
	for seed := range uint64(shorter(4, 2)) {
		synctest.Test(t, func(t *testing.T) {
			faults := sim.Faults{Loss: .05, Duplicate: .2, Corrupt: .1, Reorder: .2, Jitter: 2 * time.Millisecond}
			net, h := pair(t, setup{queues: 2, net: sim.Config{Seed: seed}})
			meet(t, h)
			a, b := h[0].underlay.Local().Addr(), h[1].underlay.Local().Addr()
			net.Set(a, b, faults)
			net.Set(b, a, faults)
			n := shorter(30000, 4000)
			go func() {
				for i := range uint32(n) {
					if h[0].port.Inject(packettest.UDP("10.1.0.5", "10.2.0.5", 60+int(i%900), i)) != nil {
						return
					}
					time.Sleep(10 * time.Millisecond)
				}
			}()
			seen := map[uint32]bool{}
			for {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				p, err := h[1].port.Next(ctx)
				cancel()
				if err != nil {
					break
				}
				i := packettest.Number(p.Data)
				if i >= uint32(n) || seen[i] || !bytes.Equal(p.Data, packettest.UDP("10.1.0.5", "10.2.0.5", 60+int(i%900), i)) {
					t.Fatalf("seed %d: packet %d: again: %v", seed, i, seen[i])
				}
				seen[i] = true
			}
			if len(seen) < n*8/10 || len(seen) == n {
				t.Errorf("seed %d: %d of %d arrived", seed, len(seen), n)
			}
		})
	}
}

// shorter returns n, and less where the race detector makes everything slow.
func shorter(n, less int) int {
	if race.Enabled {
		return less
	}
	return n
}

// TestRekeyLosesNothing: an hour of traffic both ways, thirty sessions, and every packet arrives in order.
func TestRekeyLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		initiations := 0
		_, h := pair(t, setup{net: sim.Config{Faults: sim.Faults{Delay: 20 * time.Millisecond},
			Tap: func(_, _ netip.AddrPort, _ uint8, b []byte) {
				if b[0] == 1 {
					initiations++
				}
			}}})
		meet(t, h)
		every, n := 50*time.Millisecond, shorter(3600*20, 400*20)
		var senders sync.WaitGroup
		defer senders.Wait()
		for i := range h {
			src, dst := "10.1.0.5", "10.2.0.5"
			if i == 1 {
				src, dst = dst, src
			}
			senders.Go(func() {
				for k := range uint32(n) {
					if h[i].port.Inject(packettest.UDP(src, dst, 100, k)) != nil {
						return
					}
					time.Sleep(every)
				}
			})
		}
		for k := range uint32(n) {
			for i := range h {
				if got := packettest.Number(h[i].next(t)); got != k {
					t.Fatalf("packet %d came in place of %d at %d", got, k, i)
				}
			}
		}
		// Who began the first session begins all others: one initiation for each.
		if want := n / 20 / 120; initiations < want || initiations > want+1 {
			t.Errorf("%d initiations", initiations)
		}
		for i := range h {
			if s := h[i].peer.Status(); s.State != wireguard.Up || s.Lost != 0 || time.Since(s.LastHandshake) > 125*time.Second {
				t.Errorf("%+v", s)
			}
		}
	})
}

// TestKeyLog: what is wanted is given, with a warning; see package handshake for what Wireshark makes of it.
func TestKeyLog(t *testing.T) {
	var log bytes.Buffer
	keys := make(chan handshake.EphemeralKeys, 4)
	for _, wanted := range []bool{false, true} {
		log.Reset()
		o := wireguard.Options{PrivateKey: handshake.NewPrivateKey(), Logger: slog.New(slog.NewTextHandler(&log, nil))}
		if wanted {
			o.KeyLog = func(k handshake.EphemeralKeys) { keys <- k }
		}
		d, err := wireguard.New(o)
		must(t, err)
		psk := handshake.NewPresharedKey()
		p, err := d.AddPeer(1, wireguard.PeerConfig{PublicKey: handshake.NewPrivateKey().Public(), PresharedKey: psk, PersistentKeepalive: time.Second,
			Endpoint: netip.MustParseAddrPort("192.0.2.2:1")})
		must(t, err)
		u := &recorder{local: netip.MustParseAddrPort("192.0.2.1:1")}
		d.AddUnderlay(u)
		ctx, cancel := contextOf(t)
		var running sync.WaitGroup
		running.Go(func() { must(t, d.Run(ctx)) })
		waitFor(t, "an initiation", func() bool { return len(u.take()) > 0 })
		cancel()
		running.Wait()
		if warned := bytes.Contains(log.Bytes(), []byte("level=WARN")); warned != wanted || (len(keys) == 1) != wanted {
			t.Errorf("wanted %v: %d entries, %s", wanted, len(keys), &log)
		}
		if !wanted {
			continue
		}
		if k := <-keys; k.Remote != p.PublicKey() || k.Preshared != psk || k.Static != o.PrivateKey {
			t.Error("keys of another handshake")
		}
	}
}
