package ipsec_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/packet/packettest"
	"github.com/warrenvpn/warren/dataplane/underlay/sim"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/esp"
	"github.com/warrenvpn/warren/internal/race"
	"github.com/warrenvpn/warren/internal/until"
	"github.com/warrenvpn/warren/tunnel/ipsec"
)

func TestPacketsCrossWithEverySuite(t *testing.T) {
	for _, suite := range esp.Suites() {
		t.Run(suite.String(), func(t *testing.T) {
			_, h := pair(t, setup{suite: suite})
			for i, p := range [][]byte{packettest.UDP("10.1.0.5", "10.2.0.5", 64, 1), packettest.UDP("fd01::5", "fd02::5", 1200, 2), packettest.UDP("10.1.0.5", "10.2.0.5", 1301, 3)} {
				h[0].inject(t, p)
				if got := h[1].next(t); !bytes.Equal(got, p) {
					t.Fatalf("packet %d came out as %x", i, got)
				}
			}
		})
	}
}

func TestSuperPacketsCross(t *testing.T) {
	_, h := pair(t, setup{})
	p := packettest.UDP("10.1.0.5", "10.2.0.5", 28+5000, 7)
	b := bytes.Clone(p)
	o := wire.Offload{GSO: wire.GSOUDP, NeedsCsum: true, Size: 1000, HdrLen: 28, CsumStart: 20, CsumOffset: 6}
	if err := h[0].port.InjectTo(0, pipePacket(b, o)); err != nil {
		t.Fatal(err)
	}
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

// TestInnerMTU is the design's table for an outer path MTU of 1500, and sees that exactly so much crosses.
func TestInnerMTU(t *testing.T) {
	for _, c := range []struct {
		suite esp.Suite
		a, b  string
		want  int
	}{
		{esp.AES128GCM16, "192.0.2.1:0", "192.0.2.2:0", 1446}, {esp.AES256GCM16, "192.0.2.1:4500", "192.0.2.2:4500", 1438},
		{esp.ChaCha20Poly1305, "[2001:db8::1]:0", "[2001:db8::2]:0", 1426}, {esp.AES128GCM16, "[2001:db8::1]:4500", "[2001:db8::2]:4500", 1418},
		{esp.AES256SHA256, "192.0.2.1:0", "192.0.2.2:0", 1438}, {esp.AES128SHA256, "192.0.2.1:4500", "192.0.2.2:4500", 1422},
		{esp.AES128SHA256, "[2001:db8::1]:0", "[2001:db8::2]:0", 1406}, {esp.AES128SHA256, "[2001:db8::1]:4500", "[2001:db8::2]:4500", 1406},
	} {
		_, h := pair(t, setup{suite: c.suite, addrs: [2]string{c.a, c.b}})
		if got := h[0].tunnel.InnerMTU(); got != c.want {
			t.Errorf("%v to %s: %d, want %d", c.suite, c.b, got, c.want)
		}
		fits, over := packettest.UDP("10.1.0.5", "10.2.0.5", c.want, 1), packettest.UDP("10.1.0.5", "10.2.0.5", c.want+1, 2)
		h[0].inject(t, over, fits)
		if got := h[1].next(t); !bytes.Equal(got, fits) {
			t.Errorf("%v to %s: what fits did not cross", c.suite, c.b)
		}
		told := h[0].next(t)
		if told[20] != 3 || told[21] != 4 || int(binary.BigEndian.Uint16(told[26:])) != c.want {
			t.Errorf("%v to %s: told %x", c.suite, c.b, told[20:28])
		}
	}
}

// TestFaultsDeliverNothingWrong: whatever the network does, each packet arrives as it was sent, and at most once.
func TestFaultsDeliverNothingWrong(t *testing.T) {
	for _, suite := range []esp.Suite{esp.AES128GCM16, esp.ChaCha20Poly1305, esp.AES256SHA256} {
		for seed := range uint64(3) {
			synctest.Test(t, func(t *testing.T) { deliversNothingWrong(t, suite, seed) })
		}
	}
}

func deliversNothingWrong(t *testing.T, suite esp.Suite, seed uint64) {
	_, h := pair(t, setup{suite: suite, seed: seed, window: esp.MaxReplayWindow, faults: sim.Faults{Loss: .05, Duplicate: .2, Corrupt: .1, Reorder: .2, Jitter: 2 * time.Millisecond}})
	const n = 2000
	go func() {
		for i := range uint32(n) {
			if h[0].port.Inject(packettest.UDP("10.1.0.5", "10.2.0.5", 60+int(i%900), i)) != nil {
				return
			}
		}
	}()
	seen := map[uint32]bool{}
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // of the bubble: until nothing is on its way
		p, err := h[1].port.Next(ctx)
		cancel()
		if err != nil {
			break
		}
		i := binary.BigEndian.Uint32(p.Data[28:])
		if i >= n || seen[i] || !bytes.Equal(p.Data, packettest.UDP("10.1.0.5", "10.2.0.5", 60+int(i%900), i)) {
			t.Fatalf("%v seed %d: packet %d: again: %v", suite, seed, i, seen[i])
		}
		seen[i] = true
	}
	if len(seen) < n*8/10 || len(seen) == n { // 5 in 100 are lost, 10 damaged: 80 is 7 standard deviations from what is to be expected
		t.Errorf("%v seed %d: %d of %d arrived", suite, seed, len(seen), n)
	}
}

func TestSelectorsBothWays(t *testing.T) {
	s := setup{local: [2][]string{{"10.1.0.0/24"}, {"10.2.0.0/24"}}}
	_, h := pair(t, s)
	h[0].inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1), packettest.UDP("10.1.7.5", "10.2.0.5", 100, 2), packettest.UDP("fd01::5", "fd02::5", 100, 3))
	if got := h[1].next(t); binary.BigEndian.Uint32(got[28:]) != 1 {
		t.Error("another packet came first")
	}
	h[0].dropped(t, packet.SelectorOut, 2)
	if told := h[0].next(t); told[20] != 3 || told[21] != 13 {
		t.Errorf("told %x", told[20:22])
	}

	// A peer whose selectors are wider than ours: what we did not agree to is dropped on arrival.
	_, h = pair(t, setup{})
	h[1].tunnel.RemoveChild(h[1].child)
	narrow := newChild(t, setup{suite: esp.AES128GCM16, local: s.local, window: 64}, 1)
	if err := h[1].tunnel.AddChild(narrow); err != nil {
		t.Fatal(err)
	}
	h[0].inject(t, packettest.UDP("10.1.7.5", "10.2.0.5", 100, 1), packettest.UDP("10.1.0.5", "10.2.9.9", 100, 2), packettest.UDP("10.1.0.5", "10.2.0.5", 100, 3))
	if got := h[1].next(t); binary.BigEndian.Uint32(got[28:]) != 3 {
		t.Error("a packet outside the selectors came out")
	}
	h[1].dropped(t, packet.SelectorIn, 2)
}

// TestPortsKeepDatagramsWhole: where selectors name ports, of which fragments but the first one know nothing, what does not fit is
// fragmented outside; without ports inside.
func TestPortsKeepDatagramsWhole(t *testing.T) {
	for _, ports := range []bool{true, false} {
		for _, suite := range []esp.Suite{esp.AES128GCM16, esp.AES256SHA256} {
			_, h := pair(t, setup{})
			for i := range h {
				c := newChild(t, setup{suite: suite, local: [2][]string{{"10.1.0.0/24"}, {"10.2.0.0/24"}}, window: 64}, i)
				for j := range c.Local {
					if c.Remote[j].Proto, c.Local[j].Proto = wire.ProtoUDP, wire.ProtoUDP; ports {
						one := []*ipsec.Selector{&c.Remote[j], &c.Local[j]}[i]
						one.FromPort, one.ToPort = 53, 53 // of b
					}
				}
				h[i].tunnel.RemoveChild(h[i].child)
				if err := h[i].tunnel.AddChild(c); err != nil {
					t.Fatal(err)
				}
			}
			long := clearDF(packettest.UDP("10.1.0.5", "10.2.0.5", 4000, 1))
			binary.BigEndian.PutUint16(long[22:], 53)
			super := packettest.UDP("10.1.0.5", "10.2.0.5", 28+3*1450, 7)
			binary.BigEndian.PutUint16(super[22:], 53)
			o := wire.Offload{GSO: wire.GSOUDP, NeedsCsum: true, Size: 1450, HdrLen: 28, CsumStart: 20, CsumOffset: 6}
			h[0].inject(t, long)
			if err := h[0].port.InjectTo(0, pipePacket(clearDF(super), o)); err != nil {
				t.Fatal(err)
			}
			sizes := []int{4000, 1478, 1478, 1478}
			if !ports {
				first := (h[0].tunnel.InnerMTU() - 20) &^ 7
				sizes = []int{first + 20, first + 20, 4000 - 2*first, first + 20, 1478 - first, first + 20, 1478 - first, first + 20, 1478 - first}
			}
			for i, size := range sizes {
				if got := h[1].next(t); len(got) != size {
					t.Errorf("%v, ports %v: packet %d has %d bytes, want %d", suite, ports, i, len(got), size)
				}
			}
			whole := packettest.UDP("10.1.0.5", "10.2.0.5", 4000, 1) // with DF
			binary.BigEndian.PutUint16(whole[22:], 53)
			h[0].inject(t, whole)
			h[0].dropped(t, packet.TooBig, 1)
		}
	}
}

func TestFirstChildThatMatchesTakesIt(t *testing.T) {
	_, h := pair(t, setup{local: [2][]string{{"10.1.1.0/24"}, {"10.2.0.0/16"}}})
	for i := range h {
		c := newChild(t, setup{suite: esp.AES256GCM16, window: 64}, i)
		var err error
		key := make([]byte, esp.AES256GCM16.KeyLen())
		if c.Out, err = esp.NewOutbound(esp.Config{SPI: uint32(0x5000 + i), Suite: esp.AES256GCM16, Key: key}); err != nil {
			t.Fatal(err)
		}
		if c.In, err = esp.NewInbound(esp.Config{SPI: uint32(0x5000 + 1 - i), Suite: esp.AES256GCM16, Key: key}); err != nil {
			t.Fatal(err)
		}
		if err := h[i].tunnel.AddChild(c); err != nil {
			t.Fatal(err)
		}
		if err := h[i].tunnel.AddChild(c); !errors.Is(err, ipsec.ErrSPITaken) {
			t.Errorf("the same SPI twice: %v", err)
		}
	}
	h[0].inject(t, packettest.UDP("10.1.1.5", "10.2.0.5", 100, 1), packettest.UDP("10.1.2.5", "10.2.0.5", 100, 2), packettest.UDP("10.1.1.6", "10.2.0.5", 100, 3))
	for want := range uint32(3) {
		if got := binary.BigEndian.Uint32(h[1].next(t)[28:]); got != want+1 {
			t.Fatalf("packet %d in place %d", got, want)
		}
	}
	cs := h[0].tunnel.Children()
	if cs[0].Out.Sent() != 2 || cs[1].Out.Sent() != 1 {
		t.Errorf("first child sent %d, second %d", cs[0].Out.Sent(), cs[1].Out.Sent())
	}
	// Without the first one the second one has what it had.
	h[0].tunnel.RemoveChild(cs[0])
	h[0].inject(t, packettest.UDP("10.1.2.5", "10.2.0.5", 100, 4))
	if got := binary.BigEndian.Uint32(h[1].next(t)[28:]); got != 4 {
		t.Errorf("packet %d in place of 4", got)
	}
}

func TestOuterHeader(t *testing.T) {
	for name, c := range map[string]struct {
		df   ipsec.DF
		pkt  []byte
		want bool
	}{
		"copy, set":      {ipsec.DFCopy, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1), true},
		"copy, not set":  {ipsec.DFCopy, clearDF(packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1)), false},
		"copy, IPv6":     {ipsec.DFCopy, packettest.UDP("fd01::5", "fd02::5", 100, 1), true},
		"set, not set":   {ipsec.DFSet, clearDF(packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1)), true},
		"clear, was set": {ipsec.DFClear, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1), false},
	} {
		net, h := pair(t, setup{cfg: ipsec.Config{DF: c.df}})
		// A frame with DF that is too large for the way is refused, one without passes.
		net.Set(netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), sim.Faults{MTU: 80})
		h[0].inject(t, c.pkt)
		if c.want {
			h[0].dropped(t, packet.UnderlayTooBig, 1)
		} else if got := h[1].next(t); !bytes.Equal(got, c.pkt) {
			t.Errorf("%s: changed", name)
		}
	}
}

func clearDF(b []byte) []byte {
	b[6] &^= 0x40
	wire.SetIPv4Checksum(b)
	return b
}

func TestDSCPOutAndECNBothWays(t *testing.T) {
	var outer atomic.Uint32
	_, h := pair(t, setup{})
	_ = h
	net := sim.New(sim.Config{Tap: func(_, _ netip.AddrPort, tos uint8, _ []byte) { outer.Store(uint32(tos)) }})
	s := setup{}
	s.defaults()
	a, b := newHost(t, net, s, 0), newHost(t, net, s, 1)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- a.plane.Run(ctx) }()
	go func() { done <- b.plane.Run(ctx) }()
	defer func() { cancel(); <-done; <-done }()
	p := packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1)
	wire.SetTOS(p, 46<<2|wire.ECT0)
	a.inject(t, p)
	if got := b.next(t); !bytes.Equal(got, p) || outer.Load() != 46<<2|wire.ECT0 {
		t.Errorf("outer %#x, inner %#x", outer.Load(), got[1])
	}
}

// congested delivers a frame with an outer TOS of its own, as a router that marks it would.
func TestCongestionComesIn(t *testing.T) {
	for _, c := range []struct {
		inner, outer, want uint8
		drop               bool
	}{
		{wire.ECT0, wire.CE, wire.CE, false}, {wire.NotECT, wire.CE, 0, true},
	} {
		net, h := pair(t, setup{})
		tap := make(chan []byte, 1)
		third, err := net.Underlay(netip.MustParseAddrPort("192.0.2.9:4500"), 1)
		if err != nil {
			t.Fatal(err)
		}
		net.Set(netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), sim.Faults{Cut: true})
		h[0].tunnel.SetPath(&dataplane.Path{Underlay: h[0].underlay, Remote: third.Local()})
		p := packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1)
		wire.SetTOS(p, c.inner)
		h[0].inject(t, p)
		go func() {
			var rx dataplane.Rx
			if third.Receivers()[0].Recv(&rx) == nil {
				tap <- rx.Trains[0].Data
			}
		}()
		third.NewSender().Send([]dataplane.Frame{{Data: <-tap, Path: &dataplane.Path{Underlay: third, Remote: h[1].underlay.Local()}, TOS: c.outer}})
		if c.drop {
			h[1].dropped(t, packet.ECNInvalid, 1)
		} else if got := h[1].next(t); got[1] != c.want || wire.Checksum(got[:20], 0) != 0 {
			t.Errorf("inner %d outer %d: %d", c.inner, c.outer, got[1])
		}
		_ = third.Close()
	}
}

// TestPeerMovesOnlyWhenAuthentic: a NAT changes the peer's address; what anybody else sends from another one moves nothing.
func TestPeerMovesOnlyWhenAuthentic(t *testing.T) {
	net, h := pair(t, setup{cfg: ipsec.Config{Roam: true}})
	p := packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1)
	h[0].inject(t, p)
	h[1].next(t)
	was := h[1].tunnel.Path().Remote
	forger, err := net.Underlay(netip.MustParseAddrPort("203.0.113.66:666"), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer forger.Close()
	forged := make([]byte, 200)
	binary.BigEndian.PutUint64(forged, 0x1000<<32|99)
	forger.NewSender().Send([]dataplane.Frame{{Data: forged, Path: &dataplane.Path{Underlay: forger, Remote: h[1].underlay.Local()}}})
	h[1].dropped(t, packet.BadICV, 1)
	if got := h[1].tunnel.Path().Remote; got != was {
		t.Fatalf("a forger moved the peer to %v", got)
	}
	now := netip.MustParseAddrPort("198.51.100.7:61234")
	net.Rebind(h[0].underlay.Local(), now)
	h[0].inject(t, p)
	h[1].next(t)
	if got := h[1].tunnel.Path().Remote; got != now {
		t.Fatalf("the peer is at %v, want %v", got, now)
	}
	h[1].inject(t, packettest.UDP("10.2.0.5", "10.1.0.5", 100, 2))
	h[0].next(t)
	// A peer that is not to be followed is heard from elsewhere, and stays where it is.
	h[1].tunnel.SetRoam(false)
	net.Rebind(h[0].underlay.Local(), netip.MustParseAddrPort("198.51.100.8:61234"))
	h[0].inject(t, p)
	h[1].next(t)
	if got := h[1].tunnel.Path().Remote; got != now {
		t.Fatalf("the peer is at %v, want it to stay at %v", got, now)
	}
}

func TestPathMTUIsLearntWithinFloorsAndForgotten(t *testing.T) {
	var clock atomic.Int64
	net, h := pair(t, setup{now: func() time.Time { return time.Unix(clock.Load(), 0) }})
	a := h[0]
	net.Set(netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), sim.Faults{MTU: 1300})
	a.inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 1400, 1))
	waitFor(t, "the MTU to be learnt", func() bool { return a.tunnel.InnerMTU() == 1238 })
	a.inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 1400, 2))
	if told := a.next(t); binary.BigEndian.Uint16(told[26:]) != 1238 {
		t.Errorf("told %x", told[20:28])
	}
	remote := a.tunnel.Path().Remote
	quote := binary.BigEndian.AppendUint32(nil, a.child.Out.SPI())
	for name, e := range map[string]dataplane.PathError{
		"another SPI":  {Remote: remote, MTU: 1000, Quote: []byte{9, 9, 9, 9}},
		"no quote":     {Remote: remote, MTU: 1000},
		"another peer": {Remote: netip.MustParseAddrPort("203.0.113.1:4500"), MTU: 1000, Quote: quote},
		"larger":       {Remote: remote, MTU: 1400, Quote: quote},
		"another kind": {Remote: remote, Code: "refused", Quote: quote},
	} {
		a.gateway.PathError(a.underlay, &e)
		if got := a.tunnel.InnerMTU(); got != 1238 {
			t.Errorf("%s: inner MTU %d", name, got)
		}
	}
	a.gateway.PathError(a.underlay, &dataplane.PathError{Remote: remote, MTU: 68, Quote: quote})
	if got := a.tunnel.InnerMTU(); got != 576-62 {
		t.Errorf("below the floor: %d", got)
	}
	// Of its own device the system need quote nothing to be believed, but what it says is of one way.
	a.tunnel.SetPath(a.tunnel.Path())
	for name, c := range map[string]struct {
		from dataplane.Underlay
		to   string
	}{"to another peer": {a.underlay, "203.0.113.1:0"}, "by another underlay": {h[1].underlay, "192.0.2.2:0"}} {
		a.gateway.PathError(c.from, &dataplane.PathError{Local: true, Remote: netip.MustParseAddrPort(c.to), MTU: 1000})
		if got := a.tunnel.InnerMTU(); got != 1238 {
			t.Errorf("%s: inner MTU %d", name, got)
		}
	}
	a.gateway.PathError(a.underlay, &dataplane.PathError{Local: true, Remote: netip.AddrPortFrom(remote.Addr(), 0), MTU: 1000})
	if got := a.tunnel.InnerMTU(); got != 1000-62 {
		t.Errorf("the system says 1000: inner MTU %d", got)
	}
	a.gateway.PathError(a.underlay, &dataplane.PathError{Remote: remote, MTU: 68, Quote: quote})
	net.Set(netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), sim.Faults{})
	clock.Store(599)
	a.gateway.Tick(func(dataplane.Frame) {})
	if got := a.tunnel.InnerMTU(); got != 576-62 {
		t.Errorf("after 599 s: %d", got)
	}
	clock.Store(601)
	a.gateway.Tick(func(dataplane.Frame) {})
	if got := a.tunnel.InnerMTU(); got != 1438 {
		t.Errorf("after 601 s: %d", got)
	}
}

func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	until.True(t, what, 30*time.Second, cond)
}

func TestKeepalivesWhenSilent(t *testing.T) {
	var clock atomic.Int64
	clock.Store(1)
	_, h := pair(t, setup{cfg: ipsec.Config{Keepalive: 20 * time.Second}, now: func() time.Time { return time.Unix(clock.Load(), 0) }})
	var sent []dataplane.Frame
	tick := func(at int64) int {
		clock.Store(at)
		sent = sent[:0]
		h[0].gateway.Tick(func(f dataplane.Frame) { sent = append(sent, f) })
		return len(sent)
	}
	if n := tick(2) + tick(21); n != 0 {
		t.Errorf("%d keepalives before the time", n)
	}
	if tick(22) != 1 || !bytes.Equal(sent[0].Data, []byte{0xff}) {
		t.Errorf("after 20 s: %v", sent)
	}
	h[0].inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1))
	h[1].next(t)
	if n := tick(42) + tick(61); n != 0 {
		t.Errorf("%d keepalives although there was traffic", n)
	}
	if tick(62) != 1 {
		t.Error("none after 20 s of silence")
	}
}

// TestGarbage: none of a million random and mutated datagrams is accepted, and none does harm.
func TestGarbage(t *testing.T) {
	n := 1_000_000
	if testing.Short() || race.Enabled {
		n = 50_000
	}
	for _, suite := range []esp.Suite{esp.AES128GCM16, esp.AES128SHA1} {
		net, h := pair(t, setup{suite: suite})
		_ = net
		scratch := esp.NewScratch()
		out := h[0].child.Out
		run := out.Reserve(1)
		inner := packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1)
		good := make([]byte, out.SealedLen(len(inner)))
		copy(good[out.HeaderLen():], inner)
		run.Seal(scratch, good, len(inner), wire.ProtoIPv4)
		run.End()
		r := rand.New(rand.NewPCG(1, uint64(suite)))
		ctx := dataplane.NewCtx()
		var clear packet.Batch
		for range n {
			b := bytes.Clone(good)
			switch r.IntN(3) {
			case 0:
				b = b[:r.IntN(len(b))]
			case 1:
				b[r.IntN(len(b))] ^= 1 << r.IntN(8)
			default:
				for i := 4 * r.IntN(2); i < len(b); i++ {
					b[i] = byte(r.Uint32())
				}
			}
			if bytes.Equal(b, good) {
				continue
			}
			h[1].gateway.Open(ctx, h[1].underlay, &dataplane.Train{Data: b, Size: len(b), Remote: netip.MustParseAddrPort("203.0.113.1:1")}, &clear)
			if clear.Len() > 0 {
				t.Fatalf("accepted %x", b)
			}
		}
		h[1].gateway.Open(ctx, h[1].underlay, &dataplane.Train{Data: good, Size: len(good)}, &clear)
		if clear.Len() != 1 {
			t.Error("the one that is right was refused")
		}
	}
}
