package wireguard_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/packet/packettest"
	"github.com/warrenvpn/warren/dataplane/underlay/sim"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/tunnel/wireguard"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

// everything is what each of many peers may send.
var everything = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

// spoke is a device with one peer, the hub, and no plane: it opens what comes, and seals what it is told.
type spoke struct {
	key      handshake.PrivateKey
	device   *wireguard.Device
	peer     *wireguard.Peer
	underlay dataplane.Underlay
	heard    chan []byte
}

func newSpoke(t testing.TB, net *sim.Network, at, hub netip.AddrPort, of handshake.PublicKey) *spoke {
	t.Helper()
	s := &spoke{key: handshake.NewPrivateKey(), heard: make(chan []byte, 16)}
	var err error
	s.underlay, err = net.Underlay(at, 1)
	must(t, err)
	s.device, err = wireguard.New(wireguard.Options{PrivateKey: s.key, Handshakers: 1})
	must(t, err)
	s.device.AddUnderlay(s.underlay)
	s.peer, err = s.device.AddPeer(1, wireguard.PeerConfig{Name: "hub", PublicKey: of, Endpoint: hub})
	must(t, err)
	ctx, cancel := contextOf(t)
	var running sync.WaitGroup
	running.Go(func() { must(t, s.device.Run(ctx)) })
	running.Go(s.receive)
	t.Cleanup(func() {
		cancel()
		must(t, s.underlay.Close())
		running.Wait()
	})
	return s
}

func (s *spoke) receive() {
	ctx := dataplane.NewCtx()
	var rx dataplane.Rx
	var out packet.Batch
	for s.underlay.Receivers()[0].Recv(&rx) == nil {
		out.Reset()
		for i := range rx.Trains {
			s.device.Open(ctx, s.underlay, &rx.Trains[i], &out)
		}
		for i := range out.Packets() {
			s.heard <- bytes.Clone(out.Packets()[i].Bytes())
		}
	}
}

func (s *spoke) say(t testing.TB, p []byte) {
	t.Helper()
	b := packet.NewBatch(1 << 12)
	packettest.Put(b, p, wire.Offload{})
	ctx := dataplane.NewCtx()
	ctx.Worker = 0
	if s.peer.Seal(ctx, b.Packets()) != 0 {
		t.Fatal(b.Packets()[0].Drop)
	}
	ctx.Tx.Flush()
}

// TestRoutesChooseAmongThousandPeers on one key and one port, each of which may send whatever it likes.
func TestRoutesChooseAmongThousandPeers(t *testing.T) {
	n := shorter(1000, 200)
	synctest.Test(t, func(t *testing.T) {
		net := sim.New(sim.Config{Queue: 1 << 14})
		hub := bareHost(t, "hub", handshake.NewPrivateKey())
		at := addr("192.0.2.1:51820")
		var err error
		hub.number, err = hub.plane.AddPort(hub.vrf, hub.port, nil)
		must(t, err)
		hub.underlay, err = net.Underlay(at, 1)
		must(t, err)
		hub.device.AddUnderlay(hub.underlay)
		must(t, hub.plane.AddUnderlay(hub.underlay, hub.device))
		hub.route(t, "10.255.0.0/16", dataplane.PortHop(hub.number))
		hub.run(t)

		spokes, hops := make([]*spoke, n), make([]uint32, n)
		prefix4 := func(i int) string { return fmt.Sprintf("10.%d.%d.0/24", i/256, i%256) }
		prefix6 := func(i int) string { return fmt.Sprintf("fd00:%x::/32", i+1) }
		to4 := func(i int) string { return fmt.Sprintf("10.%d.%d.9", i/256, i%256) }
		to6 := func(i int) string { return fmt.Sprintf("fd00:%x::9", i+1) }
		for i := range spokes {
			from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i / 256), byte(i)}), 51820)
			spokes[i] = newSpoke(t, net, from, at, hub.device.PublicKey())
			hub.addPeer(t, wireguard.PeerConfig{Name: fmt.Sprint("spoke", i), PublicKey: spokes[i].key.Public(), Endpoint: from,
				AllowedIPs: everything, OnState: func(wireguard.State) {}})
			hops[i] = hub.index
			hub.route(t, prefix4(i), dataplane.TunnelHop(hub.index))
			hub.route(t, prefix6(i), dataplane.TunnelHop(hub.index))
		}
		gets := func(i int, p []byte) {
			t.Helper()
			hub.inject(t, p)
			if got := <-spokes[i].heard; !bytes.Equal(got, p) {
				t.Fatalf("spoke %d got %x", i, got[:40])
			}
		}
		for i := range spokes {
			gets(i, packettest.UDP("10.255.0.5", to4(i), 100, uint32(i)))
			gets(i, packettest.UDP("fd00:ffff::5", to6(i), 100, uint32(i)))
		}
		// All of them have the same source address, which no route to them has.
		for i := range spokes {
			spokes[i].say(t, packettest.UDP("172.16.0.1", "10.255.0.5", 100, uint32(i)))
			if got := packettest.Number(hub.next(t)); got != uint32(i) {
				t.Fatalf("packet %d came in place of %d", got, i)
			}
		}
		// A route moves from a peer to another, and so do its packets.
		hub.route(t, prefix4(0), dataplane.TunnelHop(hops[n-1]))
		gets(n-1, packettest.UDP("10.255.0.5", to4(0), 100, 7))
		if all := hub.device.Status(); len(all) != n {
			t.Errorf("%d peers", len(all))
		}
	})
}
