package warren_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/underlay/sim"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/tunnel/wireguard"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
	"github.com/warrenvpn/warren/tunnel/wireguard/quick"
)

// spoke is a peer without an engine: it answers pings to whatever address.
type spoke struct {
	underlay dataplane.Underlay
	device   *wireguard.Device
	peer     *wireguard.Peer
	answered [2]atomic.Int32 // of IPv4 and IPv6, to its own addresses
	strange  atomic.Int32    // to others
	own      [2]netip.Prefix
}

// run answers until the underlay is closed.
func (s *spoke) run() {
	ctx := dataplane.NewCtx()
	var rx dataplane.Rx
	var in packet.Batch
	out := packet.NewBatch(1 << 12)
	for s.underlay.Receivers()[0].Recv(&rx) == nil {
		in.Reset()
		for i := range rx.Trains {
			s.device.Open(ctx, s.underlay, &rx.Trains[i], &in)
		}
		for i := range in.Packets() {
			b := bytes.Clone(in.Packets()[i].Bytes())
			if !s.answer(b) {
				continue
			}
			out.Reset()
			copy(out.Space(len(b)), b)
			p := out.Commit(0, len(b))
			wire.Parse(p.Bytes(), &p.Info, false)
			s.peer.Seal(ctx, out.Packets())
			ctx.Tx.Flush()
		}
	}
}

// answer makes an echo reply of an echo request (RFC 792, RFC 4443 section 4).
func (s *spoke) answer(b []byte) bool {
	family, src, dst, icmp := 0, b[12:16], b[16:20], b[20:]
	request, reply := byte(8), byte(0)
	if b[0]>>4 == 6 {
		family, src, dst, icmp = 1, b[8:24], b[24:40], b[40:]
		request, reply = 128, 129
	}
	if icmp[0] != request {
		return false
	}
	to, _ := netip.AddrFromSlice(dst)
	if s.own[family].Contains(to) {
		s.answered[family].Add(1)
	} else {
		s.strange.Add(1)
	}
	swap := bytes.Clone(src)
	copy(src, dst)
	copy(dst, swap)
	icmp[0] = reply
	sum := uint32(icmp[2])<<8 | uint32(icmp[3]) // RFC 1624: of the type's change alone, addresses were swapped
	sum += uint32(request-reply) << 8
	if request < reply {
		sum = uint32(icmp[2])<<8 | uint32(icmp[3]) + 0xffff - uint32(reply-request)<<8
	}
	sum = sum&0xffff + sum>>16
	icmp[2], icmp[3] = byte(sum>>8), byte(sum)
	return true
}

// newSpoke is a peer of the hub's, at an address of its own.
func newSpoke(t *testing.T, network *sim.Network, key handshake.PrivateKey, number int, hub handshake.PublicKey) *spoke {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	s := &spoke{own: [2]netip.Prefix{netip.MustParsePrefix(spoke4(number)), netip.MustParsePrefix(spoke6(number))}}
	var err error
	s.underlay, err = network.Underlay(netip.MustParseAddrPort(spokeAt(number)), 1)
	must(err)
	s.device, err = wireguard.New(wireguard.Options{PrivateKey: key, Handshakers: 1})
	must(err)
	s.device.AddUnderlay(s.underlay)
	s.peer, err = s.device.AddPeer(1, wireguard.PeerConfig{Name: "hub", PublicKey: hub})
	must(err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = s.device.Run(ctx) })
	running.Go(s.run)
	t.Cleanup(func() {
		cancel()
		_ = s.underlay.Close()
		running.Wait()
	})
	return s
}

func spokeAt(i int) string { return fmt.Sprintf("198.18.%d.%d:51820", i/250, i%250+1) }
func spoke4(i int) string  { return fmt.Sprintf("10.%d.%d.0/24", 100+i/250, i%250) }
func spoke6(i int) string  { return fmt.Sprintf("fd00:%x::/64", i+1) }

// TestThousandPeers: an engine has a thousand peers on one key and one port, each of which is allowed every address; the routes say
// which of them a packet goes to, and answers come back from all of them.
func TestThousandPeers(t *testing.T) {
	const n = 1000
	network := sim.New(sim.Config{Queue: 1 << 14})
	hub, err := quick.GenKey()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "underlay: {addresses: [192.0.2.1]}\nwireguard: {private_key: %q, listen_port: 51820}\nvrfs:\n"+
		"  main: {port: {netstack: {addresses: [10.1.0.1/16, \"fd01::1/64\"]}}}\ntunnels:\n", hub.Base64())
	spokes := make([]*spoke, n)
	for i := range spokes {
		key := handshake.NewPrivateKey()
		spokes[i] = newSpoke(t, network, key, i, handshake.PublicKey(hub.Public()))
		fmt.Fprintf(&text, "  s%d: {wireguard: {public_key: %q, endpoint: %q}, allowed_ips: [0.0.0.0/0, \"::/0\"], routes: [%s, %q]}\n",
			i, key.Public(), spokeAt(i), spoke4(i), spoke6(i))
	}
	cfg, err := warren.ParseConfig("hub.yaml", []byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	e, _ := start(t, cfg, warren.WithNetwork(network), warren.WithLogger(slog.New(slog.DiscardHandler)))
	eventually(t, "the hub runs", patience, func() bool { return e.Status().State == "running" })
	pingAll(t, e, n)
	for i, s := range spokes {
		if s.answered[0].Load() == 0 || s.answered[1].Load() == 0 || s.strange.Load() != 0 {
			t.Errorf("spoke %d got %d and %d packets to its addresses, %d to others", i, s.answered[0].Load(), s.answered[1].Load(), s.strange.Load())
		}
	}
	st := e.Status()
	for _, tun := range st.Tunnels {
		if tun.State != "up" || len(tun.Drops) > 0 || tun.WireGuard.ListenPort != 51820 {
			t.Fatalf("%+v", tun)
		}
	}
	if len(st.Tunnels) != n {
		t.Errorf("%d tunnels", len(st.Tunnels))
	}
}

// pingAll pings an address of each family behind each of n spokes.
func pingAll(t *testing.T, e *warren.Engine, n int) {
	t.Helper()
	var all sync.WaitGroup
	numbers := make(chan int)
	for range 16 {
		all.Go(func() {
			for i := range numbers {
				for _, p := range []string{spoke4(i), spoke6(i)} {
					dst := netip.MustParsePrefix(p).Addr().Next().String()
					if err := ping(t, e, dst, patience); err != nil {
						t.Errorf("ping %s: %v", dst, err)
					}
				}
			}
		})
	}
	for i := range n {
		numbers <- i
	}
	close(numbers)
	all.Wait()
}
