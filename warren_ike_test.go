package warren_test

import (
	"context"
	"net/netip"
	"strings"
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
	way := func(to string) warren.Explanation {
		t.Helper()
		all, err := e[0].Explain("main", netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr(to))
		if err != nil || len(all) != 1 {
			t.Fatalf("%v %v", all, err)
		}
		return all[0]
	}
	if x := way("10.2.0.1"); x.Drop != "" || x.Child != "peer" || x.Suite != "" || !strings.Contains(x.Why, "waits while one is negotiated") {
		t.Errorf("explain says %+v", x)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := e[0].Ping(ctx, netip.MustParseAddr("10.2.0.1")); err != nil {
		t.Fatal(err)
	}
	if x := way("10.2.0.1"); x.Drop != "" || x.Child != "peer" || x.Suite != "aes256gcm16" || x.Why != "" {
		t.Errorf("explain says %+v when it is up", x)
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
	eventually(t, "the other side hears of it", patience, func() bool { up, _, _ := state(e[0], "peer"); return !up })
	if _, err := e[0].Ping(ctx, netip.MustParseAddr("10.2.0.1")); err != nil {
		t.Errorf("a packet does not bring it up again: %v", err)
	}
}

// TestWhyATunnelDoesNotComeUp: the status says what the peer answered, and is silent of it when the tunnel is up.
func TestWhyATunnelDoesNotComeUp(t *testing.T) {
	e := startSites(t, sim.New(sim.Config{}), strings.Replace(ikeSite, "-TEST-%[3]s", "-TEST-%[3]s-%[1]d", 1))
	status := func() warren.TunnelStatus { return tunnelStatus(t, e[0], "peer") }
	if err := e[0].Up(t.Context(), "peer", ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the peer's answer is in the status", patience, func() bool {
		return status().State == "down" && strings.Contains(status().LastError, "AUTHENTICATION_FAILED")
	})
	for i := range e {
		if err := e[i].Apply(siteConfig(t, ikeSite, i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := e[0].Up(t.Context(), "peer", ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is up", patience, func() bool { return status().State == "up" })
	if s := status(); s.LastError != "" {
		t.Errorf("it is up with %q", s.LastError)
	}
	if err := e[0].Down(t.Context(), "peer", ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, "why it is down is in the status", patience, func() bool { return status().LastError == "terminated" })
	if err := e[0].Up(t.Context(), "peer", ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is up again", patience, func() bool { return status().State == "up" })
	if err := e[0].Down(t.Context(), "peer", "peer"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its child is down", patience, func() bool { return status().State == "down" })
	if s := status(); len(s.IKE) != 1 || s.LastError != "" {
		t.Errorf("%d IKE SAs are up, the last one ended with %q", len(s.IKE), s.LastError)
	}
}

// TestWhoIsFollowed: ESP from elsewhere moves a peer that is behind a NAT, and none for who is behind one (RFC 7296 section 2.23).
func TestWhoIsFollowed(t *testing.T) {
	network := sim.New(sim.Config{})
	for _, port := range []uint16{500, 4500} {
		behind := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port)
		network.Rebind(behind, netip.AddrPortFrom(behind.Addr(), 10000+port))
	}
	e := startSites(t, network, ikeSite)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := e[0].Ping(ctx, netip.MustParseAddr("10.2.0.1")); err != nil {
		t.Fatal(err)
	}
	of := func(i int) warren.TunnelStatus { return e[i].Status().Tunnels[0] }
	network.Rebind(netip.MustParseAddrPort("192.0.2.1:4500"), netip.MustParseAddrPort("198.51.100.1:14500"))
	if _, err := e[0].Ping(ctx, netip.MustParseAddr("10.2.0.1")); err != nil {
		t.Fatal(err)
	}
	if at := of(1).Remote; at != netip.MustParseAddrPort("198.51.100.1:14500") {
		t.Errorf("the peer behind a NAT is at %v", at)
	}
	was, heard := of(0).Remote, of(0).InPackets
	network.Rebind(netip.MustParseAddrPort("192.0.2.2:4500"), netip.MustParseAddrPort("198.51.100.2:4500"))
	short, done := context.WithTimeout(ctx, 500*time.Millisecond)
	defer done()
	_, _ = e[1].Ping(short, netip.MustParseAddr("10.1.0.1")) // its answer goes where nobody is
	eventually(t, "it is heard from elsewhere", patience, func() bool { return of(0).InPackets > heard })
	if at := of(0).Remote; at != was {
		t.Errorf("from behind a NAT the peer is followed from %v to %v", was, at)
	}
}

// TestLostChildSA: an engine that gets ESP by an SPI that it does not have says so to the peer, in their IKE SA, and the peer makes
// new keys. It takes some seconds: what is only late is not worth it.
func TestLostChildSA(t *testing.T) {
	e := startSites(t, sim.New(sim.Config{}), ikeSite)
	if err := ping(t, e[0], "10.2.0.1", patience); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := e[1].LoseChildSAs(ctx); err != nil {
		t.Fatal(err)
	}
	if ping(t, e[0], "10.2.0.1", 100*time.Millisecond) == nil {
		t.Fatal("an answer without a child SA")
	}
	eventually(t, "packets are answered again", patience, func() bool { return ping(t, e[0], "10.2.0.1", 500*time.Millisecond) == nil })
	if _, _, ikes := state(e[0], "peer"); ikes != 1 {
		t.Errorf("%d IKE SAs, want that which was there", ikes)
	}
}
