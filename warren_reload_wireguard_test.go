package warren_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/dataplane/underlay/sim"
)

// replaced changes a part of a tunnel's text, which must be there.
func (s *reloadSite) replaced(t *testing.T, tunnel, old, now string) {
	t.Helper()
	if !strings.Contains(s.tunnels[tunnel], old) {
		t.Fatalf("there is no %q in %s", old, s.tunnels[tunnel])
	}
	s.tunnels[tunnel] = strings.Replace(s.tunnels[tunnel], old, now, 1)
}

// TestApplyPeerInPlace: the session of a WireGuard tunnel stays, and no packet is lost, when its keepalive, its endpoint, what its
// peer may send and its preshared key change; the next handshake uses the new key.
func TestApplyPeerInPlace(t *testing.T) {
	sites, _, _ := reloadSites(t)
	sites[1].head = strings.Replace(sites[1].head, "[192.0.2.%[1]d]", "[192.0.2.%[1]d, 192.0.2.12]", 1)
	e := startReload(t, sites)
	reached(t, e, 3)
	before := identity(t, e[0], "wg")
	psk, err := warren.GenPSK()
	if err != nil {
		t.Fatal(err)
	}
	stop := echoes(t, e, 3)
	peer := func(i int) *warren.WireGuardStatus { return tunnelStatus(t, e[i], "wg").WireGuard }
	const routes = "    routes:"
	for _, c := range []struct {
		what, old, now string
		done           func() bool
	}{
		{"keepalive", `51820"}`, `51820", persistent_keepalive: 7s}`, func() bool { return peer(0).PersistentKeepalive == 7*time.Second }},
		{"other keepalive", "7s", "9s", func() bool { return peer(0).PersistentKeepalive == 9*time.Second }},
		{"filter", routes, "    allowed_ips: [10.2.0.0/16]\n" + routes, func() bool {
			return slices.Equal(peer(0).AllowedIPs, []netip.Prefix{netip.MustParsePrefix("10.2.0.0/16")})
		}},
		{"no filter", "    allowed_ips: [10.2.0.0/16]\n", "", func() bool { return peer(0).AllowedIPs == nil }},
		{"endpoint", "192.0.2.%[2]d:51820", "192.0.2.12:51820", func() bool { return peer(0).Endpoint == "192.0.2.12:51820" }},
		{"preshared key", "9s", fmt.Sprintf("9s, preshared_key: %q", psk), func() bool { return peer(0).PresharedKey }},
	} {
		sites[0].replaced(t, "wg", c.old, c.now)
		sites[0].apply(t, e[0])
		// What is on its way from the old endpoint meanwhile moves the peer back.
		for began := time.Now(); c.what == "endpoint" && !c.done() && time.Since(began) < patience; {
			for _, text := range [][2]string{{c.now, c.old}, {c.old, c.now}} {
				sites[0].replaced(t, "wg", text[0], text[1])
				sites[0].apply(t, e[0])
			}
		}
		if !c.done() {
			t.Errorf("%s is not applied: %+v", c.what, peer(0))
		}
		reached(t, e, 3)
		if is := identity(t, e[0], "wg"); is != before {
			t.Errorf("%s: was %s, is %s", c.what, before, is)
		}
	}
	sites[1].replaced(t, "wg", `51820"}`, fmt.Sprintf(`51820", preshared_key: %q}`, psk))
	sites[1].apply(t, e[1])
	if is := identity(t, e[0], "wg"); is != before {
		t.Errorf("with the key at both: was %s, is %s", before, is)
	}
	last := peer(0).LastHandshake
	if err := e[0].Rekey(t.Context(), "wg", ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a handshake with the new key", patience, func() bool { return peer(0).LastHandshake.After(last) })
	reached(t, e, 3)
	if sent, lost := stop(); len(lost) > 0 || sent < 30 {
		t.Errorf("of %d packets %d are lost: %q", sent, len(lost), lost)
	}
}

// TestApplyAllowed: with wg's meaning of allowed addresses a prefix goes from one peer to another while both sessions stay, and what
// is nobody's any more is refused no more.
func TestApplyAllowed(t *testing.T) {
	sites, private, public := reloadSites(t)
	wg := func(net, i int, public, own, port string, allowed string) string {
		text := strings.Replace(byWireGuard(net, public, own+", cryptokey_routing: true", port), "routes: [10.%[2]d.", "allowed_ips: [", 1)
		at := strings.Index(text, "allowed_ips: [")
		return text[:at] + "allowed_ips: [" + allowed + "]\n"
	}
	for i, s := range sites {
		own := fmt.Sprintf(`, private_key: "%s", listen_port: 51821`, private[2+i])
		s.vrf = "    port: {netstack: {addresses: [10.%[1]d.3.1/24, 10.%[1]d.4.1/24, 10.%[1]d.5.1/24]}}\n"
		s.tunnels = map[string]string{
			"one": wg(3, i, public[1-i], "", "51820", "10.%[2]d.3.0/24"),
			"two": wg(4, i, public[3-i], own, "51821", "10.%[2]d.4.0/24"),
		}
	}
	e := startReload(t, sites)
	reached(t, e, 3)
	names := []string{"one", "two"}
	before := []string{identity(t, e[0], names[0]), identity(t, e[0], names[1])}
	for i, s := range sites {
		s.replaced(t, "one", "10.%[2]d.3.0/24", "10.%[2]d.5.0/24")
		s.replaced(t, "two", "10.%[2]d.4.0/24", "10.%[2]d.4.0/24, 10.%[2]d.3.0/24")
		s.apply(t, e[i])
	}
	for net, name := range map[int]string{3: "two", 4: "two", 5: "one"} {
		if via, _ := leadsTo(e[0], fmt.Sprintf("10.2.%d.0/24", net)); via != name {
			t.Errorf("network %d leads to %q, want %q", net, via, name)
		}
	}
	reached(t, e, 3)
	sites[0].replaced(t, "two", ", 10.%[2]d.3.0/24", "")
	sites[0].apply(t, e[0])
	if why := explainTo(t, e[0], "10.2.3.1"); strings.Contains(why, "unreachable") {
		t.Errorf("what is allowed to nobody any more is refused: %s", why)
	}
	sites[0].replaced(t, "two", "10.%[2]d.4.0/24", "10.%[2]d.4.0/24, 10.9.0.0/16")
	sites[0].apply(t, e[0])
	if err := e[0].Down(t.Context(), "two", ""); err != nil {
		t.Fatal(err)
	}
	if why := explainTo(t, e[0], "10.9.0.1"); !strings.Contains(why, "unreachable") {
		t.Errorf("what is allowed to a peer that is down is %s, want it to be refused", why)
	}
	for i, name := range names[:1] {
		if is := identity(t, e[0], name); is != before[i] {
			t.Errorf("%s: was %s, is %s", name, before[i], is)
		}
	}
}

// elsewhere is a joint's configuration with another endpoint.
func elsewhere(running *warren.Config, endpoint warren.EndpointConfig) *warren.Config {
	cfg := *running
	cfg.Tunnels = slices.Clone(running.Tunnels)
	peer := *cfg.Tunnels[0].WireGuard
	peer.Endpoint = endpoint
	cfg.Tunnels[0].WireGuard = &peer
	return &cfg
}

// TestApplyEndpointName: a name in place of an address is looked up at once, another name too, and an address in place of a name
// ends the looking up. A peer that was given up is tried where it is now.
func TestApplyEndpointName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names := new(resolver)
		cfgs := jointConfigs(t, "192.0.2.9:51820")
		e := runJoints(t, sim.New(sim.Config{}), cfgs, warren.WithLookup(names.lookup))[0]
		apply := func(endpoint warren.EndpointConfig) {
			t.Helper()
			if err := e.Apply(elsewhere(cfgs[0], endpoint)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(6 * time.Second) // a handshake is tried again every 5 s and a little
			synctest.Wait()
		}
		at := func() string { return tunnelStatus(t, e, "peer").WireGuard.Endpoint }
		gateway := warren.EndpointConfig{Name: "gw.example", Port: 51820}
		up(t, e)
		time.Sleep(2 * time.Minute)
		if routed(e) {
			t.Fatal("a peer that is not there is routed to")
		}
		apply(warren.EndpointConfig{Addr: netip.MustParseAddr("192.0.2.2"), Port: 51820})
		if !routed(e) {
			t.Error("a peer is not tried where it is now")
		}
		names.set("192.0.2.3")
		apply(gateway)
		if at() != "192.0.2.3:51820" || names.times() != 1 {
			t.Errorf("the peer is at %s after %d look-ups", at(), names.times())
		}
		apply(warren.EndpointConfig{Name: "other.example", Port: 51820})
		if at() != "192.0.2.3:51820" || names.times() < 2 {
			t.Errorf("the peer is at %s after %d look-ups, the last of which found nothing", at(), names.times())
		}
		apply(warren.EndpointConfig{Addr: netip.MustParseAddr("192.0.2.2"), Port: 51820})
		asked := names.times()
		time.Sleep(time.Hour)
		if n := names.times(); n != asked || at() != "192.0.2.2:51820" {
			t.Errorf("an address was looked up %d times, and the peer is at %s", n-asked, at())
		}
		apply(gateway)
		apply(warren.EndpointConfig{})
		if at() != "192.0.2.3:51820" {
			t.Errorf("without an endpoint the peer is at %s, not where it was", at())
		}
	})
}
