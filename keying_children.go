package warren

import (
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/esp"
	"github.com/warrenvpn/warren/routing/route"
	"github.com/warrenvpn/warren/routing/router"
	"github.com/warrenvpn/warren/tunnel/ike"
	"github.com/warrenvpn/warren/tunnel/ike/message"
	"github.com/warrenvpn/warren/tunnel/ipsec"
)

// liveChild is a child SA that is installed.
type liveChild struct {
	tunnel *tunnel
	child  *ipsec.Child
	sa     ike.ChildSA
	// instead is the inbound SPI of the child that it takes the place of, as long as packets still leave by that.
	instead uint32
	since   time.Time
}

// client is an instance of a template: a peer that came by itself.
type client struct {
	tunnel *tunnel
	// offers are its routes.
	offers []router.Change
}

// trapHit says that a packet came for a child that is not up. It is in the queue at most once.
type trapHit struct {
	peer, child string
	taken       atomic.Bool
}

// Reasons for which nothing is routed into a tunnel.
const (
	noSA       = "no SA"
	peerSilent = "the peer does not answer"
)

// tunnelOf returns the tunnel that an IKE SA keys.
func (k *keying) tunnelOf(i *ike.IKE) *tunnel {
	if c := k.clients[i.Number]; c != nil {
		return c.tunnel
	}
	if t := k.tunnels[i.Peer]; t != nil && !t.cfg.IPsec.any() {
		return t
	}
	return nil
}

func (k *keying) ikeUp(a *ike.IKEUp) {
	k.up[a.Number] = a.Peer
	if t := k.tunnels[a.Peer]; t != nil && t.cfg.IPsec.any() {
		if err := k.welcome(t, a); err != nil {
			k.log.Error("client cannot be served", "tunnel", a.Peer, "client", a.RemoteID, "error", err)
			return
		}
	}
	if t := k.tunnelOf(&a.IKE); t != nil {
		t.ended(nil)
		t.alive(peerSilent)
	}
	k.log.Info("peer is authenticated", "tunnel", a.Peer, "peer", a.RemoteID, "suite", a.Suite, "remote", a.Path.Remote)
}

func (k *keying) ikeDown(a *ike.IKEDown) {
	delete(k.up, a.Number)
	k.log.Info("IKE SA is down", "tunnel", a.Peer, "reason", a.Reason)
	if c := k.clients[a.Number]; c != nil {
		delete(k.clients, a.Number)
		k.farewell(c)
		return
	}
	t := k.tunnelOf(&a.IKE)
	if t == nil || k.leaving || k.hasIKE(a.Peer) {
		return
	}
	t.ended(a.Reason)
	// A tunnel that the machine brings up again by itself is left meanwhile: there may be another one.
	if t.restarts() {
		t.dead(peerSilent)
	}
}

// hasIKE says whether another IKE SA with a peer is up.
func (k *keying) hasIKE(peer string) bool {
	for _, of := range k.up {
		if of == peer {
			return true
		}
	}
	return false
}

// restarts says whether all children of a tunnel begin anew by themselves.
func (t *tunnel) restarts() bool {
	for i := range t.cfg.IPsec.IKE.Children {
		if c := &t.cfg.IPsec.IKE.Children[i]; c.DPDAction != EndRestart {
			return false
		}
	}
	return true
}

// install makes a child SA and puts it behind those that are there.
func (k *keying) install(sa *ike.ChildSA) (*liveChild, error) {
	t := k.tunnelOf(&sa.IKE)
	if t == nil {
		return nil, fmt.Errorf("there is no tunnel %q", sa.Peer)
	}
	suite, err := esp.ParseSuite(sa.Suite)
	if err != nil {
		return nil, err
	}
	c := &ipsec.Child{Name: sa.Name, Local: agreed(sa.Local), Remote: agreed(sa.Remote)}
	if c.Out, err = esp.NewOutbound(esp.Config{SPI: sa.Out, Suite: suite, Key: sa.OutKey, ESN: sa.ESN}); err != nil {
		return nil, err
	}
	if c.In, err = esp.NewInbound(esp.Config{SPI: sa.In, Suite: suite, Key: sa.InKey, ESN: sa.ESN, ReplayWindow: t.cfg.IPsec.ReplayWindow}); err != nil {
		return nil, err
	}
	if err := k.follow(t, &sa.IKE, sa.Encap); err != nil {
		return nil, err
	}
	t.ipsec.SetRoam(sa.Roams)
	if err := t.ipsec.AddChild(c); err != nil {
		return nil, err
	}
	if k.s.export != nil {
		if rows, ok := sa.Wireshark(); ok {
			k.s.export.write(espKeys, rows[:]...)
		}
	}
	live := &liveChild{tunnel: t, child: c, sa: *sa, since: time.Now()}
	live.sa.InKey, live.sa.OutKey = nil, nil
	k.children[sa.In] = live
	return live, nil
}

// agreed are a child SA's selectors as the data plane has them.
func agreed(all []message.TrafficSelector) []ipsec.Selector {
	out := make([]ipsec.Selector, 0, len(all))
	for _, ts := range all {
		out = append(out, ipsec.Selector{From: ts.Start, To: ts.End, Proto: ts.Protocol, FromPort: ts.StartPort, ToPort: ts.EndPort})
	}
	return out
}

// follow sends a tunnel's packets where its IKE SA says.
func (k *keying) follow(t *tunnel, i *ike.IKE, encap bool) error {
	u := k.s.underlayFor(i.Path.Local.Addr(), i.Path.Remote.Addr(), encap)
	if u == nil {
		return fmt.Errorf("no underlay address from which %v can be reached", i.Path.Remote)
	}
	p := &dataplane.Path{Underlay: u, Remote: netip.AddrPortFrom(i.Path.Remote.Addr(), 0)}
	switch {
	case encap && i.Path.NATT:
		p.Remote = i.Path.Remote
	case encap:
		p.Remote = netip.AddrPortFrom(i.Path.Remote.Addr(), DefaultUDPPort)
	}
	if old := t.ipsec.Path(); old == nil || old.Underlay != p.Underlay || old.Remote != p.Remote {
		t.ipsec.SetPath(p)
	}
	return nil
}

func (k *keying) childUp(sa *ike.ChildSA) {
	live, err := k.install(sa)
	if err != nil {
		k.log.Error("child SA cannot be installed", "tunnel", sa.Peer, "child", sa.Name, "error", err)
		return
	}
	t := live.tunnel
	t.inOrder(live.child)
	k.routeAgreed(t, sa)
	t.alive(noSA)
	k.log.Info("child SA is up", "tunnel", sa.Peer, "child", sa.Name, "suite", sa.Suite, "esn", sa.ESN, "udp", sa.Encap,
		"local", fmt.Sprint(sa.Local), "remote", fmt.Sprint(sa.Remote))
	k.release(t, t.ipsec.TakeHeld(sa.Name), sa.ByUs)
}

// inOrder puts a child SA that came up in front of those that are configured after it: of several that cover a packet the first
// configured one takes it.
func (t *tunnel) inOrder(c *ipsec.Child) {
	place := func(name string) int {
		return slices.IndexFunc(t.cfg.IPsec.IKE.Children, func(cfg IKEChildConfig) bool { return cfg.Name == name })
	}
	for _, other := range t.ipsec.Children() {
		if place(other.Name) > place(c.Name) {
			t.ipsec.Prefer(c, other)
			return
		}
	}
}

func (k *keying) childRekeyed(a *ike.ChildRekeyed) {
	live, err := k.install(&a.ChildSA)
	if err != nil {
		k.log.Error("child SA cannot be installed", "tunnel", a.Peer, "child", a.Name, "error", err)
		return
	}
	live.instead = a.Old
	if a.Outbound {
		k.prefer(a.In)
	}
	k.log.Info("child SA was rekeyed", "tunnel", a.Peer, "child", a.Name, "suite", a.Suite)
}

// prefer has packets leave by a child SA in place of the one before it.
func (k *keying) prefer(in uint32) {
	live := k.children[in]
	if live == nil || live.instead == 0 {
		return
	}
	if old := k.children[live.instead]; old != nil {
		live.tunnel.ipsec.Prefer(live.child, old.child)
		if old.sa.Number == live.sa.Number {
			live.tunnel.ipsec.Retire(old.child)
		} // else they are of two IKE SAs, and it may be this one that stays
	}
	live.instead = 0
}

// outbound has packets leave by a child SA: in place of the one that it replaces, or where it came up behind others of its name, in
// front of them.
func (k *keying) outbound(in uint32) {
	live := k.children[in]
	switch {
	case live == nil:
	case live.instead != 0:
		k.prefer(in)
	default:
		for _, other := range k.children {
			if other != live && other.tunnel == live.tunnel && other.sa.Name == live.sa.Name {
				live.tunnel.ipsec.Prefer(live.child, other.child)
			}
		}
	}
}

// childDown ends a child. Where another comes up with what is next, as of a peer that has restarted, its tunnel is not left meanwhile.
func (k *keying) childDown(a *ike.ChildDown, next []ike.Action) {
	live := k.children[a.In]
	if live == nil {
		k.s.gateway.ReleaseSPI(a.In)
		return
	}
	delete(k.children, a.In)
	live.tunnel.ipsec.RemoveChild(live.child)
	k.log.Info("child SA is down", "tunnel", a.Peer, "child", a.Name, "reason", a.Reason)
	comes := slices.ContainsFunc(next, func(n ike.Action) bool { up, ok := n.(ike.ChildUp); return ok && up.Peer == a.Peer })
	if len(live.tunnel.ipsec.Sealing()) == 0 && !live.tunnel.trapped() && !comes {
		live.tunnel.dead(noSA)
	}
}

// trapped says whether packets bring the tunnel up.
func (t *tunnel) trapped() bool {
	for i := range t.cfg.IPsec.IKE.Children {
		if t.cfg.IPsec.IKE.Children[i].StartAction&StartTrap != 0 {
			return true
		}
	}
	return false
}

// trap begins to keep the packets of a child that is not up, or ends it.
func (k *keying) trap(a *ike.Trap) {
	t := k.tunnels[a.Peer]
	if t == nil {
		return
	}
	if !a.On {
		// A worker may have caught another packet since the child came up.
		k.releaseLate(t, t.ipsec.ClearTrap(a.Child))
		return
	}
	for i := range t.cfg.IPsec.IKE.Children {
		c := &t.cfg.IPsec.IKE.Children[i]
		if c.Name != a.Child {
			continue
		}
		hit := &trapHit{peer: a.Peer, child: a.Child}
		t.ipsec.SetTrap(c.Name, selectors(c.LocalTS), selectors(c.RemoteTS), func() {
			if hit.taken.CompareAndSwap(false, true) {
				select {
				case k.hits <- hit:
				default:
					hit.taken.Store(false)
				}
			}
		})
	}
}

func (k *keying) peerMoved(a *ike.PeerMoved) {
	k.log.Info("peer moved", "tunnel", a.Peer, "from", a.From.Remote, "to", a.Path.Remote)
	for _, live := range k.children {
		if live.sa.Peer == a.Peer && live.sa.Number == a.Number {
			if err := k.follow(live.tunnel, &a.IKE, live.sa.Encap); err != nil {
				k.log.Error("peer cannot be followed", "tunnel", a.Peer, "error", err)
			}
		}
	}
}

// look tells the machine, and does, what follows from the packets that went by.
func (k *keying) look() {
	now := time.Now()
	for _, u := range k.keepers {
		u.tend(k.s, now)
	}
	for in, live := range k.children {
		use := live.child.Use()
		if live.instead != 0 && use.InPackets > 0 {
			k.prefer(in) // the peer has begun to use it
		}
		k.do(k.endpoint.Used(now, in, ike.Usage{InBytes: use.InBytes, InPackets: use.InPackets, OutBytes: use.OutBytes, OutPackets: use.OutPackets}))
		if k.children[in] != live {
			continue
		}
		if p := live.tunnel.ipsec.Path(); p != nil && live.sa.Encap && p.Remote != live.sa.Path.Remote && live.sa.Path.NATT {
			live.sa.Path.Remote = p.Remote
			k.do(k.endpoint.Moved(now, in, p.Remote))
		}
	}
}

// welcome makes the tunnel of a client that came by itself, with a route to what it was lent, or else to the networks that the
// template has.
func (k *keying) welcome(template *tunnel, a *ike.IKEUp) error {
	cfg := *template.cfg
	cfg.Name = fmt.Sprintf("%s[%d]", template.cfg.Name, a.Number)
	t := &tunnel{cfg: &cfg, routing: &cfg, vrf: template.vrf, troubles: map[string]bool{}, client: a.RemoteID.String()}
	if err := k.s.addIPsec(t, nil); err != nil {
		return err
	}
	c := &client{tunnel: t}
	k.clients[a.Number] = c
	for _, addr := range a.Leased.Addresses {
		c.offers = append(c.offers, router.Change{Prefix: hostPrefix(addr), Path: route.Path{Peer: t.selectors, Via: t.via}})
	}
	for _, r := range t.cfg.Routes {
		if len(a.Leased.Addresses) > 0 {
			break // a client that was lent an address is a host, and has no networks
		}
		c.offers = append(c.offers, router.Change{Prefix: r.Prefix.Masked(), Path: route.Path{Peer: t.static, Via: t.via, Weight: uint16(r.Weight)}})
	}
	t.vrf.router.Offer(c.offers...)
	k.s.mu.Lock()
	k.s.tunnels = append(k.s.tunnels, t)
	k.s.mu.Unlock()
	return nil
}

// routeAgreed routes what is behind a client into its tunnel: the networks that were agreed on for a child, which may be fewer than
// the template has. Everything is not routed to a client unless the template's routes say so.
func (k *keying) routeAgreed(t *tunnel, sa *ike.ChildSA) {
	if k.clients[sa.Number] == nil {
		return
	}
	var changes []router.Change
	for _, p := range message.PrefixesOf(sa.Remote) {
		if p.Bits() > 0 {
			changes = append(changes, router.Change{Prefix: p, Path: route.Path{Peer: t.selectors, Via: t.via}})
		}
	}
	t.vrf.router.Offer(changes...)
}

// farewell takes a client's tunnel away.
func (k *keying) farewell(c *client) {
	t := c.tunnel
	t.vrf.router.RemovePeer(t.selectors)
	t.vrf.router.RemovePeer(t.static)
	k.s.mu.Lock()
	for i, o := range k.s.tunnels {
		if o == t {
			k.s.tunnels = append(k.s.tunnels[:i:i], k.s.tunnels[i+1:]...)
			break
		}
	}
	k.s.mu.Unlock()
	k.forgetHeld(t)
	t.ipsec.Close()
	k.s.plane.RemoveTunnel(t.index)
}
