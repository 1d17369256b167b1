package warren

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/capture"
	"github.com/warrenvpn/warren/dataplane/underlay/raw"
	"github.com/warrenvpn/warren/esp"
	"github.com/warrenvpn/warren/routing/route"
	"github.com/warrenvpn/warren/tunnel/ipsec"
)

// ivKeeper keeps the IVs of a tunnel that is keyed by hand from coming back.
type ivKeeper struct {
	state *esp.IVState
	name  string
	// failing: the state file could not be written at the last tick.
	failing bool
}

// openTunnel makes a tunnel and notes its routes. Keys given by hand are there at once; others come when the site runs.
func (s *site) openTunnel(cfg *TunnelConfig) error {
	t := &tunnel{cfg: cfg, routing: cfg, vrf: s.vrfNamed(cfg.VRF), troubles: map[string]bool{}}
	if cfg.WireGuard != nil {
		return s.openPeer(t)
	}
	if cfg.IPsec.any() {
		s.mu.Lock()
		s.templates = append(slices.Clip(s.templates), t)
		s.mu.Unlock()
		t.routeLocal() // nothing leads to its networks before a client comes that has them
		return nil
	}
	path, err := s.path(cfg.IPsec)
	if err != nil {
		return err
	}
	if err := s.addIPsec(t, path); err != nil {
		return err
	}
	if cfg.IPsec.Static != nil {
		if err := t.keyByHand(s); err != nil {
			t.Close()
			s.plane.RemoveTunnel(t.index)
			return err
		}
	} else if !t.trapped() && !s.inherited.wasUp(cfg.Name) {
		t.troubles[noSA] = true
		t.vrf.router.SetUp(t.via, false)
	}
	s.add(t)
	t.routeTunnel()
	return nil
}

// addIPsec makes an ESP tunnel. It sends nowhere while path is nil.
func (s *site) addIPsec(t *tunnel, path *dataplane.Path) error {
	cfg := t.cfg
	err := s.addTunnel(t, func(index uint32) (sealer, error) {
		t.ipsec = s.gateway.NewTunnel(index, ipsec.Config{Name: cfg.Name, DF: ipsec.DF(cfg.IPsec.DF), MTU: cfg.MTU,
			Keepalive: cfg.IPsec.Keepalive, Roam: true})
		return t.ipsec, nil
	})
	if err == nil && path != nil {
		t.ipsec.SetPath(path)
	}
	return err
}

// addTunnel gives a tunnel that build makes to the plane.
func (s *site) addTunnel(t *tunnel, build func(index uint32) (sealer, error)) (err error) {
	cfg := t.cfg
	var local []netip.Addr
	for _, p := range cfg.Addresses {
		local = append(local, p.Addr())
	}
	t.index, err = s.plane.AddTunnel(dataplane.TunnelConfig{VRF: t.vrf.vrf, Local: local, MSSClamp: cfg.MSSClamp},
		func(index uint32) (dataplane.Tunnel, error) {
			t.sealer, err = build(index)
			return t.sealer, err
		})
	if err != nil {
		return err
	}
	t.via = &route.Via{Name: cfg.Name, Hop: dataplane.TunnelHop(t.index)}
	t.link = &route.Via{Name: cfg.Name, Hop: dataplane.TunnelHop(t.index)}
	t.static = &route.Peer{Source: route.Static, Name: cfg.Name}
	t.connected = &route.Peer{Source: route.Connected, Name: cfg.Name}
	t.selectors = &route.Peer{Source: route.IPsec, Name: cfg.Name}
	return nil
}

// path finds the underlay from which a tunnel's peer is reached, until key exchange knows better.
func (s *site) path(cfg *IPsecConfig) (*dataplane.Path, error) {
	wantUDP := cfg.Encap != EncapNever
	u := s.underlayFor(cfg.Local, cfg.Remote, wantUDP)
	if u == nil {
		return nil, fmt.Errorf("no underlay address from which %v can be reached", cfg.Remote)
	}
	p := &dataplane.Path{Underlay: u, Remote: netip.AddrPortFrom(cfg.Remote, 0)}
	if wantUDP {
		p.Remote = netip.AddrPortFrom(cfg.Remote, cmp.Or(cfg.RemotePort, DefaultUDPPort))
	}
	return p, nil
}

// underlayFor returns the underlay of ESP with a local address, any if that is not known, from which a peer is reached; nil if
// there is none.
func (s *site) underlayFor(local, remote netip.Addr, wantUDP bool) dataplane.Underlay {
	for _, u := range s.underlays {
		own := u.Local().Addr()
		if u.Encap().UDP == wantUDP && own.Is4() == remote.Is4() && (!local.IsValid() || local == own || own.IsUnspecified()) {
			return u
		}
	}
	return nil
}

// keyByHand makes the one child SA of a tunnel with static keys.
func (t *tunnel) keyByHand(s *site) error {
	k := t.cfg.IPsec.Static
	suite, err := esp.ParseSuite(k.Suite)
	if err != nil {
		return err
	}
	out := esp.Config{SPI: k.Out.SPI, Suite: suite, Key: k.Out.Key, ESN: k.ESN}
	if suite.AEAD() {
		// Keys by hand outlive the process, so that IVs must go on where the last one stopped: at the clock, which only
		// goes forward, or behind what the state file remembers.
		clock := uint64(time.Now().UnixNano())
		out.IVBase = clock
		if k.StateFile != "" {
			if t.iv.state, err = esp.OpenIVState(k.StateFile, clock); err != nil {
				return err
			}
			t.iv.name = t.cfg.Name
			out.IVBase, out.IVState = 0, t.iv.state
		}
	}
	child := &ipsec.Child{Name: t.cfg.Name}
	if child.Out, err = esp.NewOutbound(out); err != nil {
		return err
	}
	if child.In, err = esp.NewInbound(esp.Config{SPI: k.In.SPI, Suite: suite, Key: k.In.Key, ESN: k.ESN, ReplayWindow: t.cfg.IPsec.ReplayWindow}); err != nil {
		return err
	}
	child.Local, child.Remote = selectors(t.cfg.IPsec.Child.LocalTS), selectors(t.cfg.IPsec.Child.RemoteTS)
	return t.ipsec.AddChild(child)
}

// selectors returns what a child covers: everything of both families unless it is configured.
func selectors(cfg []SelectorConfig) []ipsec.Selector {
	if len(cfg) == 0 {
		return []ipsec.Selector{ipsec.PrefixSelector(netip.MustParsePrefix("0.0.0.0/0")), ipsec.PrefixSelector(netip.MustParsePrefix("::/0"))}
	}
	out := make([]ipsec.Selector, len(cfg))
	for i, c := range cfg {
		out[i] = ipsec.PrefixSelector(c.Prefix)
		out[i].Proto, out[i].FromPort, out[i].ToPort = c.Proto, c.FromPort, c.ToPort
		if c.FromPort == 0 && c.ToPort == 0 {
			out[i].ToPort = 65535
		}
	}
	return out
}

// routeTunnel notes the routes that a tunnel brings: those configured, the other ends of its point-to-point pairs, and
// where its selectors name networks, the remote ones into the tunnel and the local ones out through the port. What leads into
// the tunnel is among refusedIn: without the tunnel it is refused.
func (t *tunnel) routeTunnel() {
	v := t.vrf
	for _, r := range t.cfg.Routes {
		v.offer(r.Prefix, route.Path{Peer: t.static, Via: t.via, Weight: uint16(r.Weight)})
	}
	for _, p := range t.cfg.Addresses {
		if !p.IsSingleIP() { // our own end is not behind the tunnel
			v.offer(p, route.Path{Peer: t.connected, Via: t.link})
		}
	}
	if t.cfg.IPsec == nil {
		return
	}
	for _, p := range networksOf(t.cfg.IPsec.remoteTS()) {
		v.offer(p, route.Path{Peer: t.selectors, Via: t.via})
	}
	t.routeLocal()
}

// routeLocal notes where the networks of local selectors are.
func (t *tunnel) routeLocal() {
	if t.vrf.out == nil {
		return
	}
	for _, p := range networksOf(t.cfg.IPsec.localTS()) {
		t.vrf.offer(p, t.vrf.behind(behindPort))
	}
}

// networksOf are the networks that selectors name.
func networksOf(all []SelectorConfig) (ps []netip.Prefix) {
	for _, ts := range all {
		if ts.Prefix.Bits() > 0 {
			ps = append(ps, ts.Prefix)
		}
	}
	return ps
}

// behind is a route out through the port; the preference of static ones if that is 0.
func (v *vrf) behind(preference uint32) route.Path {
	return route.Path{Peer: v.static, Via: v.out, Preference: preference}
}

// refusedIn are the prefixes of a vrf that are refused where no tunnel leads to them: all that the configuration leads into tunnels,
// and the networks of their pairs.
func (c *Config) refusedIn(vrf string) (all []netip.Prefix) {
	for i := range c.Tunnels {
		t := &c.Tunnels[i]
		if t.VRF != vrf {
			continue
		}
		for _, p := range t.into() {
			if p.Bits() > 0 || t.IPsec == nil || t.leads(p) {
				all = append(all, p.Masked())
			}
		}
		if t.IPsec != nil && t.IPsec.any() {
			continue // it has no pairs, its clients have addresses
		}
		for _, p := range t.Addresses {
			if !p.IsSingleIP() {
				all = append(all, p.Masked())
			}
		}
	}
	return distinct(all)
}

// leads says whether a route of the configuration's leads a prefix into the tunnel.
func (t *TunnelConfig) leads(p netip.Prefix) bool {
	return slices.ContainsFunc(t.Routes, func(r RouteConfig) bool { return r.Prefix == p })
}

// distinct sorts prefixes and leaves each out that is there twice.
func distinct(all []netip.Prefix) []netip.Prefix {
	slices.SortFunc(all, netip.Prefix.Compare)
	return slices.Compact(all)
}

// behindPort is the preference of what local selectors say: less than that of any route into a tunnel.
const behindPort = 199

// openRaw opens the underlays of IP protocol 50 that tunnels with `encap: never` want.
func (s *site) openRaw(network Network, addrs []netip.Addr) error {
	for _, a := range addrs {
		wanted := slices.ContainsFunc(s.cfg.Tunnels, func(t TunnelConfig) bool {
			p := t.IPsec
			return p != nil && (p.Encap == EncapNever || p.IKE != nil && p.Encap == EncapAuto) &&
				(!p.Remote.IsValid() || p.Remote.Is4() == a.Is4()) && (!p.Local.IsValid() || p.Local == a)
		})
		if !wanted {
			continue
		}
		var u dataplane.Underlay
		var err error
		if network != nil {
			u, err = network.Underlay(netip.AddrPortFrom(a, 0), s.queues)
		} else {
			c := &s.cfg.Underlay
			u, err = raw.Open(raw.Config{Local: a, Device: c.Device, Mark: c.Mark, NetNS: c.NetNS, Queues: s.queues})
		}
		if err != nil && !s.needsRaw(a) {
			s.log.Info("ESP is carried in UDP only: there are no raw sockets", "address", a, "error", err)
			continue
		}
		if err != nil {
			return err
		}
		if s.tap != nil {
			u = capture.TapUnderlay(u, s.tap)
		}
		if err := s.addUnderlay(u, s.gateway); err != nil {
			return err
		}
		s.underlays = append(s.underlays, u)
	}
	return nil
}

// needsRaw says whether a tunnel from an address is to do without UDP.
func (s *site) needsRaw(a netip.Addr) bool {
	return slices.ContainsFunc(s.cfg.Tunnels, func(t TunnelConfig) bool {
		p := t.IPsec
		return p != nil && p.Encap == EncapNever && (!p.Remote.IsValid() || p.Remote.Is4() == a.Is4()) && (!p.Local.IsValid() || p.Local == a)
	})
}

// tick does once a second what is due by the clock, until ctx ends.
func (s *site) tick(ctx context.Context) {
	every := time.NewTicker(time.Second)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		s.gateway.Tick(s.send)
		for _, t := range s.allTunnels() {
			t.iv.extend(s)
		}
	}
}

// send sends one frame for the control side.
func (s *site) send(f dataplane.Frame) {
	sender := s.senders[f.Path.Underlay]
	if sender == nil {
		sender = f.Path.Underlay.NewSender()
		s.senders[f.Path.Underlay] = sender
	}
	sender.Send([]dataplane.Frame{f})
}

// extend writes ahead in the state file. When that fails the tunnel goes on with what it was allowed before, and then
// stops; the failure is logged when it begins and when it ends.
func (k *ivKeeper) extend(s *site) {
	if k.state == nil {
		return
	}
	err := k.state.Extend()
	switch {
	case err != nil && !k.failing:
		s.log.Error("IV state cannot be kept: the tunnel stops when the IVs it was allowed are used up", "tunnel", k.name, "error", err)
	case err == nil && k.failing:
		s.log.Info("IV state is kept again", "tunnel", k.name)
	}
	k.failing = err != nil
}

// dead takes the tunnel out of the routes until the reason is gone.
func (t *tunnel) dead(reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.troubles[reason] = true
	t.vrf.router.SetUp(t.via, false)
}

// alive says that a reason is gone.
func (t *tunnel) alive(reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.troubles, reason)
	t.vrf.router.SetUp(t.via, len(t.troubles) == 0)
}

// ended notes why an IKE SA, or an attempt at one, has ended; nil is for one that is up.
func (t *tunnel) ended(reason error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lastError = ""
	if reason != nil {
		t.lastError = reason.Error()
	}
}

// lastEnd is what ended has noted.
func (t *tunnel) lastEnd() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lastError
}

// whyDead are the reasons why nothing is routed into the tunnel.
func (t *tunnel) whyDead() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Sorted(maps.Keys(t.troubles))
}
