package warren

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/warrenvpn/warren/routing/route"
	"github.com/warrenvpn/warren/routing/router"
)

type change = router.Change

// looseEnds are prefixes.
type looseEnds []netip.Prefix

// protect begins the protection of what is new, in the kernel and then in the vrf.
func (r *reload) protect() {
	for _, v := range r.vrfs {
		cfg := r.vrfConfig(v)
		if fresh := without(r.new.protectedBy(cfg), v.guarded); len(fresh) > 0 && cfg.Port.TUN != nil {
			r.guard(v, fresh)
		}
		all := distinct(slices.Concat(v.protected, r.new.refusedIn(v.name)))
		fresh := without(all, v.protected)
		r.setProtected(v, all)
		v.router.Protect(fresh...)
	}
}

// guard has the kernel refuse what is new.
func (r *reload) guard(v *vrf, fresh []netip.Prefix) {
	if err := r.inKernel(v, func(t *kernelTable) error { return t.table.Protect(fresh...) }); err != nil {
		v.unsure = distinct(slices.Concat(v.unsure, fresh))
		r.fail(fmt.Errorf("vrf %q: protect its prefixes: %w", v.name, err))
		return
	}
	v.guarded = distinct(slices.Concat(v.guarded, fresh))
	v.unsure = without(v.unsure, fresh)
}

// unguard has it refuse no more of what it did, and is to, than that.
func (r *reload) unguard(v *vrf, stay []netip.Prefix) {
	gone := without(slices.Concat(v.guarded, v.unsure, r.loose[v]), slices.Concat(stay, r.allowedByWG(v)))
	v.guarded = without(stay, v.unsure)
	if len(gone) == 0 {
		return
	}
	if err := r.inKernel(v, func(t *kernelTable) error { return t.table.Unprotect(gone...) }); err != nil {
		v.unsure = distinct(slices.Concat(v.unsure, gone))
		r.fail(fmt.Errorf("vrf %q: end the protection of prefixes: %w", v.name, err))
		return
	}
	v.unsure = without(v.unsure, gone)
}

// inKernel does something to the kernel's table beside a vrf. One that nothing was wanted of before runs from then on.
func (r *reload) inKernel(v *vrf, do func(*kernelTable) error) error {
	r.mu.Lock()
	before := r.kernels
	r.mu.Unlock()
	t, err := r.kernelOf(v.cfg)
	if err != nil {
		return err
	}
	err = do(t)
	if !slices.Contains(before, t) {
		r.part(t.run)
	}
	return err
}

// unprotect ends the protection of what nothing leads into tunnels any more.
func (r *reload) unprotect() {
	for _, v := range r.vrfs {
		cfg := r.vrfConfig(v)
		stay := r.new.refusedIn(v.name)
		gone := without(slices.Concat(v.protected, r.loose[v]), stay)
		r.setProtected(v, stay)
		gone = without(gone, r.allowedByWG(v))
		v.router.Unprotect(gone...)
		if cfg.Port.TUN != nil {
			r.unguard(v, r.new.protectedBy(cfg))
		}
	}
}

// setProtected changes what is protected by configuration. wg(8), which protects more, looks at it meanwhile.
func (r *reload) setProtected(v *vrf, all []netip.Prefix) {
	for _, d := range r.devices() {
		d.mu.Lock()
		defer d.mu.Unlock()
	}
	v.protected = all
}

// allowedByWG are the prefixes of a vrf that are protected since wg(8) allowed them to peers.
func (r *reload) allowedByWG(v *vrf) (all []netip.Prefix) {
	for _, t := range r.allTunnels() {
		if t.peer != nil && t.vrf == v && t.cfg.WireGuard.CryptokeyRouting {
			all = append(all, t.peer.Status().AllowedIPs...)
		}
	}
	return all
}

// loosen notes what was protected for a peer that came by wg(8) and that the configuration has now.
func (r *reload) loosen(d *wgDevice, cfg *TunnelConfig) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if other := d.peers[cfg.WireGuard.PublicKey]; other != nil {
		if r.loose == nil {
			r.loose = map[*vrf]looseEnds{}
		}
		r.loose[other.vrf] = append(r.loose[other.vrf], other.peer.Status().AllowedIPs...)
	}
}

// vrfConfig is what a vrf is to be.
func (r *reload) vrfConfig(v *vrf) *VRFConfig {
	return r.new.vrfConfig(v.name) // the names were compared
}

func (c *Config) vrfConfig(name string) *VRFConfig {
	at := slices.IndexFunc(c.VRFs, func(v VRFConfig) bool { return v.Name == name })
	return &c.VRFs[at]
}

// without are those of some prefixes that are not among others, each once.
func without(some, others []netip.Prefix) []netip.Prefix {
	not := map[netip.Prefix]bool{}
	for _, p := range others {
		not[p.Masked()] = true
	}
	return slices.DeleteFunc(distinct(slices.Clone(some)), func(p netip.Prefix) bool { return not[p.Masked()] })
}

// ownIn are the engine's own addresses in a vrf, beside those of its port.
func (c *Config) ownIn(v *VRFConfig) (own []netip.Addr) {
	for i := range c.Tunnels {
		if t := &c.Tunnels[i]; t.VRF == v.Name && !(t.IPsec != nil && t.IPsec.any()) {
			for _, p := range t.Addresses {
				own = append(own, p.Addr())
			}
		}
	}
	if v.BGP != nil {
		own = append(own, v.BGP.Addresses...)
	}
	slices.SortFunc(own, netip.Addr.Compare)
	return slices.Compact(own)
}

// ownAddresses gives the stacks the ends of new tunnels' pairs, and takes those of old ones away.
func (r *reload) ownAddresses() {
	for _, v := range r.vrfs {
		own := r.new.ownIn(r.vrfConfig(v)) // those of BGP are among the old ones too
		v.owned = slices.DeleteFunc(v.owned, func(a netip.Addr) bool {
			if slices.Contains(own, a) {
				return false
			}
			v.router.Offer(change{Prefix: hostPrefix(a), Path: route.Path{Peer: v.local}, Withdraw: true})
			r.fail(v.stack().RemoveAddress(a))
			return true
		})
		fresh := slices.DeleteFunc(own, func(a netip.Addr) bool { return slices.Contains(v.owned, a) })
		if len(fresh) == 0 {
			continue
		}
		if err := r.openStack(v, fresh); err != nil {
			r.fail(fmt.Errorf("vrf %q: %w", v.name, err))
		}
		for _, a := range fresh {
			if slices.Contains(v.owned, a) { // else the next reload tries it again
				v.offer(hostPrefix(a), route.Path{Peer: v.local, Via: v.own})
			}
		}
	}
}

// keep notes what routes, which neighbour and which peer's settings the tunnels that stay are to have.
func (r *reload) keep() {
	for _, t := range r.allTunnels() {
		if cfg := r.kept[t.cfg.Name]; cfg != nil && t.client == "" {
			t.reroute(cfg.Routes)
			if t.peer != nil {
				r.tuned = append(r.tuned, tuning{t, t.routing, cfg})
			}
			t.routing = cfg
		}
	}
}

// changeRoutes enters the routes of new tunnels, and what was noted for the others.
func (r *reload) changeRoutes() {
	for _, v := range r.vrfs {
		r.behindPort(v)
		v.router.Offer(v.offers...)
		v.offers = nil
		if err := v.router.Err(); err != nil {
			r.fail(fmt.Errorf("vrf %q: %w", v.name, err))
		}
	}
}

// reroute notes the difference between the routes that a tunnel has and those that it is to have.
func (t *tunnel) reroute(routes []RouteConfig) {
	for _, was := range t.routing.Routes {
		if !slices.ContainsFunc(routes, func(is RouteConfig) bool { return is.Prefix == was.Prefix }) {
			t.vrf.offers = append(t.vrf.offers, change{Prefix: was.Prefix, Path: route.Path{Peer: t.static}, Withdraw: true})
		}
	}
	for _, is := range routes {
		if !slices.Contains(t.routing.Routes, is) {
			t.vrf.offer(is.Prefix, route.Path{Peer: t.static, Via: t.via, Weight: uint16(is.Weight)})
		}
	}
}

// behindPort notes the difference between what the tunnels' local selectors say to be behind the port, and what they said.
func (r *reload) behindPort(v *vrf) {
	if v.out == nil {
		return
	}
	v.offers = slices.DeleteFunc(v.offers, func(c change) bool { return c.Path.Peer == v.static })
	was, is := r.old.behind(v.cfg), r.reached().behind(v.cfg)
	for p := range was {
		if _, stays := is[p]; !stays {
			v.offers = append(v.offers, change{Prefix: p, Path: route.Path{Peer: v.static}, Withdraw: true})
		}
	}
	for p, preference := range is {
		if before, had := was[p]; !had || before != preference {
			v.offer(p, v.behind(preference))
		}
	}
}

// behind are the networks that are behind a vrf's port, with the preference of the routes there. The port is the same in all
// configurations that can be applied.
func (c *Config) behind(v *VRFConfig) map[netip.Prefix]uint32 {
	all := map[netip.Prefix]uint32{}
	var port []netip.Prefix
	switch {
	case v.Port.TUN != nil:
		port = v.Port.TUN.Routes
	case v.Port.Netstack != nil:
		port = v.Port.Netstack.Routes
	}
	for _, p := range port {
		all[p.Masked()] = 0
	}
	for i := range c.Tunnels {
		t := &c.Tunnels[i]
		if t.VRF != v.Name || t.IPsec == nil {
			continue
		}
		for _, p := range networksOf(t.IPsec.localTS()) {
			all[p.Masked()] = behindPort
		}
	}
	return all
}
