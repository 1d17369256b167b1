package warren

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/capture"
	"github.com/warrenvpn/warren/dataplane/port/netstack"
	"github.com/warrenvpn/warren/dataplane/port/tun"
	"github.com/warrenvpn/warren/routing/bgp"
	"github.com/warrenvpn/warren/routing/route"
	"github.com/warrenvpn/warren/routing/router"
)

// vrf is one routing domain of the site.
type vrf struct {
	name   string
	cfg    *VRFConfig
	vrf    *dataplane.VRF
	router *router.Router
	kind   string
	port   dataplane.Port // nil where the vrf only joins tunnels
	addrs  []netip.Prefix
	// out leads out through the port, own to the engine's own stack.
	out, own *route.Via
	// hosts is the port itself where that is a stack. Otherwise it stands beside the port and holds the addresses of tunnels
	// and of BGP; nil where there are none. owned are these: of whoever holds site.changing.
	hosts atomic.Pointer[netstack.Port]
	owned []netip.Addr
	// speaker speaks BGP, nil for none. bgp is how, and adjacencies are with whom, by name: of whoever holds site.changing.
	speaker     *bgp.Speaker
	bgp         *BGPConfig
	adjacencies map[string]*adjacency
	// watch is BFD, nil for none.
	watch atomic.Pointer[watch]
	// connected and static offer what the configuration says of the port, local the engine's own ends of tunnels.
	connected, static, local *route.Peer
	// offers wait until everything stands.
	offers []router.Change
	// protected are the prefixes that the configuration has refused where nothing leads to them. Whoever holds site.changing
	// changes it, holding also the mu of all WireGuard devices.
	protected []netip.Prefix
	// guarded are those that the kernel refuses likewise, unsure those of which it could not be told whether to: of whoever holds
	// site.changing.
	guarded, unsure []netip.Prefix
}

// openVRF opens a routing domain and its port.
func (s *site) openVRF(cfg *VRFConfig) error {
	add := s.plane.AddVRF
	if cfg.ofTunnel {
		add = s.plane.AddLink
	}
	dv, err := add(cfg.Name)
	if err != nil {
		return err
	}
	v := &vrf{name: cfg.Name, cfg: cfg, vrf: dv, bgp: cfg.BGP}
	v.connected = &route.Peer{Source: route.Connected, Name: cfg.Name}
	v.local = &route.Peer{Source: route.Connected, Name: cfg.Name, Local: true}
	v.static = &route.Peer{Source: route.Static, Name: cfg.Name}
	routing := router.Config{FIB: dv.Table(), Unreachable: dataplane.HopUnreachable, Logger: s.log.With("vrf", cfg.Name)}
	if cfg.BGP != nil {
		routing.MultipathMax, routing.MultipathAcrossAS = cfg.BGP.Multipath, cfg.BGP.MultipathAcrossAS
	}
	v.router = router.New(routing)
	s.vrfs = append(s.vrfs, v)
	behind, err := s.openPort(v)
	if err != nil {
		return fmt.Errorf("vrf %q: %w", cfg.Name, err)
	}
	if v.port == nil {
		return nil
	}
	var hosts []netip.Addr
	for _, p := range v.addrs {
		hosts = append(hosts, p.Addr())
		if cfg.ofTunnel {
			p = hostPrefix(p.Addr()) // the other end is behind the tunnel
		}
		v.offer(p, route.Path{Peer: v.connected, Via: v.out})
	}
	number, err := s.addPort(v, v.port, hosts)
	if err != nil {
		return err
	}
	v.out.Hop = dataplane.PortHop(number)
	for _, p := range behind {
		v.offer(p, route.Path{Peer: v.static, Via: v.out})
	}
	return nil
}

// openPort opens the port that a vrf is configured to have, if any, and returns what is behind it.
func (s *site) openPort(v *vrf) (behind []netip.Prefix, err error) {
	switch port := &v.cfg.Port; {
	case port.TUN != nil:
		t := port.TUN
		v.kind, v.addrs, behind = "tun", t.Addresses, t.Routes
		v.out = &route.Via{Name: t.Name, Device: t.Name}
		v.port, err = tun.Open(tun.Config{Name: t.Name, NetNS: t.NetNS, MTU: t.MTU, Addresses: t.Addresses,
			Queues: cmp.Or(t.Queues, s.queues), Taken: s.inherited.take(v.deviceKey()), Logger: s.log})
	case port.Netstack != nil:
		n := port.Netstack
		v.kind, v.addrs, behind = "netstack", n.Addresses, n.Routes
		v.out = &route.Via{Name: v.name}
		v.own = v.out
		stack, failed := netstack.New(netstack.Config{Name: v.name, Addresses: n.Addresses, MTU: n.MTU, Forwarding: n.Forwarding,
			Queues: s.queues, Logger: s.log})
		if err = failed; err == nil {
			v.hosts.Store(stack)
		}
		v.port = stack
	}
	if err != nil {
		v.port = nil
	}
	return behind, err
}

// stack is the engine's own in the vrf, nil for none.
func (v *vrf) stack() *netstack.Port { return v.hosts.Load() }

// addPort gives a port to the plane, with hosts on its far side. The port is closed if that fails.
func (s *site) addPort(v *vrf, port dataplane.Port, hosts []netip.Addr) (number int, err error) {
	tapped := port
	if s.tap != nil {
		tapped = capture.TapPort(port, s.tap)
	}
	if number, err = s.plane.AddPort(v.vrf, tapped, hosts); err != nil {
		return 0, errors.Join(err, port.Close())
	}
	return number, nil
}

// openStacks gives each vrf whose tunnels or whose BGP have addresses the stack that holds them.
func (s *site) openStacks() error {
	for _, v := range s.vrfs {
		own := s.ownAddresses(v)
		if len(own) == 0 {
			continue
		}
		if err := s.openStack(v, own); err != nil {
			return fmt.Errorf("vrf %q: %w", v.name, err)
		}
		for _, a := range own {
			peer := v.local
			if v.cfg.BGP != nil && slices.Contains(v.cfg.BGP.Addresses, a) {
				peer = v.connected
			}
			v.offer(hostPrefix(a), route.Path{Peer: peer, Via: v.own})
		}
	}
	return nil
}

func (s *site) openStack(v *vrf, own []netip.Addr) error {
	hosts := make([]netip.Prefix, len(own))
	for i, a := range own {
		hosts[i] = hostPrefix(a)
	}
	if stack := v.stack(); stack != nil {
		for _, p := range hosts {
			if err := stack.AddAddress(p); err != nil {
				return err
			}
			v.owned = append(v.owned, p.Addr())
		}
		return nil
	}
	stack, err := netstack.New(netstack.Config{Name: v.name + " stack", Addresses: hosts, Logger: s.log})
	if err != nil {
		return err
	}
	number, err := s.addPort(v, stack, own)
	if err != nil {
		return err
	}
	v.own = &route.Via{Name: stack.Name(), Hop: dataplane.PortHop(number)}
	v.owned = slices.Clone(own)
	v.hosts.Store(stack)
	return nil
}

// ownAddresses are the engine's own in a vrf, beside those of its port.
func (s *site) ownAddresses(v *vrf) (own []netip.Addr) {
	for _, t := range s.allTunnels() {
		if t.vrf != v {
			continue
		}
		for _, p := range t.cfg.Addresses {
			own = append(own, p.Addr())
		}
	}
	if v.cfg.BGP != nil {
		own = append(own, v.cfg.BGP.Addresses...)
	}
	slices.SortFunc(own, netip.Addr.Compare)
	return slices.Compact(own)
}

func hostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// offer notes a route that is entered when everything stands.
func (v *vrf) offer(p netip.Prefix, path route.Path) {
	v.offers = append(v.offers, router.Change{Prefix: p.Masked(), Path: path})
}

// enterRoutes lets packets go.
func (s *site) enterRoutes() error {
	for _, v := range s.vrfs {
		v.protected, v.guarded = s.cfg.refusedIn(v.name), s.cfg.protectedBy(v.cfg)
		v.router.Protect(v.protected...)
		v.router.Offer(v.offers...)
		v.offers = nil
		if err := v.router.Err(); err != nil {
			return fmt.Errorf("vrf %q: %w", v.name, err)
		}
	}
	return nil
}

func (s *site) vrfNamed(name string) *vrf {
	for _, v := range s.vrfs {
		if v.name == name {
			return v
		}
	}
	return nil
}
