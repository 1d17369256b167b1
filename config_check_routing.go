package warren

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/warrenvpn/warren/routing/policy"
	"github.com/warrenvpn/warren/routing/route"
)

// asTrans is what stands for a 4-octet AS number in front of old speakers (RFC 6793).
const asTrans = 23456

func (k *checker) vrf(path keyPath, v *VRFConfig) {
	k.port(path.to("port"), &v.Port)
	if v.BGP != nil {
		k.bgp(path.to("bgp"), v)
	}
	if v.Kernel != nil {
		k.kernel(path.to("kernel"), v)
	}
	for i, p := range v.Protect {
		k.prefix(path.to("protect").index(i), p)
	}
	if len(v.Protect) > 0 && v.Port.TUN == nil {
		k.fail(path.to("protect"), "port: {tun: NAME}", "only a device has routes beside it that could lead elsewhere")
	}
}

func (k *checker) bgp(path keyPath, v *VRFConfig) {
	c := v.BGP
	switch c.LocalAS {
	case 0:
		k.fail(path.to("local_as"), "local_as: NUMBER, that of our autonomous system", "the number of the AS is missing")
	case asTrans:
		k.fail(path.to("local_as"), "the number of our autonomous system", "AS %d is nobody's", c.LocalAS)
	}
	const routerID = "an IPv4 address that no other speaker of the AS has"
	switch {
	case !c.RouterID.IsValid():
		k.fail(path.to("router_id"), "router_id: "+routerID, "the router ID is missing")
	case !isRouterID(c.RouterID):
		k.fail(path.to("router_id"), routerID, "%v is no router ID", c.RouterID)
	}
	seen := map[netip.Addr]bool{}
	for i, a := range c.Addresses {
		at := path.to("addresses").index(i)
		if k.addr(at, a); seen[a] {
			k.fail(at, "", "%v is there twice", a)
		}
		if tun := v.Port.TUN; tun != nil {
			for _, p := range tun.Addresses {
				if p.Addr() == a {
					k.fail(at, "another one of the same network", "%v is the kernel's on %s", a, tun.Name)
				}
			}
		}
		seen[a] = true
	}
	k.policy(path.to("import"), c.Import, policy.Options{Direction: policy.Import, With: route.BGP, LocalAS: c.LocalAS})
	k.policy(path.to("export"), c.Export, policy.Options{Direction: policy.Export, With: route.BGP, LocalAS: c.LocalAS})
	k.session(path, &c.Session)
	if c.Drain < 0 || c.Drain > time.Minute {
		k.fail(path.to("drain"), "a time up to 1m", "%v is out of range", c.Drain)
	}
	for i := range c.Neighbors {
		n := &c.Neighbors[i]
		at := path.to("neighbors").index(i)
		k.neighbor(at, n, v)
		if !n.Address.IsValid() {
			k.fail(at.to("address"), "address: ADDRESS", "the neighbor has no address")
			continue
		}
		if v.Port.TUN == nil {
			k.fail(at, "port: {tun: NAME}", "nobody is behind the port of this vrf")
		}
		if !hasFamily(c.Addresses, n.Address.Is4()) {
			k.fail(path.to("addresses"), "an address of the engine's own, of the same family, in the port's network", "there is none to speak from with %v", n.Address)
		}
	}
}

func hasFamily(addrs []netip.Addr, v4 bool) bool {
	for _, a := range addrs {
		if a.Is4() == v4 {
			return true
		}
	}
	return false
}

// neighbor checks what neighbours behind ports and behind tunnels have in common, and warns of those that RFC 8212 leaves
// without routes.
func (k *checker) neighbor(path keyPath, n *NeighborConfig, v *VRFConfig) {
	c := v.BGP
	local := c.LocalAS
	if n.LocalAS != 0 {
		local = n.LocalAS
	}
	if n.NeighborAS == 0 || n.NeighborAS == asTrans {
		k.fail(path.to("neighbor_as"), "the number of the neighbor's autonomous system", "AS %d is no neighbor's", n.NeighborAS)
	}
	if n.Address.IsValid() {
		k.addr(path.to("address"), n.Address)
	}
	k.policy(path.to("import"), n.Import, policy.Options{Direction: policy.Import, With: route.BGP, LocalAS: local})
	k.policy(path.to("export"), n.Export, policy.Options{Direction: policy.Export, With: route.BGP, LocalAS: local})
	if n.Session != nil {
		k.session(path, n.Session)
	}
	if n.NeighborAS == local {
		return
	}
	if n.Import == nil && c.Import == nil {
		k.warn(path, "no import policy: nothing is learned from AS %d (RFC 8212)", n.NeighborAS)
	}
	if n.Export == nil && c.Export == nil {
		k.warn(path, "no export policy: nothing is announced to AS %d (RFC 8212)", n.NeighborAS)
	}
}

func (k *checker) session(path keyPath, s *BGPSession) {
	if h := s.HoldTime; h != 0 && (h < 3*time.Second || h > 65535*time.Second || h%time.Second != 0) {
		k.fail(path.to("hold_time"), "0, or whole seconds from 3s", "%v is no hold time", h)
	}
	if s.ConnectRetry < time.Second || s.ConnectRetry > time.Hour {
		k.fail(path.to("connect_retry"), "a time from 1s to 1h", "%v is out of range", s.ConnectRetry)
	}
	if r := s.RestartTime; r < 0 || r > 4095*time.Second || r%time.Second != 0 {
		k.fail(path.to("graceful_restart", "restart_time"), "whole seconds to 4095", "%v is no restart time", r)
	}
	if b := s.BFD; b != nil {
		for _, t := range []struct {
			key   string
			value time.Duration
		}{{"min_tx", b.MinTx}, {"min_rx", b.MinRx}} {
			if t.value < 10*time.Millisecond || t.value > time.Minute {
				k.fail(path.to("bfd", t.key), "a time from 10ms to 1m", "%v is out of range", t.value)
			}
		}
		k.between(path.to("bfd", "multiplier"), b.Multiplier, 1, 255)
	}
}

// tunnelBGP checks the BGP of a tunnel.
func (k *checker) tunnelBGP(path keyPath, t *TunnelConfig) {
	var v *VRFConfig
	for i := range k.cfg.VRFs {
		if k.cfg.VRFs[i].Name == t.VRF || t.VRF == "" && len(k.cfg.VRFs) == 1 {
			v = &k.cfg.VRFs[i]
		}
	}
	if v == nil || v.BGP == nil {
		k.fail(path, "bgp: {local_as: AS, router_id: ADDRESS} in the tunnel's vrf", "the vrf does not speak BGP")
		return
	}
	k.neighbor(path, t.BGP, v)
	if t.BGP.Address.IsValid() {
		if len(ownEnd(t, t.BGP.Address)) == 0 {
			k.fail(path.to("address"), "addresses: [ADDRESS/LENGTH] of the same family for the tunnel", "there is no address of ours to speak from with %v", t.BGP.Address)
		}
		return
	}
	for _, p := range t.Addresses {
		if _, ok := otherEnd(p); ok {
			return
		}
	}
	k.fail(path, "addresses: [A/31 or B/127] of the tunnel, or address: ADDRESS", "the neighbor has no address")
}

func (k *checker) kernel(path keyPath, v *VRFConfig) {
	c := v.Kernel
	if v.Port.TUN == nil {
		k.fail(path, "port: {tun: NAME}", "the port is no device of the kernel")
	}
	k.policy(path.to("import"), c.Import, policy.Options{Direction: policy.Import, With: route.Kernel})
	k.policy(path.to("export"), c.Export, policy.Options{Direction: policy.Export, With: route.Kernel})
	if c.PolicyRouting != 0 && v.Port.TUN != nil {
		k.policyRouting(path.to("policy_routing"), v)
	}
}

// The kernel's own route tables (rtnetlink(7)).
const firstOwnTable, lastOwnTable = 253, 255

// policyRouting sees that what is led into a table of ours is not our own sealed packets, nor what another vrf leads.
func (k *checker) policyRouting(path keyPath, v *VRFConfig) {
	c := v.Kernel
	if t := c.table(); t >= firstOwnTable && t <= lastOwnTable {
		k.fail(path, "table: NUMBER, or a mark that is none of 253 to 255", "%d is one of the kernel's own tables", t)
	}
	for i := range k.cfg.VRFs {
		if o := &k.cfg.VRFs[i]; o.Name != v.Name && o.Kernel != nil && o.Kernel.PolicyRouting != 0 && o.Port.TUN != nil &&
			o.Port.TUN.NetNS == v.Port.TUN.NetNS && o.Kernel.Protocol == c.Protocol {
			k.fail(path, "one of the two, or a protocol of its own", "vrf %q does it in the same network namespace", o.Name)
		}
	}
	under := &k.cfg.Underlay
	if under.NetNS != v.Port.TUN.NetNS {
		return
	}
	want := fmt.Sprintf("underlay: {mark: %d}", c.PolicyRouting)
	if under.Mark != c.PolicyRouting {
		k.fail(path, want, "our own sealed packets would be led into the tunnels")
		return
	}
	for _, w := range k.cfg.wireGuardKeys() {
		if w.Mark != 0 && w.Mark != c.PolicyRouting {
			k.fail(path, want+" and no other mark under wireguard", "WireGuard's packets, of mark %d, would be led into the tunnels", w.Mark)
		}
	}
}
