//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/warrenvpn/warren/bench/lab"
)

// A speaker is another program that speaks BGP.
type speaker struct {
	name     string
	programs []string
	// start starts it as AS 65001 with theirPrefixes, and returns when it has them.
	start func(ctx context.Context, l *lan) (*lab.Process, error)
	// learned are the prefixes that it has from warren.
	learned func(ctx context.Context, l *lan) (map[string]bool, error)
}

// file writes one of a speaker's files and returns its path.
func (l *lan) file(name, text string) (string, error) {
	path := filepath.Join(l.lab.Dir(), name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// each is a text for each of the prefixes of a family.
func each(all []string, is6 bool, format string) (text string) {
	for _, p := range all {
		if strings.Contains(p, ":") == is6 {
			text += fmt.Sprintf(format, p)
		}
	}
	return text
}

var prefixInText = regexp.MustCompile(`\b(172\.20\.\d+\.0/24|2001:db8:a:[0-9a-f]+::/64)`)

// prefixesIn are the prefixes of warren's that a text mentions.
func prefixesIn(texts ...string) map[string]bool {
	all := map[string]bool{}
	for _, text := range texts {
		for _, p := range prefixInText.FindAllString(text, -1) {
			all[p] = true
		}
	}
	return all
}

// outputs runs a program of the host once with each of several lists of arguments.
func (l *lan) outputs(ctx context.Context, program string, args ...[]string) (map[string]bool, error) {
	var texts []string
	for _, a := range args {
		out, err := l.host.Run(ctx, program, a...)
		if err != nil {
			return nil, err
		}
		texts = append(texts, out)
	}
	return prefixesIn(texts...), nil
}

var birdSpeaker = speaker{
	name: "BIRD", programs: lab.BIRDPrograms,
	start: func(ctx context.Context, l *lan) (*lab.Process, error) {
		conf := fmt.Sprintf(`log stderr all;
router id 10.77.0.1;
protocol device {}
protocol static s4 { ipv4; %s }
protocol static s6 { ipv6; %s }
protocol bgp warren {
	local %s as 65001; neighbor %s as 65002;
	hold time 9; connect delay time 1; connect retry time 1; error wait time 1, 1;
	ipv4 { import all; export where source = RTS_STATIC; };
	ipv6 { import all; export where source = RTS_STATIC; };
}
`, each(theirPrefixes(), false, "route %s blackhole;"), each(theirPrefixes(), true, "route %s blackhole;"), l.over.theirs, l.over.ours)
		path, err := l.file("bird.conf", conf)
		if err != nil {
			return nil, err
		}
		p, err := l.host.Start("bird", "-f", "-c", path, "-s", l.ctl("bird"), "-P", l.ctl("bird.pid"))
		if err != nil {
			return nil, err
		}
		return p, p.Wait(ctx, "BIRD", func() error {
			_, err := l.host.Run(ctx, "birdc", "-s", l.ctl("bird"), "show", "status")
			return err
		})
	},
	learned: func(ctx context.Context, l *lan) (map[string]bool, error) {
		return l.outputs(ctx, "birdc", []string{"-s", l.ctl("bird"), "show", "route", "protocol", "warren"})
	},
}

// ctl is the path of a speaker's socket.
func (l *lan) ctl(name string) string { return filepath.Join(l.lab.Dir(), name+".ctl") }

// frrSpeaker is FRR's bgpd alone: without zebra, which would only bring routes into the kernel.
var frrSpeaker = speaker{
	name: "FRR", programs: []string{"/usr/lib/frr/bgpd", "vtysh"},
	start: func(ctx context.Context, l *lan) (*lab.Process, error) {
		conf := fmt.Sprintf(`hostname frr
router bgp 65001
 bgp router-id 10.77.0.1
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor %[1]s remote-as 65002
 neighbor %[1]s timers 3 9
 neighbor %[1]s timers connect 1
 address-family ipv4 unicast
  neighbor %[1]s activate
  neighbor %[1]s route-map hop out
%[2]s exit-address-family
 address-family ipv6 unicast
  neighbor %[1]s activate
  neighbor %[1]s route-map hop out
%[3]s exit-address-family
route-map hop permit 10
 set ip next-hop 10.77.0.1
 set ipv6 next-hop global 2001:db8:77::1
`, l.over.ours, each(theirPrefixes(), false, "  network %s\n"), each(theirPrefixes(), true, "  network %s\n"))
		path, err := l.file("frr.conf", conf)
		if err != nil {
			return nil, err
		}
		p, err := l.host.Start("/usr/lib/frr/bgpd", "--no_zebra", "--skip_runas", "--log", "stdout", "--vty_addr", "127.0.0.1",
			"-f", path, "-i", l.ctl("frr.pid"), "--vty_socket", l.lab.Dir())
		if err != nil {
			return nil, err
		}
		return p, p.Wait(ctx, "FRR", func() error {
			_, err := l.host.Run(ctx, "vtysh", "--vty_socket", l.lab.Dir(), "-c", "show bgp summary")
			return err
		})
	},
	learned: func(ctx context.Context, l *lan) (map[string]bool, error) {
		show := func(family string) []string {
			return []string{"--vty_socket", l.lab.Dir(), "-c", "show bgp " + family + " unicast neighbors " + l.over.ours + " routes json"}
		}
		return l.outputs(ctx, "vtysh", show("ipv4"), show("ipv6"))
	},
}

var goBGPSpeaker = speaker{
	name: "GoBGP", programs: []string{"gobgp", "gobgpd"},
	start: func(ctx context.Context, l *lan) (*lab.Process, error) {
		conf := fmt.Sprintf(`[global.config]
  as = 65001
  router-id = "10.77.0.1"
[[neighbors]]
  [neighbors.config]
    neighbor-address = %q
    peer-as = 65002
  [neighbors.timers.config]
    hold-time = 9
    keepalive-interval = 3
    connect-retry = 1
    idle-hold-time-after-reset = 1
  [neighbors.transport.config]
    local-address = %q
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv4-unicast"
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv6-unicast"
`, l.over.ours, l.over.theirs)
		path, err := l.file("gobgp.toml", conf)
		if err != nil {
			return nil, err
		}
		p, err := l.host.Start("gobgpd", "-f", path, "--api-hosts", "127.0.0.1:50051", "--pprof-disable")
		if err != nil {
			return nil, err
		}
		if err := p.Wait(ctx, "GoBGP", func() error {
			_, err := l.host.Run(ctx, "gobgp", "global")
			return err
		}); err != nil {
			return p, err
		}
		for _, prefix := range theirPrefixes() {
			args := []string{"global", "rib", "add", prefix, "-a", "ipv4", "nexthop", "10.77.0.1"}
			if strings.Contains(prefix, ":") {
				args = []string{"global", "rib", "add", prefix, "-a", "ipv6", "nexthop", "2001:db8:77::1"}
			}
			if _, err := l.host.Run(ctx, "gobgp", args...); err != nil {
				return p, err
			}
		}
		return p, nil
	},
	learned: func(ctx context.Context, l *lan) (map[string]bool, error) {
		return l.outputs(ctx, "gobgp", []string{"global", "rib", "-a", "ipv4"}, []string{"global", "rib", "-a", "ipv6"})
	},
}

// openBGPDSpeaker has a session for each family: on Linux it announces, of the family that a session is not over, the loopback's
// address as the next hop.
var openBGPDSpeaker = speaker{
	name: "OpenBGPD", programs: []string{"/usr/sbin/bgpd", "bgpctl"},
	start: func(ctx context.Context, l *lan) (*lab.Process, error) {
		conf := fmt.Sprintf(`AS 65001
router-id 10.77.0.1
fib-update no
holdtime 9
connect-retry 1
socket %q
%s%sneighbor %s {
	remote-as 65002
	announce IPv4 unicast
	announce IPv6 none
}
neighbor %s {
	remote-as 65002
	announce IPv4 none
	announce IPv6 unicast
}
allow from any
allow to any
`, l.ctl("openbgpd"), each(theirPrefixes(), false, "network %s\n"), each(theirPrefixes(), true, "network %s\n"), our4, our6)
		path, err := l.file("openbgpd.conf", conf)
		if err != nil {
			return nil, err
		}
		// Its children change their root to this directory, which its service would make.
		if err := os.MkdirAll("/run/openbgpd", 0o755); err != nil {
			return nil, err
		}
		p, err := l.host.Start("/usr/sbin/bgpd", "-d", "-f", path)
		if err != nil {
			return nil, err
		}
		return p, p.Wait(ctx, "OpenBGPD", func() error {
			_, err := l.host.Run(ctx, "bgpctl", "-s", l.ctl("openbgpd"), "show")
			return err
		})
	},
	learned: func(ctx context.Context, l *lan) (map[string]bool, error) {
		return l.outputs(ctx, "bgpctl", []string{"-s", l.ctl("openbgpd"), "show", "rib"})
	},
}

// exaBGPSpeaker keeps no routes: what it hears it tells a process, which writes it down. That is a shell, which keeps its standard
// output open meanwhile: when it is closed ExaBGP takes the process to have ended.
var exaBGPSpeaker = speaker{
	name: "ExaBGP", programs: []string{"exabgp"},
	start: func(ctx context.Context, l *lan) (*lab.Process, error) {
		heard, script := filepath.Join(l.lab.Dir(), "exabgp.heard"), filepath.Join(l.lab.Dir(), "hear")
		if err := errors.Join(os.WriteFile(heard, nil, 0o600), os.WriteFile(script, []byte("#!/bin/sh\ncat >> "+heard+"\n"), 0o700)); err != nil {
			return nil, err
		}
		conf := fmt.Sprintf(`process heard { run %s; encoder text; }
neighbor %s {
	router-id 10.77.0.1;
	local-address %s;
	local-as 65001;
	peer-as 65002;
	hold-time 9;
	family { ipv4 unicast; ipv6 unicast; }
	api { processes [ heard ]; neighbor-changes; receive { parsed; update; } }
	static { %s %s }
}
`, script, l.over.ours, l.over.theirs, each(theirPrefixes(), false, "route %s next-hop 10.77.0.1;"),
			each(theirPrefixes(), true, "route %s next-hop 2001:db8:77::1;"))
		path, err := l.file("exabgp.conf", conf)
		if err != nil {
			return nil, err
		}
		return l.host.StartEnv([]string{"exabgp.daemon.user=root", "exabgp.api.cli=false"}, "exabgp", path)
	},
	learned: func(_ context.Context, l *lan) (map[string]bool, error) {
		text, err := os.ReadFile(filepath.Join(l.lab.Dir(), "exabgp.heard"))
		has := map[string]bool{}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, " down") {
				clear(has)
			}
			for p := range prefixesIn(line) {
				has[p] = strings.Contains(line, "announced")
			}
		}
		return has, err
	},
}
