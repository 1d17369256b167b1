package ipsec_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

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
