package warren

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/capture"
	"github.com/warrenvpn/warren/dataplane/port/netstack"
	"github.com/warrenvpn/warren/dataplane/port/tun"
	"github.com/warrenvpn/warren/dataplane/underlay/udp"
	"github.com/warrenvpn/warren/routing/fib"
	"github.com/warrenvpn/warren/tunnel/ipsec"
)

// site is a configuration come to life: what one Run has opened.
type site struct {
	cfg     *Config
	log     *slog.Logger
	tap     *capture.Writer
	plane   *dataplane.Plane
	gateway *ipsec.Gateway
	queues  int
	started time.Time

	underlays []dataplane.Underlay
	vrfs      []*vrf
	tunnels   []*tunnel
	// senders are those of the control side, for keepalives.
	senders map[dataplane.Underlay]dataplane.Sender
}

// vrf is one routing domain of the site.
type vrf struct {
	name  string
	vrf   *dataplane.VRF
	kind  string
	port  dataplane.Port
	stack *netstack.Port // nil for other ports
	addrs []netip.Prefix
	hop   fib.HopID
	// routes collects the next hops of every prefix before they are entered.
	routes map[netip.Prefix][]fib.Hop
}

// tunnel is one tunnel of the site.
type tunnel struct {
	cfg   *TunnelConfig
	index uint32
	vrf   *vrf
	ipsec *ipsec.Tunnel
	iv    ivKeeper
}

// maxAutoWorkers bounds how many queues each port and underlay gets unless it is configured.
const maxAutoWorkers = 8

// build opens everything that a configuration names, in the order in which packets need it: routes come last, so that
// until all stands every packet is dropped. Nothing stays open if it fails.
func build(e *Engine) (_ *site, err error) {
	cfg, log := e.cfg, e.log
	s := &site{cfg: cfg, log: log, tap: e.tap, queues: cfg.Workers, senders: map[dataplane.Underlay]dataplane.Sender{}, started: time.Now()}
	if s.queues == 0 {
		s.queues = min(maxAutoWorkers, max(1, runtime.GOMAXPROCS(0)/2))
	}
	s.plane = dataplane.New(dataplane.Options{Logger: log, Workers: s.workers()})
	s.gateway = ipsec.NewGateway(ipsec.Options{Logger: log, Peers: s.plane.Peers()})
	defer func() {
		if err != nil {
			err = errors.Join(err, s.plane.Close())
			s.release()
		}
	}()
	if err := s.openUnderlays(e.network); err != nil {
		return nil, err
	}
	for i := range cfg.VRFs {
		if err := s.openVRF(&cfg.VRFs[i]); err != nil {
			return nil, err
		}
	}
	for i := range cfg.Tunnels {
		if err := s.openTunnel(&cfg.Tunnels[i]); err != nil {
			return nil, fmt.Errorf("tunnel %q: %w", cfg.Tunnels[i].Name, err)
		}
	}
	s.fitPorts()
	return s, s.enterRoutes()
}

// workers is how many workers the site needs: a queue of each port and of each underlay.
func (s *site) workers() int {
	n := max(1, 2*len(s.cfg.Underlay.Addresses), 4) * s.queues
	for i := range s.cfg.VRFs {
		if t := s.cfg.VRFs[i].Port.TUN; t != nil && t.Queues > 0 {
			n += t.Queues
		} else {
			n += s.queues
		}
	}
	return min(n, dataplane.MaxWorkers)
}

// openUnderlays opens one underlay for each address, UDP and where a tunnel wants it raw. Without addresses there is one
// for each family that the tunnels' peers have.
func (s *site) openUnderlays(network Network) error {
	u := &s.cfg.Underlay
	addrs := slices.Clone(u.Addresses)
	if len(addrs) == 0 {
		addrs = s.anyAddresses()
	}
	for _, a := range addrs {
		local := netip.AddrPortFrom(a, u.UDPPort)
		var under dataplane.Underlay
		var err error
		if network != nil {
			under, err = network.Underlay(local, s.queues)
		} else {
			under, err = udp.Open(udp.Config{Local: local, Device: u.Device, Mark: u.Mark, NetNS: u.NetNS, Queues: s.queues, Logger: s.log})
		}
		if err != nil {
			return err
		}
		if err := s.addUnderlay(under); err != nil {
			return err
		}
	}
	return s.openRaw(network, addrs)
}

func (s *site) addUnderlay(u dataplane.Underlay) error {
	if s.tap != nil {
		u = capture.TapUnderlay(u, s.tap)
	}
	if err := s.plane.AddUnderlay(u, s.gateway); err != nil {
		return errors.Join(err, u.Close())
	}
	s.underlays = append(s.underlays, u)
	return nil
}

// anyAddresses returns the unspecified address of each family that a peer has.
func (s *site) anyAddresses() []netip.Addr {
	var v4, v6 bool
	for i := range s.cfg.Tunnels {
		if p := s.cfg.Tunnels[i].IPsec; p != nil {
			v4, v6 = v4 || p.Remote.Is4(), v6 || p.Remote.Is6()
		}
	}
	var addrs []netip.Addr
	if v4 {
		addrs = append(addrs, netip.IPv4Unspecified())
	}
	if v6 {
		addrs = append(addrs, netip.IPv6Unspecified())
	}
	return addrs
}

// openVRF opens a routing domain and its port.
func (s *site) openVRF(cfg *VRFConfig) error {
	dv, err := s.plane.AddVRF(cfg.Name)
	if err != nil {
		return err
	}
	v := &vrf{name: cfg.Name, vrf: dv, routes: map[netip.Prefix][]fib.Hop{}}
	s.vrfs = append(s.vrfs, v)
	var behind []netip.Prefix
	switch {
	case cfg.Port.TUN != nil:
		t := cfg.Port.TUN
		v.kind, v.addrs, behind = "tun", t.Addresses, t.Routes
		queues := t.Queues
		if queues == 0 {
			queues = s.queues
		}
		v.port, err = tun.Open(tun.Config{Name: t.Name, NetNS: t.NetNS, MTU: t.MTU, Addresses: t.Addresses, Queues: queues, Logger: s.log})
	case cfg.Port.Netstack != nil:
		n := cfg.Port.Netstack
		v.kind, v.addrs, behind = "netstack", n.Addresses, n.Routes
		v.stack, err = netstack.New(netstack.Config{Name: cfg.Name, Addresses: n.Addresses, MTU: n.MTU, Forwarding: n.Forwarding, Queues: s.queues, Logger: s.log})
		v.port = v.stack
	default:
		return nil
	}
	if err != nil {
		return fmt.Errorf("vrf %q: %w", cfg.Name, err)
	}
	var own []netip.Addr
	for _, p := range v.addrs {
		own = append(own, p.Addr())
	}
	port := v.port
	if s.tap != nil {
		port = capture.TapPort(port, s.tap)
	}
	number, err := s.plane.AddPort(dv, port, own)
	if err != nil {
		return errors.Join(err, v.port.Close())
	}
	v.hop = dataplane.PortHop(number)
	for _, p := range slices.Concat(v.addrs, behind) {
		v.route(p, v.hop, 1)
	}
	return nil
}

// route notes one more next hop of a prefix.
func (v *vrf) route(p netip.Prefix, hop fib.HopID, weight int) {
	p = p.Masked()
	for _, h := range v.routes[p] {
		if h.ID == hop {
			return
		}
	}
	v.routes[p] = append(v.routes[p], fib.Hop{ID: hop, Weight: uint32(max(1, weight))})
}

func (s *site) vrfNamed(name string) *vrf {
	for _, v := range s.vrfs {
		if v.name == name {
			return v
		}
	}
	return nil
}

// fitPorts gives ports whose MTU was not configured the least of their tunnels'.
func (s *site) fitPorts() {
	for i, v := range s.vrfs {
		port := s.cfg.VRFs[i].Port
		if v.port == nil || port.TUN != nil && port.TUN.MTU != 0 || port.Netstack != nil && port.Netstack.MTU != 0 {
			continue
		}
		mtu := 0
		for _, t := range s.tunnels {
			if t.vrf == v && (mtu == 0 || t.ipsec.InnerMTU() < mtu) {
				mtu = t.ipsec.InnerMTU()
			}
		}
		if mtu == 0 {
			continue
		}
		if err := v.port.(interface{ SetMTU(int) error }).SetMTU(mtu); err != nil {
			s.log.Warn("MTU of the tunnels does not suit the port", "vrf", v.name, "mtu", mtu, "error", err)
		}
	}
}

// enterRoutes lets packets go.
func (s *site) enterRoutes() error {
	for _, v := range s.vrfs {
		for _, p := range slices.SortedFunc(maps.Keys(v.routes), netip.Prefix.Compare) {
			if err := v.vrf.Table().Insert(p, v.routes[p]); err != nil {
				return fmt.Errorf("vrf %q: %w", v.name, err)
			}
		}
	}
	return nil
}

// release forgets the tunnels, when no worker uses them any more.
func (s *site) release() {
	for _, t := range s.tunnels {
		t.ipsec.Close()
	}
}
