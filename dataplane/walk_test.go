package dataplane

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/routing/fib"
)

const (
	a4, b4, c4 = "10.1.0.5", "10.2.0.5", "10.3.0.5"
	a6, b6, c6 = "2001:db8:a1::5", "2001:db8:a2::5", "2001:db8:a3::5"
)

// icmp is what an ICMP error says.
type icmp struct {
	src, dst  string
	typ, code byte
	mtu       int
}

func readICMP(t *testing.T, b []byte) icmp {
	t.Helper()
	var info wire.Info
	if v := wire.Parse(b, &info, false); v != wire.OK || info.Proto != wire.ProtoICMP && info.Proto != wire.ProtoICMPv6 {
		t.Fatalf("not ICMP: %x", b)
	}
	m := icmp{src: info.SrcAddr().String(), dst: info.DstAddr().String(), typ: b[info.HdrLen], code: b[info.HdrLen+1]}
	m.mtu = int(binary.BigEndian.Uint16(b[info.HdrLen+6:]))
	return m
}

func only(t *testing.T, what string, got [][]byte) []byte {
	t.Helper()
	if len(got) != 1 {
		t.Fatalf("%s: %d packets, want 1", what, len(got))
	}
	return got[0]
}

func TestOutboundGoesWhereRoutesSay(t *testing.T) {
	b := newBench(t)
	p4, p6, q4 := ip4(a4, b4, 100), ip6(a6, b6, 100), ip4(a4, c4, 200)
	b.fromPort(p4, q4, p6, p4)
	if len(b.one.sealed) != 3 || !bytes.Equal(b.one.sealed[0], p4) || !bytes.Equal(b.one.sealed[1], p6) {
		t.Errorf("tunnel one got %d packets", len(b.one.sealed))
	}
	if !bytes.Equal(only(t, "tunnel two", b.two.sealed), q4) {
		t.Error("tunnel two got another packet")
	}
	s, _ := b.plane.TunnelStats(b.one.index)
	if s.OutPackets != 3 || s.OutBytes != 300 || len(s.Drops) != 0 {
		t.Errorf("counted %+v", s)
	}
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		pkt    []byte
		reason packet.Reason
		answer *icmp
	}{
		"no route":      {ip4(a4, "172.16.0.1", 100), packet.NoRoute, &icmp{"172.16.0.1", a4, 3, 0, 0}},
		"no route 6":    {ip6(a6, "2001:db8:dead::1", 100), packet.NoRoute, &icmp{"2001:db8:dead::1", a6, 1, 0, 0}},
		"unreachable":   {ip4(a4, "10.99.1.1", 100), packet.Unreachable, &icmp{"10.99.1.1", a4, 3, 1, 0}},
		"prohibited":    {ip4(a4, "10.99.2.1", 100), packet.Unreachable, &icmp{"10.99.2.1", a4, 3, 13, 0}},
		"blackhole":     {ip4(a4, "10.99.3.1", 100), packet.Unreachable, nil},
		"hairpin":       {ip4(a4, "10.1.0.9", 100), packet.Hairpin, &icmp{"10.1.0.9", a4, 3, 1, 0}},
		"multicast":     {ip4(a4, "224.0.0.5", 100), packet.NotForwardable, nil},
		"broadcast":     {ip4(a4, "255.255.255.255", 100), packet.NotForwardable, nil},
		"link-local":    {ip6(a6, "fe80::1", 100), packet.NotForwardable, nil},
		"multicast 6":   {ip6(a6, "ff02::1", 100), packet.NotForwardable, nil},
		"not IP":        {append([]byte{0x10}, make([]byte, 60)...), packet.NotIP, nil},
		"cut":           {ip4(a4, b4, 100)[:60], packet.Malformed, nil},
		"length claims": {ip6(a6, b6, 100)[:90], packet.Malformed, nil},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.fromPort(c.pkt)
			if got := b.drops(b.out.worker); got[c.reason] != 1 || len(got) != 1 {
				t.Errorf("drops %v, want %v", got, c.reason)
			}
			if c.answer == nil {
				if len(b.port.written) > 0 {
					t.Errorf("answered: %x", b.port.written)
				}
				return
			}
			if got := readICMP(t, only(t, "answers", b.port.written)); got != *c.answer {
				t.Errorf("answered %+v, want %+v", got, *c.answer)
			}
		})
	}
}

func TestTunnelRefusalIsAnsweredFromOurEnd(t *testing.T) {
	b := newBench(t)
	b.one.refuse = packet.NoSA
	b.fromPort(ip4(a4, b4, 100), ip6(a6, b6, 100))
	if len(b.port.written) != 2 {
		t.Fatalf("%d answers", len(b.port.written))
	}
	if got, want := readICMP(t, b.port.written[0]), (icmp{"169.254.1.0", a4, 3, 1, 0}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, want := readICMP(t, b.port.written[1]), (icmp{"2001:db8:ff::", a6, 1, 3, 0}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if s, _ := b.plane.TunnelStats(b.one.index); s.Drops[packet.NoSA] != 2 {
		t.Errorf("tunnel's drops %v", s.Drops)
	}
}

func TestSizeLimitIsExact(t *testing.T) {
	b := newBench(t)
	b.fromPort(ip4(a4, b4, 1438, dontFragment), ip6(a6, b6, 1438))
	if len(b.one.sealed) != 2 || len(b.port.written) != 0 {
		t.Fatalf("at the limit: %d sealed, %d answered", len(b.one.sealed), len(b.port.written))
	}
	b.fromPort(ip4(a4, b4, 100), ip4(a4, b4, 1439, dontFragment), ip6(a6, b6, 1439), ip4(a4, b4, 101))
	if len(b.one.sealed) != 4 || len(b.port.written) != 2 {
		t.Fatalf("over the limit: %d sealed, %d answered", len(b.one.sealed), len(b.port.written))
	}
	if len(b.one.sealed[2]) != 100 || len(b.one.sealed[3]) != 101 {
		t.Error("order was lost")
	}
	if got, want := readICMP(t, b.port.written[0]), (icmp{"169.254.1.0", a4, 3, 4, 1438}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, want := readICMP(t, b.port.written[1]), (icmp{"2001:db8:ff::", a6, 2, 0, 1438}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestIPv6IsCarriedUpTo1280(t *testing.T) {
	b := newBench(t)
	b.one.mtu = 1200
	b.fromPort(ip6(a6, b6, 1280), ip6(a6, b6, 1281))
	if len(b.one.sealed) != 1 {
		t.Fatalf("%d sealed", len(b.one.sealed))
	}
	if got := readICMP(t, only(t, "answers", b.port.written)); got.mtu != 1280 {
		t.Errorf("told %d", got.mtu)
	}
}

func TestFragmentsWhereAllowed(t *testing.T) {
	b := newBench(t)
	b.fromPort(ip4(a4, b4, 4000))
	if len(b.one.sealed) != 3 || len(b.port.written) != 0 {
		t.Fatalf("%d fragments, %d answers", len(b.one.sealed), len(b.port.written))
	}
	size := 0
	for _, f := range b.one.sealed {
		if len(f) > 1438 {
			t.Errorf("fragment of %d", len(f))
		}
		size += len(f) - 20
	}
	if size != 3980 {
		t.Errorf("%d bytes in fragments, want 3980", size)
	}
	if s, _ := b.plane.TunnelStats(b.one.index); s.OutPackets != 3 {
		t.Errorf("counted %d", s.OutPackets)
	}
}

func TestSuperPacketThatDoesNotFit(t *testing.T) {
	super := func(df bool) (*bench, [][]byte) {
		b := newBench(t)
		b.one.mtu = 1000
		pkt := ip4(a4, b4, 28+3*1400)
		pkt[9] = wire.ProtoUDP
		if df {
			dontFragment(pkt)
		}
		b.batch.Reset()
		copy(b.batch.Space(len(pkt)), pkt)
		p := b.batch.Commit(0, len(pkt))
		p.Offload = packet.Offload{GSO: wire.GSOUDP, NeedsCsum: true, Size: 1400, HdrLen: 28, CsumStart: 20, CsumOffset: 6}
		b.out.walk(b.batch.Packets())
		return b, b.one.sealed
	}
	if b, sealed := super(true); len(sealed) != 0 || readICMP(t, only(t, "answers", b.port.written)).mtu != 1000 {
		t.Errorf("with DF: %d sealed", len(sealed))
	}
	if _, sealed := super(false); len(sealed) != 6 {
		t.Errorf("without DF: %d fragments of three segments, want 6", len(sealed))
	}
}

func TestInboundToPort(t *testing.T) {
	b := newBench(t)
	p := ip4(b4, a4, 100, hopLimit(1))
	b.fromTunnel(b.one, p)
	if !bytes.Equal(only(t, "port", b.port.written), p) {
		t.Error("a port is no hop, and nothing else is to change")
	}
}

func TestTunnelToTunnelIsAHop(t *testing.T) {
	b := newBench(t)
	b.fromTunnel(b.one, ip4(b4, c4, 100), ip6(b6, c6, 100))
	if len(b.two.sealed) != 2 || b.two.sealed[0][8] != 63 || b.two.sealed[1][7] != 63 {
		t.Fatalf("%d sealed", len(b.two.sealed))
	}
	if wire.Checksum(b.two.sealed[0][:20], 0) != 0 {
		t.Error("header checksum")
	}
	b.fromTunnel(b.one, ip4(b4, c4, 100, hopLimit(1)), ip6(b6, c6, 100, hopLimit(1)))
	if len(b.two.sealed) != 2 || len(b.one.sealed) != 2 {
		t.Fatalf("%d sealed, %d answered", len(b.two.sealed), len(b.one.sealed))
	}
	if got, want := readICMP(t, b.one.sealed[0]), (icmp{"10.1.0.1", b4, 11, 0, 0}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, want := readICMP(t, b.one.sealed[1]), (icmp{"2001:db8:a1::1", b6, 3, 0, 0}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestErrorThatSelectorsDoNotCover: where the address that is a router's own may not enter the tunnel, the error comes from where the
// packet was going.
func TestErrorThatSelectorsDoNotCover(t *testing.T) {
	b := newBench(t)
	b.one.from = []string{c4, c6}
	b.fromTunnel(b.one, ip4(b4, c4, 100, hopLimit(1)), ip6(b6, c6, 100, hopLimit(1)))
	if len(b.one.sealed) != 2 || len(b.drops(b.in.worker)) != 1 {
		t.Fatalf("%d answered, drops %v", len(b.one.sealed), b.drops(b.in.worker))
	}
	four, six := b.one.sealed[0], b.one.sealed[1]
	if got, want := readICMP(t, four), (icmp{c4, b4, 11, 0, 0}); got != want || wire.Checksum(four[:20], 0) != 0 || wire.Checksum(four[20:], 0) != 0 {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, want := readICMP(t, six), (icmp{c6, b6, 3, 0, 0}); got != want || wire.Checksum(six[40:], wire.PseudoSum(six, wire.ProtoICMPv6, len(six)-40)) != 0 {
		t.Errorf("%+v, want %+v", got, want)
	}
	b.one.from = []string{"10.7.7.7"}
	b.fromTunnel(b.one, ip4(b4, c4, 100, hopLimit(1)))
	if got := b.drops(b.in.worker); len(b.one.sealed) != 2 || got[packet.SelectorOut] != 1 {
		t.Errorf("neither is covered: %d answered, drops %v", len(b.one.sealed), got)
	}
}

func TestBackIntoTheSameTunnelIsHairpin(t *testing.T) {
	b := newBench(t)
	b.fromTunnel(b.one, ip4(b4, "10.2.0.9", 100))
	if got := b.drops(b.in.worker); got[packet.Hairpin] != 1 {
		t.Errorf("drops %v", got)
	}
	if got := readICMP(t, only(t, "answers", b.one.sealed)); got.typ != 3 || got.code != 1 {
		t.Errorf("answered %+v", got)
	}
}

// TestLoop: our own frames, sent into the port by a route of the host, are told from others' packets.
func TestLoop(t *testing.T) {
	b := newBench(t)
	peer := netip.MustParseAddrPort("10.2.0.5:4500")
	b.plane.own.setPorts([]uint16{4500})
	b.plane.own.raw.Store(true)
	from4500 := func(p []byte) { binary.BigEndian.PutUint32(p[20:], 4500<<16|4500) }
	own, esp := ip4(a4, b4, 100, from4500), ip4(a4, b4, 100, func(p []byte) { p[9] = wire.ProtoESP })
	b.fromPort(own, esp)
	if len(b.one.sealed) != 2 {
		t.Fatal("somebody else's IPsec was taken for ours")
	}
	b.plane.Peers().Move(netip.AddrPort{}, peer)
	b.plane.Peers().Move(netip.AddrPort{}, netip.AddrPortFrom(peer.Addr(), 0))
	b.fromPort(own, esp, ip4(a4, b4, 100))
	if got := b.drops(b.out.worker); got[packet.Loop] != 2 || len(b.one.sealed) != 3 {
		t.Errorf("drops %v, %d sealed", got, len(b.one.sealed))
	}
	b.plane.Peers().Move(peer, netip.AddrPort{})
	b.fromPort(own)
	if len(b.one.sealed) != 4 {
		t.Error("a peer that left is still one")
	}
}

func TestMulticastOfPeersIsNotForwarded(t *testing.T) {
	b := newBench(t)
	b.route("0.0.0.0/0", TunnelHop(b.two.index))
	b.fromTunnel(b.one, ip4(b4, "239.1.1.1", 100))
	if got := b.drops(b.in.worker); got[packet.NotForwardable] != 1 || len(b.two.sealed) != 0 {
		t.Errorf("drops %v", got)
	}
}

func TestAnswersAreLimited(t *testing.T) {
	b := newBench(t)
	for range 200 {
		b.fromPort(ip4(a4, "172.16.0.1", 100))
	}
	if n := len(b.port.written); n != replyBurst {
		t.Errorf("%d answers at once, want %d", n, replyBurst)
	}
	b.now = b.now.Add(10 * time.Millisecond)
	b.port.written = nil
	for range 200 {
		b.fromPort(ip4(a4, "172.16.0.1", 100))
	}
	if n := len(b.port.written); n != replyRate/100 {
		t.Errorf("%d answers after 10 ms, want %d", n, replyRate/100)
	}
}

func TestErrorsEarnNoErrors(t *testing.T) {
	b := newBench(t)
	dst := make([]byte, wire.MaxICMP)
	n := wire.PutICMPError(dst, wire.ErrTooBig, netip.MustParseAddr("172.16.0.1"), ip4("172.16.9.9", a4, 100), 1000)
	b.fromPort(dst[:n])
	if len(b.port.written) != 0 || b.drops(b.out.worker)[packet.NoRoute] != 1 {
		t.Error("an ICMP error was answered by one")
	}
}

func TestMultipathKeepsFlowsTogether(t *testing.T) {
	b := newBench(t)
	if err := b.vrf.Table().Insert(netip.MustParsePrefix("10.50.0.0/16"),
		[]fib.Hop{{ID: TunnelHop(b.one.index), Weight: 1}, {ID: TunnelHop(b.two.index), Weight: 1}}); err != nil {
		t.Fatal(err)
	}
	for port := range 400 {
		for range 2 {
			b.fromPort(ip4(a4, "10.50.0.1", 100, func(p []byte) { binary.BigEndian.PutUint16(p[20:], uint16(1000+port)) }))
		}
	}
	n, m := len(b.one.sealed), len(b.two.sealed)
	if n+m != 800 || n%2 != 0 || m%2 != 0 || n < 280 || m < 280 {
		t.Errorf("%d and %d", n, m)
	}
}

func TestPortThatRefuses(t *testing.T) {
	b := newBench(t)
	b.port.refuse = packet.PortFull
	b.fromTunnel(b.one, ip4(b4, a4, 100))
	if got := b.drops(b.in.worker); got[packet.PortFull] != 1 {
		t.Errorf("drops %v", got)
	}
	if s, _ := b.plane.TunnelStats(b.one.index); s.Drops[packet.PortFull] != 1 {
		t.Errorf("tunnel's drops %v", s.Drops)
	}
}

// TestWalkAllocatesNothing on any branch.
func TestWalkAllocatesNothing(t *testing.T) {
	b := newBench(t)
	b.one.keep, b.two.keep, b.port.keep = false, false, false
	clock := b.now
	b.out.replies.now = func() time.Time { clock = clock.Add(time.Second); return clock }
	b.in.replies.now = b.out.replies.now
	slot := make([]byte, 2048)
	for name, walk := range map[string]func(){
		"into a tunnel": func() { b.fromPort(p4, p6, q4) },
		"too big":       func() { b.fromPort(big4, big6) },
		"fragments":     func() { b.fromPort(whole4) },
		"no route":      func() { b.fromPort(stray4) },
		"malformed":     func() { b.fromPort(p4[:60], p6[:41]) },
		"between tunnels, and none left": func() {
			for _, pkt := range [][]byte{fwd4, last4, home4} {
				copy(slot[64:], pkt)
				q := b.in.clear.Append(slot, 64, len(pkt))
				q.Ingress = b.one.index
				wire.Parse(q.Bytes(), &q.Info, false)
				b.in.deliver()
			}
		},
	} {
		walk()
		if n := testing.AllocsPerRun(50, walk); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

var (
	p4, p6, q4 = ip4(a4, b4, 100), ip6(a6, b6, 100), ip4(a4, c4, 200)
	big4, big6 = ip4(a4, b4, 1439, dontFragment), ip6(a6, b6, 1500)
	whole4     = ip4(a4, b4, 4000)
	stray4     = ip4(a4, "172.16.0.1", 100)
	fwd4       = ip4(b4, c4, 100)
	last4      = ip4(b4, c4, 100, hopLimit(1))
	home4      = ip4(b4, a4, 100)
)

// TestClampUnderPartialChecksum: what the kernel sends through a device with offloads has the sum of the pseudo header alone in
// its checksum field, to which the tunnel adds the rest after the clamp.
func TestClampUnderPartialChecksum(t *testing.T) {
	for _, partial := range []bool{false, true} {
		for _, from := range []string{"port", "tunnel"} {
			b := newBench(t)
			for _, f := range []*fakeTunnel{b.one, b.two} {
				b.plane.tunnels.get(f.index).mssClamp = -1
			}
			syn := ip4(a4, c4, 20+24, func(p []byte) {
				clear(p[20:])
				p[9], p[20+12], p[20+13] = wire.ProtoTCP, 6<<4, 2
				binary.BigEndian.PutUint32(p[40:], 2<<24|4<<16|1460)
			})
			o := packet.Offload{CsumStart: 20, CsumOffset: 16, NeedsCsum: true}
			binary.BigEndian.PutUint16(syn[36:], wire.Fold(wire.PseudoSum(syn, wire.ProtoTCP, 24)))
			if !partial {
				wire.CompleteChecksum(syn, &o)
			}
			slot := make([]byte, 256)
			copy(slot[64:], syn)
			if from == "tunnel" {
				q := b.in.clear.Append(slot, 64, len(syn))
				q.Ingress, q.Offload = b.one.index, o
				wire.Parse(q.Bytes(), &q.Info, false)
				b.in.deliver()
			} else {
				var batch packet.Batch
				batch.Append(slot, 64, len(syn)).Offload = o
				b.out.walk(batch.Packets())
			}
			got := only(t, "tunnel", b.two.sealed)
			if mss := binary.BigEndian.Uint16(got[42:]); mss != 1398 {
				t.Errorf("MSS %d, want 1398", mss)
			}
			wire.CompleteChecksum(got, &o)
			if c := wire.Checksum(got[20:], wire.PseudoSum(got, wire.ProtoTCP, 24)); c != 0 {
				t.Errorf("partial %v, from the %s: checksum is off by %#04x", partial, from, c)
			}
		}
	}
}

// TestOffloadBeyondThePacket: what a port says of a checksum is held against the packet, not against what was read with it.
func TestOffloadBeyondThePacket(t *testing.T) {
	for name, o := range map[string]packet.Offload{
		"behind the packet's end": {NeedsCsum: true, CsumStart: 60, CsumOffset: 16},
		"partly behind it":        {NeedsCsum: true, CsumStart: 20, CsumOffset: 39},
		"in the IP header":        {NeedsCsum: true, CsumStart: 12, CsumOffset: 6},
	} {
		b := newBench(t)
		b.batch.Reset()
		copy(b.batch.Space(100), ip4(a4, b4, 60))
		b.batch.Commit(0, 100).Offload = o
		b.out.walk(b.batch.Packets())
		if got := b.drops(b.out.worker); got[packet.BadOffload] != 1 || len(b.one.sealed) > 0 {
			t.Errorf("%s: drops %v, %d sealed", name, got, len(b.one.sealed))
		}
	}
}

// TestMartians: neither way does the engine forward what no router may, by its destination or by its source (RFC 1812 sections
// 5.3.4 and 5.3.7, RFC 4291 sections 2.5.2, 2.5.3, 2.5.6 and 2.7).
func TestMartians(t *testing.T) {
	outbound, inbound := map[string][]byte{}, map[string][]byte{}
	for _, bad := range []string{"0.0.0.0", "127.0.0.1", "127.255.255.255", "224.0.0.5", "240.0.0.1", "255.255.255.255"} {
		outbound["from "+bad], inbound["from "+bad] = ip4(bad, b4, 100), ip4(bad, a4, 100)
		outbound["to "+bad] = ip4(a4, bad, 100)
		inbound["to "+bad] = ip4(b4, bad, 100)
	}
	for _, bad := range []string{"::", "::1", "fe80::1", "febf::1", "ff02::1", "ff0e::1"} {
		outbound["from "+bad], inbound["from "+bad] = ip6(bad, b6, 100), ip6(bad, a6, 100)
		outbound["to "+bad] = ip6(a6, bad, 100)
		inbound["to "+bad] = ip6(b6, bad, 100)
	}
	b := newBench(t)
	b.route("0.0.0.0/0", TunnelHop(b.two.index))
	b.route("::/0", TunnelHop(b.two.index))
	check := func(name string, w *worker, before uint64) {
		t.Helper()
		if b.drops(w)[packet.NotForwardable] != before+1 || len(b.one.sealed)+len(b.two.sealed)+len(b.port.written) > 0 {
			t.Errorf("%s: drops %v, %d and %d sealed, %d written", name, b.drops(w), len(b.one.sealed), len(b.two.sealed), len(b.port.written))
			b.one.sealed, b.two.sealed, b.port.written = nil, nil, nil
		}
	}
	for name, p := range outbound {
		before := b.drops(b.out.worker)[packet.NotForwardable]
		b.fromPort(p)
		check("outbound "+name, b.out.worker, before)
	}
	for name, p := range inbound {
		before := b.drops(b.in.worker)[packet.NotForwardable]
		b.fromTunnel(b.one, p)
		check("inbound "+name, b.in.worker, before)
	}
	for _, good := range []string{"1.0.0.1", "126.255.255.255", "128.0.0.0", "169.254.1.1", "223.255.255.255"} {
		b.fromPort(ip4(good, b4, 100))
	}
	for _, good := range []string{"::2", "::ffff:1.2.3.4", "64:ff9b::1", "fe00::1", "fec0::1", "fd00::1"} {
		b.fromPort(ip6(good, b6, 100))
	}
	if len(b.one.sealed) != 11 {
		t.Errorf("%d of 11 honest packets were sealed: %v", len(b.one.sealed), b.drops(b.out.worker))
	}
}

// TestTunnelGoneAmidABatch: clear packets of a tunnel that was removed meanwhile are counted too.
func TestTunnelGoneAmidABatch(t *testing.T) {
	b := newBench(t)
	b.plane.RemoveTunnel(b.one.index)
	b.fromTunnel(b.one, ip4(b4, a4, 100), ip4(b4, a4, 100))
	if got := b.drops(b.in.worker); got[packet.TunnelDown] != 2 || len(b.port.written) != 0 {
		t.Errorf("drops %v", got)
	}
}

// TestIndexIsNotSoonAnothers: a worker that looked up the route to a tunnel and waited finds that tunnel or none, however many
// tunnels come and go meanwhile; never another.
func TestIndexIsNotSoonAnothers(t *testing.T) {
	b := newBench(t)
	seen := map[uint32]bool{b.one.index: true, b.two.index: true}
	for range 100 {
		f := b.tunnel("short-lived")
		if seen[f.index] || f.index > maxTunnel {
			t.Fatalf("index %#x again, after %d tunnels", f.index, len(seen))
		}
		seen[f.index] = true
		b.plane.RemoveTunnel(f.index)
		if _, ok := b.plane.TunnelStats(f.index); ok {
			t.Fatalf("tunnel %#x is still there", f.index)
		}
	}
	for index := range seen {
		want := index == b.one.index || index == b.two.index
		if e := b.plane.tunnels.get(index); (e != nil) != want {
			t.Errorf("index %#x leads to %v", index, e)
		}
	}
	if n := len(*b.plane.tunnels.snapshot.Load()); n > 64 {
		t.Errorf("the table grew to %d for three tunnels at a time", n)
	}
}

// TestCountersOfASlot: a tunnel's numbers are its own, whoever had its place before and whoever stands beside it.
func TestCountersOfASlot(t *testing.T) {
	b := newBench(t)
	carried := func(f *fakeTunnel, want uint64) {
		t.Helper()
		if s, ok := b.plane.TunnelStats(f.index); !ok || s.OutPackets != want || s.OutBytes != 100*want || s.InPackets != 2*want || s.InBytes != 300*want {
			t.Errorf("tunnel %#x has %+v, want %d packets out", f.index, s, want)
		}
	}
	count := func(f *fakeTunnel) {
		for w := range 4 {
			c := Counters{tunnels: &b.plane.tunnels, worker: w}
			c.Out(f.index, 1, 100)
			c.In(f.index, 2, 300)
		}
	}
	slots := map[uint32]int{}
	for i := range uint64(3 * together) {
		f := b.tunnel("one after the other")
		slots[f.index&maxSlot]++
		carried(f, 0)
		for range i + 1 {
			count(f)
		}
		beside := b.tunnel("beside")
		carried(beside, 0)
		count(beside)
		carried(beside, 4)
		carried(f, 4*(i+1))
		b.plane.RemoveTunnel(beside.index)
		b.plane.RemoveTunnel(f.index)
	}
	if len(slots) == 3*together {
		t.Error("no slot was given away twice")
	}
}

// lossy is a queue that had no room for some packets, and is closed then.
type lossy struct{ lost []int }

func (l *lossy) next() (lost int, err error) {
	if len(l.lost) == 0 {
		return 0, ErrClosed
	}
	lost = l.lost[0]
	l.lost = l.lost[1:]
	return lost, nil
}

func (l *lossy) Read(b *packet.Batch) (err error) {
	b.Reset()
	b.Lost, err = l.next()
	return err
}

func (l *lossy) Recv(rx *Rx) (err error) {
	rx.Reset()
	rx.Lost, err = l.next()
	return err
}

// TestWhatFoundNoRoomIsCounted: packets that a queue had no room for, which no worker has ever seen.
func TestWhatFoundNoRoomIsCounted(t *testing.T) {
	b := newBench(t)
	b.out.reader, b.in.receiver = &lossy{[]int{3, 0, 4}}, &lossy{[]int{0, 2, 9}}
	for _, run := range []func() error{b.out.run, b.in.run} {
		if err := run(); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
	if got := b.drops(b.out.worker); got[packet.PortFull] != 7 || len(got) != 1 {
		t.Errorf("of the port: %v", got)
	}
	if got := b.drops(b.in.worker); got[packet.UnderlayFull] != 11 || len(got) != 1 {
		t.Errorf("of the underlay: %v", got)
	}
}

// TestClampFromTheTunnel: a tunnel that clamps does so for what comes out of it too, whatever the way on.
func TestClampFromTheTunnel(t *testing.T) {
	b := newBench(t)
	b.plane.tunnels.get(b.one.index).mssClamp = 1000
	for _, p := range [][]byte{ip4(b4, a4, 20+24), ip6(b6, a6, 40+24)} {
		hdr := len(p) - 24
		tcp := p[hdr:]
		clear(tcp)
		p[map[int]int{20: 9, 40: 6}[hdr]] = wire.ProtoTCP
		tcp[12], tcp[13] = 6<<4, 2
		binary.BigEndian.PutUint32(tcp[20:], 2<<24|4<<16|1460)
		binary.BigEndian.PutUint16(tcp[16:], wire.Checksum(tcp, wire.PseudoSum(p, wire.ProtoTCP, 24)))
		b.fromTunnel(b.one, p)
		got := only(t, "port", b.port.written)
		b.port.written = nil
		if mss := int(binary.BigEndian.Uint16(got[hdr+22:])); mss != 1000-hdr-20 || wire.Checksum(got[hdr:], wire.PseudoSum(got, wire.ProtoTCP, 24)) != 0 {
			t.Errorf("MSS %d, want %d", mss, 1000-hdr-20)
		}
	}
}

// TestFragmentsOnTheirWayOn: what is cut between two tunnels is counted and answered for the tunnel it came from, and its checksum was
// completed before, since no fragment has all that it is made of.
func TestFragmentsOnTheirWayOn(t *testing.T) {
	b := newBench(t)
	b.two.refuse = packet.NoSA
	b.fromTunnel(b.one, ip4(b4, c4, 4000))
	got := readICMP(t, only(t, "answers", b.one.sealed)) // for the first one
	if got.dst != b4 || got.typ != 3 || len(b.port.written) != 0 {
		t.Errorf("answered %+v, %d to the port", got, len(b.port.written))
	}

	b = newBench(t)
	whole := ip4(a4, b4, 4000, func(p []byte) {
		p[9] = wire.ProtoUDP
		binary.BigEndian.PutUint16(p[24:], 3980)
		binary.BigEndian.PutUint16(p[26:], 0)
		binary.BigEndian.PutUint16(p[26:], wire.Fold(wire.PseudoSum(p, wire.ProtoUDP, 3980)))
	})
	b.batch.Reset()
	copy(b.batch.Space(len(whole)), whole)
	b.batch.Commit(0, len(whole)).Offload = packet.Offload{NeedsCsum: true, CsumStart: 20, CsumOffset: 6}
	b.out.walk(b.batch.Packets())
	var payload []byte
	for _, f := range b.one.sealed {
		payload = append(payload, f[20:]...)
	}
	if len(payload) != 3980 || wire.Checksum(payload, wire.PseudoSum(whole, wire.ProtoUDP, 3980)) != 0 {
		t.Errorf("%d bytes in %d fragments, their checksum is off", len(payload), len(b.one.sealed))
	}
}

// TestTooSmallForFragments: a tunnel that takes less than any IPv4 link must is asked for nothing.
func TestTooSmallForFragments(t *testing.T) {
	b := newBench(t)
	b.one.mtu = wire.MinIPv4MTU - 1
	b.fromPort(ip4(a4, b4, 100))
	if got := readICMP(t, only(t, "answers", b.port.written)); len(b.one.sealed) != 0 || got.typ != 3 || got.code != 4 {
		t.Errorf("%d sealed, answered %+v", len(b.one.sealed), got)
	}
}

// TestAddressesOfLinksAnswerNobody: what is of a link means nothing on another, so that an error comes from an address of the tunnel's
// that is of none.
func TestAddressesOfLinksAnswerNobody(t *testing.T) {
	b := newBench(t)
	one := b.tunnel("linked", "fe80::7", "2001:db8:ff::7")
	two := b.tunnel("only linked", "fe80::8")
	b.route("2001:db8:b1::/48", TunnelHop(one.index))
	b.route("2001:db8:b2::/48", TunnelHop(two.index))
	for dst, want := range map[string]string{"2001:db8:b1::5": "2001:db8:ff::7", "2001:db8:b2::5": "2001:db8:b2::5"} {
		b.port.written = nil
		b.fromPort(ip6(a6, dst, 1439))
		if got := readICMP(t, only(t, "answers", b.port.written)); got.src != want {
			t.Errorf("to %s: answered from %s, want %s", dst, got.src, want)
		}
	}
}

// TestFragmentsStayTogether: a datagram's fragments take one member of a group, though the first one has ports and the others not.
func TestFragmentsStayTogether(t *testing.T) {
	b := newBench(t)
	if err := b.vrf.Table().Insert(netip.MustParsePrefix("10.50.0.0/16"),
		[]fib.Hop{{ID: TunnelHop(b.one.index), Weight: 1}, {ID: TunnelHop(b.two.index), Weight: 1}}); err != nil {
		t.Fatal(err)
	}
	var ways [2]int
	for host := range byte(100) {
		b.one.sealed, b.two.sealed = nil, nil
		for i := range uint16(3) {
			b.fromPort(ip4(a4, "10.50.0.1", 100, func(p []byte) {
				p[19] = host
				binary.BigEndian.PutUint16(p[6:], 10*i|0x2000)
				binary.BigEndian.PutUint32(p[20:], uint32(i+1)*0x01234567)
			}))
		}
		n, m := len(b.one.sealed), len(b.two.sealed)
		if n != 3 && m != 3 {
			t.Fatalf("%d and %d of a datagram's fragments", n, m)
		}
		ways[m/3]++
	}
	if ways[0] < 20 || ways[1] < 20 {
		t.Errorf("%v datagrams each way", ways)
	}
}
