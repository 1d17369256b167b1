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

// layout is how a laboratory's gateways are configured.
type layout struct {
	// hold is BGP's hold time; bfd watches, at 3 x 100 ms, tunnels and links.
	hold time.Duration
	bfd  bool
	// ike has keys negotiated, as the design's site-ipsec.yaml does; without, they are given by hand.
	ike bool
	// ospf is what routers and gateways of a site speak instead of BGP.
	ospf bool
	// perTunnel gives every tunnel a device of its own, and BIRD speaks over them instead of warren: the design's
	// interface-per-tunnel.yaml.
	perTunnel bool
}

// allowance is what a failure may cost: 0.5 s with BFD at 3 x 100 ms, 6.5 s with a hold time of 6 s.
func (l layout) allowance() time.Duration {
	if l.bfd {
		return 500 * time.Millisecond
	}
	return l.hold + 500*time.Millisecond
}

// rest is how long a gateway must have been there before it may leave: OSPF says nothing new of a network for 5 s after it has said
// something (MinLSInterval, RFC 2328 appendix B).
func (l layout) rest() time.Duration {
	if l.ospf {
		return 5500 * time.Millisecond
	}
	return 0
}

const siteHeading = `underlay: {addresses: [%q]}
vrfs:
  private:
    port: {tun: warren0, netns: %q}
    bgp:
      local_as: %d
      router_id: 1.0.%d.%d
      hold_time: %v
      connect_retry: 2s
      multipath: 16
      export: [{from: kernel, device: "eth*"%s}]
      import: all
%s    kernel:
      export: [{from: bgp}, {from: connected}]
      import: [{device: "eth*"}]
tunnels:
`

// config is that of a gateway whose ports are in a namespace: the design's site-ipsec.yaml.
func (g gatewayID) config(private string, l layout) string {
	if l.perTunnel {
		return g.configPerTunnel(private, l)
	}
	bfd, own := "", ""
	if l.bfd {
		bfd = "      bfd: {interval: 100ms, multiplier: 3}\n"
	}
	if l.ospf {
		// OSPF tells each gateway what the other has learned from afar, and forgets whence. It is not ours to announce.
		own = fmt.Sprintf(`, prefixes: [10.%[1]d.0.0/16+, "fd00:%[1]d::/32+"]`, g.site)
	}
	var b strings.Builder
	fmt.Fprintf(&b, siteHeading, g.public(), private, g.as(), g.site, g.number, l.hold, own, bfd)
	for _, other := range g.remotes() {
		ours, _ := g.link(other)
		fmt.Fprintf(&b, "  %v:\n    ipsec:\n      remote: %q\n%s", other, other.public(), g.keys(other, l))
		fmt.Fprintf(&b, "    addresses: [\"%v\", %v]\n    bgp: {neighbor_as: %d}\n", ours[1], ours[0], other.as())
	}
	return b.String()
}

func (g gatewayID) configPerTunnel(private string, l layout) string {
	var b strings.Builder
	fmt.Fprintf(&b, "underlay: {addresses: [%q]}\ntunnels:\n", g.public())
	for _, other := range g.remotes() {
		ours, _ := g.link(other)
		fmt.Fprintf(&b, "  %v:\n    port: {tun: %s, netns: %q, addresses: [%v, \"%v\"]}\n", other, other.device(), private, ours[0], ours[1])
		fmt.Fprintf(&b, "    ipsec:\n      remote: %q\n%s", other.public(), g.keys(other, l))
	}
	return b.String()
}

// device is what leads to a gateway where every tunnel has its own.
func (g gatewayID) device() string { return fmt.Sprintf("vti%d%d", g.site, g.number) }

// link are the addresses of the tunnel between two gateways, of both families: those of g's end and those of the other's.
func (g gatewayID) link(other gatewayID) (ours, theirs [2]netip.Prefix) {
	number, end := g.pair(other)
	at := func(end int) [2]netip.Prefix {
		return [2]netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("169.254.1.%d/31", 2*number+end)),
			netip.MustParsePrefix(fmt.Sprintf("2001:db8:ff::%x/127", 2*number+end))}
	}
	return at(end), at(1 - end)
}

// negotiated is how a tunnel is keyed by IKE: both ends begin, as soon as there is a packet.
const negotiated = `      psk: "sites of three autonomous systems"
      proposals: aes256gcm16-prfsha384-ecp384
      esp_proposals: aes256gcm16-ecp384
      start_action: trap
      dpd_delay: 10s
      dpd_action: restart
      keyingtries: 0
`

// keys is how the tunnel to another gateway is keyed. By hand: a gateway that starts anew begins with sequence number 1 again, so
// there can be no replay protection.
func (g gatewayID) keys(other gatewayID, l layout) string {
	if l.ike {
		return negotiated
	}
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
%s
template bgp site { direct; bfd on; hold time 6; connect delay time 1; error wait time 1, 2; connect retry time 2; }
`

// birdBFD is BFD in BIRD: always within the sites, between them if the layout says so.
func birdBFD(l layout) string {
	const devices = `interface %q { interval 100 ms; multiplier 3; };`
	text := fmt.Sprintf(devices, "eth*")
	if l.perTunnel && l.bfd {
		text += " " + fmt.Sprintf(devices, "vti*")
	}
	return "protocol bfd { " + text + " }"
}

// birdOfGateway is the configuration of BIRD beside a gateway's port: it tells the site's router what warren told the kernel,
// and the kernel what the site's router says.
func (g gatewayID) birdOfGateway(l layout) string {
	var b strings.Builder
	fmt.Fprintf(&b, birdCommon, fmt.Sprintf("10.%d.0.%d", g.site, g.number), birdBFD(l))
	if l.perTunnel {
		b.WriteString(g.birdOfTunnels(l))
		return b.String()
	}
	// The ends of tunnels stay here: OSPFv2 in BIRD cannot tell a /31 from the /32 of its first address.
	for f, inside := range map[string]string{"ipv4": "10.0.0.0/8", "ipv6": "fd00::/8"} {
		fmt.Fprintf(&b, `protocol kernel %[1]s_kernel { learn; metric 64; %[1]s {
  import filter { if krt_source = 201 && net ~ %[2]s then { preference = 200; accept; } reject; };
  export where source ~ [RTS_BGP, RTS_OSPF, RTS_OSPF_IA, RTS_OSPF_EXT1, RTS_OSPF_EXT2]; }; }
`, f, inside)
	}
	if l.ospf {
		b.WriteString(birdOSPF(`where source = RTS_INHERIT`))
		return b.String()
	}
	b.WriteString(g.birdToRouter(`where source = RTS_INHERIT`))
	return b.String()
}

// birdToRouter are a gateway's sessions with its site's router.
func (g gatewayID) birdToRouter(export string) string {
	router4, own4 := g.lan4()
	router6, own6 := g.lan6()
	const session = "protocol bgp %[1]s_router from site { local %[2]s as %[3]d; neighbor %[4]s as %[3]d; %[1]s { import all; export %[5]s; next hop self; }; }\n"
	return fmt.Sprintf(session, "ipv4", own4, g.as(), router4, export) + fmt.Sprintf(session, "ipv6", own6, g.as(), router6, export)
}

// birdOfTunnels is the rest of the configuration of BIRD where it speaks over devices, one for each tunnel.
func (g gatewayID) birdOfTunnels(l layout) string {
	var b strings.Builder
	for _, f := range [2]string{"ipv4", "ipv6"} {
		fmt.Fprintf(&b, "protocol kernel %[1]s_kernel { merge paths yes limit 16; %[1]s { import none; export where source = RTS_BGP; }; }\n", f)
	}
	b.WriteString(g.birdToRouter("where bgp_path.len > 0"))
	bfd := ""
	if l.bfd {
		bfd = "bfd on;"
	}
	for _, other := range g.remotes() {
		ours, theirs := g.link(other)
		for i, f := range [2]string{"ipv4", "ipv6"} {
			fmt.Fprintf(&b, "protocol bgp T%d%d_%s { local %v as %d; neighbor %v as %d; direct; %s hold time %d; connect delay time 1; error wait time 1, 2; connect retry time 2;\n",
				other.site, other.number, f, ours[i].Addr(), g.as(), theirs[i].Addr(), other.as(), bfd, l.hold/time.Second)
			fmt.Fprintf(&b, "  %s { import all; export where bgp_path.len = 0; next hop self; }; }\n", f)
		}
	}
	return b.String()
}

// birdOfRouter is the configuration of a site's router, which announces the site's networks to both gateways.
func birdOfRouter(site int, l layout) string {
	var b strings.Builder
	fmt.Fprintf(&b, birdCommon, fmt.Sprintf("10.%d.0.254", site), birdBFD(l))
	b.WriteString("protocol direct { ipv4; ipv6; interface \"lan0\"; }\n")
	for _, f := range [2]string{"ipv4", "ipv6"} {
		fmt.Fprintf(&b, "protocol kernel %[1]s_kernel { merge paths yes limit 16; %[1]s { import none; export where source != RTS_DEVICE; }; }\n", f)
	}
	if l.ospf {
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
	const protocol = `protocol ospf %s ospf_%s { ecmp yes limit 16; merge external yes; %s { import all; export %s; };
  area 0 { interface "eth*" { type ptp; bfd on; hello 1; dead 6; }; }; }
`
	return fmt.Sprintf(protocol, "v2", "ipv4", "ipv4", export) + fmt.Sprintf(protocol, "v3", "ipv6", "ipv6", export)
}
