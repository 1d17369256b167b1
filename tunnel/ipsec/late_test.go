package ipsec_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/packet/packettest"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/esp"
	"github.com/warrenvpn/warren/tunnel/ipsec"
)

// recorder is an underlay that keeps what was sent through it, in order, unless it is to discard it.
type recorder struct {
	frames  [][]byte
	sizes   []int // of each Send
	discard bool
	raw     bool
}

func (r *recorder) Name() string                    { return "recorder" }
func (r *recorder) Local() netip.AddrPort           { return netip.MustParseAddrPort("192.0.2.1:4500") }
func (r *recorder) Encap() dataplane.Encap          { return dataplane.Encap{UDP: !r.raw} }
func (r *recorder) Receivers() []dataplane.Receiver { return nil }
func (r *recorder) NewSender() dataplane.Sender     { return r }
func (r *recorder) PathMTU(netip.Addr) (int, error) { return 1500, nil }
func (r *recorder) Close() error                    { return nil }
func (r *recorder) Send(frames []dataplane.Frame) {
	if r.discard {
		return
	}
	r.sizes = append(r.sizes, len(frames))
	for _, f := range frames {
		r.frames = append(r.frames, bytes.Clone(f.Data))
	}
}

// sharing is a tunnel that two workers seal for, a and b, as the peer sees it that has a window of 128.
type sharing struct {
	tunnel *ipsec.Tunnel
	sent   *recorder
	peer   *esp.Inbound
	a, b   *dataplane.Ctx
	next   uint32
}

func newSharing(t *testing.T, suite esp.Suite, esn bool) *sharing {
	t.Helper()
	s := &sharing{sent: new(recorder), a: dataplane.NewCtx(), b: dataplane.NewCtx()}
	s.a.Worker, s.b.Worker = 0, 1
	gw := ipsec.NewGateway(ipsec.Options{Peers: dataplane.New(dataplane.Options{Workers: 2}).Peers()})
	s.tunnel = gw.NewTunnel(1, ipsec.Config{Name: "shared"})
	s.tunnel.SetPath(&dataplane.Path{Underlay: s.sent, Remote: netip.MustParseAddrPort("192.0.2.2:4500")})
	all := []ipsec.Selector{ipsec.PrefixSelector(netip.MustParsePrefix("0.0.0.0/0")), ipsec.PrefixSelector(netip.MustParsePrefix("::/0"))}
	child := newChild(t, setup{suite: suite}, 0)
	cfg := esp.Config{SPI: 1000, Suite: suite, Key: bytes.Repeat([]byte{7}, suite.KeyLen()), ESN: esn}
	var err error
	if child.Out, err = esp.NewOutbound(cfg); err != nil {
		t.Fatal(err)
	}
	cfg.ReplayWindow = 128
	if s.peer, err = esp.NewInbound(cfg); err != nil {
		t.Fatal(err)
	}
	child.Local, child.Remote = all, all
	if err := s.tunnel.AddChild(child); err != nil {
		t.Fatal(err)
	}
	return s
}

// seal has a worker seal n packets with the next numbers inside. They leave when it flushes.
func (s *sharing) seal(t *testing.T, ctx *dataplane.Ctx, n int) {
	t.Helper()
	for n > 0 {
		b := packet.NewBatch(64 << 10)
		for range min(n, 64) {
			s.next++
			p := packettest.UDP("10.1.0.5", "10.2.0.5", 100, s.next)
			copy(b.Space(len(p)), p)
			wire.Parse(p, &b.Commit(0, len(p)).Info, false)
			n--
		}
		if refused := s.tunnel.Seal(ctx, b.Packets()); refused != 0 {
			t.Fatalf("%d refused", refused)
		}
	}
}

// mustAllArrive opens what was sent, in that order, and sees that each packet is there once.
func (s *sharing) mustAllArrive(t *testing.T) {
	t.Helper()
	seen := make(map[string]bool)
	scratch := esp.NewScratch()
	for i, f := range s.sent.frames {
		var b esp.Batch
		b.Add(f)
		s.peer.OpenBatch(scratch, &b)
		off, n, v := b.Result(0)
		if v != esp.OK {
			t.Fatalf("frame %d of %d: %v", i, len(s.sent.frames), v)
		}
		seen[string(f[off:off+n])] = true
	}
	for i := uint32(1); i <= s.next; i++ {
		if !seen[string(packettest.UDP("10.1.0.5", "10.2.0.5", 100, i))] {
			t.Fatalf("packet %d did not arrive", i)
		}
	}
}

// TestLateWorker: a worker that sealed and was not scheduled before it sent loses nothing at a peer whose window is 128,
// however far another worker ran ahead meanwhile.
func TestLateWorker(t *testing.T) {
	for _, suite := range esp.Suites() {
		for _, esn := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v/esn=%v", suite, esn), func(t *testing.T) {
				s := newSharing(t, suite, esn)
				for late := 1; late <= 250; late += 83 {
					s.seal(t, s.a, 1)
					s.a.Tx.Flush()
					s.seal(t, s.a, late)
					s.seal(t, s.b, 300)
					s.b.Tx.Flush()
					s.a.Tx.Flush()
				}
				s.mustAllArrive(t)
			})
		}
	}
}

// TestAloneKeepsOrder: a worker that has the SA for itself never spends a second number on a packet, however large its
// batches.
func TestAloneKeepsOrder(t *testing.T) {
	s := newSharing(t, esp.AES128GCM16, false)
	for range 20 {
		s.seal(t, s.a, 200)
		s.a.Tx.Flush()
	}
	s.mustAllArrive(t)
	if got := s.peer.Received(); got != uint64(s.next) {
		t.Errorf("%d packets took numbers up to %d", s.next, got)
	}
}

// first returns how many frames left first when a worker sealed n packets after another had used the SA.
func (s *sharing) first(t *testing.T, ctx *dataplane.Ctx, n int) int {
	t.Helper()
	from := len(s.sent.sizes)
	s.seal(t, ctx, n)
	ctx.Tx.Flush()
	return s.sent.sizes[from]
}

// alone has a worker seal until the SA counts as its own.
func (s *sharing) alone(t *testing.T, ctx *dataplane.Ctx) {
	t.Helper()
	for range 1100 {
		s.seal(t, ctx, 1)
		ctx.Tx.Flush()
	}
}

// TestShareOfASharedSA: while others use the SA a worker takes fewer numbers at once and lets those frames leave, fewer still if
// frames turn out to be late by little, and more again after many that were in time.
func TestShareOfASharedSA(t *testing.T) {
	s := newSharing(t, esp.AES128GCM16, false)
	s.seal(t, s.a, 1)
	s.a.Tx.Flush()
	s.seal(t, s.b, 1)
	s.b.Tx.Flush()
	if got := s.first(t, s.a, 64); got != 24 {
		t.Errorf("%d frames left first, want 24", got)
	}
	for _, c := range []struct {
		ahead, want int
	}{
		{1000, 24}, // late by much: a was not scheduled
		{100, 12},  // late by little: too many workers
	} {
		s.alone(t, s.a)
		s.seal(t, s.a, 1)
		s.seal(t, s.b, c.ahead)
		s.b.Tx.Flush()
		s.a.Tx.Flush()
		s.seal(t, s.b, 1)
		s.b.Tx.Flush()
		if got := s.first(t, s.a, 64); got != c.want {
			t.Errorf("after frames that were late by %d, %d left first, want %d", c.ahead, got, c.want)
		}
	}
	for range 300 {
		s.seal(t, s.b, 1)
		s.b.Tx.Flush()
		s.seal(t, s.a, 1)
		s.a.Tx.Flush()
	}
	s.seal(t, s.b, 1)
	s.b.Tx.Flush()
	if got := s.first(t, s.a, 64); got != 24 {
		t.Errorf("after many in time %d frames left first, want 24", got)
	}
	s.mustAllArrive(t)
}

// TestSuperPacketOfASharedSA: a super-packet's segments leave in parts while others use the SA, so that none of them waits for
// all of them.
func TestSuperPacketOfASharedSA(t *testing.T) {
	s := newSharing(t, esp.AES128GCM16, false)
	for _, ctx := range []*dataplane.Ctx{s.a, s.b} {
		s.seal(t, ctx, 1)
		ctx.Tx.Flush()
	}
	s.sent.sizes = nil
	o := wire.Offload{GSO: wire.GSOUDP, NeedsCsum: true, Size: 1000, HdrLen: 28, CsumStart: 20, CsumOffset: 6}
	b := packet.NewBatch(128 << 10)
	body := packettest.UDP("10.1.0.5", "10.2.0.5", 28+40*1000, 7)
	copy(b.Space(len(body)), body)
	p := b.Commit(0, len(body))
	p.Offload = o
	if v := wire.Parse(p.Bytes(), &p.Info, true); v != wire.OK {
		t.Fatal(v)
	}
	if refused := s.tunnel.Seal(s.a, b.Packets()); refused != 0 {
		t.Fatalf("refused: %v", p.Drop)
	}
	s.a.Tx.Flush()
	if want := []int{24, 16}; !slices.Equal(s.sent.sizes, want) {
		t.Errorf("frames left in parts of %v, want %v", s.sent.sizes, want)
	}
}

// TestSharedSAOverIP: without UDP the frames of a shared SA leave one by one, those of an SA that one worker has for itself do not.
func TestSharedSAOverIP(t *testing.T) {
	s := newSharing(t, esp.AES128GCM16, false)
	s.sent.raw = true
	s.alone(t, s.a)
	if got := s.first(t, s.a, 40); got != 40 {
		t.Errorf("of a worker alone %d frames left first, want 40", got)
	}
	s.seal(t, s.b, 1)
	s.b.Tx.Flush()
	from := len(s.sent.sizes)
	s.seal(t, s.a, 40)
	s.a.Tx.Flush()
	if got := s.sent.sizes[from:]; len(got) != 40 {
		t.Errorf("40 frames left in parts of %v, want them one by one", got)
	}
	s.mustAllArrive(t)
}
