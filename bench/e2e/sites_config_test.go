//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// siteCount sites have gatewayCount gateways each.
const (
	siteCount    = 3
	gatewayCount = 2
)

// gatewayID is a gateway: V2-1 is the first of site 2.
type gatewayID struct{ site, number int }

func (g gatewayID) String() string { return fmt.Sprintf("V%d-%d", g.site, g.number) }

func allGateways() (all []gatewayID) {
	for s := 1; s <= siteCount; s++ {
		for n := 1; n <= gatewayCount; n++ {
			all = append(all, gatewayID{s, n})
		}
	}
	return all
}

// remotes are the gateways of the other sites, each of which a gateway has a tunnel to.
func (g gatewayID) remotes() (all []gatewayID) {
	for _, other := range allGateways() {
		if other.site != g.site {
			all = append(all, other)
		}
	}
	return all
}

func (g gatewayID) as() int { return 65000 + g.site }

// public is the gateway's address outside, router its next hop there.
func (g gatewayID) public() string { return fmt.Sprintf("2001:db8:%d:%d::1", g.site, g.number) }
func (g gatewayID) router() string { return fmt.Sprintf("2001:db8:%d:%d::2", g.site, g.number) }

// lan are the addresses on the link between the gateway and its site's router: the router's end and the gateway's.
func (g gatewayID) lan4() (router, gateway string) {
	return fmt.Sprintf("10.%d.254.%d", g.site, 2*g.number), fmt.Sprintf("10.%d.254.%d", g.site, 2*g.number+1)
}

func (g gatewayID) lan6() (router, gateway string) {
	return fmt.Sprintf("fd00:%d:fe:%d::", g.site, g.number), fmt.Sprintf("fd00:%d:fe:%d::1", g.site, g.number)
}

// inside4 and inside6 are the address of a site's only host, its router, in the network that the site announces.
func inside4(site int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("10.%d.1.1", site)) }
func inside6(site int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("fd00:%d:1::1", site)) }

// pair is the number of the tunnel between two gateways, and which end of it g is.
func (g gatewayID) pair(other gatewayID) (number, end int) {
	index := func(g gatewayID) int { return (g.site-1)*gatewayCount + g.number - 1 }
	a, b := index(g), index(other)
	if a > b {
		a, b, end = b, a, 1
	}
	return a*siteCount*gatewayCount + b, end
}

// timers of BGP between the sites.
type timers struct {
	hold time.Duration
	bfd  string // as in the configuration; none if empty
}

var (
	withBFD     = timers{6 * time.Second, "{interval: 100ms, multiplier: 3}"}
	withoutBFD  = timers{6 * time.Second, ""}
	siteHeading = `underlay: {addresses: [%q]}
vrfs:
  private:
    port: {tun: warren0, netns: %q}
    bgp:
      local_as: %d
      router_id: 1.0.%d.%d
      hold_time: %v
      connect_retry: 2s
      multipath: 16
      export: [{from: kernel, device: "eth*"}]
      import: all
%s    kernel:
      export: [{from: bgp}, {from: connected}]
      import: [{device: "eth*"}]
tunnels:
`
)

// config is that of a gateway whose port is in a namespace: the design's site-ipsec.yaml.
func (g gatewayID) config(private string, tm timers) string {
	bfd := ""
	if tm.bfd != "" {
		bfd = "      bfd: " + tm.bfd + "\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, siteHeading, g.public(), private, g.as(), g.site, g.number, tm.hold, bfd)
	for _, other := range g.remotes() {
		number, end := g.pair(other)
		fmt.Fprintf(&b, "  %v:\n    ipsec:\n      remote: %q\n%s", other, other.public(), g.keys(other))
		fmt.Fprintf(&b, "    addresses: [\"2001:db8:ff::%x/127\", 169.254.1.%d/31]\n    bgp: {neighbor_as: %d}\n", 2*number+end, 2*number+end, other.as())
	}
	return b.String()
}

// keys is how the tunnel to another gateway is keyed: by hand. A gateway that starts anew begins with sequence number 1 again, so
// there can be no replay protection.
func (g gatewayID) keys(other gatewayID) string {
	number, end := g.pair(other)
	sa := func(end int) string {
		return fmt.Sprintf(`{spi: 0x%x, key: "0x%036x%02x%02x"}`, 0x1000+2*number+end, 0xc0ffee, number, end)
	}
	return fmt.Sprintf("      replay_window: 0\n      static: {esp: aes128gcm16, out: %s, in: %s}\n", sa(end), sa(1-end))
}

// birdCommon begins each configuration of BIRD. The metric is not warren's own, whose routes are learned for the neighbors.
const birdCommon = `log stderr all;
router id %s;
protocol device { scan time 1; }
protocol bfd { interface "eth*" { interval 100 ms; multiplier 3; }; }
template bgp site { direct; bfd on; hold time 6; connect delay time 1; error wait time 1, 2; connect retry time 2; }
`

// birdOfGateway is the configuration of BIRD beside a gateway's port: it tells the site's router what warren told the kernel,
// and the kernel what the site's router says.
func (g gatewayID) birdOfGateway(ospf bool) string {
	router4, own4 := g.lan4()
	router6, own6 := g.lan6()
	var b strings.Builder
	fmt.Fprintf(&b, birdCommon, fmt.Sprintf("10.%d.0.%d", g.site, g.number))
	for _, f := range [2]string{"ipv4", "ipv6"} {
		fmt.Fprintf(&b, `protocol kernel %[1]s_kernel { learn; metric 64; %[1]s {
  import filter { if krt_source = 201 then { preference = 200; accept; } reject; };
  export where source ~ [RTS_BGP, RTS_OSPF, RTS_OSPF_IA, RTS_OSPF_EXT1, RTS_OSPF_EXT2]; }; }
`, f)
	}
	if ospf {
		b.WriteString(birdOSPF(`where source = RTS_INHERIT`))
		return b.String()
	}
	const session = "protocol bgp %[1]s_router from site { local %[2]s as %[3]d; neighbor %[4]s as %[3]d; %[1]s { import all; export where source = RTS_INHERIT; next hop self; }; }\n"
	fmt.Fprintf(&b, session, "ipv4", own4, g.as(), router4)
	fmt.Fprintf(&b, session, "ipv6", own6, g.as(), router6)
	return b.String()
}

// birdOfRouter is the configuration of a site's router, which announces the site's networks to both gateways.
func birdOfRouter(site int, ospf bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, birdCommon, fmt.Sprintf("10.%d.0.254", site))
	b.WriteString("protocol direct { ipv4; ipv6; interface \"lan0\"; }\n")
	for _, f := range [2]string{"ipv4", "ipv6"} {
		fmt.Fprintf(&b, "protocol kernel %[1]s_kernel { merge paths yes limit 16; %[1]s { import none; export where source != RTS_DEVICE; }; }\n", f)
	}
	if ospf {
		b.WriteString(birdOSPF(`where source = RTS_DEVICE`))
		return b.String()
	}
	for n := 1; n <= gatewayCount; n++ {
		g := gatewayID{site, n}
		own4, gateway4 := g.lan4()
		own6, gateway6 := g.lan6()
		const session = "protocol bgp %[1]s_%[5]d from site { local %[2]s as %[3]d; neighbor %[4]s as %[3]d; %[1]s { import all; export where source = RTS_DEVICE; next hop self; }; }\n"
		fmt.Fprintf(&b, session, "ipv4", own4, g.as(), gateway4, n)
		fmt.Fprintf(&b, session, "ipv6", own6, g.as(), gateway6, n)
	}
	return b.String()
}

// birdOSPF is OSPF on the links between a site's router and its gateways.
func birdOSPF(export string) string {
	const protocol = `protocol ospf %s ospf_%s { ecmp yes limit 16; %s { import all; export %s; };
  area 0 { interface "eth*" { type ptp; bfd on; hello 1; dead 6; }; }; }
`
	return fmt.Sprintf(protocol, "v2", "ipv4", "ipv4", export) + fmt.Sprintf(protocol, "v3", "ipv6", "ipv6", export)
}
