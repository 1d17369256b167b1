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

// TestSites: every site reaches every other over both families, as if two routers stood between them.
func TestSites(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	s := newSites(t, ctx, withBFD, false)
	s.converged(ctx)
	s.reachable(ctx)
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
