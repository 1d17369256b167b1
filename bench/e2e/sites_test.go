//go:build linux

package e2e

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func containsAll(s string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}

// The layouts that are tested and measured.
var (
	layoutBFD       = layout{hold: 6 * time.Second, bfd: true}
	layoutHold      = layout{hold: 6 * time.Second}
	layoutOSPF      = layout{hold: 6 * time.Second, bfd: true, ospf: true}
	layoutPerTunnel = layout{hold: 6 * time.Second, bfd: true, perTunnel: true}
)

// TestSitesWithBFD: every site reaches every other over both families, as if two routers stood between them; flows are spread
// over all tunnels, and leave what is dead within half a second.
func TestSitesWithBFD(t *testing.T) { testSites(t, layoutBFD) }

// TestSitesWithHoldTime: the same where only BGP's hold time finds what is dead.
func TestSitesWithHoldTime(t *testing.T) { testSites(t, layoutHold) }

// TestSitesWithOSPF: the same where the routers of a site and its gateways speak OSPF.
func TestSitesWithOSPF(t *testing.T) { testSites(t, layoutOSPF) }

// TestSitesWithDevicePerTunnel: the same where warren only has tunnels and BIRD speaks over their devices.
func TestSitesWithDevicePerTunnel(t *testing.T) { testSites(t, layoutPerTunnel) }

func testSites(t *testing.T, how layout) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	s := newSites(t, ctx, how)
	s.converged(ctx)
	s.reachable(ctx)
	s.judge(s.drill(ctx))
}

// reachable pings from every site to every other.
func (s *sites) reachable(ctx context.Context) {
	s.t.Helper()
	s.settle(ctx, time.Second)
	for from := 1; from <= siteCount; from++ {
		for to := 1; to <= siteCount; to++ {
			if from == to {
				continue
			}
			for _, way := range [][2]netip.Addr{{inside4(from), inside4(to)}, {inside6(from), inside6(to)}} {
				r, err := s.routers[from].host.Ping(ctx, way[1].String(), 5, "-I", way[0].String())
				s.must(err)
				if r.Received != r.Sent || strings.Count(r.Output, "ttl=62") != r.Sent {
					s.t.Errorf("site %d to %d: %s", from, to, r.Output)
				}
			}
		}
	}
}
