package warren_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/dataplane/underlay/sim"
	"github.com/warrenvpn/warren/tunnel/wireguard/quick"
)

// wgKeys are the private and public keys of so many sites.
func wgKeys(t *testing.T, n int) (private, public []string) {
	t.Helper()
	for range n {
		k, err := quick.GenKey()
		if err != nil {
			t.Fatal(err)
		}
		private, public = append(private, k.Base64()), append(public, k.Public().String())
	}
	return private, public
}

// wgSites writes the template of two sites with a WireGuard tunnel between them, for startSite; more goes to the end of the
// tunnel, rest to that of the file.
func wgSites(t *testing.T, more, rest string) [2]string {
	private, public := wgKeys(t, 2)
	var sites [2]string
	for i := range sites {
		sites[i] = `
# %[3]s %[4]d
underlay: {addresses: [192.0.2.%[1]d]}
wireguard: {private_key: "` + private[i] + `", listen_port: 51820}
vrfs:
  main:
    port: {netstack: {addresses: [10.%[1]d.0.1/16, "fd0%[1]d::1/64"]}}
tunnels:
  peer:
    wireguard: {public_key: "` + public[1-i] + `", endpoint: "192.0.2.%[2]d:51820"}
    routes: [10.%[2]d.0.0/16, "fd0%[2]d::/64"]
` + more + rest
	}
	return sites
}

// startWireGuard starts the sites of wgSites, and returns when they run.
func startWireGuard(t *testing.T, sites [2]string) (e [2]*warren.Engine) {
	t.Helper()
	network := sim.New(sim.Config{})
	for i := range e {
		e[i], _ = startSite(t, network, sites[i], i)
	}
	bothRun(t, e)
	return e
}

// TestWireGuard: the first packet makes the session and is delivered after it, both families, both ways; up, rekey and down do
// what they say.
func TestWireGuard(t *testing.T) {
	e := startWireGuard(t, wgSites(t, "", ""))
	if s := tunnelStatus(t, e[0], "peer"); s.State != "idle" || s.Kind != "wireguard" {
		t.Errorf("%s tunnel is %s before anything was sent", s.Kind, s.State)
	}
	for _, dst := range []string{"10.2.0.1", "fd02::1"} {
		if err := ping(t, e[0], dst, patience); err != nil {
			t.Fatalf("ping %s: %v", dst, err)
		}
	}
	if err := ping(t, e[1], "10.1.0.1", patience); err != nil {
		t.Fatal(err)
	}
	for i := range e {
		eventually(t, "packets are counted", patience, func() bool {
			s := tunnelStatus(t, e[i], "peer")
			return s.OutPackets >= 3 && s.InPackets >= 3
		})
		s := tunnelStatus(t, e[i], "peer")
		if w := s.WireGuard; s.State != "up" || w == nil || w.LastHandshake.IsZero() || w.ListenPort != 51820 || s.InnerMTU != 1440 {
			t.Errorf("engine %d: %+v, %+v", i, s, s.WireGuard)
		}
	}
	before := tunnelStatus(t, e[0], "peer").WireGuard.LastHandshake
	if err := e[0].Rekey(t.Context(), "peer", ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a new handshake", patience, func() bool {
		return tunnelStatus(t, e[0], "peer").WireGuard.LastHandshake.After(before)
	})
	if err := e[0].Down(t.Context(), "peer", ""); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := e[0].DialContext(ctx, "tcp", "10.2.0.1:80"); err == nil || ctx.Err() != nil {
		t.Errorf("dialled through a tunnel that was taken down: %v", err)
	}
	if err := e[0].Up(t.Context(), "peer", ""); err != nil {
		t.Fatal(err)
	}
	if err := ping(t, e[0], "10.2.0.1", patience); err != nil {
		t.Error(err)
	}
	if err := e[0].Rekey(t.Context(), "peer", "child"); err == nil {
		t.Error("a child of a WireGuard tunnel was rekeyed")
	}
}

// TestRoutePicksThePeer: allowed_ips only filter, and source_check asks the routes.
func TestRoutePicksThePeer(t *testing.T) {
	for name, c := range map[string]struct {
		more    string
		arrives bool
	}{
		"all":                      {"", true},
		"allowed":                  {"    allowed_ips: [10.0.0.0/8]\n", true},
		"another is allowed":       {"    allowed_ips: [10.3.0.0/16]\n", false},
		"none is allowed":          {"    allowed_ips: []\n", false},
		"feasible":                 {"    source_check: feasible\n", true},
		"feasible, and another":    {"    source_check: feasible\n    allowed_ips: [10.3.0.0/16]\n", false},
		"feasible, and everything": {"    source_check: feasible\n    allowed_ips: [0.0.0.0/0, \"::/0\"]\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			e := startWireGuard(t, wgSites(t, c.more, ""))
			if c.arrives {
				if err := ping(t, e[0], "10.2.0.1", patience); err != nil {
					t.Error(err)
				}
				return
			}
			go ping(t, e[0], "10.2.0.1", patience)
			eventually(t, "the drop is counted", patience, func() bool {
				return tunnelStatus(t, e[1], "peer").Drops["selector_in"] > 0
			})
		})
	}
}

// TestInfeasibleSource: what the route table would send elsewhere is not accepted.
func TestInfeasibleSource(t *testing.T) {
	sites := wgSites(t, "    source_check: feasible\n", "")
	sites[1] = strings.Replace(sites[1], "routes: [10.%[2]d.0.0/16,", "routes: [10.%[2]d.77.0/24,", 1)
	e := startWireGuard(t, sites)
	go ping(t, e[0], "10.2.0.1", patience)
	eventually(t, "the drop is counted", patience, func() bool {
		return tunnelStatus(t, e[1], "peer").Drops["selector_in"] > 0
	})
}

// TestMultipathOfTwoKinds: flows spread over an ESP and a WireGuard tunnel, and all take the other when one is taken down.
func TestMultipathOfTwoKinds(t *testing.T) {
	const esp = `
  esp:
    ipsec:
      remote: 192.0.2.%[2]d
      static: {esp: aes128gcm16, out: {spi: 0x10%[1]d, key: "0x%[3]s0%[1]d"}, in: {spi: 0x10%[2]d, key: "0x%[3]s0%[2]d"}}
    routes: [10.%[2]d.0.0/16]
`
	e := startWireGuard(t, wgSites(t, "", esp))
	ln, err := e[1].Listen("tcp", "10.2.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}
	}()
	flow := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		c, err := e[0].DialContext(ctx, "tcp", "10.2.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := fmt.Fprint(c, "hello"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
	}
	sent := func(name string) uint64 { return tunnelStatus(t, e[0], name).OutPackets }
	for range 40 {
		flow()
	}
	if sent("esp") == 0 || sent("peer") == 0 {
		t.Errorf("%d packets went by ESP, %d by WireGuard", sent("esp"), sent("peer"))
	}
	for i := range e {
		if err := e[i].Down(t.Context(), "esp", ""); err != nil {
			t.Fatal(err)
		}
	}
	before := sent("peer")
	for range 5 {
		flow()
	}
	eventually(t, "packets go by WireGuard when ESP is down", patience, func() bool { return sent("peer")-before >= 5*4 })
}

// TestKeyExport: keys are written for Wireshark only when asked for, each into its file, for nobody else to read.
func TestKeyExport(t *testing.T) {
	dir := t.TempDir()
	sites := wgSites(t, "", "")
	sites[0] += "key_export: " + dir + "\n"
	e := startWireGuard(t, sites)
	if err := ping(t, e[0], "10.2.0.1", patience); err != nil {
		t.Fatal(err)
	}
	ikeSites := ikeSite + "key_export: " + dir + "\n"
	ikes := startSites(t, sim.New(sim.Config{}), ikeSites)
	if err := ping(t, ikes[0], "10.2.0.1", patience); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"wireguard.keys": "LOCAL_EPHEMERAL_PRIVATE_KEY", "esp_sa": "AES-GCM", "ikev2_decryption_table": "AES-GCM-256"} {
		eventually(t, file+" has "+want, patience, func() bool {
			text, err := os.ReadFile(filepath.Join(dir, file))
			return err == nil && strings.Contains(string(text), want)
		})
		if info, err := os.Stat(filepath.Join(dir, file)); err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", file, info.Mode())
		}
	}
}
