package warren

import (
	"net/netip"
	"slices"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/wire"
)

// keepUp is a child SA that packets of our own keep up.
type keepUp struct {
	tunnel *tunnel
	child  *IKEChildConfig
	sealed uint64
	since  time.Time
}

// keepers are the children that are to be kept up.
func (s *site) keepers() (all []*keepUp) {
	for _, t := range s.allTunnels() {
		all = append(all, t.keepers()...)
	}
	return all
}

func (t *tunnel) keepers() (all []*keepUp) {
	if t.ipsec == nil || t.cfg.IPsec.IKE == nil {
		return nil
	}
	for i := range t.cfg.IPsec.IKE.Children {
		if c := &t.cfg.IPsec.IKE.Children[i]; c.KeepUp > 0 {
			all = append(all, &keepUp{tunnel: t, child: c, since: time.Now()})
		}
	}
	return all
}

// tend sends an echo request through a child that has sealed nothing for its time. Where the child is not up that brings it
// up, if a packet does.
func (u *keepUp) tend(s *site, now time.Time) {
	var sealed uint64
	for _, c := range u.tunnel.ipsec.Children() {
		if c.Name == u.child.Name {
			sealed += c.Out.Sent()
		}
	}
	if sealed != u.sealed {
		u.sealed, u.since = sealed, now
		return
	}
	if now.Sub(u.since) < u.child.KeepUp {
		return
	}
	u.since = now
	from, to, ok := u.ends(s)
	if !ok {
		return
	}
	if err := s.plane.Inject(u.tunnel.index, []dataplane.Held{{Data: wire.Echo(from, to)}}); err != nil {
		s.log.Warn("child SA is not kept up", "tunnel", u.tunnel.cfg.Name, "child", u.child.Name, "error", err)
	}
}

// ends are two addresses that the child's selectors cover: the tunnel's own pair where it has one; else ours is one of the engine's or of
// its port's where there is such.
func (u *keepUp) ends(s *site) (from, to netip.Addr, ok bool) {
	covers := func(all []netip.Prefix, a netip.Addr) bool {
		return slices.ContainsFunc(all, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	for _, p := range u.tunnel.cfg.Addresses {
		if far, pair := otherEnd(p); pair && covers(inside(u.child.LocalTS), p.Addr()) && covers(inside(u.child.RemoteTS), far) {
			return p.Addr(), far, true
		}
	}
	var own []netip.Addr
	for _, p := range u.tunnel.vrf.addrs {
		own = append(own, p.Addr())
	}
	own = append(own, s.ownAddresses(u.tunnel.vrf)...)
	remote := inside(u.child.RemoteTS)
	for _, local := range inside(u.child.LocalTS) {
		for _, far := range remote {
			if local.Addr().Is4() != far.Addr().Is4() {
				continue
			}
			from, to = someHost(local), someHost(far)
			for _, a := range own {
				if local.Contains(a) {
					return a, to, true
				}
			}
			ok = true
		}
	}
	return from, to, ok
}

// inside are the networks of selectors.
func inside(ts []SelectorConfig) []netip.Prefix {
	if len(ts) == 0 {
		return everything[:]
	}
	var all []netip.Prefix
	for _, s := range ts {
		all = append(all, s.Prefix)
	}
	return all
}

// someHost is the first address of a network that may be a host's.
func someHost(p netip.Prefix) netip.Addr {
	if p.IsSingleIP() || p.Addr() != p.Masked().Addr() {
		return p.Addr()
	}
	return p.Addr().Next()
}
