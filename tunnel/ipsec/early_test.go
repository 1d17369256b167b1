package ipsec_test

import (
	"bytes"
	"maps"
	"sync"
	"testing"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/packet/packettest"
	"github.com/warrenvpn/warren/esp"
	"github.com/warrenvpn/warren/tunnel/ipsec"
)

// early has the second of two hosts expect an SPI by which the first sends already, and returns it and the child to install.
func early(t *testing.T, h [2]*host) (uint32, *ipsec.Child) {
	t.Helper()
	if err := h[1].plane.AddUnderlay(h[1].gateway.Early(), h[1].gateway); err != nil {
		t.Fatal(err)
	}
	spi, err := h[1].gateway.AllocateSPI(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	suite := esp.AES128GCM16
	cfg := esp.Config{SPI: spi, Suite: suite, Key: bytes.Repeat([]byte{9}, suite.KeyLen())}
	here, there := newChild(t, setup{suite: suite}, 0), newChild(t, setup{suite: suite}, 1)
	if here.Out, err = esp.NewOutbound(cfg); err != nil {
		t.Fatal(err)
	}
	cfg.ReplayWindow = esp.DefaultReplayWindow
	if there.In, err = esp.NewInbound(cfg); err != nil {
		t.Fatal(err)
	}
	for i, c := range []*ipsec.Child{here, there} {
		h[i].tunnel.RemoveChild(h[i].child)
		if i == 0 {
			if err := h[i].tunnel.AddChild(c); err != nil {
				t.Fatal(err)
			}
		}
	}
	return spi, there
}

// byUnderlay counts the datagrams that it is shown by where they came.
type byUnderlay struct {
	dataplane.Tap
	mu sync.Mutex
	by map[dataplane.Underlay]int
}

func (*byUnderlay) Clear(int, bool, []packet.Packet) {}

func (b *byUnderlay) Received(_ int, u dataplane.Underlay, t dataplane.Train) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.by[u] += t.Count()
}

// TestEarly: what comes before its SA is there comes out when that is, so many datagrams at most, and says where the peer
// is; who captures the tunnel sees it as if it came now. What comes then goes on as ever.
func TestEarly(t *testing.T) {
	_, h := pair(t, setup{cfg: ipsec.Config{Roam: true}})
	_, child := early(t, h)
	h[1].tunnel.SetPath(nil)
	packets := func(from, n uint32) {
		for i := from; i < from+n; i++ {
			h[0].inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 100, i))
		}
	}
	packets(0, 20)
	h[1].dropped(t, packet.UnknownSPI, 4)
	tap := &byUnderlay{by: map[dataplane.Underlay]int{}}
	h[1].plane.AddTap(h[1].index, tap)
	if err := h[1].tunnel.AddChild(child); err != nil {
		t.Fatal(err)
	}
	come := map[string]bool{}
	for range 16 {
		come[string(h[1].next(t))] = true
	}
	for i := range uint32(16) {
		if !come[string(packettest.UDP("10.1.0.5", "10.2.0.5", 100, i))] {
			t.Errorf("packet %d did not come out", i)
		}
	}
	tap.mu.Lock()
	defer tap.mu.Unlock()
	if want := map[dataplane.Underlay]int{h[1].underlay: 16}; !maps.Equal(tap.by, want) {
		t.Errorf("captured by underlay: %v, want %v", tap.by, want)
	}
	if p := h[1].tunnel.Path(); p == nil || p.Underlay != h[1].underlay {
		t.Errorf("the peer is reached by %+v", p)
	}
	h[1].plane.RemoveTap(h[1].index, tap)
	packets(20, 1)
	if got := h[1].next(t); !bytes.Equal(got, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 20)) {
		t.Errorf("%x came out", got)
	}
}

// TestEarlyForNothing: what is kept for an SPI that is given back is dropped, and so is what comes for it later, or for one that
// nobody expects.
func TestEarlyForNothing(t *testing.T) {
	_, h := pair(t, setup{})
	spi, _ := early(t, h)
	send := func(n int) {
		for i := range n {
			h[0].inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 100, uint32(i)))
		}
	}
	send(17)
	h[1].dropped(t, packet.UnknownSPI, 1)
	h[1].gateway.ReleaseSPI(spi)
	h[1].dropped(t, packet.UnknownSPI, 17)
	send(3)
	h[1].dropped(t, packet.UnknownSPI, 20)
}

// TestEarlyBounded: for however many SPIs datagrams come, there is an end to what is kept.
func TestEarlyBounded(t *testing.T) {
	_, h := pair(t, setup{})
	e := h[1].gateway.Early()
	room := make([]byte, 60_000)
	kept := 0
	for range 100 {
		spi, err := h[1].gateway.AllocateSPI(1, 0)
		if err != nil {
			t.Fatal(err)
		}
		if e.Keep(h[1].underlay, spi, room) {
			kept++
		}
	}
	if want := (1 << 20) / len(room); kept != want {
		t.Errorf("kept %d datagrams of %d bytes, want %d", kept, len(room), want)
	}
}
