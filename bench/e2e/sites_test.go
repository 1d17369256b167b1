//go:build linux

package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/warrenvpn/warren/bench/lab"
)

// sitesRuns is how often everything happens in each laboratory of TestSites: once to test, ten times for figures.
var sitesRuns = flag.Int("sites.runs", 1, "how often gateways die, leave and come back in TestSites")

// sitesWatch is how long the use of processors is measured before anything happens, without flows and with them.
var sitesWatch = flag.Duration("sites.watch", 2*time.Second, "how long TestSites measures the use of processors before anything happens")

// TestSites: every site reaches every other over both families, as if two routers stood between them; flows are spread over all
// tunnels, and leave what is dead, or leaves, in time. Two laboratories share two processors.
func TestSites(t *testing.T) {
	program := build(t)
	for name, how := range map[string]layout{
		"BFD":             {hold: 6 * time.Second, bfd: true},
		"BFD and IKE":     {hold: 6 * time.Second, bfd: true, ike: true},
		"hold time":       {hold: 6 * time.Second},
		"OSPF at sites":   {hold: 6 * time.Second, bfd: true, ospf: true},
		"BIRD on devices": {hold: 6 * time.Second, bfd: true, perTunnel: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute+time.Duration(*sitesRuns)*time.Minute+2**sitesWatch)
			defer cancel()
			if end, ok := t.Deadline(); ok {
				ctx, cancel = context.WithDeadline(ctx, end.Add(-20*time.Second)) // so that there is time to clear up
				defer cancel()
			}
			s := newSites(t, ctx, program, how)
			s.converged(ctx)
			s.reachable(ctx)
			s.judge(s.drill(ctx))
		})
	}
}

// reachable pings from every site to every other. Two routers are between them: warren is none, as its port is no hop.
func (s *sites) reachable(ctx context.Context) {
	s.t.Helper()
	for from := 1; from <= siteCount; from++ {
		for to := 1; to <= siteCount; to++ {
			if from == to {
				continue
			}
			for _, way := range [][2]netip.Addr{{inside4(from), inside4(to)}, {inside6(from), inside6(to)}} {
				// More than once, since BFD takes a machine that is busy with other things for a dead one.
				s.must(lab.WaitFor(ctx, fmt.Sprintf("%v to reach %v", way[0], way[1]), func() error {
					r, err := s.routers[from].host.Ping(ctx, way[1].String(), 5, "-I", way[0].String(), "-W", "1")
					s.must(err)
					if strings.Count(r.Output, "ttl=62") != r.Received {
						s.t.Errorf("site %d to %d: ttl is not 62: %s", from, to, r.Output)
					}
					if r.Received != r.Sent {
						return errors.New(r.Output)
					}
					return nil
				}))
			}
		}
	}
}

func containsAll(s string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}
