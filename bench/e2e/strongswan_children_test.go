//go:build linux

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestStrongSwanChildren: several selectors in a child and several children under an IKE SA, each of which carries traffic, and
// children whose selectors the other side narrows.
func TestStrongSwanChildren(t *testing.T) {
	s := newSwan(t)
	s.run("selectors", func(s *swan) {
		s.load(swanctlPSK("", "peer { local_ts = 10.2.0.0/16, 10.22.0.0/24, 10.23.0.1/32, fd02::/64\nremote_ts = 10.1.0.0/16, 10.11.0.0/24, fd01::/64\n }"))
		s.start(oursPSK + "child: {local_ts: [10.1.0.0/16, 10.11.0.0/24, \"fd01::/64\"], remote_ts: [10.2.0.0/16, 10.22.0.0/24, 10.23.0.1, \"fd02::/64\"]}\n")
		s.bothWays([]string{"peer"}, [2]string{"10.1.0.1", "10.2.0.1"}, [2]string{"10.1.0.1", "10.22.0.1"}, [2]string{"10.11.0.1", "10.2.0.1"},
			[2]string{"10.11.0.1", "10.23.0.1"}, [2]string{"fd01::1", "fd02::1"})
	})
	s.run("children", (*swan).threeChildren)
	s.run("overlapping-children", (*swan).overlappingChildren)
	s.run("narrowed-by-charon", func(s *swan) {
		s.load(swanctlPSK("", "peer { local_ts = 10.2.0.0/24, 10.22.0.0/24\nremote_ts = 10.1.0.0/24\n }"))
		s.start(oursPSK + "child: {local_ts: [10.1.0.0/16, 10.11.0.0/24], remote_ts: [10.2.0.0/16, 10.22.0.0/16, 10.23.0.0/16]}\n")
		s.bothWays([]string{"peer"}, [2]string{"10.1.0.1", "10.2.0.1"}, [2]string{"10.1.0.1", "10.22.0.1"})
		s.warrenSays("up", "peer")
		s.wantTS([]string{"10.1.0.0/24"}, []string{"10.2.0.0/24", "10.22.0.0/24"})
		s.refused("10.11.0.1", "10.2.0.1", "10.23.0.1")
	})
	s.run("narrowed-by-us", func(s *swan) {
		s.load(swanctlPSK("", "peer { local_ts = 10.2.0.0/16, 10.22.0.0/16, 10.23.0.0/16\nremote_ts = 10.1.0.0/16, 10.11.0.0/16\n }"))
		s.start(oursPSK + "child: {local_ts: [10.1.0.0/24], remote_ts: [10.2.0.0/24, 10.22.0.0/24]}\n")
		s.bothWays([]string{"peer"}, [2]string{"10.1.0.1", "10.2.0.1"}, [2]string{"10.1.0.1", "10.22.0.1"})
		s.must(s.charon.Initiate(s.ctx, "peer"))
		s.wantTS([]string{"10.1.0.0/24"}, []string{"10.2.0.0/24", "10.22.0.0/24"})
	})
	s.run("narrowed-from-everything", func(s *swan) {
		s.load(swanctlPSK("", "peer { local_ts = 10.2.0.0/16\nremote_ts = 10.1.0.0/16\n }"))
		s.startConfig(strings.Replace(s.config(oursPSK), "    ipsec:\n", "    routes: [10.2.0.0/16]\n    ipsec:\n", 1))
		s.must(s.inside.IP("route", "add", "10.2.0.0/16", "dev", "warren0"))
		s.bothWays([]string{"peer"}, [2]string{"10.1.0.1", "10.2.0.1"})
	})
	s.run("ports", func(s *swan) {
		// Only ICMP is in the child; TCP is not for it.
		s.load(swanctlPSK("", "peer { local_ts = 10.2.0.0/16[icmp]\nremote_ts = 10.1.0.0/16[icmp]\n }"))
		s.start(oursPSK + "child: {local_ts: [\"10.1.0.0/16\"], remote_ts: [\"10.2.0.0/16[icmp]\", \"10.2.0.0/16[tcp/80]\"]}\n")
		s.bothWays([]string{"peer"}, [2]string{"10.1.0.1", "10.2.0.1"})
	})
}

// threeChildren: each has the packets that it is for, on both sides.
func (s *swan) threeChildren() {
	s.load(swanctlPSK("", `c1 { local_ts = 10.2.0.0/16
remote_ts = 10.1.0.0/16 }
c2 { local_ts = 10.22.0.0/16
remote_ts = 10.1.0.0/16
esp_proposals = aes256-sha256 }
c3 { local_ts = 10.23.0.0/16
remote_ts = 10.11.0.0/16
esp_proposals = chacha20poly1305-curve25519 }`))
	s.start(oursPSK + `children:
  c1: {local_ts: [10.1.0.0/16], remote_ts: [10.2.0.0/16]}
  c2: {local_ts: [10.1.0.0/16], remote_ts: [10.22.0.0/16], esp_proposals: aes256-sha256}
  c3: {local_ts: [10.11.0.0/16], remote_ts: [10.23.0.0/16], esp_proposals: chacha20poly1305-curve25519}
`)
	pairs := [][2]string{{"10.1.0.1", "10.2.0.1"}, {"10.1.0.1", "10.22.0.1"}, {"10.11.0.1", "10.23.0.1"}}
	s.bothWays([]string{"c1", "c2", "c3"}, pairs...)
	s.warrenSays("up", "peer", "--child", "c2")
	if t := s.awaitUp("peer", 1); t.Children[0].Name != "c2" {
		s.t.Errorf("up --child c2 brought up %+v", t.Children)
	}
	s.warrenSays("up", "peer")
	s.awaitUp("peer", 3)
	for _, p := range pairs {
		s.pings(p[0], p[1])
	}
	for _, sa := range s.sas() {
		// pings sends three each way at least, and echo replies go back through the same child.
		if sa.OutPackets < 6 || sa.InPackets < 6 {
			s.t.Errorf("child %s sent %d and received %d, want 6 at least", sa.Name, sa.OutPackets, sa.InPackets)
		}
	}
	s.warrenSays("down", "peer", "--child", "c1")
	s.eventually("c1 is down", func() error {
		sas, err := s.charon.Ctl(s.ctx, "--list-sas")
		if err == nil && (strings.Contains(sas, "c1:") || !strings.Contains(sas, "c2:") || !strings.Contains(sas, "c3:")) {
			err = fmt.Errorf("charon has %s", sas)
		}
		return err
	})
	s.pings(pairs[1][0], pairs[1][1])
	if r, err := s.inside.Ping(s.ctx, "10.2.0.1", 1, "-I", "10.1.0.1", "-W", "1"); err == nil && r.Received > 0 {
		s.t.Error("packets cross without their child")
	}
}

// overlappingChildren: the first configured child that covers a packet takes it, in whatever order they came up.
func (s *swan) overlappingChildren() {
	s.load(swanctlPSK("", `narrow { local_ts = 10.2.0.0/24
remote_ts = 10.1.0.0/16 }
wide { local_ts = 10.2.0.0/16
remote_ts = 10.1.0.0/16 }`))
	s.start(oursPSK + `children:
  narrow: {local_ts: [10.1.0.0/16], remote_ts: [10.2.0.0/24]}
  wide: {local_ts: [10.1.0.0/16], remote_ts: [10.2.0.0/16]}
`)
	s.warrenSays("up", "peer", "--child", "wide")
	s.awaitUp("peer", 1)
	s.warrenSays("up", "peer", "--child", "narrow")
	if t := s.awaitUp("peer", 2); t.Children[0].Name != "narrow" {
		s.t.Errorf("%s takes the packets, want narrow", t.Children[0].Name)
	}
	s.pings("10.1.0.1", "10.2.0.1")
	for _, sa := range s.sas() {
		if (sa.OutPackets > 0) != (sa.Name == "narrow") {
			s.t.Errorf("child %s sent %d", sa.Name, sa.OutPackets)
		}
	}
}

// wantTS wants the only child to have certain selectors.
func (s *swan) wantTS(local, remote []string) {
	s.t.Helper()
	if c := s.awaitUp("peer", 1).Children[0]; !slices.Equal(c.LocalTS, local) || !slices.Equal(c.RemoteTS, remote) {
		s.t.Errorf("selectors %v to %v, want %v to %v", c.LocalTS, c.RemoteTS, local, remote)
	}
}

// refused wants packets which no child covers to go nowhere, and to be counted: from one of our addresses to a reachable one,
// and from a covered one to another destination.
func (s *swan) refused(src, covered, dst string) {
	s.t.Helper()
	for _, way := range [][2]string{{src, covered}, {"10.1.0.1", dst}} {
		if r, err := s.inside.Ping(s.ctx, way[1], 1, "-I", way[0], "-W", "1"); err == nil && r.Received > 0 {
			s.t.Errorf("from %s to %s crossed", way[0], way[1])
		}
	}
	s.eventually("drops to be counted", func() error {
		t, err := s.tunnel("peer")
		if err == nil && len(t.Drops) == 0 {
			err = fmt.Errorf("%+v", t)
		}
		return err
	})
}
