package warren

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/routing/fib"
	"github.com/warrenvpn/warren/routing/route"
	"github.com/warrenvpn/warren/tunnel/wireguard"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
	"github.com/warrenvpn/warren/tunnel/wireguard/uapi"
)

// sharedDevice is the name of the device whose key and port peers share; those of a tunnel's own have the tunnel's.
const sharedDevice = "wireguard"

// wireGuardSuite is what WireGuard seals with.
const wireGuardSuite = "chacha20poly1305"

// wgDevice is one private key and one UDP port, with the tunnels of its peers.
type wgDevice struct {
	s       *site
	name    string
	log     *slog.Logger
	cfg     *WireGuardConfig
	network Network
	lookup  LookupFunc
	device  *wireguard.Device
	// uapi serves wg(8), nil for nobody.
	uapi *uapi.Server
	// owner is the tunnel whose own the device is, nil for the one that is shared. stop ends run, which closes ended.
	owner *TunnelConfig
	stop  chan struct{}
	ended chan struct{}

	// mu guards what wg(8) may change while the engine runs.
	mu        sync.Mutex
	key       handshake.PrivateKey
	port      uint16
	mark      uint32
	underlays []dataplane.Underlay
	peers     map[handshake.PublicKey]*tunnel
}

// openWireGuard opens the devices.
func (s *site) openWireGuard(e *Engine) error {
	if w := s.cfg.WireGuard; w != nil {
		if err := s.openDevice(e, nil, w); err != nil {
			return fmt.Errorf("wireguard: %w", err)
		}
	}
	for i := range s.cfg.Tunnels {
		t := &s.cfg.Tunnels[i]
		if t.WireGuard == nil || t.WireGuard.Own == nil {
			continue
		}
		if err := s.openDevice(e, t, t.WireGuard.Own); err != nil {
			return fmt.Errorf("tunnel %q: %w", t.Name, err)
		}
	}
	return nil
}

func (s *site) openDevice(e *Engine, owner *TunnelConfig, cfg *WireGuardConfig) (err error) {
	name := sharedDevice
	if owner != nil {
		name = owner.Name
	}
	d := &wgDevice{s: s, name: name, owner: owner, stop: make(chan struct{}), ended: make(chan struct{}), cfg: cfg, network: e.network,
		lookup: e.lookup, log: s.log.With("protocol", "wireguard"), key: handshake.PrivateKey(cfg.PrivateKey),
		mark: cfg.Mark, peers: map[handshake.PublicKey]*tunnel{}}
	if d.lookup == nil {
		d.lookup = systemLookup(cmp.Or(cfg.Mark, s.cfg.Underlay.Mark))
	}
	d.device, err = wireguard.New(wireguard.Options{PrivateKey: d.key, Logger: d.log, Peers: s.plane.Peers(),
		KeyLog: s.export.wireGuard(), Taps: s.plane})
	if err != nil {
		return err
	}
	opened, err := d.open(cfg.ListenPort, cfg.Mark)
	if err != nil {
		return err
	}
	if err = d.use(opened); err != nil {
		return err
	}
	d.underlays = opened
	if err = d.openUAPI(); err != nil {
		return errors.Join(err, d.closeSockets())
	}
	s.mu.Lock()
	s.wireguard = append(slices.Clip(s.wireguard), d)
	s.mu.Unlock()
	return nil
}

// portTries is how often a port that is free for all addresses is looked for.
const portTries = 16

// open opens a socket for each underlay address, or without such for each family that the host has, all on the same port.
func (d *wgDevice) open(port uint16, mark uint32) (opened []dataplane.Underlay, err error) {
	addrs := d.s.cfg.Underlay.Addresses
	optional := len(addrs) == 0
	if optional {
		addrs = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	}
	mark = cmp.Or(mark, d.s.cfg.Underlay.Mark)
	for range portTries {
		if opened, err = d.openAt(addrs, optional, port, mark); err == nil || port != 0 || !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return opened, err
}

// openAt opens the sockets on one port, or where that is 0 on the one that the first of them gets.
func (d *wgDevice) openAt(addrs []netip.Addr, optional bool, port uint16, mark uint32) (opened []dataplane.Underlay, err error) {
	for i, a := range addrs {
		u, err := d.s.openUDP(d.network, netip.AddrPortFrom(a, port), mark)
		switch {
		case err != nil && optional && i > 0 && len(opened) > 0 && (errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)):
			d.log.Info("the host has no IPv6", "error", err)
			continue
		case err != nil:
			for _, o := range opened {
				err = errors.Join(err, o.Close())
			}
			return nil, err
		}
		opened = append(opened, u)
		port = u.Local().Port()
	}
	return opened, nil
}

// use gives open sockets to the plane and to the device.
func (d *wgDevice) use(underlays []dataplane.Underlay) error {
	for i, u := range underlays {
		if err := d.s.plane.AddUnderlay(u, d.device); err != nil {
			for _, u := range underlays[i:] {
				err = errors.Join(err, u.Close())
			}
			return err
		}
		d.device.AddUnderlay(u)
		d.port = u.Local().Port()
	}
	return nil
}

// sockets are the underlays of this moment.
func (d *wgDevice) sockets() []dataplane.Underlay {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.underlays)
}

// run does handshakes, looks up names and serves wg(8) until ctx ends.
func (d *wgDevice) run(ctx context.Context) error {
	defer close(d.ended)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-d.stop:
			cancel()
		case <-ctx.Done():
		}
	})
	wg.Go(func() { d.watch(ctx) })
	wg.Go(func() { d.serveUAPI(ctx) })
	err := d.device.Run(ctx)
	wg.Wait()
	return err
}

// openPeer makes the tunnel of a configured peer, with its routes.
func (s *site) openPeer(t *tunnel) error {
	w := t.cfg.WireGuard
	d := s.deviceOf(t.cfg)
	d.mu.Lock()
	if other := d.peers[w.PublicKey]; other != nil { // it came by wg(8)
		d.removePeer(other)
	}
	err := d.addPeer(t)
	if err == nil {
		d.peers[w.PublicKey] = t
	}
	d.mu.Unlock()
	if err != nil {
		return err
	}
	s.add(t)
	t.routeTunnel()
	if w.CryptokeyRouting {
		for _, p := range t.cfg.AllowedIPs {
			t.vrf.offer(p, route.Path{Peer: t.allowed, Via: t.via})
		}
	}
	return nil
}

// expected is where the configuration says that the peer is.
func (t *tunnel) expected() *EndpointConfig {
	if e := t.endpoint.Load(); e != nil {
		return e
	}
	return &t.cfg.WireGuard.Endpoint
}

// deviceOf is the device that a tunnel's peer is to be of, nil if there is none.
func (s *site) deviceOf(t *TunnelConfig) *wgDevice {
	name := sharedDevice
	if t.WireGuard.Own != nil {
		name = t.Name
	}
	for _, d := range s.devices() {
		if d.name == name && (d.owner != nil) == (t.WireGuard.Own != nil) {
			return d
		}
	}
	return nil
}

// addPeer makes the tunnel of a peer. Nothing is routed into it yet.
func (d *wgDevice) addPeer(t *tunnel) error {
	w := t.cfg.WireGuard
	cfg := wireguard.PeerConfig{Name: t.cfg.Name, PublicKey: w.PublicKey, PersistentKeepalive: w.PersistentKeepalive,
		AllowedIPs: t.cfg.AllowedIPs, MTU: t.cfg.MTU, OnState: t.peerState}
	if len(w.PresharedKey) > 0 {
		cfg.PresharedKey = handshake.PresharedKey(w.PresharedKey)
	}
	if w.Endpoint.Addr.IsValid() {
		cfg.Endpoint = netip.AddrPortFrom(w.Endpoint.Addr, w.Endpoint.Port)
	}
	err := d.s.addTunnel(t, func(index uint32) (sealer, error) {
		if t.cfg.SourceCheck == SourceFeasible {
			cfg.SourceCheck = feasible(t.vrf.vrf.Table(), dataplane.TunnelHop(index))
		}
		var err error
		t.peer, err = d.device.AddPeer(index, cfg)
		return t.peer, err
	})
	if err != nil {
		return err
	}
	t.device = d
	t.allowed = &route.Peer{Source: route.Static, Name: t.cfg.Name}
	return nil
}

// feasible accepts the sources that the route table would send to a hop, alone or among others.
func feasible(table *fib.Table, hop fib.HopID) wireguard.SourceCheck {
	return func(i *wire.Info) bool {
		var g [1]fib.Group
		if i.Version == 4 {
			table.LookupBatch4([]uint32{uint32(i.Src.Lo)}, g[:])
		} else {
			table.LookupBatch6([]fib.Key6{fib.Key6(i.Src)}, g[:])
		}
		return table.Has(g[0], hop)
	}
}

// notAnswering is why nothing is routed to a peer.
const notAnswering = "the peer does not answer"

// peerState is told by the device: a peer that does not answer is left while there are other ways. Without session and without
// packets for it, it is not known whether it would.
func (t *tunnel) peerState(s wireguard.State) {
	if s == wireguard.Down {
		t.dead(notAnswering)
	} else {
		t.alive(notAnswering)
	}
}

// shakeHands does what a user wants of a peer.
func (t *tunnel) shakeHands(what string) error {
	switch what {
	case "down":
		t.dead(takenDown)
		t.vrf.router.SetUp(t.link, false)
		return nil
	case "up":
		t.vrf.router.SetUp(t.link, true)
		t.alive(takenDown)
		t.peer.Initiate()
	default:
		t.peer.Rekey()
	}
	return nil
}

// peerStatus tells of a WireGuard tunnel.
func (t *tunnel) peerStatus(ts *TunnelStatus) {
	p := t.peer.Status()
	ts.Kind, ts.State = "wireguard", p.State.String()
	w := &WireGuardStatus{PublicKey: p.PublicKey.String(), Device: t.device.device.PublicKey().String(), Endpoint: t.expected().String(),
		AllowedIPs: p.AllowedIPs, PresharedKey: p.PresharedKey != (handshake.PresharedKey{}), PersistentKeepalive: p.PersistentKeepalive,
		LastHandshake: p.LastHandshake, SentBytes: p.SentBytes, ReceivedBytes: p.ReceivedBytes, Waiting: p.Waiting}
	if p.Endpoint.IsValid() {
		w.Endpoint = p.Endpoint.String()
	}
	t.device.mu.Lock()
	w.ListenPort = t.device.port
	t.device.mu.Unlock()
	// What waited for a session went past the plane's counters.
	ts.OutPackets, ts.OutBytes = ts.OutPackets+p.KeptSent, ts.OutBytes+p.KeptBytes
	ts.WireGuard = w
}
