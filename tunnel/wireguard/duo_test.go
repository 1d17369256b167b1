package wireguard_test

import (
	"bytes"
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/packet/packettest"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/tunnel/wireguard"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

// recorder is an underlay that keeps what was sent through it, in order, unless it is to discard it.
type recorder struct {
	local   netip.AddrPort
	mu      sync.Mutex
	frames  [][]byte
	discard bool
}

func (r *recorder) Name() string                    { return "recorder" }
func (r *recorder) Local() netip.AddrPort           { return r.local }
func (r *recorder) Encap() dataplane.Encap          { return dataplane.Encap{UDP: true} }
func (r *recorder) Receivers() []dataplane.Receiver { return nil }
func (r *recorder) NewSender() dataplane.Sender     { return r }
func (r *recorder) PathMTU(netip.Addr) (int, error) { return 1500, nil }
func (r *recorder) Close() error                    { return nil }
func (r *recorder) Send(frames []dataplane.Frame) {
	if r.discard {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range frames {
		r.frames = append(r.frames, bytes.Clone(f.Data))
	}
}

// take returns what was sent.
func (r *recorder) take() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	frames := r.frames
	r.frames = nil
	return frames
}

// transport returns what was sent but for handshake messages: where a test takes long, a device asks why it is not answered.
func (r *recorder) transport() [][]byte {
	return slices.DeleteFunc(r.take(), func(b []byte) bool { return handshake.Type(b[0]) != handshake.TypeTransport })
}

// end is a device without a plane and its one peer.
type end struct {
	device *wireguard.Device
	peer   *wireguard.Peer
	sent   *recorder
	ctx    *dataplane.Ctx
	out    packet.Batch
}

// duo are two ends that the test itself is the network of, with a session that the first began.
type duo struct {
	a, b *end
}

func newDuo(t testing.TB, how ...func(*wireguard.Options)) *duo {
	t.Helper()
	keys := [2]handshake.PrivateKey{handshake.NewPrivateKey(), handshake.NewPrivateKey()}
	addrs := [2]netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:51820"), netip.MustParseAddrPort("192.0.2.2:51820")}
	var ends [2]*end
	for i := range ends {
		e := &end{sent: &recorder{local: addrs[i]}, ctx: dataplane.NewCtx()}
		var err error
		o := wireguard.Options{PrivateKey: keys[i]}
		for _, set := range how {
			set(&o)
		}
		e.device, err = wireguard.New(o)
		must(t, err)
		e.device.AddUnderlay(e.sent)
		e.peer, err = e.device.AddPeer(uint32(i+1), wireguard.PeerConfig{Name: "peer", PublicKey: keys[1-i].Public(), Endpoint: addrs[1-i]})
		must(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- e.device.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			must(t, <-ended)
		})
		ends[i] = e
	}
	d := &duo{ends[0], ends[1]}
	d.a.seal(t, d.a.ctx, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 0))
	// Who says that it is up has sent all that the handshake makes it send.
	waitFor(t, "a session, and nothing on its way", func() bool {
		up := d.a.peer.Status().State == wireguard.Up && d.b.peer.Status().State == wireguard.Up
		return d.pass(d.a, d.b)+d.pass(d.b, d.a) == 0 && up
	})
	return d
}

// initiationTo is what a device says first that has this peer. It needs no more time than the machine takes.
func initiationTo(t testing.TB, k handshake.PublicKey) []byte {
	t.Helper()
	stranger, err := wireguard.New(wireguard.Options{PrivateKey: handshake.NewPrivateKey()})
	must(t, err)
	heard := &recorder{local: netip.MustParseAddrPort("203.0.113.66:666")}
	stranger.AddUnderlay(heard)
	_, err = stranger.AddPeer(1, wireguard.PeerConfig{PublicKey: k, Endpoint: netip.MustParseAddrPort("192.0.2.1:51820"), PersistentKeepalive: time.Second})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- stranger.Run(ctx) }()
	var said [][]byte
	waitFor(t, "an initiation", func() bool { said = append(said, heard.take()...); return len(said) > 0 })
	cancel()
	must(t, <-ended)
	return said[0]
}

// pass gives to what from sent, and says how many messages that were.
func (d *duo) pass(from, to *end) int {
	frames := from.sent.take()
	for _, f := range frames {
		to.open(to.ctx, f, from.sent.local)
	}
	return len(frames)
}

// open opens one datagram and returns how many packets came out.
func (e *end) open(ctx *dataplane.Ctx, b []byte, from netip.AddrPort) int {
	e.out.Reset()
	return e.openInto(ctx, b, from, &e.out)
}

func (e *end) openInto(ctx *dataplane.Ctx, b []byte, from netip.AddrPort, out *packet.Batch) int {
	before := out.Len()
	e.device.Open(ctx, e.sent, &dataplane.Train{Data: b, Size: len(b), Remote: from}, out)
	return out.Len() - before
}

// seal has a worker seal packets. They leave with the flush.
func (e *end) seal(t testing.TB, ctx *dataplane.Ctx, pkts ...[]byte) {
	t.Helper()
	for chunk := range slices.Chunk(pkts, packet.MaxBatch) {
		b := packet.NewBatch(len(chunk) * (packet.HeadRoom + len(chunk[0]) + packet.TailRoom + 64))
		for _, p := range chunk {
			packettest.Put(b, p, wire.Offload{})
		}
		if refused := e.peer.Seal(ctx, b.Packets()); refused != 0 {
			t.Fatalf("%d refused: %v", refused, b.Packets()[0].Drop)
		}
	}
}

// sealed returns the messages of n numbered packets.
func (d *duo) sealed(t testing.TB, n int) [][]byte {
	t.Helper()
	for i := range n {
		d.a.seal(t, d.a.ctx, packettest.UDP("10.1.0.5", "10.2.0.5", 100, uint32(i+1)))
	}
	d.a.ctx.Tx.Flush()
	return d.a.sent.transport()
}
