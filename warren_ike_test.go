package warren_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/dataplane/underlay/sim"
)

const ikeSite = `
underlay: {addresses: [192.0.2.%[1]d]}
vrfs:
  main: {port: {netstack: {addresses: [10.%[1]d.0.1/16]}}}
tunnels:
  peer:
    ipsec:
      remote: 192.0.2.%[2]d
      psk: "PSK-OF-THE-TEST-%[3]s"
      proposals: aes256gcm16-prfsha384-ecp384
      esp_proposals: aes256gcm16-ecp384
      start_action: trap
    routes: [10.%[2]d.0.0/16]
`

// state is a tunnel's and the suite of its first child.
func state(e *warren.Engine, name string) (up bool, suite string, ikes int) {
	for _, t := range e.Status().Tunnels {
		if t.Name == name && len(t.Children) > 0 {
			return t.State == "up", t.Children[0].Suite, len(t.IKE)
		}
	}
	return false, "", 0
}

// TestFirstPacketBringsUp: with a trap the first packet starts the exchange, and is delivered after it.
func TestFirstPacketBringsUp(t *testing.T) {
	e := startSites(t, sim.New(sim.Config{}), ikeSite)
	if up, _, _ := state(e[0], "peer"); up {
		t.Error("up without a packet")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := e[0].Ping(ctx, netip.MustParseAddr("10.2.0.1")); err != nil {
		t.Fatal(err)
	}
	for i := range e {
		if up, suite, ikes := state(e[i], "peer"); !up || suite != "aes256gcm16" || ikes != 1 {
			t.Errorf("engine %d: up %v with %q, %d IKE SAs", i, up, suite, ikes)
		}
	}
	for _, child := range []string{"", "peer"} {
		if err := e[0].Rekey(ctx, "peer", child); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if _, err := e[0].Ping(ctx, netip.MustParseAddr("10.2.0.1")); err != nil {
				t.Fatalf("after the rekeying of %q: %v", child, err)
			}
		}
	}
	if err := e[1].Down(ctx, "peer", ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other side hears of it", 5*time.Second, func() bool { up, _, _ := state(e[0], "peer"); return !up })
	if _, err := e[0].Ping(ctx, netip.MustParseAddr("10.2.0.1")); err != nil {
		t.Errorf("a packet does not bring it up again: %v", err)
	}
}
