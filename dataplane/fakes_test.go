package dataplane

import (
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/internal/prefetch"
	"github.com/warrenvpn/warren/routing/fib"
)

// fakeTunnel keeps what it is given in the clear.
type fakeTunnel struct {
	name   string
	index  uint32
	mtu    int
	refuse packet.Reason
	// from, if there is any, are the only addresses whose packets its selectors cover.
	from   []string
	keep   bool
	sealed [][]byte
}

func (t *fakeTunnel) Name() string            { return t.name }
func (t *fakeTunnel) InnerMTU() int           { return t.mtu }
func (t *fakeTunnel) KeepNear(*prefetch.List) {}
func (t *fakeTunnel) Seal(ctx *Ctx, pkts []packet.Packet) (refused int) {
	var n, size uint64
	for i := range pkts {
		p := &pkts[i]
		if p.Drop == packet.None && t.refuse != packet.None {
			p.Drop = t.refuse
		}
		if p.Drop == packet.None && t.from != nil && !slices.Contains(t.from, p.Info.SrcAddr().String()) {
			p.Drop = packet.SelectorOut
		}
		if p.Drop != packet.None {
			refused++
			continue
		}
		n++
		size += uint64(p.Len)
		if t.keep {
			t.sealed = append(t.sealed, append([]byte(nil), p.Bytes()...))
		}
	}
	if n > 0 {
		ctx.Counters.Out(t.index, n, size)
	}
	return refused
}

// fakePort keeps what is written to it. Its readers block until it is closed.
type fakePort struct {
	mtu     int
	keep    bool
	refuse  packet.Reason
	written [][]byte
	once    sync.Once
	closed  chan struct{}
}

func newFakePort() *fakePort { return &fakePort{mtu: 1500, keep: true, closed: make(chan struct{})} }

func (p *fakePort) Name() string          { return "fake" }
func (p *fakePort) MTU() int              { return p.mtu }
func (p *fakePort) Readers() []PortReader { return []PortReader{p} }
func (p *fakePort) NewWriter() PortWriter { return p }
func (p *fakePort) Read(b *packet.Batch) error {
	<-p.closed
	return ErrClosed
}
func (p *fakePort) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}
func (p *fakePort) Write(pkts []packet.Packet) {
	for i := range pkts {
		if pkts[i].Drop == packet.None {
			pkts[i].Drop = p.refuse
		}
		if pkts[i].Drop == packet.None && p.keep {
			p.written = append(p.written, append([]byte(nil), pkts[i].Bytes()...))
		}
	}
}

// bench is one vrf with a port and two tunnels, and a worker of the port and one of an underlay to drive by hand.
type bench struct {
	t     testing.TB
	plane *Plane
	vrf   *VRF
	port  *fakePort
	one   *fakeTunnel
	two   *fakeTunnel
	out   *outbound
	in    *inbound
	now   time.Time
	batch *packet.Batch
}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{t: t, now: time.Unix(1, 0), port: newFakePort(), batch: packet.NewBatch(batchArena)}
	b.plane = New(Options{Now: func() time.Time { return b.now }, Workers: 4})
	vrf, err := b.plane.AddVRF("main")
	if err != nil {
		t.Fatal(err)
	}
	b.vrf = vrf
	number, err := b.plane.AddPort(vrf, b.port, []netip.Addr{netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("2001:db8:a1::1")})
	if err != nil {
		t.Fatal(err)
	}
	b.one = b.tunnel("one", "169.254.1.0", "2001:db8:ff::")
	b.two = b.tunnel("two")
	b.route("10.1.0.0/16", PortHop(number))
	b.route("2001:db8:a1::/48", PortHop(number))
	b.route("10.2.0.0/16", TunnelHop(b.one.index))
	b.route("2001:db8:a2::/48", TunnelHop(b.one.index))
	b.route("10.3.0.0/16", TunnelHop(b.two.index))
	b.route("2001:db8:a3::/48", TunnelHop(b.two.index))
	b.route("10.99.1.0/24", HopUnreachable)
	b.route("10.99.2.0/24", HopProhibit)
	b.route("10.99.3.0/24", HopBlackhole)
	w := newWorker(b.plane, "out")
	w.setIndex(2)
	b.out = &outbound{worker: w, vrf: vrf, from: vrf.portAt(number)}
	w = newWorker(b.plane, "in")
	w.setIndex(3)
	b.in = &inbound{worker: w}
	t.Cleanup(func() { _ = b.plane.Close() })
	return b
}

func (b *bench) tunnel(name string, local ...string) *fakeTunnel {
	b.t.Helper()
	t := &fakeTunnel{name: name, mtu: 1438, keep: true}
	cfg := TunnelConfig{VRF: b.vrf}
	for _, a := range local {
		cfg.Local = append(cfg.Local, netip.MustParseAddr(a))
	}
	i, err := b.plane.AddTunnel(cfg, func(index uint32) (Tunnel, error) { t.index = index; return t, nil })
	if err != nil || i != t.index {
		b.t.Fatal(i, err)
	}
	return t
}

func (b *bench) route(prefix string, hop fib.HopID) {
	b.t.Helper()
	if err := b.vrf.Table().Insert(netip.MustParsePrefix(prefix), []fib.Hop{{ID: hop, Weight: 1}}); err != nil {
		b.t.Fatal(err)
	}
}

// fromPort walks packets as if the port had read them.
func (b *bench) fromPort(pkts ...[]byte) {
	b.batch.Reset()
	for _, p := range pkts {
		copy(b.batch.Space(len(p)), p)
		b.batch.Commit(0, len(p))
	}
	b.out.walk(b.batch.Packets())
}

// fromTunnel walks packets as if they had come out of a tunnel.
func (b *bench) fromTunnel(from *fakeTunnel, pkts ...[]byte) {
	for _, p := range pkts {
		slot := make([]byte, 64+len(p)+64)
		copy(slot[64:], p)
		q := b.in.clear.Append(slot, 64, len(p))
		q.Ingress = from.index
		wire.Parse(q.Bytes(), &q.Info, false)
	}
	b.in.deliver()
}

func (b *bench) drops(w *worker) map[packet.Reason]uint64 { return w.counters.drops.snapshot() }

// ip4 makes an IPv4 UDP packet of n bytes in all.
func ip4(src, dst string, n int, tweak ...func([]byte)) []byte {
	b := make([]byte, n)
	b[0], b[8], b[9] = 0x45, 64, wire.ProtoUDP
	b[2], b[3] = byte(n>>8), byte(n)
	s, d := netip.MustParseAddr(src).As4(), netip.MustParseAddr(dst).As4()
	copy(b[12:], s[:])
	copy(b[16:], d[:])
	b[20], b[22], b[24], b[25] = 7, 9, byte((n-20)>>8), byte(n-20)
	for i := 28; i < n; i++ {
		b[i] = byte(i)
	}
	for _, f := range tweak {
		f(b)
	}
	wire.SetIPv4Checksum(b)
	return b
}

// ip6 makes an IPv6 UDP packet of n bytes in all.
func ip6(src, dst string, n int, tweak ...func([]byte)) []byte {
	b := make([]byte, n)
	b[0], b[6], b[7] = 0x60, wire.ProtoUDP, 64
	b[4], b[5] = byte((n-40)>>8), byte(n-40)
	s, d := netip.MustParseAddr(src).As16(), netip.MustParseAddr(dst).As16()
	copy(b[8:], s[:])
	copy(b[24:], d[:])
	b[40], b[42], b[44], b[45] = 7, 9, byte((n-40)>>8), byte(n-40)
	for _, f := range tweak {
		f(b)
	}
	return b
}

func dontFragment(b []byte)          { b[6] |= 0x40 }
func hopLimit(n byte) func(b []byte) { return func(b []byte) { b[8-int(b[0]>>4)/6] = n } }
