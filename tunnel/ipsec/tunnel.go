package ipsec

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/esp"
	"github.com/warrenvpn/warren/internal/prefetch"
	"github.com/warrenvpn/warren/tunnel/outer"
)

// DF says what becomes of the outer IPv4 header's don't-fragment bit (RFC 4301 section 8.1).
type DF uint8

// Treatments of DF.
const (
	DFCopy  DF = iota // as the inner packet has it; IPv6 counts as set
	DFSet             // always set
	DFClear           // never set
)

// Config of a tunnel.
type Config struct {
	Name string
	DF   DF
	// MTU is the largest clear packet in bytes, where it does not follow from the path.
	MTU int
	// Keepalive is how long the path may be silent before a NAT keepalive is sent (RFC 3948 section 2.3); 0 for never.
	// Only for UDP.
	Keepalive time.Duration
	// Roam lets an authenticated packet from another address move the peer there (RFC 7296 section 2.23), until SetRoam says
	// otherwise.
	Roam bool
}

// Child is what keys one child SA: both SAs and the selectors that they were made for.
type Child struct {
	Name          string
	Out           *esp.Outbound
	In            *esp.Inbound
	Local, Remote []Selector

	// retired: it seals no more. The tunnel's mutex guards it.
	retired bool
}

// Use is what a child SA has carried, of inner packets.
type Use struct {
	InPackets, InBytes, OutPackets, OutBytes uint64
}

// Use returns what the child SA has carried so far.
func (c *Child) Use() (u Use) {
	u.InPackets, u.InBytes = c.In.Carried()
	u.OutPackets, u.OutBytes = c.Out.Sent(), c.Out.Bytes()
	return u
}

// Tunnel is an ESP tunnel to one peer. It implements dataplane.Tunnel. It holds what workers read, in one cache line.
type Tunnel struct {
	path atomic.Pointer[dataplane.Path]
	out  atomic.Pointer[outbound]
	// inner is InnerMTU, outer the path's MTU that it follows from.
	inner, outer atomic.Int32
	index        uint32
	df           DF
	gw           *Gateway
	*rest
	_ [16]byte
}

// rest is what else a tunnel has: elsewhere, so that what workers read of many tunnels shares few pages.
type rest struct {
	name string
	cfg  Config
	roam atomic.Bool
	log  *slog.Logger

	mu       sync.Mutex
	children []*Child
	inbounds []*inChild
	traps    []*trap
	mtu      outer.MTU
	quiet    activity
	near     *prefetch.List
}

// outbound is the snapshot that Seal reads: the children in the order of configuration.
type outbound struct {
	// all is the first child if its selectors cover everything, so that no packet need be compared.
	all *outChild
	// first is what children[0] points to, here because most tunnels have one child: one cache line less.
	first outChild
	*choice
	_ [8]byte
}

// choice is what a packet chooses from where the first child does not take all of them.
type choice struct {
	children []*outChild
	traps    []*trap
}

// outChild is what a worker needs of a child SA to seal.
type outChild struct {
	sa    *esp.Outbound
	match *matcher
	gw    *Gateway
	// header and trailer are how much room a packet needs around it, at the most.
	header, trailer int32
	// share is how many numbers a worker takes at once while others use the SA too.
	share atomic.Int32
}

// inChild is what a worker needs of a child SA to open. The SPI table leads here.
type inChild struct {
	sa     *esp.Inbound
	match  *matcher
	tunnel *Tunnel
	// all: match covers everything, so that no packet need be compared.
	all bool
}

// NewTunnel returns a tunnel with no path and no SAs, which refuses all packets. index is what the data plane gave it.
func (g *Gateway) NewTunnel(index uint32, cfg Config) *Tunnel {
	t := &Tunnel{index: index, df: cfg.DF, gw: g, rest: &rest{name: cfg.Name, cfg: cfg, log: g.log.With("tunnel", cfg.Name)}}
	t.roam.Store(cfg.Roam)
	g.mu.Lock()
	g.tunnels[t] = struct{}{}
	g.mu.Unlock()
	t.recompute()
	return t
}

// Name returns the tunnel's name.
func (t *Tunnel) Name() string { return t.name }

// InnerMTU returns the largest clear packet in bytes that fits the path now.
func (t *Tunnel) InnerMTU() int { return int(t.inner.Load()) }

// Path returns where the peer is now, or nil.
func (t *Tunnel) Path() *dataplane.Path { return t.path.Load() }

// SetPath says where the peer is. It asks the system for the path's MTU.
func (t *Tunnel) SetPath(p *dataplane.Path) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.setPath(p)
}

func (t *Tunnel) setPath(p *dataplane.Path) {
	var from, to netip.AddrPort
	if old := t.path.Load(); old != nil {
		from = old.Remote
	}
	if p != nil {
		to = p.Remote
	}
	t.gw.peers.Move(from, to)
	t.path.Store(p)
	t.keepNear()
	t.mtu.Explore(p, t.gw.now(), t.log)
	t.recompute()
}

// AddChild adds a child SA behind those that are there: its inbound SA opens at once, its outbound SA takes the packets
// that no earlier child's selectors cover.
func (t *Tunnel) AddChild(c *Child) error {
	for _, s := range slices.Concat(c.Local, c.Remote) {
		if err := s.Validate(); err != nil {
			return fmt.Errorf("add child %q of tunnel %q: %w", c.Name, t.name, err)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	in := &inChild{sa: c.In, match: newMatcher(c.Local, c.Remote), tunnel: t}
	in.all = in.match.any4 && in.match.any6
	if err := t.gw.insert(in); err != nil {
		return fmt.Errorf("add child %q of tunnel %q: %w", c.Name, t.name, err)
	}
	t.gw.outbound.Add(c.Out.SPI(), t)
	t.children = append(t.children, c)
	t.inbounds = append(t.inbounds, in)
	t.publish()
	return nil
}

// RemoveChild removes a child SA, both ways at once.
func (t *Tunnel) RemoveChild(c *Child) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(t.children, c)
	if i < 0 {
		return
	}
	t.children, t.inbounds = slices.Delete(t.children, i, i+1), slices.Delete(t.inbounds, i, i+1)
	t.publish()
	t.gw.inbound.Delete(c.In.SPI())
	t.gw.outbound.Remove(c.Out.SPI(), t)
}

// Retire has a child SA seal no more. It goes on opening what is still on the way, until it is removed.
func (t *Tunnel) Retire(c *Child) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.retired = true
	t.publish()
}

// Sealing returns the child SAs that seal, in order.
func (t *Tunnel) Sealing() []*Child {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(t.children), func(c *Child) bool { return c.retired })
}

// Prefer puts a child SA in front of another one, so that from now on it takes the packets that both cover: it is what has
// replaced the other. It does nothing where one of them is not there.
func (t *Tunnel) Prefer(c, over *Child) {
	t.mu.Lock()
	defer t.mu.Unlock()
	from, to := slices.Index(t.children, c), slices.Index(t.children, over)
	if from < 0 || to < 0 || from < to {
		return
	}
	in := t.inbounds[from]
	t.children = slices.Insert(slices.Delete(t.children, from, from+1), to, c)
	t.inbounds = slices.Insert(slices.Delete(t.inbounds, from, from+1), to, in)
	t.publish()
}

// Children returns the child SAs in order.
func (t *Tunnel) Children() []*Child {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.children)
}

// Covering returns the child SA that takes a packet outbound, nil if there is none.
func (t *Tunnel) Covering(i *wire.Info) *Child {
	t.mu.Lock()
	defer t.mu.Unlock()
	for n, c := range t.children {
		if !c.retired && t.inbounds[n].match.outbound(i) {
			return c
		}
	}
	return nil
}

// Close removes all SAs and forgets the tunnel.
func (t *Tunnel) Close() {
	for _, c := range t.Children() {
		t.RemoveChild(c)
	}
	t.SetPath(nil)
	t.gw.mu.Lock()
	delete(t.gw.tunnels, t)
	t.gw.mu.Unlock()
}

// publish makes the snapshot that workers read. The caller holds t.mu.
func (t *Tunnel) publish() {
	o := &outbound{choice: &choice{children: make([]*outChild, 0, len(t.children)), traps: slices.Clone(t.traps)}}
	for i, c := range t.children {
		if c.retired {
			continue
		}
		oc := &o.first
		if len(o.children) > 0 {
			oc = new(outChild)
		}
		oc.sa, oc.match, oc.gw, oc.header = c.Out, t.inbounds[i].match, t.gw, int32(c.Out.HeaderLen())
		oc.trailer = int32(c.Out.MaxTrailerLen())
		oc.share.Store(reserveShared)
		o.children = append(o.children, oc)
	}
	if len(o.children) > 0 && o.children[0].match.any4 && o.children[0].match.any6 {
		o.all = o.children[0]
	}
	t.out.Store(o)
	t.keepNear()
	t.recompute()
}

// SetRoam says from now on whether an authenticated packet from another address moves the peer there.
func (t *Tunnel) SetRoam(roam bool) { t.roam.Store(roam) }

// moved is told that an authenticated packet, the newest on its SA, came from another address than the peer's.
func (t *Tunnel) moved(u dataplane.Underlay, from netip.AddrPort) {
	if !t.roam.Load() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.path.Load()
	if old != nil && (old.Underlay != u || old.Remote == from) {
		return
	}
	t.setPath(&dataplane.Path{Underlay: u, Remote: from})
	t.log.Info("peer moved", "to", from)
}

// activity notices whether a tunnel has sealed anything between two ticks.
type activity struct {
	sealed uint64
	since  time.Time
}

// tick sends a keepalive where the path has been silent, and lets the path MTU recover.
func (t *Tunnel) tick(now time.Time, send func(dataplane.Frame)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mtu.Recover(t.path.Load(), now, t.log) {
		t.recompute()
	}
	path := t.path.Load()
	if path == nil || t.cfg.Keepalive == 0 || !path.Underlay.Encap().UDP {
		return
	}
	var sealed uint64
	for _, c := range t.children {
		sealed += c.Out.Sent()
	}
	if sealed != t.quiet.sealed || t.quiet.since.IsZero() {
		t.quiet = activity{sealed, now}
	} else if now.Sub(t.quiet.since) >= t.cfg.Keepalive {
		t.quiet.since = now
		send(dataplane.Frame{Data: []byte{0xff}, Path: path})
	}
}
