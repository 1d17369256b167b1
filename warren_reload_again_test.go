package warren_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/warrenvpn/warren"
)

// TestApplyAddressesAgain: of a new tunnel's addresses those that the stack takes are there, and the others are tried by each reload.
func TestApplyAddressesAgain(t *testing.T) {
	sites, _, _ := reloadSites(t)
	sites[0].vrf = strings.Replace(sites[0].vrf, "{netstack: {", "{netstack: {mtu: 1200, ", 1) // IPv6 wants 1280
	e := startReload(t, sites)[0]
	const pairs = "    addresses: [169.254.9.0/31, \"2001:db8:9::/127\"]\n"
	sites[0].tunnels["more"] = byHand(4, 20) + pairs
	for range 2 {
		if err := e.Apply(sites[0].config(t)); !errors.Is(err, warren.ErrPartlyApplied) || !strings.Contains(err.Error(), "2001:db8:9::/128") {
			t.Errorf("an address that the stack cannot have: %v", err)
		}
		if _, source := leadsTo(e, "169.254.9.0/32"); source != "connected" {
			t.Errorf("the address that it has is from %q", source)
		}
	}
	sites[0].tunnels["more"] = byHand(4, 20) + strings.Replace(pairs, `, "2001:db8:9::/127"`, "", 1)
	sites[0].apply(t, e)
	if _, source := leadsTo(e, "169.254.9.0/32"); source != "connected" {
		t.Errorf("the address that is left is from %q", source)
	}
}
