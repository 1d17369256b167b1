package warren

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const sessionsOf = `vrfs:
  main:
    port: {tun: warren0, addresses: [10.9.0.1/24]}
    bgp:
      local_as: 65001
      router_id: 10.9.0.1
      addresses: [10.9.0.9]
      import: all
      export: all
      %s
      neighbors: [{address: 10.9.0.2, neighbor_as: 65002%s}]
`

// TestSessionKeys: what a session is like that says it in the vrf, in the neighbour, in both, and nowhere.
func TestSessionKeys(t *testing.T) {
	for _, c := range []struct {
		vrf, neighbor string
		helper, first bool
		restart       time.Duration
	}{
		{"", "", true, false, 120 * time.Second},
		{"graceful_restart: no", "", false, false, 0},
		{"graceful_restart: no", ", graceful_restart: yes", true, false, 120 * time.Second},
		{"graceful_restart: {restart_time: 60s}", "", true, false, 60 * time.Second},
		{"graceful_restart: {restart_time: 60s}", ", graceful_restart: {helper: no}", false, false, 60 * time.Second},
		{"", ", graceful_restart: {restart_time: 0}", true, false, 0},
		{"", ", enforce_first_as: yes", true, true, 120 * time.Second},
		{"enforce_first_as: yes", "", true, true, 120 * time.Second},
		{"enforce_first_as: yes", ", enforce_first_as: no", true, false, 120 * time.Second},
	} {
		cfg, err := ParseConfig("x.yaml", fmt.Appendf(nil, sessionsOf, c.vrf, c.neighbor))
		if err != nil {
			t.Errorf("%q, %q: %v", c.vrf, c.neighbor, err)
			continue
		}
		v := &vrf{bgp: cfg.VRFs[0].BGP}
		n := v.neighborOnPort(&v.bgp.Neighbors[0], true)
		if n.Helper != c.helper || n.RestartTime != c.restart || n.EnforceFirstAS != c.first {
			t.Errorf("%q, %q: helper %v, restart time %v, first AS %v", c.vrf, c.neighbor, n.Helper, n.RestartTime, n.EnforceFirstAS)
		}
	}
	for _, wrong := range []string{"4096s", "1500ms", "-1s"} {
		_, err := ParseConfig("x.yaml", fmt.Appendf(nil, sessionsOf, "graceful_restart: {restart_time: "+wrong+"}", ""))
		if err == nil || !strings.Contains(err.Error(), "restart_time") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}
