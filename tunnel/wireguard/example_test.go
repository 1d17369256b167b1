package wireguard_test

import (
	"context"
	"fmt"
	"net/netip"
	"sync"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet/packettest"
	"github.com/warrenvpn/warren/dataplane/port/pipe"
	"github.com/warrenvpn/warren/dataplane/underlay/sim"
	"github.com/warrenvpn/warren/routing/fib"
	"github.com/warrenvpn/warren/tunnel/wireguard"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

// exampleSite is a gateway with one network behind it.
type exampleSite struct {
	key     handshake.PrivateKey
	outer   netip.AddrPort
	network netip.Prefix

	plane    *dataplane.Plane
	vrf      *dataplane.VRF
	port     *pipe.Port
	device   *wireguard.Device
	underlay dataplane.Underlay
}

// open makes a plane with a port, and a device on one UDP port. In a program the underlay is udp.Open's.
func (s *exampleSite) open(net *sim.Network) (err error) {
	s.plane = dataplane.New(dataplane.Options{})
	if s.vrf, err = s.plane.AddVRF("main"); err != nil {
		return err
	}
	s.port = pipe.New(pipe.Config{Name: "lan"})
	number, err := s.plane.AddPort(s.vrf, s.port, nil)
	if err != nil {
		return err
	}
	if err = s.vrf.Table().Insert(s.network, []fib.Hop{{ID: dataplane.PortHop(number), Weight: 1}}); err != nil {
		return err
	}
	// The register of peers is the plane's, so that frames of ours that come back through a port are recognised.
	s.device, err = wireguard.New(wireguard.Options{PrivateKey: s.key, Peers: s.plane.Peers()})
	if err != nil {
		return err
	}
	return s.listen(net, s.outer)
}

// listen gives the device an underlay: the device sends through it, and the plane gives it what comes in.
func (s *exampleSite) listen(net *sim.Network, at netip.AddrPort) (err error) {
	if s.underlay, err = net.Underlay(at, 1); err != nil {
		return err
	}
	if err = s.plane.AddUnderlay(s.underlay, s.device); err != nil {
		return err
	}
	s.device.AddUnderlay(s.underlay)
	return nil
}

// move changes the port while everything runs. Sessions stay, and the peers follow with the next packet.
func (s *exampleSite) move(net *sim.Network, to netip.AddrPort) error {
	old := s.underlay
	if err := s.listen(net, to); err != nil {
		return err // nothing has changed
	}
	s.device.RemoveUnderlay(old)
	return old.Close() // and its workers end
}

// meet adds a peer as a tunnel of the plane, and a route to it.
func (s *exampleSite) meet(other *exampleSite) (index uint32, p *wireguard.Peer, err error) {
	index, err = s.plane.AddTunnel(dataplane.TunnelConfig{VRF: s.vrf}, func(index uint32) (dataplane.Tunnel, error) {
		p, err = s.device.AddPeer(index, wireguard.PeerConfig{
			Name:       "wg-" + other.network.String(),
			PublicKey:  other.key.Public(),
			Endpoint:   other.outer,
			AllowedIPs: []netip.Prefix{other.network}, // what it may send; the route below is what it is sent
		})
		return p, err
	})
	if err != nil {
		return 0, nil, err
	}
	return index, p, s.vrf.Table().Insert(other.network, []fib.Hop{{ID: dataplane.TunnelHop(index), Weight: 1}})
}

// part takes the peer away again: its routes, the peer, its place in the plane, in this order.
func (s *exampleSite) part(index uint32, p *wireguard.Peer, network netip.Prefix) {
	s.vrf.Table().Delete(network)
	p.Close()
	s.plane.RemoveTunnel(index)
}

// run runs the plane's workers and the device until ctx ends.
func (s *exampleSite) run(ctx context.Context, wg *sync.WaitGroup) {
	wg.Go(func() { _ = s.plane.Run(ctx) })
	wg.Go(func() { _ = s.device.Run(ctx) })
}

// Two sites meet, one changes its port, and they part.
func Example() {
	net := sim.New(sim.Config{})
	a := &exampleSite{key: handshake.NewPrivateKey(), outer: netip.MustParseAddrPort("192.0.2.1:51820"), network: netip.MustParsePrefix("10.1.0.0/16")}
	b := &exampleSite{key: handshake.NewPrivateKey(), outer: netip.MustParseAddrPort("192.0.2.2:51820"), network: netip.MustParsePrefix("10.2.0.0/16")}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for _, s := range []*exampleSite{a, b} {
		if err := s.open(net); err != nil {
			fmt.Println(err)
			return
		}
		s.run(ctx, &running)
	}
	index, peer, err := a.meet(b)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, back, err := b.meet(a)
	if err != nil {
		fmt.Println(err)
		return
	}
	say := func() {
		_ = a.port.Inject(packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1))
		p, err := b.port.Next(ctx)
		fmt.Println(len(p.Data), "octets from", back.Path().Remote, err)
	}
	say()
	if err := a.move(net, netip.MustParseAddrPort("192.0.2.1:5182")); err != nil {
		fmt.Println(err)
		return
	}
	say()
	a.part(index, peer, b.network)
	fmt.Println(len(a.device.Status()), "peers left")
	// Output:
	// 100 octets from 192.0.2.1:51820 <nil>
	// 100 octets from 192.0.2.1:5182 <nil>
	// 0 peers left
}
