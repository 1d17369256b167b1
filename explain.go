package warren

import (
	"cmp"
	"fmt"
	"net/netip"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/routing/fib"
)

// Explain says which way a packet from one address to another takes in a vrf, or in all of them if vrf is "".
func (e *Engine) Explain(vrf string, source, destination netip.Addr) ([]Explanation, error) {
	e.mu.Lock()
	s := e.site
	e.mu.Unlock()
	switch {
	case s == nil:
		return nil, ErrNotUp
	case source.Is4() != destination.Is4():
		return nil, fmt.Errorf("explain %v to %v: the addresses are of different families", source, destination)
	case vrf != "" && s.vrfNamed(vrf) == nil:
		return nil, fmt.Errorf("there is no vrf %q", vrf)
	}
	all := []Explanation{}
	for _, v := range s.vrfs {
		if vrf == "" || v.name == vrf {
			all = append(all, s.explain(v, source, destination))
		}
	}
	return all, nil
}

// explain takes the addresses as somebody typed them.
func (e *Engine) explain(vrf, source, destination string) ([]Explanation, error) {
	var addrs [2]netip.Addr
	for i, text := range []string{source, destination} {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return nil, fmt.Errorf("%q is no IPv4 or IPv6 address", text)
		}
		addrs[i] = a.Unmap()
	}
	return e.Explain(vrf, addrs[0], addrs[1])
}

func (s *site) explain(v *vrf, source, destination netip.Addr) Explanation {
	x := Explanation{VRF: v.name}
	entry, ok := v.router.Lookup(destination)
	if !ok {
		return x.dropped(packet.NoRoute, "no route covers the destination")
	}
	status := routeStatus(v, &entry)
	x.Prefix, x.Paths, x.Members = status.Prefix, status.Paths, len(status.Hops)
	info := wire.Info{Version: 6, Src: wire.KeyOf(source), Dst: wire.KeyOf(destination)}
	if source.Is4() {
		info.Version = 4
	}
	hop := pick(v.vrf.Table(), &info)
	for i := range entry.Candidates {
		if c := &entry.Candidates[i]; c.Won && c.Via.Hop == hop {
			x.Member = HopStatus{Via: c.Via.Name, Kind: hopKind(c.Via), Weight: cmp.Or(uint32(c.Weight), 1)}
			break
		}
	}
	if index, ok := dataplane.HopTunnel(hop); ok {
		return s.explainTunnel(x, index, &info)
	}
	if _, ok := dataplane.HopPort(hop); ok {
		x.MTU = s.mtuOf(v, x.Member.Via)
		return x
	}
	return x.dropped(packet.Unreachable, "the prefix is protected, and no tunnel that leads there is up")
}

// pick asks the fib itself, as a worker does.
func pick(t *fib.Table, i *wire.Info) fib.HopID {
	var g [1]fib.Group
	if i.Version == 4 {
		t.LookupBatch4([]uint32{uint32(i.Dst.Lo)}, g[:])
	} else {
		t.LookupBatch6([]fib.Key6{fib.Key6(i.Dst)}, g[:])
	}
	if hop, one := t.Single(g[0]); one {
		return hop
	}
	return t.Pick(g[0], i.FlowHash())
}

func (s *site) explainTunnel(x Explanation, index uint32, i *wire.Info) Explanation {
	for _, t := range s.allTunnels() {
		if t.index != index {
			continue
		}
		x.MTU = t.InnerMTU()
		path := t.Path()
		if path == nil {
			return x.dropped(packet.PeerUnknown, "it is not known where the peer is")
		}
		x.Peer = path.Remote
		if t.ipsec == nil {
			x.Suite = wireGuardSuite
			return x
		}
		child, trap := t.ipsec.Covering(i), t.ipsec.Trapping(i)
		switch {
		case child != nil:
			x.Child, x.Suite = child.Name, child.Out.Suite().String()
			return x
		case trap != "":
			x.Child, x.Why = trap, "there is no SA yet: such a packet waits while one is negotiated"
			return x
		case len(t.ipsec.Sealing()) == 0:
			return x.dropped(packet.NoSA, "the tunnel has no SA")
		}
		return x.dropped(packet.SelectorOut, "no child's traffic selectors cover the packet")
	}
	return x.dropped(packet.TunnelDown, "the tunnel is gone")
}

// mtuOf is that of the vrf's port, or of the stack beside it.
func (s *site) mtuOf(v *vrf, name string) int {
	if v.port != nil && v.out.Name == name {
		return v.port.MTU()
	}
	if v.stack() != nil {
		return v.stack().MTU()
	}
	return 0
}

func (x Explanation) dropped(r packet.Reason, why string) Explanation {
	x.Drop, x.Why = r.String(), why
	return x
}
