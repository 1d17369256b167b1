package ipsec_test

import (
	"bytes"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/packet/packettest"
	"github.com/warrenvpn/warren/esp"
	"github.com/warrenvpn/warren/tunnel/ipsec"
)

// TestTrap: packets for a child SA that is not there are kept, so many and no more, and cross in order once it is.
func TestTrap(t *testing.T) {
	_, h := pair(t, setup{})
	for _, c := range h[0].tunnel.Children() {
		h[0].tunnel.RemoveChild(c)
	}
	var hits atomic.Int32
	all := []ipsec.Selector{ipsec.PrefixSelector(netip.MustParsePrefix("10.0.0.0/8"))}
	h[0].tunnel.SetTrap("child", all, all, func() { hits.Add(1) })
	var sent [][]byte
	for i := range 40 {
		p := packettest.UDP("10.1.0.5", "10.2.0.5", 100, uint32(i))
		sent = append(sent, p)
		h[0].inject(t, p)
	}
	h[0].dropped(t, packet.WaitingFull, 8)
	waitFor(t, "all hits", func() bool { return hits.Load() == 40 })
	h[0].inject(t, packettest.UDP("fd01::5", "fd02::5", 100, 1))
	h[0].dropped(t, packet.NoSA, 1)
	if err := h[0].tunnel.AddChild(h[0].child); err != nil {
		t.Fatal(err)
	}
	if err := h[0].plane.Inject(h[0].index, h[0].tunnel.TakeHeld("child")); err != nil {
		t.Fatal(err)
	}
	for i := range 32 {
		if got := h[1].next(t); !bytes.Equal(got, sent[i]) {
			t.Fatalf("packet %d came out as %x", i, got)
		}
	}
	h[0].inject(t, sent[33])
	if got := h[1].next(t); !bytes.Equal(got, sent[33]) {
		t.Errorf("the SA is there, and %x came out", got)
	}
	if held := h[0].tunnel.ClearTrap("child"); held != nil || hits.Load() != 40 {
		t.Errorf("%d packets held, %d hits", len(held), hits.Load())
	}
}

// TestPrefer: of two children that cover a packet the preferred one takes it.
func TestPrefer(t *testing.T) {
	_, h := pair(t, setup{})
	old := h[0].child
	fresh := &ipsec.Child{Name: "fresh", Out: mustOut(t, 0x3001), In: mustIn(t, 0x3002), Local: old.Local, Remote: old.Remote}
	if err := h[0].tunnel.AddChild(fresh); err != nil {
		t.Fatal(err)
	}
	send := func(want *ipsec.Child) {
		t.Helper()
		before := want.Out.Sent()
		h[0].inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1))
		waitFor(t, "the child to seal", func() bool { return want.Out.Sent() == before+1 })
	}
	send(old)
	h[0].tunnel.Prefer(fresh, old)
	send(fresh)
	h[0].tunnel.Prefer(fresh, old)
	h[0].tunnel.Retire(old)
	h[0].tunnel.RemoveChild(fresh)
	h[0].inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1))
	h[0].dropped(t, packet.NoSA, 1)
	if got := h[0].tunnel.Sealing(); len(got) != 0 || len(h[0].tunnel.Children()) != 1 {
		t.Errorf("%d children seal", len(got))
	}
}

func mustOut(t *testing.T, spi uint32) *esp.Outbound {
	t.Helper()
	sa, err := esp.NewOutbound(esp.Config{SPI: spi, Suite: esp.AES128GCM16, Key: bytes.Repeat([]byte{9}, 20)})
	if err != nil {
		t.Fatal(err)
	}
	return sa
}

func mustIn(t *testing.T, spi uint32) *esp.Inbound {
	t.Helper()
	sa, err := esp.NewInbound(esp.Config{SPI: spi, Suite: esp.AES128GCM16, Key: bytes.Repeat([]byte{9}, 20), ReplayWindow: 64})
	if err != nil {
		t.Fatal(err)
	}
	return sa
}
