package bench

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/tuntest"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/port/pipe"
	"github.com/warrenvpn/warren/dataplane/underlay/udp"
	"github.com/warrenvpn/warren/routing/fib"
	"github.com/warrenvpn/warren/tunnel/wireguard"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

// wgPeer is a peer as both programs are told of it: what it is sent is what stands in its one allowed prefix.
type wgPeer struct {
	key      handshake.PublicKey
	endpoint netip.AddrPort // may be zero
	prefix   netip.Prefix
}

// wgHost is warren's data plane with WireGuard on a real socket of the loopback interface, and a pipe for a port.
type wgHost struct {
	plane  *dataplane.Plane
	vrf    *dataplane.VRF
	device *wireguard.Device
	port   *pipe.Port
	at     netip.AddrPort
	close  func()
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func newWGHost(tb testing.TB, key handshake.PrivateKey, network netip.Prefix, depth int) *wgHost {
	tb.Helper()
	h := &wgHost{plane: dataplane.New(dataplane.Options{Workers: 4}), port: pipe.New(pipe.Config{Depth: depth})}
	var err error
	h.vrf, err = h.plane.AddVRF("main")
	must(tb, err)
	number, err := h.plane.AddPort(h.vrf, h.port, nil)
	must(tb, err)
	must(tb, h.vrf.Table().Insert(network, []fib.Hop{{ID: dataplane.PortHop(number), Weight: 1}}))
	u, err := udp.Open(udp.Config{Local: netip.MustParseAddrPort("127.0.0.1:0")})
	must(tb, err)
	h.at = u.Local()
	h.device, err = wireguard.New(wireguard.Options{PrivateKey: key, Peers: h.plane.Peers()})
	must(tb, err)
	h.device.AddUnderlay(u)
	must(tb, h.plane.AddUnderlay(u, h.device))
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { must(tb, h.plane.Run(ctx)) })
	running.Go(func() { must(tb, h.device.Run(ctx)) })
	h.close = func() { cancel(); running.Wait() }
	tb.Cleanup(h.close)
	return h
}

func (h *wgHost) add(tb testing.TB, peers ...wgPeer) (last *wireguard.Peer) {
	tb.Helper()
	changes := make([]fib.Change, 0, len(peers))
	for _, p := range peers {
		index, err := h.plane.AddTunnel(dataplane.TunnelConfig{VRF: h.vrf}, func(index uint32) (dataplane.Tunnel, error) {
			var err error
			last, err = h.device.AddPeer(index, wireguard.PeerConfig{Name: p.prefix.String(), PublicKey: p.key, Endpoint: p.endpoint,
				AllowedIPs: []netip.Prefix{p.prefix}})
			return last, err
		})
		must(tb, err)
		changes = append(changes, fib.Change{Prefix: p.prefix, Hops: []fib.Hop{{ID: dataplane.TunnelHop(index), Weight: 1}}})
	}
	must(tb, h.vrf.Table().Apply(changes))
	return last
}

// newWireguardGo is wireguard-go's device with its own sockets, and channels for a TUN.
func newWireguardGo(tb testing.TB, key handshake.PrivateKey) (dev *device.Device, at netip.AddrPort) {
	tb.Helper()
	dev = device.NewDevice(tuntest.NewChannelTUN().TUN(), conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, "wireguard-go: "))
	tb.Cleanup(dev.Close)
	must(tb, dev.IpcSet("private_key="+hex.EncodeToString(key[:])+"\nlisten_port=0\n"))
	must(tb, dev.Up())
	state, err := dev.IpcGet()
	must(tb, err)
	var port uint16
	_, rest, _ := strings.Cut(state, "listen_port=")
	if _, err := fmt.Sscan(rest, &port); err != nil {
		tb.Fatal(err)
	}
	return dev, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
}

func addToWireguardGo(tb testing.TB, dev *device.Device, peers ...wgPeer) {
	tb.Helper()
	var set strings.Builder
	for _, p := range peers {
		fmt.Fprintf(&set, "public_key=%s\nallowed_ip=%s\n", hex.EncodeToString(p.key[:]), p.prefix)
		if p.endpoint.IsValid() {
			fmt.Fprintf(&set, "endpoint=%s\n", p.endpoint)
		}
	}
	must(tb, dev.IpcSet(set.String()))
}

// processorTime is what this process or thread has used so far, which depends less on what else the machine does.
func processorTime(tb testing.TB, who int) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	must(tb, syscall.Getrusage(who, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
