package warren

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/routing/rib"
	"github.com/warrenvpn/warren/routing/route"
	"github.com/warrenvpn/warren/routing/router"
	"github.com/warrenvpn/warren/tunnel/ike"
)

// Status returns the engine's state and counters.
func (e *Engine) Status() *Status {
	e.mu.Lock()
	s := e.site
	e.mu.Unlock()
	if s == nil {
		return &Status{State: "stopped", Underlays: []UnderlayStatus{}, VRFs: []VRFStatus{}, Tunnels: []TunnelStatus{}, Forwards: []ForwardStatus{}, Workers: []WorkerStatus{}, Drops: map[string]uint64{}}
	}
	return s.status()
}

func (s *site) status() *Status {
	st := &Status{State: "running", Started: s.started, Uptime: time.Since(s.started), Drops: map[string]uint64{},
		Underlays: []UnderlayStatus{}, VRFs: []VRFStatus{}, Tunnels: []TunnelStatus{}, Neighbors: []NeighborStatus{}, Workers: []WorkerStatus{}, Forwards: s.forwards.status()}
	for _, u := range s.underlays {
		st.Underlays = append(st.Underlays, UnderlayStatus{Name: u.Name(), Local: u.Local()})
	}
	for _, d := range s.devices() {
		for _, u := range d.sockets() {
			st.Underlays = append(st.Underlays, UnderlayStatus{Name: u.Name(), Local: u.Local()})
		}
	}
	for _, v := range s.vrfs {
		vs := VRFStatus{Name: v.name, Routes: v.router.Len()}
		if v.port != nil {
			vs.Port = PortStatus{Kind: v.kind, Name: v.port.Name(), MTU: v.port.MTU(), Addresses: v.addrs}
		}
		st.VRFs = append(st.VRFs, vs)
	}
	negotiated := s.keying.report()
	for _, t := range s.allTunnels() {
		st.Tunnels = append(st.Tunnels, s.tunnelStatus(t, negotiated[t]))
	}
	st.Neighbors = s.neighbors()
	for _, w := range s.plane.WorkerStats() {
		st.Workers = append(st.Workers, WorkerStatus{Name: w.Name, Drops: byName(w.Drops)})
		for r, n := range w.Drops {
			st.Drops[r.String()] += n
		}
	}
	return st
}

func (s *site) tunnelStatus(t *tunnel, negotiated []ike.IKEStatus) TunnelStatus {
	ts := TunnelStatus{Name: t.cfg.Name, VRF: t.cfg.VRF, State: "down", InnerMTU: t.InnerMTU(), Children: []ChildStatus{}}
	if p := t.Path(); p != nil {
		ts.Local, ts.Remote, ts.Encap = p.Underlay.Local(), p.Remote, "esp"
		if p.Underlay.Encap().UDP {
			ts.Encap = "udp"
		}
	}
	c, _ := s.plane.TunnelStats(t.index)
	ts.OutPackets, ts.OutBytes, ts.InPackets, ts.InBytes, ts.Drops = c.OutPackets, c.OutBytes, c.InPackets, c.InBytes, byName(c.Drops)
	if t.peer != nil {
		t.peerStatus(&ts)
	} else {
		ts.Kind = "ipsec"
		t.childStatus(&ts, negotiated)
		ts.IKE, ts.Client = ikeStatus(negotiated), t.client
	}
	if ts.Troubles = t.whyDead(); len(ts.Troubles) > 0 {
		ts.State = "down"
	}
	if ts.State == "down" {
		ts.LastError = t.lastEnd()
	}
	return ts
}

// spi writes an SPI as `ip xfrm state` does.
func spi(v uint32) string { return fmt.Sprintf("0x%08x", v) }

func byName(drops map[packet.Reason]uint64) map[string]uint64 {
	named := make(map[string]uint64, len(drops))
	for r, n := range drops {
		named[r.String()] = n
	}
	return named
}

// Routes returns the routes of all vrfs with the paths that were offered. With a valid prefix only those within it, and the
// most specific one that covers it.
func (e *Engine) Routes(prefix netip.Prefix) []RouteStatus {
	e.mu.Lock()
	s := e.site
	e.mu.Unlock()
	all := []RouteStatus{}
	if s == nil {
		return all
	}
	for _, v := range s.vrfs {
		var best *router.Entry
		var within []router.Entry
		for _, entry := range v.router.Entries(func(p netip.Prefix) bool { return !prefix.IsValid() || prefix.Overlaps(p) }) {
			switch {
			case !prefix.IsValid(), entry.Prefix.Bits() > prefix.Bits():
				within = append(within, entry)
			case best == nil || entry.Prefix.Bits() > best.Prefix.Bits():
				best = &entry
			}
		}
		if best != nil {
			within = slices.Insert(within, 0, *best)
		}
		for i := range within {
			all = append(all, routeStatus(v, &within[i]))
		}
	}
	return all
}

func routeStatus(v *vrf, e *router.Entry) RouteStatus {
	r := RouteStatus{VRF: v.name, Prefix: e.Prefix, Hops: []HopStatus{}, Paths: []PathStatus{}}
	for i := range e.Candidates {
		c := &e.Candidates[i]
		r.Paths = append(r.Paths, pathStatus(c))
		if !c.Won {
			continue
		}
		h := HopStatus{Via: c.Via.Name, Kind: hopKind(c.Via), Weight: uint32(max(1, c.Weight))}
		same := slices.IndexFunc(r.Hops, func(o HopStatus) bool { return o.Via == h.Via && o.Kind == h.Kind })
		if same < 0 {
			r.Hops = append(r.Hops, h)
		} else {
			r.Hops[same].Weight = max(r.Hops[same].Weight, h.Weight)
		}
	}
	return r
}

func hopKind(v *route.Via) string {
	if _, ok := dataplane.HopTunnel(v.Hop); ok {
		return "tunnel"
	}
	if _, ok := dataplane.HopPort(v.Hop); ok {
		return "port"
	}
	return "unreachable"
}

func pathStatus(c *rib.Candidate) PathStatus {
	p := PathStatus{Source: c.Peer.Source.String(), From: c.Peer.Name, Via: c.Via.Name, Preference: c.Preference, Metric: c.Metric,
		Device: c.Device, Stale: c.Stale, Used: c.Won, Why: c.Why()}
	if a := c.Attrs; a != nil {
		p.ASPath, p.NextHop, p.MED, p.LocalPref = a.PathString(), a.NextHop, a.MED, a.LocalPref
		for _, community := range a.Communities {
			p.Communities = append(p.Communities, fmt.Sprintf("%d:%d", community>>16, community&0xffff))
		}
	}
	return p
}

// RouteSources are what PathStatus.Source may be, best preference first.
func RouteSources() []string { return route.Sources() }
