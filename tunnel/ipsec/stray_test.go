package ipsec_test

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/esp"
	"github.com/warrenvpn/warren/tunnel/ipsec"
)

// TestStray: only an SPI that no child SA has, and that none will have, is nobody's.
func TestStray(t *testing.T) {
	remote := netip.MustParseAddrPort("192.0.2.9:4500")
	var strays []uint32
	gw := ipsec.NewGateway(ipsec.Options{Stray: func(from netip.AddrPort, spi uint32) {
		if from != remote {
			t.Errorf("a datagram from %v, want %v", from, remote)
		}
		strays = append(strays, spi)
	}})
	child := newChild(t, setup{suite: esp.AES128GCM16, window: 64}, 0)
	if err := gw.NewTunnel(1, ipsec.Config{Name: "in"}).AddChild(child); err != nil {
		t.Fatal(err)
	}
	gw.Early()
	awaited, err := gw.AllocateSPI(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, u, nobodys := dataplane.NewCtx(), &recorder{}, uint32(0xbadbad)
	for _, spi := range []uint32{0, child.In.SPI(), awaited, nobodys} {
		for range 20 { // more than are kept for what is awaited
			var out packet.Batch
			d := append(binary.BigEndian.AppendUint32(nil, spi), make([]byte, 60)...)
			gw.Open(ctx, u, &dataplane.Train{Data: d, Size: len(d), Remote: remote}, &out)
		}
	}
	if want := slices.Repeat([]uint32{nobodys}, 20); !slices.Equal(strays, want) {
		t.Errorf("nobody's are %x, want %x", strays, want)
	}
	gw.ReleaseSPI(awaited)
	d := append(binary.BigEndian.AppendUint32(nil, awaited), make([]byte, 60)...)
	gw.Open(ctx, u, &dataplane.Train{Data: d, Size: len(d), Remote: remote}, new(packet.Batch))
	if strays[len(strays)-1] != awaited {
		t.Error("an SPI that was given back is somebody's")
	}
}
