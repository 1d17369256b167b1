package ipsec_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/packet/packettest"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/esp"
	"github.com/warrenvpn/warren/internal/race"
	"github.com/warrenvpn/warren/tunnel/ipsec"
)

// mustNotAllocate runs f some hundred times.
func mustNotAllocate(t *testing.T, f func()) {
	t.Helper()
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	if n := testing.AllocsPerRun(200, f); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestSealAllocatesNothing on any of its branches, with every suite.
func TestSealAllocatesNothing(t *testing.T) {
	plain := packettest.UDP("10.1.0.5", "10.2.0.5", 200, 1)
	v6 := packettest.UDP("fd01::5", "fd02::5", 200, 1)
	super := wire.Offload{GSO: wire.GSOUDP, NeedsCsum: true, Size: 1000, HdrLen: 28, CsumStart: 20, CsumOffset: 6}
	for _, suite := range esp.Suites() {
		for _, c := range []struct {
			name string
			fill func(b *packet.Batch)
		}{
			{"in place", func(b *packet.Batch) { packettest.Put(b, plain, wire.Offload{}) }},
			{"IPv6", func(b *packet.Batch) { packettest.Put(b, v6, wire.Offload{}) }},
			{"without room", func(b *packet.Batch) { wire.Parse(plain, &b.Append(plain, 0, len(plain)).Info, false) }},
			{"super-packet", func(b *packet.Batch) { packettest.Put(b, packettest.UDP("10.1.0.5", "10.2.0.5", 5028, 1), super) }},
			{"bad offload", func(b *packet.Batch) {
				packettest.Put(b, plain, wire.Offload{GSO: wire.GSOUDP, Size: 10, HdrLen: 5000})
			}},
		} {
			t.Run(fmt.Sprintf("%v/%s", suite, c.name), func(t *testing.T) {
				s := newSharing(t, suite, true)
				b := packet.NewBatch(1 << 17)
				c.fill(b)
				pkts := b.Packets()
				keep := pkts[0]
				image := bytes.Clone(keep.Bytes())
				mustNotAllocate(t, func() {
					pkts[0] = keep
					copy(pkts[0].Bytes(), image)
					s.tunnel.Seal(s.a, pkts)
					s.sent.discard = true
					s.a.Tx.Flush()
				})
			})
		}
	}
}

// TestRefusingAllocatesNothing: no SA, no path, no selector.
func TestRefusingAllocatesNothing(t *testing.T) {
	s := newSharing(t, esp.AES128GCM16, false)
	b := packet.NewBatch(1 << 16)
	packettest.Put(b, packettest.UDP("10.1.0.5", "10.2.0.5", 200, 1), wire.Offload{})
	pkts := b.Packets()
	refused := func(want packet.Reason) {
		t.Helper()
		mustNotAllocate(t, func() {
			pkts[0].Drop = packet.None
			if n := s.tunnel.Seal(s.a, pkts); n != 1 || pkts[0].Drop != want {
				t.Fatalf("%d refused, %v, want %v", n, pkts[0].Drop, want)
			}
		})
	}
	child := s.tunnel.Children()[0]
	s.tunnel.RemoveChild(child)
	refused(packet.NoSA)
	child.Remote = []ipsec.Selector{ipsec.PrefixSelector(netip.MustParsePrefix("10.3.0.0/16"))}
	if err := s.tunnel.AddChild(child); err != nil {
		t.Fatal(err)
	}
	refused(packet.SelectorOut)
	s.tunnel.SetPath(nil)
	refused(packet.PeerUnknown)
}

// TestOpenAllocatesNothing whatever comes: what is right, replayed, forged, cut off, of nobody.
func TestOpenAllocatesNothing(t *testing.T) {
	for _, suite := range esp.Suites() {
		t.Run(suite.String(), func(t *testing.T) {
			strays := make(chan uint32, 1)
			gw := ipsec.NewGateway(ipsec.Options{Peers: dataplane.New(dataplane.Options{Workers: 2}).Peers(), Stray: func(_ netip.AddrPort, spi uint32) {
				select {
				case strays <- spi:
				default:
				}
			}})
			u := &recorder{}
			tunnel := gw.NewTunnel(1, ipsec.Config{Name: "in"})
			remote := netip.MustParseAddrPort("192.0.2.2:4500")
			tunnel.SetPath(&dataplane.Path{Underlay: u, Remote: remote})
			child := newChild(t, setup{suite: suite, window: 64}, 0)
			if err := tunnel.AddChild(child); err != nil {
				t.Fatal(err)
			}
			peer := newChild(t, setup{suite: suite, window: 64}, 1)
			ctx, scratch := dataplane.NewCtx(), esp.NewScratch()
			var out packet.Batch
			clear := packettest.UDP("10.2.0.5", "10.1.0.5", 200, 1)
			frame := make([]byte, peer.Out.SealedLen(len(clear)))
			work := make([]byte, len(frame))
			train := dataplane.Train{Remote: remote, TOS: 3}
			open := func(b []byte) int {
				train.Data, train.Size = b, len(b)
				out.Reset()
				gw.Open(ctx, u, &train, &out)
				return out.Len()
			}
			clear[1] = 2 // ECN-capable, so that the mark comes in
			wire.SetIPv4Checksum(clear)
			mustNotAllocate(t, func() {
				run := peer.Out.Reserve(1)
				copy(frame[peer.Out.HeaderLen():], clear)
				run.Seal(scratch, frame, len(clear), wire.ProtoIPv4)
				run.End()
				copy(work, frame)
				if open(work) != 1 {
					t.Fatal("a packet was not opened")
				}
				copy(work, frame)
				if open(work) != 0 { // replayed
					t.Fatal("a packet was opened twice")
				}
				copy(work, frame)
				work[7]++ // another number, so a wrong ICV
				n := open(work) + open(work[:20]) + open(work[:3])
				work[0] ^= 0x55 // nobody's SPI
				if n += open(work); n != 0 {
					t.Fatal("garbage was opened")
				}
				<-strays
			})
		})
	}
}
