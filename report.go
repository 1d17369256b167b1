package warren

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/routing/fib"
)

// Status tells how the engine is.
func (e *Engine) Status() *Status {
	e.mu.Lock()
	s := e.site
	e.mu.Unlock()
	if s == nil {
		return &Status{State: "stopped", Underlays: []UnderlayStatus{}, VRFs: []VRFStatus{}, Tunnels: []TunnelStatus{}, Workers: []WorkerStatus{}, Drops: map[string]uint64{}}
	}
	return s.status()
}

func (s *site) status() *Status {
	st := &Status{State: "running", Started: s.started, Uptime: time.Since(s.started), Drops: map[string]uint64{},
		Underlays: []UnderlayStatus{}, VRFs: []VRFStatus{}, Tunnels: []TunnelStatus{}, Workers: []WorkerStatus{}}
	for _, u := range s.underlays {
		st.Underlays = append(st.Underlays, UnderlayStatus{Name: u.Name(), Local: u.Local()})
	}
	for _, v := range s.vrfs {
		vs := VRFStatus{Name: v.name, Routes: v.vrf.Table().Len()}
		if v.port != nil {
			vs.Port = PortStatus{Kind: v.kind, Name: v.port.Name(), MTU: v.port.MTU(), Addresses: v.addrs}
		}
		st.VRFs = append(st.VRFs, vs)
	}
	for _, t := range s.tunnels {
		st.Tunnels = append(st.Tunnels, s.tunnelStatus(t))
	}
	for _, w := range s.plane.WorkerStats() {
		st.Workers = append(st.Workers, WorkerStatus{Name: w.Name, Drops: byName(w.Drops)})
		for r, n := range w.Drops {
			st.Drops[r.String()] += n
		}
	}
	return st
}

func (s *site) tunnelStatus(t *tunnel) TunnelStatus {
	ts := TunnelStatus{Name: t.cfg.Name, VRF: t.cfg.VRF, Kind: "ipsec", State: "down", InnerMTU: t.ipsec.InnerMTU(), Children: []ChildStatus{}}
	if p := t.ipsec.Path(); p != nil {
		ts.Local, ts.Remote, ts.Encap = p.Underlay.Local(), p.Remote, "esp"
		if p.Underlay.Encap().UDP {
			ts.Encap = "udp"
		}
	}
	for _, c := range t.ipsec.Children() {
		cs := ChildStatus{Name: c.Name, Suite: c.Out.Suite().String(), ESN: c.Out.ESN(), SPIOut: spi(c.Out.SPI()), SPIIn: spi(c.In.SPI()),
			Sent: c.Out.Sent(), Received: c.In.Received(), ReplayWindow: c.In.ReplayWindow()}
		for _, ts := range c.Local {
			cs.LocalTS = append(cs.LocalTS, ts.String())
		}
		for _, ts := range c.Remote {
			cs.RemoteTS = append(cs.RemoteTS, ts.String())
		}
		if !c.Out.Exhausted() {
			ts.State = "up"
		}
		ts.Children = append(ts.Children, cs)
	}
	c, _ := s.plane.TunnelStats(t.index)
	ts.OutPackets, ts.OutBytes, ts.InPackets, ts.InBytes, ts.Drops = c.OutPackets, c.OutBytes, c.InPackets, c.InBytes, byName(c.Drops)
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

// Routes returns the routes of all vrfs. With a valid prefix only those within it, and the most specific one that covers
// it.
func (e *Engine) Routes(prefix netip.Prefix) []RouteStatus {
	e.mu.Lock()
	s := e.site
	e.mu.Unlock()
	all := []RouteStatus{}
	if s == nil {
		return all
	}
	for _, v := range s.vrfs {
		var best *RouteStatus
		var within []RouteStatus
		for p, hops := range v.vrf.Table().All() {
			r := RouteStatus{VRF: v.name, Prefix: p, Hops: s.hops(v, hops)}
			switch {
			case !prefix.IsValid(), prefix.Overlaps(p) && p.Bits() > prefix.Bits():
				within = append(within, r)
			case prefix.Overlaps(p) && (best == nil || p.Bits() > best.Prefix.Bits()):
				best = &r
			}
		}
		if best != nil {
			all = append(all, *best)
		}
		all = append(all, within...)
	}
	return all
}

func (s *site) hops(v *vrf, hops []fib.Hop) []HopStatus {
	out := make([]HopStatus, len(hops))
	for i, h := range hops {
		out[i] = HopStatus{Weight: h.Weight}
		if index, ok := dataplane.HopTunnel(h.ID); ok {
			out[i].Kind = "tunnel"
			for _, t := range s.tunnels {
				if t.index == index {
					out[i].Via = t.cfg.Name
				}
			}
		} else if _, ok := dataplane.HopPort(h.ID); ok {
			out[i].Kind, out[i].Via = "port", v.port.Name()
		} else {
			out[i].Kind = "unreachable"
		}
	}
	return out
}
