//go:build linux

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/warrenvpn/warren/bench/lab"
	"github.com/warrenvpn/warren/routing/bgp"
)

// birdOfPeer speaks BGP over charon's device, as who has strongSwan and BIRD today.
const birdOfPeer = `log stderr all;
router id 1.0.3.2;
protocol device { scan time 1; }
protocol static { ipv4; route 10.3.0.0/16 blackhole; }
protocol static { ipv6; route fd03::/16 blackhole; }
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
protocol kernel { ipv6 { import none; export where source = RTS_BGP; }; }
template bgp site { local as 65003; direct; hold time 6; connect delay time 1; error wait time 1, 2; connect retry time 2; }
protocol bgp V1_1_v6 from site { neighbor 2001:db8:ff::6 as 65001; ipv6 { import all; export where source = RTS_STATIC; next hop self; }; }
protocol bgp V1_1_v4 from site { neighbor 169.254.1.6 as 65001; ipv4 { import all; export where source = RTS_STATIC; next hop self; }; }
`

// mirrored is the configuration of V2-1, the other end of one of the site's tunnels.
const mirrored = `underlay: {addresses: ["2001:db8:2::1"]}
vrfs:
  private:
    port: {tun: warren0, netns: private}
    bgp: {local_as: 65002, router_id: 1.0.2.1, hold_time: 6s, connect_retry: 2s, export: [{from: kernel, device: "eth*"}], import: all}
    kernel: {export: [{from: bgp}, {from: connected}], import: [{device: "eth*"}]}
tunnels:
  V1-1:
    ipsec: {remote: "2001:db8:1::1", psk_file: /etc/warren/site.psk, proposals: aes256gcm16-prfsha384-ecp384, esp_proposals: aes256gcm16-ecp384}
    addresses: ["2001:db8:ff::1/127", 169.254.1.1/31]
    bgp: {neighbor_as: 65001}
`

// TestStrongSwanSite: the design's site-ipsec.yaml as written. Of the gateways that it names V2-1 is a warren, V3-2 is strongSwan with
// BIRD beside it, and the others do not answer. BGP speaks over the tunnels, whose first packets start them, and the networks behind
// reach each other.
func TestStrongSwanSite(t *testing.T) {
	text := example(t, "site-ipsec.yaml")
	s, street := newField(t, append(append(lab.StrongSwanPrograms, lab.BIRDPrograms...), "ping")...)
	v11, in11, v21, in21, v32 := s.host("v11"), s.host("in11"), s.host("v21"), s.host("in21"), s.host("v32")
	s.plug(street, v11, "2001:db8:1::1/32")
	s.plug(street, v21, "2001:db8:2::1/32")
	s.plug(street, v32, "2001:db8:3::2/32")
	near, far := s.behind(in11, "near", "eth0", "10.1.254.1/24", "10.1.254.2/24"), s.behind(in21, "far", "eth0", "10.2.254.1/24", "10.2.254.2/24")
	for inside, networks := range map[*lab.Host][]string{in11: {"10.1.0.0/16", "fd01::/16"}, in21: {"10.2.0.0/16", "fd02::/16"}} {
		s.forward(inside)
		s.must(inside.IP("route", "add", networks[0], "via", strings.Replace(networks[0], ".0.0/16", ".254.2", 1), "dev", "eth0"))
		s.must(inside.IP("route", "add", networks[1], "dev", "eth0"))
	}
	s.must(near.AddAddress("lo", "10.1.1.1/32"))
	s.must(far.AddAddress("lo", "10.2.1.1/32"))
	s.must(v32.AddAddress("lo", "10.3.1.1/32"))

	_, err := v32.StartStrongSwan(s.ctx, fmt.Sprintf(peerOfSite, "2001:db8:3::2", "2001:db8:1::1", secret))
	s.must(err)
	s.must(v32.AddAddress("ipsec0", "2001:db8:ff::7/127"))
	s.must(v32.AddAddress("ipsec0", "169.254.1.7/31"))
	bird, err := v32.StartBIRD(s.ctx, birdOfPeer)
	s.must(err)
	etc := map[string]string{"warren/site.psk": secret + "\n"}
	one := s.asWritten(v11, text, written{etc: etc, netns: map[string]*lab.Host{"private": in11}})
	s.asWritten(v21, mirrored, written{etc: etc, netns: map[string]*lab.Host{"private": in21}})

	s.must(one.Wait(s.ctx, "the neighbors of V2-1 and V3-2", func() error {
		all, err := one.client.Neighbors(s.ctx)
		up := 0
		for _, n := range all {
			if n.State == bgp.Established.String() && n.Used > 0 {
				up++
			}
		}
		if err == nil && (up != 4 || len(all) != 8) {
			err = fmt.Errorf("%+v", all)
		}
		return err
	}))
	s.must(bird.Established(s.ctx))
	// What was learned is the kernel's, on the one device that all tunnels have.
	for _, network := range []string{"10.2.0.0/16", "10.3.0.0/16"} {
		s.must(lab.WaitFor(s.ctx, "the kernel's route to "+network, func() error {
			out, err := in11.Run(s.ctx, "ip", "route", "show", network)
			if err == nil && !strings.Contains(out, "dev warren0") {
				err = fmt.Errorf("%q", out)
			}
			return err
		}))
	}
	s.must(near.WaitReachable(s.ctx, "10.2.1.1", "-I", "10.1.1.1"))
	s.must(v32.WaitReachable(s.ctx, "10.1.1.1", "-I", "10.3.1.1"))
	s.must(one.Wait(s.ctx, "the tunnels of V2-1 and V3-2, and no others", func() error {
		st, err := one.client.Status(s.ctx)
		for _, tun := range st.Tunnels {
			answers := slices.Contains([]string{"V2-1", "V3-2"}, tun.Name)
			// Two when both sides began at once, until one of them is given up.
			if (len(established(&tun)) > 0) != answers || answers && (len(tun.Children) == 0 || tun.Children[0].Suite != "aes256gcm16" || tun.State != "up") {
				return fmt.Errorf("%+v", tun)
			}
		}
		return err
	}))
}
