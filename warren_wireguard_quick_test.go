package warren_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/warrenvpn/warren"
)

// importQuick reads a wg-quick file wg0.conf with lines in its interface and what a peer is allowed.
func importQuick(t *testing.T, lines, allowed string) (yaml string, err error) {
	t.Helper()
	private, _ := wgKeys(t, 1)
	path := filepath.Join(t.TempDir(), "wg0.conf")
	text := fmt.Sprintf("[Interface]\nPrivateKey = %s\nAddress = 10.1.0.2/32\n%s\n[Peer]\nPublicKey = %s\n", private[0], lines, peerKey(t))
	if allowed != "" {
		text += "AllowedIPs = " + allowed + "\n"
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b, warnings, err := warren.ImportQuick(path)
	for _, w := range warnings {
		t.Errorf("a warning: %v", w)
	}
	if err == nil {
		if _, again := warren.LoadConfig(path); again != nil {
			t.Errorf("what was imported is no configuration: %v\n%s", again, b)
		}
	}
	return string(b), err
}

// TestImportQuick: where the routes go, as wg-quick(8) does it.
func TestImportQuick(t *testing.T) {
	const routes, all = "10.0.0.0/8, fd00::/8", "0.0.0.0/0, ::/0"
	for name, c := range map[string]struct {
		lines, allowed string
		want, wantNot  []string
	}{
		"routes":             {"", routes, []string{"kernel: {export: [{from: static}]}"}, []string{"mark", "table"}},
		"default":            {"", all, []string{"underlay: {mark: 51820}", "policy_routing: 51820"}, []string{"table:"}},
		"default, IPv6 only": {"Table = auto", "::/0", []string{"policy_routing: 51820"}, nil},
		"default and a mark": {"FwMark = 0x7", all, []string{"underlay: {mark: 7}", "policy_routing: 7", "  mark: 7"}, nil},
		"a table":            {"Table = 77", all, []string{"table: 77"}, []string{"policy_routing", "underlay"}},
		"table off":          {"Table = off", all, nil, []string{"kernel", "underlay"}},
		"nothing":            {"", "", []string{"allowed_ips: []"}, []string{"policy_routing"}},
		"table main":         {"Table = main", routes, []string{"kernel: {export: [{from: static}]}"}, []string{"table"}},
	} {
		t.Run(name, func(t *testing.T) {
			yaml, err := importQuick(t, c.lines, c.allowed)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range c.want {
				if !strings.Contains(yaml, w) {
					t.Errorf("no %q in\n%s", w, yaml)
				}
			}
			for _, w := range c.wantNot {
				if strings.Contains(strings.SplitN(yaml, "\n", 2)[1], w) {
					t.Errorf("%q in\n%s", w, yaml)
				}
			}
		})
	}
	for lines, want := range map[string]string{"Table = main": "want Table = auto", "Table = vpn": "want its number"} {
		if _, err := importQuick(t, lines, all); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", lines, err)
		}
	}
}

func peerKey(t *testing.T) string {
	_, public := wgKeys(t, 1)
	return public[0]
}

// TestPolicyRoutingConfig: what would lead our own packets into the tunnels is a mistake.
func TestPolicyRoutingConfig(t *testing.T) {
	private, public := wgKeys(t, 2)
	const text = `underlay: {%s}
wireguard: {private_key: %q%s}
vrfs:
  main: {port: {tun: w0%s}, kernel: {policy_routing: %s}}
%stunnels:
  p: {vrf: main, wireguard: {public_key: %q}, routes: ["0.0.0.0/0"]}
`
	for name, c := range map[string]struct{ underlay, wg, port, mark, more, want string }{
		"right":             {"mark: 7", "", "", "7", "", ""},
		"in a namespace":    {"", "", ", netns: x", "7", "", ""},
		"no mark":           {"", "", "", "7", "", "want underlay: {mark: 7}"},
		"another mark":      {"mark: 8", "", "", "7", "", "want underlay: {mark: 7}"},
		"of WireGuard":      {"mark: 7", ", mark: 8", "", "7", "", "no other mark under wireguard"},
		"main table":        {"mark: 254", "", "", "254", "", "one of the kernel's own"},
		"a table":           {"mark: 254", "", "", "254, table: 7", "", ""},
		"the same twice":    {"mark: 7", "", "", "7", "  two: {port: {tun: w1}, kernel: {policy_routing: 7}}\n", "does it in the same network namespace"},
		"twice, told apart": {"mark: 7", "", "", "7", "  two: {port: {tun: w1}, kernel: {policy_routing: 7, table: 8, protocol: 77}}\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := warren.ParseConfig("x.yaml", fmt.Appendf(nil, text, c.underlay, private[0], c.wg, c.port, c.mark, c.more, public[1]))
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v; want %q", err, c.want)
			}
		})
	}
}
