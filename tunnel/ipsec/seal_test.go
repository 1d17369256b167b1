package ipsec_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/packet/packettest"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/esp"
	"github.com/warrenvpn/warren/tunnel/ipsec"
)

// headed keeps what Send is told besides the bytes.
type headed struct {
	recorder
	df []bool
}

func (h *headed) NewSender() dataplane.Sender { return h }
func (h *headed) Send(frames []dataplane.Frame) {
	h.recorder.Send(frames)
	for _, f := range frames {
		h.df = append(h.df, f.DF)
	}
}

func newSealing(t *testing.T, g *ipsec.Gateway, cfg ipsec.Config, suite esp.Suite, spi uint32) (*ipsec.Tunnel, *headed) {
	t.Helper()
	sent := new(headed)
	tunnel := g.NewTunnel(1, cfg)
	tunnel.SetPath(&dataplane.Path{Underlay: sent, Remote: netip.MustParseAddrPort("192.0.2.2:4500")})
	child := newChild(t, setup{suite: suite}, 0)
	var err error
	if child.Out, err = esp.NewOutbound(esp.Config{SPI: spi, Suite: suite, Key: make([]byte, suite.KeyLen())}); err != nil {
		t.Fatal(err)
	}
	if child.In, err = esp.NewInbound(esp.Config{SPI: spi, Suite: suite, Key: make([]byte, suite.KeyLen())}); err != nil {
		t.Fatal(err)
	}
	if err := tunnel.AddChild(child); err != nil {
		t.Fatal(err)
	}
	return tunnel, sent
}

// TestNumbersLeftOver of a run in which a packet was refused are nobody's: the worker's next packet goes to another tunnel, by its SA.
func TestNumbersLeftOver(t *testing.T) {
	g := ipsec.NewGateway(ipsec.Options{})
	one, _ := newSealing(t, g, ipsec.Config{Name: "one"}, esp.AES128GCM16, 1001)
	two, sent := newSealing(t, g, ipsec.Config{Name: "two"}, esp.AES128GCM16, 1002)
	ctx := dataplane.NewCtx()
	b := packet.NewBatch(1 << 16)
	plain := packettest.UDP("10.1.0.5", "10.2.0.5", 200, 1)
	packettest.Put(b, plain, wire.Offload{})
	packettest.Put(b, plain, wire.Offload{GSO: wire.GSOUDP, Size: 10, HdrLen: 5000})
	if refused := one.Seal(ctx, b.Packets()); refused != 1 {
		t.Fatalf("%d refused", refused)
	}
	ctx.Tx.Flush()
	b.Reset()
	packettest.Put(b, plain, wire.Offload{})
	two.Seal(ctx, b.Packets())
	ctx.Tx.Flush()
	if len(sent.frames) != 1 {
		t.Fatalf("%d frames", len(sent.frames))
	}
	if spi, seq := binary.BigEndian.Uint32(sent.frames[0]), binary.BigEndian.Uint32(sent.frames[0][4:]); spi != 1002 || seq != 1 {
		t.Errorf("the frame has SPI %d and number %d", spi, seq)
	}
}

// TestRoomBehind: a packet is sealed in place only where the trailer fits behind it, to the byte; what lies further on is somebody's.
func TestRoomBehind(t *testing.T) {
	for _, suite := range esp.Suites() {
		g := ipsec.NewGateway(ipsec.Options{})
		tunnel, sent := newSealing(t, g, ipsec.Config{Name: "room"}, suite, 1001)
		in, err := esp.NewInbound(esp.Config{SPI: 1001, Suite: suite, Key: make([]byte, suite.KeyLen())})
		if err != nil {
			t.Fatal(err)
		}
		ctx, b, scratch := dataplane.NewCtx(), packet.NewBatch(1<<10), esp.NewScratch()
		for size := 100; size < 116; size++ {
			for tail := range 60 {
				whole := bytes.Repeat([]byte{0xee}, packet.HeadRoom+size+100)
				plain := packettest.UDP("10.1.0.5", "10.2.0.5", size, 1)
				copy(whole[packet.HeadRoom:], plain)
				b.Reset()
				p := b.Append(whole[:packet.HeadRoom+size+tail], packet.HeadRoom, size)
				wire.Parse(plain, &p.Info, false)
				tunnel.Seal(ctx, b.Packets())
				ctx.Tx.Flush()
				if behind := whole[packet.HeadRoom+size+tail:]; !bytes.Equal(behind, bytes.Repeat([]byte{0xee}, len(behind))) {
					t.Fatalf("%v: %d bytes with room for %d behind: more were overwritten", suite, size, tail)
				}
				var one esp.Batch
				last := sent.frames[len(sent.frames)-1]
				one.Add(last)
				in.OpenBatch(scratch, &one)
				if off, n, v := one.Result(0); v != esp.OK || !bytes.Equal(last[off:off+n], plain) {
					t.Fatalf("%v: %d bytes with room for %d behind: %v", suite, size, tail, v)
				}
			}
		}
	}
}

// TestDFOutside: as inside or as configured, and never on a frame that the path does not take although its packet was let through.
func TestDFOutside(t *testing.T) {
	for _, c := range []struct {
		df           ipsec.DF
		plain, whole bool // without DF inside, and with
	}{{ipsec.DFCopy, false, true}, {ipsec.DFSet, true, true}, {ipsec.DFClear, false, false}} {
		tunnel, sent := newSealing(t, ipsec.NewGateway(ipsec.Options{}), ipsec.Config{Name: "df", DF: c.df, MTU: 3000}, esp.AES128GCM16, 1001)
		ctx, b := dataplane.NewCtx(), packet.NewBatch(1<<16)
		may := packettest.UDP("10.1.0.5", "10.2.0.5", 200, 1)
		may[6] = 0
		wire.SetIPv4Checksum(may)
		packettest.Put(b, may, wire.Offload{})
		packettest.Put(b, packettest.UDP("10.1.0.5", "10.2.0.5", 200, 1), wire.Offload{})
		packettest.Put(b, packettest.UDP("10.1.0.5", "10.2.0.5", 2000, 1), wire.Offload{})
		tunnel.Seal(ctx, b.Packets())
		ctx.Tx.Flush()
		if want := []bool{c.plain, c.whole, false}; len(sent.df) != 3 || [3]bool(sent.df) != [3]bool(want) {
			t.Errorf("treatment %d: DF %v, want %v", c.df, sent.df, want)
		}
	}
}

// TestNumbersRunOut amid a batch and amid a super-packet: what has no number is refused, not sealed and not forgotten.
func TestNumbersRunOut(t *testing.T) {
	g := ipsec.NewGateway(ipsec.Options{})
	tunnel, sent := newSealing(t, g, ipsec.Config{Name: "last"}, esp.AES128GCM16, 1001)
	child := newChild(t, setup{suite: esp.AES128GCM16}, 0)
	var err error
	const numbers = 5
	if child.Out, err = esp.NewOutbound(esp.Config{SPI: 1002, Suite: esp.AES128GCM16, Key: make([]byte, 20), IVBase: math.MaxUint64 - numbers}); err != nil {
		t.Fatal(err)
	}
	tunnel.RemoveChild(tunnel.Children()[0])
	if err := tunnel.AddChild(child); err != nil {
		t.Fatal(err)
	}
	ctx, b := dataplane.NewCtx(), packet.NewBatch(1<<16)
	plain, super := packettest.UDP("10.1.0.5", "10.2.0.5", 200, 1), packettest.UDP("10.1.0.5", "10.2.0.5", 28+4*100, 2)
	o := wire.Offload{GSO: wire.GSOUDP, NeedsCsum: true, Size: 100, HdrLen: 28, CsumStart: 20, CsumOffset: 6}
	for range 3 {
		packettest.Put(b, plain, wire.Offload{})
	}
	packettest.Put(b, super, o)
	packettest.Put(b, plain, wire.Offload{})
	packettest.Put(b, super, o)
	refused := tunnel.Seal(ctx, b.Packets())
	ctx.Tx.Flush()
	var why []packet.Reason
	for _, p := range b.Packets() {
		why = append(why, p.Drop)
	}
	const out = packet.SAExhausted
	if refused != 3 || len(sent.frames) != numbers || !slices.Equal(why, []packet.Reason{0, 0, 0, out, out, out}) {
		t.Errorf("%d refused: %v; %d frames", refused, why, len(sent.frames))
	}
}

// TestChecksumLeftOver: what the kernel left to its device, whose packet is sealed in place or elsewhere, is done before.
func TestChecksumLeftOver(t *testing.T) {
	for _, suite := range []esp.Suite{esp.AES128GCM16, esp.AES256SHA256} {
		for _, room := range []int{packet.HeadRoom, 0} {
			tunnel, sent := newSealing(t, ipsec.NewGateway(ipsec.Options{}), ipsec.Config{Name: "sum"}, suite, 1001)
			in, err := esp.NewInbound(esp.Config{SPI: 1001, Suite: suite, Key: make([]byte, suite.KeyLen())})
			if err != nil {
				t.Fatal(err)
			}
			plain := packettest.UDP("10.1.0.5", "10.2.0.5", 201, 1)
			binary.BigEndian.PutUint16(plain[26:], wire.Fold(wire.PseudoSum(plain, wire.ProtoUDP, 181)))
			slot := make([]byte, room+201+room)
			copy(slot[room:], plain)
			var b packet.Batch
			p := b.Append(slot, room, 201)
			p.Offload = wire.Offload{NeedsCsum: true, CsumStart: 20, CsumOffset: 6}
			wire.Parse(p.Bytes(), &p.Info, false)
			ctx := dataplane.NewCtx()
			tunnel.Seal(ctx, b.Packets())
			ctx.Tx.Flush()
			var one esp.Batch
			one.Add(sent.frames[0])
			in.OpenBatch(esp.NewScratch(), &one)
			off, n, v := one.Result(0)
			if got := sent.frames[0][off:][:n]; v != esp.OK || n != 201 || wire.Checksum(got[20:], wire.PseudoSum(got, wire.ProtoUDP, 181)) != 0 {
				t.Errorf("%v, room for %d: %v, %x", suite, room, v, got)
			}
		}
	}
}

// TestMTUOfSeveralChildren: what fits one that has less room fits all, in whatever order they came.
func TestMTUOfSeveralChildren(t *testing.T) {
	for _, suites := range [][]esp.Suite{{esp.AES256SHA512, esp.AES128GCM16}, {esp.AES128GCM16, esp.AES256SHA512}} {
		tunnel := ipsec.NewGateway(ipsec.Options{}).NewTunnel(1, ipsec.Config{Name: "two"})
		tunnel.SetPath(&dataplane.Path{Underlay: new(recorder), Remote: netip.MustParseAddrPort("192.0.2.2:4500")})
		for i, suite := range suites {
			if err := tunnel.AddChild(newChild(t, setup{suite: suite}, i)); err != nil {
				t.Fatal(err)
			}
		}
		want := esp.AES256SHA512
		for _, c := range tunnel.Children() {
			if most := c.Out.MaxInner(1472); (c.Out.Suite() == want) != (tunnel.InnerMTU() == most) {
				t.Errorf("%v: inner MTU %d, where %v takes %d", suites, tunnel.InnerMTU(), c.Out.Suite(), most)
			}
		}
	}
}

// TestKeepalivesOfUDPAlone: there is no NAT to be kept for IP protocol 50 (RFC 3948 section 2.3).
func TestKeepalivesOfUDPAlone(t *testing.T) {
	for _, raw := range []bool{false, true} {
		now := time.Unix(1, 0)
		g := ipsec.NewGateway(ipsec.Options{Now: func() time.Time { return now }})
		tunnel, _ := newSealing(t, g, ipsec.Config{Name: "one", Keepalive: 20 * time.Second}, esp.AES128GCM16, 1001)
		tunnel.SetPath(&dataplane.Path{Underlay: &recorder{raw: raw}, Remote: netip.MustParseAddrPort("192.0.2.2:4500")})
		sent := 0
		for range 3 {
			g.Tick(func(dataplane.Frame) { sent++ })
			now = now.Add(20 * time.Second)
		}
		if want := map[bool]int{false: 2, true: 0}[raw]; sent != want {
			t.Errorf("raw %v: %d keepalives, want %d", raw, sent, want)
		}
	}
}
