package wireguard_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/packet/packettest"
	"github.com/warrenvpn/warren/dataplane/port/pipe"
	"github.com/warrenvpn/warren/dataplane/underlay/sim"
	"github.com/warrenvpn/warren/internal/until"
	"github.com/warrenvpn/warren/routing/fib"
	"github.com/warrenvpn/warren/tunnel/wireguard"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

// host is one end: a plane with a pipe for a port and one WireGuard peer.
type host struct {
	plane    *dataplane.Plane
	vrf      *dataplane.VRF
	device   *wireguard.Device
	port     *pipe.Port
	number   int
	underlay dataplane.Underlay
	peer     *wireguard.Peer
	index    uint32
	key      handshake.PrivateKey
	states   chan wireguard.State
	stop     func()
}

// setup says how a pair of hosts is joined.
type setup struct {
	addrs  [2]string // of the underlay
	queues int       // of the underlay; 1 if 0
	net    sim.Config
	cfg    wireguard.PeerConfig
	// passive hosts do not know where the other is.
	passive [2]bool
}

func (s *setup) defaults() {
	if s.addrs[0] == "" {
		s.addrs = [2]string{"192.0.2.1:51820", "192.0.2.2:51820"}
	}
}

// pair makes two hosts, a with 10.1.0.0/16 and fd01::/64, b with 10.2.0.0/16 and fd02::/64, and runs them.
func pair(t testing.TB, s setup) (net *sim.Network, hosts [2]*host) {
	t.Helper()
	s.defaults()
	net = sim.New(s.net)
	keys := [2]handshake.PrivateKey{handshake.NewPrivateKey(), handshake.NewPrivateKey()}
	for i := range hosts {
		hosts[i] = newHost(t, net, s, i, keys)
		hosts[i].run(t)
	}
	return net, hosts
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newHost(t testing.TB, net *sim.Network, s setup, i int, keys [2]handshake.PrivateKey) *host {
	t.Helper()
	h := bareHost(t, fmt.Sprint("pipe", i), keys[i])
	var err error
	h.number, err = h.plane.AddPort(h.vrf, h.port, []netip.Addr{netip.AddrFrom4([4]byte{10, byte(i + 1), 0, 1}), netip.MustParseAddr(fmt.Sprintf("fd0%d::1", i+1))})
	must(t, err)
	h.underlay, err = net.Underlay(netip.MustParseAddrPort(s.addrs[i]), max(1, s.queues))
	must(t, err)
	h.device.AddUnderlay(h.underlay)
	must(t, h.plane.AddUnderlay(h.underlay, h.device))
	cfg := s.cfg
	cfg.Name, cfg.PublicKey = "peer", keys[1-i].Public()
	if !s.passive[i] {
		cfg.Endpoint = netip.MustParseAddrPort(s.addrs[1-i])
	}
	h.addPeer(t, cfg)
	for side := range 2 {
		hop := dataplane.TunnelHop(h.index)
		if side == i {
			hop = dataplane.PortHop(h.number)
		}
		for _, p := range []string{fmt.Sprintf("10.%d.0.0/16", side+1), fmt.Sprintf("fd0%d::/64", side+1)} {
			h.route(t, p, hop)
		}
	}
	return h
}

// bareHost is a host without routes, underlays and peers; its port is not in the plane yet.
func bareHost(t testing.TB, name string, key handshake.PrivateKey) *host {
	t.Helper()
	h := &host{plane: dataplane.New(dataplane.Options{Workers: 8}), port: pipe.New(pipe.Config{Name: name, Depth: 4096}), key: key,
		states: make(chan wireguard.State, 100)}
	var err error
	h.vrf, err = h.plane.AddVRF("main")
	must(t, err)
	h.device, err = wireguard.New(wireguard.Options{PrivateKey: key, Peers: h.plane.Peers()})
	must(t, err)
	return h
}

func (h *host) addPeer(t testing.TB, cfg wireguard.PeerConfig) {
	t.Helper()
	if cfg.OnState == nil {
		cfg.OnState = func(s wireguard.State) { h.states <- s }
	}
	var err error
	h.index, err = h.plane.AddTunnel(dataplane.TunnelConfig{VRF: h.vrf}, func(index uint32) (dataplane.Tunnel, error) {
		p, err := h.device.AddPeer(index, cfg)
		h.peer = p
		return p, err
	})
	must(t, err)
}

func (h *host) route(t testing.TB, prefix string, hop fib.HopID) {
	t.Helper()
	must(t, h.vrf.Table().Insert(netip.MustParsePrefix(prefix), []fib.Hop{{ID: hop, Weight: 1}}))
}

// run runs the host until it is stopped, or the test ends.
func (h *host) run(t testing.TB) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- h.plane.Run(ctx) }()
	go func() { ended <- h.device.Run(ctx) }()
	stopped := false
	h.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(h.stop)
}

func (h *host) inject(t testing.TB, pkts ...[]byte) {
	t.Helper()
	if err := h.port.Inject(pkts...); err != nil {
		t.Fatal(err)
	}
}

// next returns the next packet that comes out of the port.
func (h *host) next(t testing.TB) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	p, err := h.port.Next(ctx)
	if err != nil {
		t.Fatalf("nothing came out: %v; drops %v; handshakes %v; %+v", err, h.plane.WorkerStats(), h.device.HandshakeDrops(), h.peer.Status())
	}
	return p.Data
}

// drops returns how many packets the host has dropped for the reason.
func (h *host) drops(r packet.Reason) (n uint64) {
	for _, w := range h.plane.WorkerStats() {
		n += w.Drops[r]
	}
	return n
}

// dropped waits until the host has dropped n packets for the reason.
func (h *host) dropped(t testing.TB, r packet.Reason, n uint64) {
	t.Helper()
	waitFor(t, fmt.Sprintf("%d drops for %v", n, r), func() bool { return h.drops(r) >= n })
	if got := h.drops(r); got != n {
		t.Fatalf("%d drops for %v, want %d: %v", got, r, n, h.plane.WorkerStats())
	}
}

func waitFor(t testing.TB, what string, cond func() bool) {
	t.Helper()
	until.True(t, what, 30*time.Second, cond)
}

// contextOf returns a context of the test's own that it may end.
func contextOf(t testing.TB) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return ctx, cancel
}

// meet makes the session: a packet goes from a to b and one back.
func meet(t testing.TB, h [2]*host) {
	t.Helper()
	h[0].inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1<<31))
	h[1].next(t)
	h[1].inject(t, packettest.UDP("10.2.0.5", "10.1.0.5", 100, 1<<31))
	h[0].next(t)
}
