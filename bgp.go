package warren

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/warrenvpn/warren/dataplane/port/netstack"
	"github.com/warrenvpn/warren/routing/bgp"
	"github.com/warrenvpn/warren/routing/bgp/message"
	"github.com/warrenvpn/warren/routing/policy"
	"github.com/warrenvpn/warren/routing/route"
	"github.com/warrenvpn/warren/routing/router"
)

// bgpPort is IANA's.
const bgpPort = 179

// openBGP makes the speakers of the vrfs that have BGP, with their neighbours. They say nothing before they are run.
func (s *site) openBGP() error {
	for _, v := range s.vrfs {
		if v.cfg.BGP == nil {
			continue
		}
		if err := s.openSpeaker(v); err != nil {
			return fmt.Errorf("vrf %q: BGP: %w", v.name, err)
		}
	}
	return nil
}

func (s *site) openSpeaker(v *vrf) error {
	cfg := v.bgp
	v.adjacencies = map[string]*adjacency{}
	var neighbors []*bgp.Neighbor
	for _, a := range s.adjacenciesOf(v) {
		if err := s.enter(v, a); err != nil {
			return err
		}
		v.adjacencies[a.neighbor.Name] = a
		neighbors = append(neighbors, a.neighbor)
	}
	config := bgp.Config{Table: v.router, Log: s.log.With("vrf", v.name), Local: bgp.Local{AS: cfg.LocalAS, RouterID: number4(cfg.RouterID),
		Resumed: s.inherited != nil}}
	if v.stack() != nil {
		listener, err := v.stack().Listen("tcp", fmt.Sprintf(":%d", bgpPort))
		if err != nil {
			return err
		}
		config.Dialer, config.Listeners = stackDialer{v.stack()}, []net.Listener{listener}
	}
	var err error
	if v.speaker, err = bgp.New(config); err != nil {
		return err
	}
	return v.speaker.Apply(neighbors)
}

// adjacency is a neighbour and the way to it.
type adjacency struct {
	neighbor *bgp.Neighbor
	// tunnel leads to it, nil for the port.
	tunnel *tunnel
	bfd    *BFDConfig
	// imports and exports are the policies as they are configured, nil for the default ones.
	imports, exports *PolicyConfig
	in, out          router.Policy
}

// adjacenciesOf are those that a vrf is to have with the tunnels of this moment.
func (s *site) adjacenciesOf(v *vrf) (all []*adjacency) {
	add := func(c *NeighborConfig, t *tunnel, neighbors func(exports bool) []*bgp.Neighbor) {
		in, out := v.policies(c)
		for _, n := range neighbors(out != nil) {
			all = append(all, &adjacency{neighbor: n, tunnel: t, bfd: v.session(c).BFD, imports: cmp.Or(c.Import, v.bgp.Import),
				exports: cmp.Or(c.Export, v.bgp.Export), in: in, out: out})
		}
	}
	for i := range v.bgp.Neighbors {
		c := &v.bgp.Neighbors[i]
		add(c, nil, func(exports bool) []*bgp.Neighbor { return []*bgp.Neighbor{v.neighborOnPort(c, exports)} })
	}
	for _, t := range s.allTunnels() {
		if t.vrf == v && t.client == "" && t.routing.BGP != nil {
			add(t.routing.BGP, t, func(exports bool) []*bgp.Neighbor { return v.neighborsBehind(t.routing, exports) })
		}
	}
	return all
}

// enter makes an adjacency known to the router, and has BFD watch it.
func (s *site) enter(v *vrf, a *adjacency) error {
	if a.bfd != nil {
		if err := s.watchNeighbor(v, a); err != nil {
			return err
		}
	}
	err := v.router.SetNeighbor(a.router(v))
	if err != nil && a.bfd != nil {
		v.watch.Load().unwatch(a.neighbor.Address)
	}
	return err
}

// router is the adjacency as the router has it.
func (a *adjacency) router(v *vrf) router.Neighbor {
	return router.Neighbor{Name: a.neighbor.Name, Via: a.via(v), Import: a.in, Export: a.out}
}

// via is where the neighbour's routes lead.
func (a *adjacency) via(v *vrf) *route.Via {
	if a.tunnel != nil {
		return a.tunnel.via
	}
	return v.out
}

// policies are a neighbour's: its own, else the vrf's, else what policy.Default says within our own AS, and nothing beyond
// (RFC 8212).
func (v *vrf) policies(c *NeighborConfig) (in, out router.Policy) {
	local := cmp.Or(c.LocalAS, v.bgp.LocalAS)
	pick := func(d policy.Direction, own, common *PolicyConfig) router.Policy {
		if own = cmp.Or(own, common); own != nil {
			p, _ := own.compile(policy.Options{Direction: d, With: route.BGP, LocalAS: local}) // checked before
			return p
		}
		if c.NeighborAS != local {
			return nil
		}
		return policy.Default(d, true)
	}
	return pick(policy.Import, c.Import, v.bgp.Import), pick(policy.Export, c.Export, v.bgp.Export)
}

// session is how the session with a neighbour is held.
func (v *vrf) session(c *NeighborConfig) *BGPSession {
	if c.Session != nil {
		return c.Session
	}
	return &v.bgp.Session
}

// neighbor is what all neighbours of a vrf have in common.
func (v *vrf) neighbor(c *NeighborConfig, exports bool) *bgp.Neighbor {
	session := v.session(c)
	n := &bgp.Neighbor{Name: c.Name, Address: c.Address, Port: c.Port, AS: c.NeighborAS, LocalAS: c.LocalAS, Passive: c.Passive,
		Exports: exports, NextHopSelf: session.NextHopSelf, EnforceFirstAS: session.EnforceFirstAS, Helper: session.GracefulRestart,
		RestartTime: session.RestartTime, Timers: bgp.DefaultTimers()}
	n.Timers.Hold = session.HoldTime
	n.Timers.ConnectRetry = max(n.Timers.Retry, session.ConnectRetry)
	if limit := session.PrefixLimit; limit > 0 {
		l := bgp.Limit{Max: limit, Warn: limit * 3 / 4}
		n.Limits = map[message.Family]bgp.Limit{message.IPv4Unicast: l, message.IPv6Unicast: l}
	}
	return n
}

// neighborOnPort is a neighbour behind the port: the session is with one of the engine's own addresses, and the families
// are those of which the engine has an address to be a next hop.
func (v *vrf) neighborOnPort(c *NeighborConfig, exports bool) *bgp.Neighbor {
	n := v.neighbor(c, exports)
	n.Name = cmp.Or(n.Name, c.Address.String())
	for _, a := range v.bgp.Addresses {
		hop, family := &n.NextHop6, message.IPv6Unicast
		if a.Is4() {
			hop, family = &n.NextHop4, message.IPv4Unicast
		}
		if !hop.IsValid() {
			*hop = a
			n.Families |= message.FamiliesOf(family)
		}
		if a.Is4() == c.Address.Is4() && !n.LocalAddress.IsValid() {
			n.LocalAddress = a
		}
	}
	return n
}

// neighborsBehind are those that a tunnel's BGP stands for: the address that is configured, or the other end of each of the
// tunnel's pairs. Where there is a pair of both families each session carries its own; a pair of IPv6 alone carries IPv4
// too (RFC 8950).
func (v *vrf) neighborsBehind(t *TunnelConfig, exports bool) (all []*bgp.Neighbor) {
	var pairs []netip.Prefix
	families := map[bool]bool{}
	for _, p := range t.Addresses {
		if far, ok := otherEnd(p); ok && !families[p.Addr().Is4()] && (!t.BGP.Address.IsValid() || t.BGP.Address == far) {
			pairs, families[p.Addr().Is4()] = append(pairs, p), true
		}
	}
	if len(pairs) == 0 && t.BGP.Address.IsValid() {
		pairs = ownEnd(t, t.BGP.Address)
	}
	for _, p := range pairs {
		n := v.neighbor(t.BGP, exports)
		n.LocalAddress = p.Addr()
		n.Address = t.BGP.Address
		if !n.Address.IsValid() {
			n.Address, _ = otherEnd(p)
		}
		name := cmp.Or(n.Name, t.Name)
		switch {
		case len(pairs) > 1 && p.Addr().Is4():
			n.Name, n.Families = name+" ipv4", message.FamiliesOf(message.IPv4Unicast)
		case len(pairs) > 1:
			n.Name, n.Families = name+" ipv6", message.FamiliesOf(message.IPv6Unicast)
		case p.Addr().Is4():
			n.Name, n.Families = name, message.FamiliesOf(message.IPv4Unicast)
		default:
			n.Name, n.Families, n.ExtendedNextHop = name, message.FamiliesOf(message.IPv4Unicast, message.IPv6Unicast), true
		}
		all = append(all, n)
	}
	return all
}

// ownEnd is the address of ours from which an explicit neighbour is spoken to: that of a network which has both, or the
// first of the family.
func ownEnd(t *TunnelConfig, far netip.Addr) []netip.Prefix {
	var first []netip.Prefix
	for _, p := range t.Addresses {
		switch {
		case p.Contains(far):
			return []netip.Prefix{p}
		case p.Addr().Is4() == far.Is4() && first == nil:
			first = []netip.Prefix{p}
		}
	}
	return first
}

// otherEnd returns the other address of a point-to-point pair: of a /31 or /127 (RFC 3021, RFC 6164), or of the two hosts in a
// /30 or /126.
func otherEnd(p netip.Prefix) (netip.Addr, bool) {
	first := p.Masked().Addr()
	candidates := []netip.Addr{first, first.Next()}
	switch p.Addr().BitLen() - p.Bits() {
	case 1:
	case 2:
		candidates = []netip.Addr{first.Next(), first.Next().Next()}
	default:
		return netip.Addr{}, false
	}
	switch p.Addr() {
	case candidates[0]:
		return candidates[1], true
	case candidates[1]:
		return candidates[0], true
	}
	return netip.Addr{}, false
}

// number4 is an IPv4 address as a number, which is what a router ID is.
func number4(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// stackDialer connects to neighbours from the engine's own stack.
type stackDialer struct{ stack *netstack.Port }

func (d stackDialer) Dial(ctx context.Context, n *bgp.Neighbor) (net.Conn, error) {
	return d.stack.DialFrom(ctx, "tcp", netip.AddrPortFrom(n.LocalAddress, 0), n.AddrPort().String())
}

// leave tells all neighbours that the engine goes, and goes on forwarding until they have found other ways.
func (s *site) leave() {
	var left []<-chan struct{}
	for _, v := range s.vrfs {
		if v.speaker == nil || !established(v.speaker) {
			continue
		}
		done := make(chan struct{})
		left = append(left, done)
		go func() {
			defer close(done)
			ctx, cancel := context.WithTimeout(context.Background(), v.bgp.Drain+time.Second)
			defer cancel()
			v.speaker.Leave(ctx, "the engine is shut down", v.bgp.Drain)
		}()
	}
	for _, done := range left {
		<-done
	}
}

func established(s *bgp.Speaker) bool {
	for _, n := range s.Status() {
		if n.State == bgp.Established {
			return true
		}
	}
	return false
}

// Neighbors tells of the BGP neighbours of all vrfs.
func (e *Engine) Neighbors() []NeighborStatus {
	e.mu.Lock()
	s := e.site
	e.mu.Unlock()
	if s == nil {
		return []NeighborStatus{}
	}
	return s.neighbors()
}

func (s *site) neighbors() []NeighborStatus {
	all := []NeighborStatus{}
	for _, v := range s.vrfs {
		if v.speaker == nil {
			continue
		}
		for _, n := range v.speaker.Status() {
			all = append(all, s.neighborStatus(v, &n))
		}
	}
	return all
}

func (s *site) neighborStatus(v *vrf, n *bgp.Status) NeighborStatus {
	st := NeighborStatus{VRF: v.name, Name: n.Name, Address: n.Address, NeighborAS: n.AS, LocalAS: n.LocalAS, State: n.State.String(),
		Since: n.Since, PrefixesIn: n.In.IPv4 + n.In.IPv6, PrefixesOut: n.Out.IPv4 + n.Out.IPv6, Used: v.router.Used(n.Name),
		LastError: n.LastError, LastErrorAt: n.LastErrorAt, Via: v.router.WayTo(n.Name)}
	if n.Negotiated != nil {
		st.HoldTime = n.Negotiated.Hold
	}
	if w := v.watch.Load(); w != nil {
		for _, b := range w.manager.Sessions() {
			if b.Peer == n.Address {
				st.BFD = b.State.String()
			}
		}
	}
	return st
}
