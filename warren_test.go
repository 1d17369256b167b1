package warren_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/dataplane/capture"
	"github.com/warrenvpn/warren/dataplane/underlay/sim"
)

// twoSites returns the configurations of two sites that are joined by one tunnel, each with a stack of its own: 10.1.0.1
// and 10.2.0.1.
func twoSites() (a, b *warren.Config) {
	key := func(fill byte) warren.Secret { return bytes.Repeat([]byte{fill}, 20) }
	one := func(self, peer string, addr, to string, out, in uint32) *warren.Config {
		ipsec := warren.DefaultIPsec()
		ipsec.Remote = netip.MustParseAddr(peer)
		ipsec.Static = &warren.StaticConfig{Suite: "aes128gcm16",
			Out: warren.SAConfig{SPI: out, Key: key(byte(out))}, In: warren.SAConfig{SPI: in, Key: key(byte(in))}}
		return &warren.Config{
			Underlay: warren.UnderlayConfig{Addresses: []netip.Addr{netip.MustParseAddr(self)}},
			VRFs: []warren.VRFConfig{{Name: "main", Port: warren.PortConfig{Netstack: &warren.NetstackConfig{
				Addresses: []netip.Prefix{netip.MustParsePrefix(addr)}}}}},
			Tunnels: []warren.TunnelConfig{{Name: "peer", IPsec: &ipsec, Routes: []warren.RouteConfig{{Prefix: netip.MustParsePrefix(to)}}}},
		}
	}
	return one("192.0.2.1", "192.0.2.2", "10.1.0.1/16", "10.2.0.0/16", 0x101, 0x202),
		one("192.0.2.2", "192.0.2.1", "10.2.0.1/16", "10.1.0.0/16", 0x202, 0x101)
}

// run starts both engines on a simulated network and returns how to end them.
func run(t testing.TB, a, b *warren.Config) (ea, eb *warren.Engine, stop func()) {
	t.Helper()
	network := sim.New(sim.Config{})
	ea, stopA := start(t, a, warren.WithNetwork(network))
	eb, stopB := start(t, b, warren.WithNetwork(network))
	return ea, eb, func() { stopA(); stopB() }
}

func TestTCPBetweenTwoStacks(t *testing.T) {
	a, b, stop := run2(t)
	defer stop()
	ln, err := b.Listen("tcp", "10.2.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	got := make(chan []byte, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		data, _ := io.ReadAll(c)
		got <- data
	}()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := a.DialContext(ctx, "tcp", "10.2.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("warren"), 200_000)
	if _, err := c.Write(want); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	select {
	case data := <-got:
		if !bytes.Equal(data, want) {
			t.Error("what arrived is not what was sent")
		}
	case <-ctx.Done():
		t.Fatal("nothing arrived")
	}
	s := a.Status()
	if s.State != "running" || len(s.Tunnels) != 1 || s.Tunnels[0].OutBytes < uint64(len(want)) || s.Tunnels[0].InnerMTU != 1438 {
		t.Errorf("status %+v", s)
	}
}

func run2(t testing.TB) (a, b *warren.Engine, stop func()) {
	ca, cb := twoSites()
	return run(t, ca, cb)
}

func TestUDPAndPing(t *testing.T) {
	a, b, stop := run2(t)
	defer stop()
	pc, err := b.ListenPacket("udp", "10.2.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := a.Ping(ctx, netip.MustParseAddr("10.2.0.1")); err != nil {
		t.Fatal(err)
	}
	c, err := a.DialContext(ctx, "udp", "10.2.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("question")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	_ = pc.SetReadDeadline(time.Now().Add(patience))
	n, from, err := pc.ReadFrom(buf)
	if err != nil || string(buf[:n]) != "question" || from.(*net.UDPAddr).IP.String() != "10.1.0.1" {
		t.Fatalf("%q from %v: %v", buf[:n], from, err)
	}
}

// TestHundredLives: whatever an engine opens is gone when Run returns, a hundred times over.
func TestHundredLives(t *testing.T) {
	for _, c := range []struct {
		name string
		root bool
		port warren.PortConfig
		with func(*warren.Config)
	}{
		{"stack", false, warren.PortConfig{Netstack: &warren.NetstackConfig{Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.0.1/16")}}}, nil},
		{"device", true, warren.PortConfig{TUN: &warren.TUNConfig{Name: "wlives0", Addresses: []netip.Prefix{netip.MustParsePrefix("10.249.0.1/24")}}},
			func(c *warren.Config) { c.Workers = 2 }},
		{"device without UDP", true, warren.PortConfig{TUN: &warren.TUNConfig{Name: "wlives0", Queues: 3}},
			func(c *warren.Config) { c.Tunnels[0].IPsec.Encap = warren.EncapNever }},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.root && os.Geteuid() != 0 {
				t.Skip("devices and raw sockets need root")
			}
			cfg, _ := twoSites()
			cfg.Underlay = warren.UnderlayConfig{Addresses: []netip.Addr{loopback()}, UDPPort: freePort(t)}
			cfg.Tunnels[0].IPsec.Remote = netip.MustParseAddr("127.0.0.2")
			cfg.VRFs[0].Port = c.port
			if c.with != nil {
				c.with(cfg)
			}
			if c.root {
				cfg.VRFs[0].Port.TUN.NetNS = namespace(t)
			}
			hundredLives(t, cfg)
		})
	}
}

func hundredLives(t *testing.T, cfg *warren.Config) {
	defer leavesNothing(t)()
	e, err := warren.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	before := 0
	for i := range 100 {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- e.Run(ctx) }()
		if i%10 == 0 && cfg.VRFs[0].Port.Netstack != nil {
			ln, err := e.Listen("tcp", "10.1.0.1:80")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
		}
		cancel()
		if err := <-ended; err != nil {
			t.Fatalf("life %d: %v", i, err)
		}
		if i == 0 {
			before = descriptors(t) // now with Go's own poller
		}
	}
	noMore(t, before)
	if s := e.Status(); s.State != "stopped" {
		t.Errorf("state %s", s.State)
	}
	if tun := cfg.VRFs[0].Port.TUN; tun != nil {
		if out, err := exec.Command("ip", "-n", tun.NetNS, "link", "show", tun.Name).CombinedOutput(); err == nil {
			t.Errorf("the device is still there: %s", out)
		}
		// What the tunnel carries stays refused.
		out, err := exec.Command("ip", "-n", tun.NetNS, "route", "show", "type", "unreachable").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "10.2.0.0/16") {
			t.Errorf("%v: unreachable are %q", err, out)
		}
	}
}

// TestFailedStartLeavesNothing, and the engine can be started when the reason is gone.
func TestFailedStartLeavesNothing(t *testing.T) {
	defer leavesNothing(t)()
	cfg, _ := twoSites()
	at := netip.AddrPortFrom(loopback(), freePort(t))
	holder, err := net.ListenPacket("udp4", at.String())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Underlay = warren.UnderlayConfig{Addresses: []netip.Addr{at.Addr()}, UDPPort: at.Port()}
	e, err := warren.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "in use by another program") {
		t.Fatalf("%v", err)
	}
	_ = holder.Close()
	defer keepRunning(t, e)()
	if _, err := e.Ping(t.Context(), netip.MustParseAddr("10.1.0.1")); err != nil {
		t.Error(err)
	}
	if err := e.Run(t.Context()); err == nil {
		t.Error("ran twice at a time")
	}
}

func TestDialWithoutEngine(t *testing.T) {
	cfg, _ := twoSites()
	e, err := warren.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.DialContext(ctx, "tcp", "10.2.0.1:80"); !errors.Is(err, warren.ErrNotUp) {
		t.Errorf("%v", err)
	}
	if err := e.Down(t.Context(), "peer", ""); !errors.Is(err, warren.ErrNotUp) {
		t.Errorf("%v", err)
	}
}

// TestDownFailsClosed: what belonged to a tunnel that was taken down is refused, and finds no wider route.
func TestDownFailsClosed(t *testing.T) {
	ca, cb := twoSites()
	wide := ca.Tunnels[0]
	ipsec := *wide.IPsec
	static := *ipsec.Static
	static.In.SPI, static.Out.SPI = 0x303, 0x404
	static.In.Key, static.Out.Key = bytes.Repeat([]byte{3}, 20), bytes.Repeat([]byte{4}, 20)
	ipsec.Static = &static
	wide.Name, wide.IPsec, wide.Routes = "wide", &ipsec, []warren.RouteConfig{{Prefix: netip.MustParsePrefix("10.0.0.0/8")}}
	ca.Tunnels = append(ca.Tunnels, wide)
	a, _, stop := run(t, ca, cb)
	defer stop()
	if _, err := a.Ping(t.Context(), netip.MustParseAddr("10.2.0.1")); err != nil {
		t.Fatal(err)
	}
	if err := a.Down(t.Context(), "nobody", ""); err == nil {
		t.Error("took down a tunnel that is not there")
	}
	if err := a.Up(t.Context(), "peer", ""); err == nil || !strings.HasSuffix(err.Error(), "its keys are given by hand") {
		t.Errorf("up: %v", err)
	}
	if err := a.Down(t.Context(), "peer", ""); err != nil {
		t.Fatal(err)
	}
	if err := a.Up(t.Context(), "peer", ""); err == nil || !strings.Contains(err.Error(), "until the engine is run again") {
		t.Errorf("up after down: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := a.DialContext(ctx, "tcp", "10.2.0.1:80"); err == nil || ctx.Err() != nil {
		t.Errorf("dialled: %v", err)
	}
	for _, ts := range a.Status().Tunnels {
		if ts.Name == "wide" && ts.OutPackets > 0 {
			t.Error("packets took the wider route")
		}
	}
	rs := a.Routes(netip.MustParsePrefix("10.2.0.0/16"))
	if len(rs) != 1 || rs[0].Hops[0].Kind != "unreachable" {
		t.Errorf("routes %+v", rs)
	}
}

func TestControlSocket(t *testing.T) {
	a, _, stop := run2(t)
	defer stop()
	if _, err := a.Ping(t.Context(), netip.MustParseAddr("10.2.0.1")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "sub", "w.sock")
	client := warren.NewClient(path)
	if _, err := client.Status(t.Context()); !errors.Is(err, warren.ErrNotRunning) {
		t.Errorf("nobody there: %v", err)
	}
	ln, err := warren.ListenControl(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st.Mode(), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.ServeControl(ctx, ln) }()
	s, err := client.Status(t.Context())
	if err != nil || s.State != "running" || s.Tunnels[0].Name != "peer" || s.Tunnels[0].OutPackets == 0 {
		t.Fatalf("%+v %v", s, err)
	}
	for query, want := range map[string]int{"": 2, "10.2.3.4": 1, "10.0.0.0/8": 2, "192.168.0.0/16": 0} {
		if rs, err := client.Routes(t.Context(), query); err != nil || len(rs) != want {
			t.Errorf("routes %q: %d, want %d: %v", query, len(rs), want, err)
		}
	}
	if _, err := client.Routes(t.Context(), "nonsense"); err == nil || !strings.Contains(err.Error(), "neither an address nor a prefix") {
		t.Errorf("%v", err)
	}
	if _, err := warren.ListenControl(t.Context(), path); err == nil || !strings.Contains(err.Error(), "in use by another warren") {
		t.Errorf("%v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}

	// What kill -9 leaves is replaced; what is no socket is not.
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	_ = stale.Close()
	if ln, err = warren.ListenControl(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := warren.ListenControl(t.Context(), path); err == nil {
		t.Error("replaced a file")
	}
}

// rounds is how often something is done that goes as it should unless the machine stands still: an echo request is sent again after
// a second.
const rounds = 5

// TestCapture: what an engine moves can be read back from a pcapng file, clear and sealed.
func TestCapture(t *testing.T) {
	clear, sealed := 0, 0
	for round := 0; round < rounds && (clear != 2 || sealed != 2); round++ {
		clear, sealed = capturePing(t)
	}
	if clear != 2 || sealed != 2 {
		t.Errorf("%d clear packets and %d sealed ones, want a ping and its answer of each", clear, sealed)
	}
}

// capturePing captures what becomes of a ping.
func capturePing(t *testing.T) (clear, sealed int) {
	t.Helper()
	var file bytes.Buffer
	w := capture.NewWriter(&file, capture.Options{})
	ca, cb := twoSites()
	network := sim.New(sim.Config{})
	a, stopA := start(t, ca, warren.WithNetwork(network), warren.WithCapture(w))
	b, stopB := start(t, cb, warren.WithNetwork(network))
	if _, err := b.Ping(t.Context(), netip.MustParseAddr("10.2.0.1")); err != nil { // b is up
		t.Fatal(err)
	}
	if _, err := a.Ping(t.Context(), netip.MustParseAddr("10.2.0.1")); err != nil {
		t.Fatal(err)
	}
	stopA()
	stopB()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := pcapgo.NewNgReader(&file, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	for {
		data, _, err := r.ReadPacketData()
		if err != nil {
			break
		}
		p := gopacket.NewPacket(data, layers.LayerTypeIPv4, gopacket.Default)
		if p.Layer(layers.LayerTypeICMPv4) != nil {
			clear++
		} else if u, ok := p.TransportLayer().(*layers.UDP); ok && u.DstPort == 4500 {
			sealed++
		}
	}
	return clear, sealed
}
