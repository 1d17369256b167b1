package ipsec_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/port/pipe"
	"github.com/warrenvpn/warren/dataplane/underlay/sim"
	"github.com/warrenvpn/warren/esp"
	"github.com/warrenvpn/warren/internal/until"
	"github.com/warrenvpn/warren/routing/fib"
	"github.com/warrenvpn/warren/tunnel/ipsec"
)

// host is one end: a plane with a pipe for a port and one ESP tunnel.
type host struct {
	plane    *dataplane.Plane
	gateway  *ipsec.Gateway
	port     *pipe.Port
	underlay dataplane.Underlay
	tunnel   *ipsec.Tunnel
	index    uint32
	child    *ipsec.Child
}

// setup says how a pair of hosts is joined.
type setup struct {
	suite  esp.Suite
	addrs  [2]string // of the underlay
	faults sim.Faults
	seed   uint64
	cfg    ipsec.Config
	local  [2][]string // selectors, as prefixes; all if nil
	now    func() time.Time
	window int
}

func (s *setup) defaults() {
	if s.suite == 0 {
		s.suite = esp.AES128GCM16
	}
	if s.addrs[0] == "" {
		s.addrs = [2]string{"192.0.2.1:4500", "192.0.2.2:4500"}
	}
	if s.window == 0 {
		s.window = esp.DefaultReplayWindow
	}
}

// pair makes two hosts, a with 10.1.0.0/16 and fd01::/64, b with 10.2.0.0/16 and fd02::/64, and runs them.
func pair(t testing.TB, s setup) (net *sim.Network, hosts [2]*host) {
	t.Helper()
	s.defaults()
	net = sim.New(sim.Config{Seed: s.seed, Faults: s.faults})
	ctx, cancel := context.WithCancel(context.Background())
	var done []chan error
	for i := range hosts {
		hosts[i] = newHost(t, net, s, i)
		ended := make(chan error, 1)
		done = append(done, ended)
		go func() { ended <- hosts[i].plane.Run(ctx) }()
	}
	t.Cleanup(func() {
		cancel()
		for _, ended := range done {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	return net, hosts
}

func newHost(t testing.TB, net *sim.Network, s setup, i int) *host {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	h := &host{plane: dataplane.New(dataplane.Options{Workers: 4}), port: pipe.New(pipe.Config{Name: fmt.Sprint("pipe", i), Depth: 4096})}
	h.gateway = ipsec.NewGateway(ipsec.Options{Peers: h.plane.Peers(), Now: s.now})
	vrf, err := h.plane.AddVRF("main")
	must(err)
	number, err := h.plane.AddPort(vrf, h.port, []netip.Addr{netip.AddrFrom4([4]byte{10, byte(i + 1), 0, 1}), netip.MustParseAddr(fmt.Sprintf("fd0%d::1", i+1))})
	must(err)
	h.underlay, err = net.Underlay(netip.MustParseAddrPort(s.addrs[i]), 1)
	must(err)
	must(h.plane.AddUnderlay(h.underlay, h.gateway))
	h.index, err = h.plane.AddTunnel(dataplane.TunnelConfig{VRF: vrf}, func(index uint32) (dataplane.Tunnel, error) {
		cfg := s.cfg
		cfg.Name = "peer"
		h.tunnel = h.gateway.NewTunnel(index, cfg)
		return h.tunnel, nil
	})
	must(err)
	h.child = newChild(t, s, i)
	must(h.tunnel.AddChild(h.child))
	h.tunnel.SetPath(&dataplane.Path{Underlay: h.underlay, Remote: netip.MustParseAddrPort(s.addrs[1-i])})
	for side := range 2 {
		hop := dataplane.TunnelHop(h.index)
		if side == i {
			hop = dataplane.PortHop(number)
		}
		for _, p := range []string{fmt.Sprintf("10.%d.0.0/16", side+1), fmt.Sprintf("fd0%d::/64", side+1)} {
			must(vrf.Table().Insert(netip.MustParsePrefix(p), []fib.Hop{{ID: hop, Weight: 1}}))
		}
	}
	return h
}

func newChild(t testing.TB, s setup, i int) *ipsec.Child {
	t.Helper()
	c := &ipsec.Child{Name: "child"}
	var err error
	key := func(from int) []byte {
		k := make([]byte, s.suite.KeyLen())
		for j := range k {
			k[j] = byte(from*100 + j)
		}
		return k
	}
	if c.Out, err = esp.NewOutbound(esp.Config{SPI: uint32(0x1000 + i), Suite: s.suite, Key: key(i)}); err != nil {
		t.Fatal(err)
	}
	if c.In, err = esp.NewInbound(esp.Config{SPI: uint32(0x1000 + 1 - i), Suite: s.suite, Key: key(1 - i), ReplayWindow: s.window}); err != nil {
		t.Fatal(err)
	}
	for side, into := range []*[]ipsec.Selector{&c.Local, &c.Remote} {
		prefixes := s.local[(i+side)%2]
		if prefixes == nil {
			prefixes = []string{"0.0.0.0/0", "::/0"}
		}
		for _, p := range prefixes {
			*into = append(*into, ipsec.PrefixSelector(netip.MustParsePrefix(p)))
		}
	}
	return c
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
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	p, err := h.port.Next(ctx)
	if err != nil {
		t.Fatalf("nothing came out: %v; drops %v", err, h.plane.WorkerStats())
	}
	return p.Data
}

// dropped waits until the host has dropped n packets for the reason.
func (h *host) dropped(t testing.TB, r packet.Reason, n uint64) {
	t.Helper()
	var got uint64
	until.Holds(30*time.Second, func() bool {
		got = 0
		for _, w := range h.plane.WorkerStats() {
			got += w.Drops[r]
		}
		return got >= n
	})
	if got != n {
		t.Fatalf("%d drops for %v, want %d: %v", got, r, n, h.plane.WorkerStats())
	}
}
