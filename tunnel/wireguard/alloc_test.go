package wireguard_test

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/packet/packettest"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/internal/race"
	"github.com/warrenvpn/warren/tunnel/wireguard"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
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

// TestSealAllocatesNothing on any of its branches.
func TestSealAllocatesNothing(t *testing.T) {
	plain := packettest.UDP("10.1.0.5", "10.2.0.5", 200, 1)
	super := wire.Offload{GSO: wire.GSOUDP, NeedsCsum: true, Size: 1000, HdrLen: 28, CsumStart: 20, CsumOffset: 6}
	for name, fill := range map[string]func(b *packet.Batch){
		"in place":     func(b *packet.Batch) { packettest.Put(b, plain, wire.Offload{}) },
		"IPv6":         func(b *packet.Batch) { packettest.Put(b, packettest.UDP("fd01::5", "fd02::5", 200, 1), wire.Offload{}) },
		"without room": func(b *packet.Batch) { wire.Parse(plain, &b.Append(plain, 0, len(plain)).Info, false) },
		"super-packet": func(b *packet.Batch) { packettest.Put(b, packettest.UDP("10.1.0.5", "10.2.0.5", 5028, 1), super) },
		"super-packet without room": func(b *packet.Batch) {
			p := packettest.UDP("10.1.0.5", "10.2.0.5", 5028, 1)
			in := b.Append(p, 0, len(p))
			in.Offload = super
			wire.Parse(p, &in.Info, true)
		},
		"bad offload": func(b *packet.Batch) {
			packettest.Put(b, plain, wire.Offload{GSO: wire.GSOUDP, Size: 10, HdrLen: 5000})
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDuo(t)
			d.a.sent.discard = true
			b := packet.NewBatch(1 << 17)
			fill(b)
			pkts := b.Packets()
			keep := pkts[0]
			image := bytes.Clone(keep.Bytes())
			mustNotAllocate(t, func() {
				pkts[0] = keep
				copy(pkts[0].Bytes(), image)
				d.a.peer.Seal(d.a.ctx, pkts)
				d.a.ctx.Tx.Flush()
			})
		})
	}
}

// TestRenewAllocatesNothing where another worker ran ahead.
func TestRenewAllocatesNothing(t *testing.T) {
	d := newDuo(t)
	d.a.sent.discard = true
	ahead := dataplane.NewCtx()
	ahead.Worker = 0
	one, many := packet.NewBatch(1<<10), packet.NewBatch(1<<18)
	packettest.Put(one, packettest.UDP("10.1.0.5", "10.2.0.5", 200, 1), wire.Offload{})
	for range packet.MaxBatch {
		packettest.Put(many, packettest.UDP("10.1.0.5", "10.2.0.5", 200, 1), wire.Offload{})
	}
	mustNotAllocate(t, func() {
		d.a.peer.Seal(d.a.ctx, one.Packets())
		for range 40 {
			d.a.peer.Seal(ahead, many.Packets())
			ahead.Tx.Flush()
		}
		d.a.ctx.Tx.Flush()
	})
}

// TestRefusingAllocatesNothing: no path, no session and too many that wait, closed.
func TestRefusingAllocatesNothing(t *testing.T) {
	dev, err := wireguard.New(wireguard.Options{PrivateKey: handshake.NewPrivateKey()})
	must(t, err)
	u := &recorder{local: netip.MustParseAddrPort("192.0.2.1:51820"), discard: true}
	dev.AddUnderlay(u)
	p, err := dev.AddPeer(1, wireguard.PeerConfig{Name: "peer", PublicKey: handshake.NewPrivateKey().Public()})
	must(t, err)
	ctx := dataplane.NewCtx()
	b := packet.NewBatch(1 << 16)
	packettest.Put(b, packettest.UDP("10.1.0.5", "10.2.0.5", 200, 1), wire.Offload{})
	pkts := b.Packets()
	seal := func(want packet.Reason) func() {
		return func() {
			t.Helper()
			pkts[0].Drop = packet.None
			if n := p.Seal(ctx, pkts); pkts[0].Drop != want || n != 1 && want != packet.None {
				t.Fatalf("%d refused, %v, want %v", n, pkts[0].Drop, want)
			}
		}
	}
	t.Run("no path", func(t *testing.T) { mustNotAllocate(t, seal(packet.PeerUnknown)) })
	p.SetEndpoint(netip.MustParseAddrPort("192.0.2.2:51820"))
	for range 200 {
		seal(packet.None)()
	}
	if s := p.Status(); s.Waiting != 64 {
		t.Errorf("%d packets wait", s.Waiting)
	}
	t.Run("no session", func(t *testing.T) { mustNotAllocate(t, seal(packet.None)) })
	p.Close()
	t.Run("closed", func(t *testing.T) { mustNotAllocate(t, seal(packet.TunnelDown)) })
	if s := p.Status(); s.Waiting != 0 || s.Lost != 64 {
		t.Errorf("%+v", s)
	}
}

// TestOpenAllocatesNothing whatever comes: what is right, replayed, forged, cut off, of nobody, a keepalive, a handshake.
func TestOpenAllocatesNothing(t *testing.T) {
	d := newDuo(t)
	must(t, d.b.peer.SetAllowedIPs([]netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd01::/64")}))
	from := d.a.sent.local
	messages := d.sealed(t, 202)
	message := func() []byte {
		m := messages[0]
		messages = messages[1:]
		return m
	}
	work := make([]byte, 256)
	copied := func(m []byte, n int) []byte { return work[:copy(work[:n], m)] }
	initiation := make([]byte, handshake.InitiationSize)
	initiation[0] = 1
	mustNotAllocate(t, func() {
		m := message()
		if d.b.open(d.b.ctx, copied(m, len(m)), from) != 1 {
			t.Fatal("a packet was not opened")
		}
		n := d.b.open(d.b.ctx, copied(m, len(m)), from) // replayed
		forged := copied(m, len(m))
		forged[len(m)-1]++
		n += d.b.open(d.b.ctx, forged, from) + d.b.open(d.b.ctx, copied(m, 20), from) + d.b.open(d.b.ctx, copied(m, 3), from)
		other := copied(m, len(m))
		other[4]++ // nobody's index
		n += d.b.open(d.b.ctx, other, from)
		n += d.b.open(d.b.ctx, copied(initiation, len(initiation)), from)
		if n != 0 {
			t.Fatal("garbage was opened")
		}
	})
}

// TestHandshakesAllocateNothingInWorkers: those of somebody who knows our key wait for control until there is no more room, others
// end here.
func TestHandshakesAllocateNothingInWorkers(t *testing.T) {
	key := handshake.NewPrivateKey()
	d, err := wireguard.New(wireguard.Options{PrivateKey: key})
	must(t, err)
	e := &end{device: d, sent: &recorder{local: netip.MustParseAddrPort("192.0.2.1:51820")}, ctx: dataplane.NewCtx()}
	right := initiationTo(t, key.Public())
	wrong := bytes.Clone(right)
	wrong[50]++
	for name, m := range map[string][]byte{"right": right, "wrong": wrong} {
		from := netip.MustParseAddrPort("192.0.2.2:51820")
		t.Run(name, func(t *testing.T) {
			mustNotAllocate(t, func() {
				for range 10 {
					e.open(e.ctx, m, from)
				}
			})
		})
	}
	if got := d.HandshakeDrops()[handshake.BadMAC1]; got < 2000 && !race.Enabled {
		t.Errorf("%d of the wrong ones were seen", got)
	}
}
