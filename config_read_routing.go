package warren

import (
	"fmt"
	"net/netip"
	"time"
)

// bgp reads a vrf's BGP.
func (d *decoder) bgp(n *node, path keyPath) *BGPConfig {
	c := &BGPConfig{Session: DefaultBGPSession(), Drain: DefaultDrain}
	d.object(n, path, "vrfs.*.bgp", d.session(&c.Session, fields{
		"local_as":            set(&c.LocalAS, d.asn),
		"router_id":           set(&c.RouterID, d.addr),
		"addresses":           listOf(d, &c.Addresses, d.addr),
		"multipath":           set(&c.Multipath, number(d, 1, 256)),
		"multipath_across_as": set(&c.MultipathAcrossAS, d.boolean),
		"import":              set(&c.Import, d.policy),
		"export":              set(&c.Export, d.policy),
		"drain":               set(&c.Drain, d.duration),
		"neighbors": func(at *node, path keyPath) {
			for i, item := range d.list(at, path) {
				c.Neighbors = append(c.Neighbors, *d.neighbor(item, path.index(i), n))
			}
		},
	}))
	return c
}

// session adds to f the keys that a vrf's BGP and a neighbour have in common.
func (d *decoder) session(s *BGPSession, f fields) fields {
	f["hold_time"] = set(&s.HoldTime, d.duration)
	f["connect_retry"] = set(&s.ConnectRetry, d.duration)
	f["graceful_restart"] = func(n *node, path keyPath) { d.gracefulRestart(s, n, path) }
	f["enforce_first_as"] = set(&s.EnforceFirstAS, d.boolean)
	f["next_hop_self"] = set(&s.NextHopSelf, d.boolean)
	f["prefix_limit"] = set(&s.PrefixLimit, number(d, 0, 1<<31-1))
	f["bfd"] = set(&s.BFD, d.bfd)
	return f
}

// sessionKeys are those of session, for a look whether a neighbour has any.
var sessionKeys = []string{"hold_time", "connect_retry", "graceful_restart", "enforce_first_as", "next_hop_self", "prefix_limit", "bfd"}

// gracefulRestart reads yes, no, or what of it.
func (d *decoder) gracefulRestart(s *BGPSession, n *node, path keyPath) {
	if n.kind != mapping {
		if on, ok := d.boolean(n, path); ok {
			s.GracefulRestart, s.RestartTime = on, 0
			if on {
				s.RestartTime = DefaultRestartTime
			}
		}
		return
	}
	d.object(n, path, "graceful_restart", fields{
		"helper":       set(&s.GracefulRestart, d.boolean),
		"restart_time": set(&s.RestartTime, d.duration),
	})
}

// neighbor reads a neighbour. What it does not say of its session, the vrf's BGP does; all is that, nil if it is not known
// yet.
func (d *decoder) neighbor(n *node, path keyPath, all *node) *NeighborConfig {
	c := new(NeighborConfig)
	own := DefaultBGPSession()
	if all != nil {
		// Mistakes there are found where it is read for itself.
		quiet := newDecoder()
		for key, read := range quiet.session(&own, fields{}) {
			if value := all.entry(key); value != nil {
				read(value, keyPath{key})
			}
		}
	}
	d.object(n, path, "bgp.neighbor", d.session(&own, fields{
		"name":        set(&c.Name, d.text),
		"address":     set(&c.Address, d.addr),
		"port":        set(&c.Port, number[uint16](d, 1, 65535)),
		"neighbor_as": set(&c.NeighborAS, d.asn),
		"local_as":    set(&c.LocalAS, d.asn),
		"passive":     set(&c.Passive, d.boolean),
		"import":      set(&c.Import, d.policy),
		"export":      set(&c.Export, d.policy),
	}))
	for _, key := range sessionKeys {
		if n.kind == mapping && n.entry(key) != nil {
			c.Session = &own
		}
	}
	return c
}

// asn reads an AS number, plain or as RFC 5396 writes it with a dot.
func (d *decoder) asn(n *node, path keyPath) (uint32, bool) {
	s, ok := d.text(n, path)
	if !ok {
		return 0, false
	}
	var high, low uint32
	if k, err := fmt.Sscanf(s, "%d.%d", &high, &low); err == nil && k == 2 && high < 1<<16 && low < 1<<16 && s == fmt.Sprintf("%d.%d", high, low) {
		return high<<16 | low, true
	}
	return number[uint32](d, 1, 1<<32-1)(n, path)
}

// bfd reads yes, no, or timers.
func (d *decoder) bfd(n *node, path keyPath) (*BFDConfig, bool) {
	c := DefaultBFD()
	if n.kind != mapping {
		on, ok := d.boolean(n, path)
		if !ok || !on {
			return nil, ok
		}
		return &c, true
	}
	var both time.Duration
	d.object(n, path, "bfd", fields{
		"interval":   set(&both, d.duration),
		"min_tx":     set(&c.MinTx, d.duration),
		"min_rx":     set(&c.MinRx, d.duration),
		"multiplier": set(&c.Multiplier, number(d, 1, 255)),
	})
	if both != 0 {
		if n.entry("min_tx") != nil || n.entry("min_rx") != nil {
			d.fail(n, path, "one of the two", "interval says what min_tx and min_rx say")
		}
		c.MinTx, c.MinRx = both, both
	}
	return &c, true
}

func (d *decoder) kernel(n *node, path keyPath) *KernelConfig {
	c := new(KernelConfig)
	var protocol int
	d.object(n, path, "vrfs.*.kernel", fields{
		"export":   set(&c.Export, d.policy),
		"import":   set(&c.Import, d.policy),
		"table":    set(&c.Table, number[uint32](d, 1, 1<<32-1)),
		"metric":   set(&c.Metric, number[uint32](d, 1, 1<<32-2)),
		"protocol": set(&protocol, number(d, 5, 255)),
		"keep":     set(&c.Keep, d.boolean),

		"policy_routing": set(&c.PolicyRouting, number[uint32](d, 1, 1<<32-1)),
	})
	c.Protocol = uint8(protocol)
	return c
}

// isRouterID says whether an address can be a BGP identifier (RFC 6286).
func isRouterID(a netip.Addr) bool { return a.Is4() && !a.IsUnspecified() }
