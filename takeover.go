package warren

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane/port/tun"
	"github.com/warrenvpn/warren/routing/bgp/message"
	"github.com/warrenvpn/warren/routing/route"
	"github.com/warrenvpn/warren/routing/router"
	"github.com/warrenvpn/warren/tunnel/ike"
)

// Legacy is what an engine leaves to the one that takes its place: what BGP neighbours have announced to it, and its TUN devices. It is
// used once, by Engine.Inherit, or closed.
type Legacy struct {
	// neighbors are by vrf and name.
	neighbors map[[2]string]*legacyNeighbor
	devices   map[deviceKey][]int
	// up are the tunnels that packets were routed into.
	up map[string]bool
}

// legacyNeighbor is a BGP neighbour and what it has announced.
type legacyNeighbor struct {
	peer  route.Peer
	paths []legacyPath
}

// legacyPath is what of a path is not the neighbour's.
type legacyPath struct {
	prefix             netip.Prefix
	attrs              *route.Attrs
	preference, metric uint32
	weight             uint16
}

// deviceKey is a TUN device as it is configured.
type deviceKey struct{ netns, name string }

func newLegacy() *Legacy {
	return &Legacy{neighbors: map[[2]string]*legacyNeighbor{}, devices: map[deviceKey][]int{}, up: map[string]bool{}}
}

// Close gives back what nobody has inherited: the devices go then.
func (l *Legacy) Close() {
	for key := range l.devices {
		for _, fd := range l.take(key) {
			_ = unix.Close(fd)
		}
	}
}

// take returns the queues of a device, which belong to the caller then.
func (l *Legacy) take(key deviceKey) []int {
	if l == nil {
		return nil
	}
	queues := l.devices[key]
	delete(l.devices, key)
	return queues
}

// wasUp says whether packets were routed into a tunnel.
func (l *Legacy) wasUp(tunnel string) bool { return l != nil && l.up[tunnel] }

// errBusy says that there is no hand-over now.
var errBusy = errors.New("a configuration is being applied, or another process takes over already")

// HandOver ends Run for an engine that takes over, in this process or, through Client.TakeOver, in another: BGP sessions end without a
// NOTIFICATION, so that neighbours keep our routes for BGPSession.RestartTime (RFC 4724), BFD says AdminDown, which says nothing of
// the way (RFC 5882 section 4.2), and routes, rules and devices stay in the kernel. When it returns sockets are closed. Until then
// packets are forwarded as before; from then on those for a TUN device wait in its queues.
//
// What is sealed stops for a moment: SAs are not handed over. IKE begins anew with INITIAL_CONTACT, and WireGuard with a handshake.
func (e *Engine) HandOver(ctx context.Context) (*Legacy, error) { return e.handOver(ctx, nil) }

// handOver is HandOver. The legacy is offered first: with an error the engine goes on as before.
func (e *Engine) handOver(ctx context.Context, offer func(*Legacy) error) (*Legacy, error) {
	if !e.applying.TryLock() {
		return nil, errBusy
	}
	defer e.applying.Unlock()
	e.mu.Lock()
	s := e.site
	e.mu.Unlock()
	if s == nil {
		return nil, ErrNotUp
	}
	select {
	case <-s.begun:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	l, err := s.legacy()
	if err == nil && offer != nil {
		err = offer(l)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	for _, v := range s.vrfs {
		v.router.Freeze()
	}
	e.log.Info("another engine takes over")
	close(s.handing)
	select {
	case <-s.left:
		return l, nil
	case <-ctx.Done():
		l.Close()
		return nil, fmt.Errorf("hand over: %w", context.Cause(ctx))
	}
}

// Inherit has Run take the place of an engine that has handed over: what its neighbours had announced is used until they have announced
// all again, and they are told that their packets were forwarded meanwhile (the F bit of RFC 4724). It is called before Run, which
// closes what it has no use for.
func (e *Engine) Inherit(l *Legacy) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.inherited = l
}

// legacy is what the site leaves. It is never nil.
func (s *site) legacy() (*Legacy, error) {
	l := newLegacy()
	for _, t := range s.allTunnels() {
		l.up[t.cfg.Name] = len(t.whyDead()) == 0
	}
	for _, v := range s.vrfs {
		if device, ok := v.port.(*tun.Device); ok {
			queues, err := device.Lend()
			if err != nil {
				return l, err
			}
			l.devices[v.deviceKey()] = queues
		}
		if v.speaker == nil {
			continue
		}
		err := v.router.Announced(func(routes []router.Announced) error {
			for i := range routes {
				l.add(v.name, &routes[i])
			}
			return nil
		})
		if err != nil {
			return l, err
		}
	}
	return l, nil
}

func (l *Legacy) add(vrf string, r *router.Announced) {
	n := l.neighbor(vrf, r.Neighbor, r.Path.Peer)
	n.paths = append(n.paths, legacyPath{r.Prefix, r.Path.Attrs, r.Path.Preference, r.Path.Metric, r.Path.Weight})
}

func (l *Legacy) neighbor(vrf, name string, peer *route.Peer) *legacyNeighbor {
	key := [2]string{vrf, name}
	n := l.neighbors[key]
	if n == nil {
		n = &legacyNeighbor{peer: *peer}
		l.neighbors[key] = n
	}
	return n
}

func (v *vrf) deviceKey() deviceKey { return deviceKey{v.cfg.Port.TUN.NetNS, v.cfg.Port.TUN.Name} }

// inherit enters what neighbours had announced to the engine before. Routes that lead nowhere now are left out.
func (s *site) inherit() {
	if s.inherited == nil {
		return
	}
	s.inherited.Close() // devices that are configured no more
	for _, v := range s.vrfs {
		for name, a := range v.adjacencies {
			if n := s.inherited.neighbors[[2]string{v.name, name}]; n != nil {
				v.inherit(s, a, n)
			}
		}
	}
	s.inherited.neighbors = nil
}

// atOnce is how many inherited routes are entered together.
const atOnce = 1024

func (v *vrf) inherit(s *site, a *adjacency, n *legacyNeighbor) {
	name, families := a.neighbor.Name, a.neighbor.Families
	if err := v.speaker.Keep(name, &n.peer, families); err != nil {
		s.log.Info("routes of the engine before are not kept", "vrf", v.name, "neighbor", name, "reason", err)
		return
	}
	var routes []router.Announced
	for i := range n.paths {
		p := &n.paths[i]
		family := message.IPv6Unicast
		if p.prefix.Addr().Is4() {
			family = message.IPv4Unicast
		}
		if families.Has(family) {
			routes = append(routes, router.Announced{Neighbor: name, Prefix: p.prefix, Path: route.Path{Peer: &n.peer, Attrs: p.attrs,
				Preference: p.preference, Metric: p.metric, Weight: p.weight}})
		}
		if len(routes) == atOnce || i == len(n.paths)-1 {
			v.router.Keep(routes)
			routes = routes[:0]
		}
	}
}

// handOver ends what the neighbours and peers of a site would miss, so that they miss nothing.
func (s *site) handOver(ctx context.Context) {
	for _, v := range s.vrfs {
		if v.speaker != nil {
			v.speaker.HandOver()
		}
	}
	for _, t := range s.tables() {
		t.table.SetKeep(true)
	}
	if s.keying != nil {
		s.keying.handOver(ctx)
	}
}

// handsOver says whether the site leaves for another one.
func (s *site) handsOver() bool {
	select {
	case <-s.handing:
		return true
	default:
		return false
	}
}

// inheritedWait is for how long packets are routed into a tunnel that was up before and has no SA yet. They are dropped, as the kernel
// would otherwise send them elsewhere for a moment, and neighbours would be told twice.
const inheritedWait = 5 * time.Second

// expectSAs leaves tunnels that did not come up again.
func (s *site) expectSAs(ctx context.Context) error {
	wait := time.NewTimer(inheritedWait)
	defer wait.Stop()
	select {
	case <-ctx.Done():
		return nil
	case <-wait.C:
	}
	_ = s.keying.call(ctx, func(time.Time) ([]ike.Action, error) { // it fails when the engine leaves
		for _, t := range s.keying.tunnels {
			if t.ipsec != nil && s.inherited.wasUp(t.cfg.Name) && len(t.ipsec.Sealing()) == 0 && !t.trapped() {
				t.dead(noSA)
			}
		}
		return nil, nil
	})
	return nil
}

// awaitKernels waits until the kernel's routes are learned: neighbours that kept ours forget what is missing when they have been told
// all.
func (s *site) awaitKernels(ctx context.Context) {
	if s.inherited == nil {
		return
	}
	for _, t := range s.tables() {
		select {
		case <-t.table.Synced():
		case <-ctx.Done():
		}
	}
}
