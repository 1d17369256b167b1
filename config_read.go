package warren

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/warrenvpn/warren/dataplane"
)

// Bounds in bytes and packets.
const (
	minMTU4 = 576   // RFC 791
	minMTU6 = 1280  // RFC 8200 section 5
	maxMTU  = 65535 // a packet's total length
)

// maxWeight bounds the share of one route.
const maxWeight = 1000

// everything is both families' default routes.
var everything = [...]netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}

// config reads the top level.
func (d *decoder) config(root *node) *Config {
	c := new(Config)
	d.object(root, keyPath{}, "", fields{
		"underlay": func(n *node, path keyPath) { d.underlay(n, path, &c.Underlay) },
		"vrfs": func(n *node, path keyPath) {
			d.each(n, path, "a mapping from names to vrfs", func(key, value *node, path keyPath) {
				c.VRFs = append(c.VRFs, VRFConfig{Name: key.text})
				d.vrf(value, path, &c.VRFs[len(c.VRFs)-1])
			})
		},
		"wireguard":  func(n *node, path keyPath) { c.WireGuard = d.wireguard(n, path) },
		"ike":        func(n *node, path keyPath) { d.ikeEngine(n, path, &c.IKE) },
		"pools":      func(n *node, path keyPath) { d.pools(n, path, c) },
		"workers":    set(&c.Workers, number(d, 0, dataplane.MaxWorkers)),
		"forward":    func(n *node, path keyPath) { d.forwards(n, path, c) },
		"key_export": set(&c.KeyExport, d.file),
		"log": func(n *node, path keyPath) {
			d.object(n, path, "log", fields{"level": set(&c.Log.Level, word(d, logLevels))})
		},
		"control": func(n *node, path keyPath) {
			d.object(n, path, "control", fields{"socket": set(&c.Control.Socket, d.file)})
		},
		"defaults": func(n *node, path keyPath) {
			d.object(n, path, "defaults", fields{
				"ipsec":     func(n *node, path keyPath) { d.ipsec(n, path, "") },
				"wireguard": func(n *node, path keyPath) { d.wireguardPeer(n, path) },
			})
		},
		"tunnels": func(n *node, path keyPath) {
			defaults := root.entry("defaults")
			d.each(n, path, "a mapping from names to tunnels", func(key, value *node, path keyPath) {
				c.Tunnels = append(c.Tunnels, TunnelConfig{Name: key.text})
				d.tunnel(value, path, &c.Tunnels[len(c.Tunnels)-1], defaults, root.entry("vrfs"))
			})
		},
	})
	return c
}

var logLevels = map[string]string{"debug": "debug", "info": "info", "warn": "warn", "error": "error"}

func (d *decoder) underlay(n *node, path keyPath, u *UnderlayConfig) {
	d.object(n, path, "underlay", fields{
		"addresses": listOf(d, &u.Addresses, d.addr),
		"udp_port":  set(&u.UDPPort, number[uint16](d, 1, 65535)),
		"ike_port":  set(&u.IKEPort, d.ikePort),
		"device":    set(&u.Device, d.text),
		"mark":      set(&u.Mark, number[uint32](d, 0, 1<<32-1)),
		"netns":     set(&u.NetNS, d.text),
	})
}

// ikePort reads a port, or none.
func (d *decoder) ikePort(n *node, path keyPath) (int, bool) {
	if n.kind == scalar && (n.text == "none" || n.text == "no") {
		return NoIKEPort, true
	}
	return number(d, 1, 65535)(n, path)
}

func (d *decoder) vrf(n *node, path keyPath, v *VRFConfig) {
	d.object(n, path, "vrfs.*", fields{
		"port":    func(n *node, path keyPath) { d.port(n, path, &v.Port) },
		"bgp":     func(n *node, path keyPath) { v.BGP = d.bgp(n, path) },
		"kernel":  func(n *node, path keyPath) { v.Kernel = d.kernel(n, path) },
		"protect": listOf(d, &v.Protect, d.prefix),
	})
}

// port reads a port, of either kind.
func (d *decoder) port(n *node, path keyPath, p *PortConfig) {
	t := new(TUNConfig)
	device := false
	part := func(read func(*node, keyPath)) func(*node, keyPath) {
		return func(n *node, path keyPath) { device = true; read(n, path) }
	}
	d.object(n, path, "vrfs.*.port", fields{
		"tun":       part(set(&t.Name, d.text)),
		"netns":     part(set(&t.NetNS, d.text)),
		"mtu":       part(set(&t.MTU, number(d, minMTU4, maxMTU))),
		"addresses": part(listOf(d, &t.Addresses, d.prefix)),
		"queues":    part(set(&t.Queues, number(d, 0, dataplane.MaxWorkers))),
		"routes":    part(listOf(d, &t.Routes, d.prefix)),
		"netstack":  func(n *node, path keyPath) { p.Netstack = new(NetstackConfig); d.netstack(n, path, p.Netstack) },
	})
	if device {
		p.TUN = t
	}
	if n.kind == mapping && len(n.entries) == 0 {
		d.fail(n, path, "tun: NAME or netstack: {addresses: [...]}", "the port is of no kind")
	}
}

func (d *decoder) netstack(n *node, path keyPath, s *NetstackConfig) {
	d.object(n, path, "vrfs.*.port.netstack", fields{
		"addresses":  listOf(d, &s.Addresses, d.prefix),
		"mtu":        set(&s.MTU, number(d, minMTU4, maxMTU)),
		"forwarding": set(&s.Forwarding, d.boolean),
		"routes":     listOf(d, &s.Routes, d.prefix),
	})
}

// tunnel reads a tunnel; defaults are for its kind, nil if there are none, and vrfs those of the file.
func (d *decoder) tunnel(n *node, path keyPath, t *TunnelConfig, defaults, vrfs *node) {
	bgp := bgpOf(n, vrfs)
	with := func(kind string, n *node) *node {
		if defaults == nil {
			return n
		}
		return d.over(defaults.entry(kind), n)
	}
	d.object(n, path, "tunnels.*", fields{
		"vrf":       set(&t.VRF, d.text),
		"ipsec":     func(n *node, path keyPath) { t.IPsec = d.ipsec(with("ipsec", n), path, t.Name) },
		"wireguard": func(n *node, path keyPath) { t.WireGuard = d.wireguardPeer(with("wireguard", n), path) },
		"allowed_ips": func(n *node, path keyPath) {
			listOf(d, &t.AllowedIPs, d.prefix)(n, path)
			if t.AllowedIPs == nil {
				t.AllowedIPs = []netip.Prefix{} // none
			}
		},
		"source_check": set(&t.SourceCheck, word(d, sourceChecks)),
		"routes":       listOf(d, &t.Routes, d.route),
		"addresses":    listOf(d, &t.Addresses, d.prefix),
		"mtu":          set(&t.MTU, number(d, minMTU4, maxMTU)),
		"mss_clamp":    set(&t.MSSClamp, d.mssClamp),
		"bgp":          func(n *node, path keyPath) { t.BGP = d.neighbor(n, path, bgp) },
		"port":         func(n *node, path keyPath) { t.Port = new(PortConfig); d.port(n, path, t.Port) },
	})
	if ofOtherKind(n) {
		d.broken[path.to("ipsec").id()] = true
	}
}

// bgpOf returns the BGP of the vrf that a tunnel belongs to, nil if there is none.
func bgpOf(tunnel, vrfs *node) *node {
	if vrfs == nil || vrfs.kind != mapping || tunnel.kind != mapping {
		return nil
	}
	name := tunnel.entry("vrf")
	for _, e := range vrfs.entries {
		if (name == nil && len(vrfs.entries) == 1 || name != nil && name.text == e.key.text) && e.value.kind == mapping {
			return e.value.entry("bgp")
		}
	}
	return nil
}

// over returns the tunnel's own keys over the defaults: of a key that both have the tunnel's counts, and of mappings that
// both have, each key.
func (d *decoder) over(defaults, own *node) *node {
	if defaults == nil || defaults.kind != mapping || own.kind != mapping && own.kind != absent {
		return own
	}
	both := *own
	both.kind, both.entries = mapping, append([]entry(nil), own.entries...)
	for _, e := range defaults.entries {
		at := -1
		for i := range both.entries {
			if both.entries[i].key.text == e.key.text {
				at = i
				break
			}
		}
		switch {
		case at < 0:
			d.inherited[e.value] = true
			both.entries = append(both.entries, e)
		case e.value.kind == mapping:
			both.entries[at].value = d.over(e.value, both.entries[at].value)
		}
	}
	return &both
}

// mssClamp reads yes, no, or a number of bytes.
func (d *decoder) mssClamp(n *node, path keyPath) (int, bool) {
	if on, ok := yesNo[strings.ToLower(n.text)]; ok && n.kind == scalar {
		if on {
			return MSSClampAuto, true
		}
		return 0, true
	}
	v, err := strconv.Atoi(n.text)
	if n.kind != scalar || err != nil || v < minMTU4 || v > maxMTU {
		d.fail(n, path, fmt.Sprintf("yes, no, or a number of bytes from %d to %d", minMTU4, maxMTU), "%s is none of these", quoted(n))
		return 0, false
	}
	return v, true
}

// quoted is a node in a message.
func quoted(n *node) string {
	if n.kind == scalar {
		return strconv.Quote(n.text)
	}
	return n.kind.String()
}

// route reads a prefix, or a mapping with its weight.
func (d *decoder) route(n *node, path keyPath) (r RouteConfig, ok bool) {
	if n.kind != mapping {
		r.Prefix, ok = d.prefix(n, path)
		return r, ok
	}
	before := len(d.errs)
	d.object(n, path, "tunnels.*.routes", fields{
		"prefix": set(&r.Prefix, d.prefix),
		"weight": set(&r.Weight, number(d, 1, maxWeight)),
	})
	if !r.Prefix.IsValid() && len(d.errs) == before {
		d.fail(n, path, "prefix: PREFIX", "the route has no prefix")
	}
	return r, r.Prefix.IsValid()
}
