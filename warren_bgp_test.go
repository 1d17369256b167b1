package warren_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/dataplane/underlay/sim"
)

const bgpSite = `
underlay: {addresses: [192.0.2.%[1]d]}
vrfs:
  main:
    port: {netstack: {addresses: [10.%[1]d.0.1/16, "fd0%[1]d::1/64"]}}
    bgp: {local_as: 6500%[1]d, router_id: 10.0.0.%[1]d, hold_time: 60s, multipath: 4, import: all, export: [{from: connected}]}
tunnels:
  peer:
    ipsec:
      remote: 192.0.2.%[2]d
      static: {esp: aes128gcm16, out: {spi: 0x10%[1]d, key: "0x%[3]s0%[1]d"}, in: {spi: 0x10%[2]d, key: "0x%[3]s0%[2]d"}}
    addresses: [169.254.1.%[4]d/31, "2001:db8:ff::%[4]d/127"]
    bgp: {neighbor_as: 6500%[2]d}
`

// leadsTo says which tunnel or port an engine's route to a prefix leads to, and from which source it is.
func leadsTo(e *warren.Engine, prefix string) (via, source string) {
	for _, r := range e.Routes(netip.MustParsePrefix(prefix)) {
		if r.Prefix == netip.MustParsePrefix(prefix) && len(r.Hops) > 0 {
			return r.Hops[0].Via, r.Paths[0].Source
		}
	}
	return "", ""
}

func TestBGPOverATunnel(t *testing.T) {
	network := sim.New(sim.Config{})
	var e [2]*warren.Engine
	e[0], _ = startSite(t, network, bgpSite, 0)
	var stop func()
	e[1], stop = startSite(t, network, bgpSite, 1)
	for _, p := range []string{"10.2.0.0/16", "fd02::/64"} {
		eventually(t, p+" is learned", patience, func() bool {
			via, source := leadsTo(e[0], p)
			return via == "peer" && source == "bgp"
		})
	}
	eventually(t, "the other side has learned too", patience, func() bool {
		via, _ := leadsTo(e[1], "10.1.0.0/16")
		return via == "peer"
	})
	for _, p := range []string{"169.254.1.1/32", "2001:db8:ff::1/128"} {
		if via, source := leadsTo(e[0], p); source != "" {
			t.Errorf("the neighbor's end of the tunnel, %s, is learned from %s by %s", p, source, via)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, dst := range []string{"10.2.0.1", "fd02::1", "169.254.1.1", "2001:db8:ff::1"} {
		if _, err := e[0].Ping(ctx, netip.MustParseAddr(dst)); err != nil {
			t.Errorf("ping %s: %v", dst, err)
		}
	}
	stop()
	eventually(t, "the route is withdrawn", patience, func() bool {
		via, _ := leadsTo(e[0], "10.2.0.0/16")
		return via == ""
	})
}

const twoWays = `
underlay: {addresses: [192.0.2.%[1]d, 198.51.100.%[1]d]}
vrfs:
  main:
    port: {netstack: {addresses: [10.%[1]d.0.1/16]}}
    bgp: {local_as: 6500%[1]d, router_id: 10.0.0.%[1]d, hold_time: 90s, multipath: 4, import: all, export: [{from: connected, prefixes: [10.0.0.0/8+]}],
      bfd: {interval: 100ms, multiplier: 5}}
tunnels:
  a:
    ipsec:
      remote: 192.0.2.%[2]d
      static: {esp: aes128gcm16, out: {spi: 0x10%[1]d, key: "0x%[3]s0%[1]d"}, in: {spi: 0x10%[2]d, key: "0x%[3]s0%[2]d"}}
    addresses: [169.254.1.%[4]d/31]
    bgp: {neighbor_as: 6500%[2]d}
  b:
    ipsec:
      remote: 198.51.100.%[2]d
      local: 198.51.100.%[1]d
      static: {esp: aes128gcm16, out: {spi: 0x20%[1]d, key: "0x%[3]s1%[1]d"}, in: {spi: 0x20%[2]d, key: "0x%[3]s1%[2]d"}}
    addresses: [169.254.2.%[4]d/31]
    bgp: {neighbor_as: 6500%[2]d}
`

// TestBFDLeavesADeadWay: of two ways one silently drops everything. BFD finds it long before the hold time, flows go on over the
// other, and when the way is back it is used again.
func TestBFDLeavesADeadWay(t *testing.T) {
	network := sim.New(sim.Config{})
	e := startSites(t, network, twoWays)
	ways := func() (n int) {
		for _, r := range e[0].Routes(netip.MustParsePrefix("10.2.0.0/16")) {
			n += len(r.Hops)
		}
		return n
	}
	watched := func() bool {
		for _, n := range e[0].Neighbors() {
			if n.BFD != "Up" || n.State != "Established" {
				return false
			}
		}
		return true
	}
	eventually(t, "both ways are used and watched", patience, func() bool { return ways() == 2 && watched() })
	eventually(t, "both are explained", patience, func() bool {
		x, err := e[0].Explain("", netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.2.0.1"))
		return err == nil && len(x) == 1 && x[0].Members == 2 && x[0].Suite == "aes128gcm16" && x[0].Drop == ""
	})
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	network.Cut(a, b, true)
	// By the hold time it would be after 60 s at the earliest.
	eventually(t, "the dead way is left", 30*time.Second, func() bool { return ways() == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range 5 {
		if _, err := e[0].Ping(ctx, netip.MustParseAddr("10.2.0.1")); err != nil {
			t.Error(err)
		}
	}
	network.Cut(a, b, false)
	eventually(t, "the way is used again", patience, func() bool { return ways() == 2 })
}
