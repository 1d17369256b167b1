//go:build linux

package e2e

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// Flows in each direction and family, and how often each sends. All together are 3,600 packets a second.
const (
	flowCount    = 20
	flowInterval = 66 * time.Millisecond
)

func containsAll(s string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}

// TestSitesWithBFD: every site reaches every other over both families, as if two routers stood between them; flows are spread
// over all tunnels, and leave what is dead within half a second.
func TestSitesWithBFD(t *testing.T) {
	s, ctx := startSites(t, withBFD, false)
	s.reachable(ctx)
	s.judge(s.drill(ctx))
}

// TestSitesWithHoldTime: the same where only BGP's hold time finds what is dead.
func TestSitesWithHoldTime(t *testing.T) {
	s, ctx := startSites(t, withoutBFD, false)
	s.judge(s.drill(ctx))
}

// TestSitesWithOSPF: the same where the routers of a site and its gateways speak OSPF.
func TestSitesWithOSPF(t *testing.T) {
	s, ctx := startSites(t, withBFD, true)
	s.reachable(ctx)
	s.judge(s.drill(ctx))
}

func startSites(t testing.TB, tm timers, ospf bool) (*sites, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	t.Cleanup(cancel)
	s := newSites(t, ctx, tm, ospf)
	s.converged(ctx)
	return s, ctx
}

// reachable pings from every site to every other.
func (s *sites) reachable(ctx context.Context) {
	s.t.Helper()
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
