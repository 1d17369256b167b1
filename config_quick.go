package warren

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/warrenvpn/warren/tunnel/wireguard/quick"
)

// quickSuffix is how the names of wg-quick's files end.
const quickSuffix = ".conf"

// ImportQuick reads a configuration file of wg-quick(8) and returns the configuration in YAML that means the same, secrets and
// all, and as warnings what in the file has no effect. Mistakes in the file are ConfigErrors. A file wg0.conf makes the device wg0, as it does with wg-quick.
func ImportQuick(path string) (yaml []byte, warnings []ConfigWarning, err error) {
	q, err := quick.Load(path)
	if err != nil {
		return nil, nil, quickMistakes(err)
	}
	name := strings.TrimSuffix(filepath.Base(path), quickSuffix)
	if !interfaceName.MatchString(name) {
		return nil, nil, fmt.Errorf("import %s: the file's name is that of the device: want 1 to 15 letters, digits and characters of _=+.- before %s", path, quickSuffix)
	}
	if err := importable(path, q); err != nil {
		return nil, nil, err
	}
	b := new(bytes.Buffer)
	fmt.Fprintf(b, "# From %s. There are secrets in it.\n", filepath.Base(path))
	quickInterface(b, name, &q.Interface)
	quickPeers(b, q.Peers)
	for _, i := range q.Ignored {
		warnings = append(warnings, ConfigWarning{File: path, Line: i.Line, Column: 1, Key: i.Key, Text: "ignored: " + i.Why})
	}
	return b.Bytes(), warnings, nil
}

// quickMistakes makes of the mistakes of a wg-quick file those of any configuration.
func quickMistakes(err error) error {
	var all quick.Errors
	if !errors.As(err, &all) {
		return err
	}
	var errs ConfigErrors
	for _, e := range all {
		errs = append(errs, &ConfigError{File: e.File, Line: e.Line, Column: e.Column, Key: e.Key, Problem: e.Problem, Want: e.Want})
	}
	return errs
}

// loadQuick makes a configuration of a wg-quick file.
func loadQuick(path string) (*Config, error) {
	yaml, warnings, err := ImportQuick(path)
	if err != nil {
		return nil, err
	}
	cfg, err := parseConfig(path+" as YAML", yaml, false)
	if err != nil {
		return nil, err
	}
	cfg.Warnings = append(cfg.Warnings, warnings...)
	return cfg, nil
}

// importable says what a file wants that warren does not do, and that nobody should miss in silence.
func importable(path string, q *quick.Config) error {
	if q.Interface.PrivateKey.IsZero() {
		return fmt.Errorf("import %s: PrivateKey is missing: want PrivateKey = KEY under [Interface]", path)
	}
	if q.Interface.Table == "off" {
		return nil
	}
	for i := range q.Peers {
		for _, p := range q.Peers[i].AllowedIPs {
			if p.Bits() == 0 {
				return fmt.Errorf("import %s: AllowedIPs has the default route %v: not supported yet by this version (policy routing); "+
					"want Table = off, and rules of your own", path, p)
			}
		}
	}
	return nil
}

// quickInterface writes what the Interface section says.
func quickInterface(b *bytes.Buffer, name string, i *quick.Interface) {
	fmt.Fprintf(b, "wireguard:\n  private_key: %q\n", i.PrivateKey.Base64())
	if i.ListenPort != 0 {
		fmt.Fprintf(b, "  listen_port: %d\n", i.ListenPort)
	}
	if i.FwMark != 0 {
		fmt.Fprintf(b, "  mark: %d\n", i.FwMark)
	}
	fmt.Fprintf(b, "  interface: %q\nvrfs:\n  %q:\n    port: {tun: %q", name, name, name)
	if len(i.Addresses) > 0 {
		fmt.Fprintf(b, ", addresses: %s", yamlList(i.Addresses))
	}
	if i.MTU != 0 {
		fmt.Fprintf(b, ", mtu: %d", i.MTU)
	}
	b.WriteString("}\n")
	switch i.Table {
	case "off":
	case "", "auto":
		b.WriteString("    kernel: {export: [{from: static}]}\n")
	default:
		fmt.Fprintf(b, "    kernel: {export: [{from: static}], table: %s}\n", i.Table)
	}
}

// quickPeers writes what the Peer sections say.
func quickPeers(b *bytes.Buffer, peers []quick.Peer) {
	if len(peers) == 0 {
		return
	}
	owner := map[netip.Prefix]int{}
	for i := range peers {
		for _, p := range peers[i].AllowedIPs {
			owner[p] = i // who had it said last
		}
	}
	names := map[string]bool{}
	b.WriteString("tunnels:\n")
	for i := range peers {
		p := &peers[i]
		var allowed []netip.Prefix
		for _, a := range p.AllowedIPs {
			if j, there := owner[a]; there && j == i {
				allowed = append(allowed, a)
				delete(owner, a)
			}
		}
		fmt.Fprintf(b, "  %s:\n    wireguard:\n      public_key: %q\n", peerName(p.PublicKey.String(), names), p.PublicKey)
		if !p.PresharedKey.IsZero() {
			fmt.Fprintf(b, "      preshared_key: %q\n", p.PresharedKey.Base64())
		}
		if !p.Endpoint.IsZero() {
			fmt.Fprintf(b, "      endpoint: %q\n", p.Endpoint)
		}
		if p.PersistentKeepalive != 0 {
			fmt.Fprintf(b, "      persistent_keepalive: %ds\n", p.PersistentKeepalive)
		}
		fmt.Fprintf(b, "      cryptokey_routing: yes\n    allowed_ips: %s\n", yamlList(allowed))
	}
}

// peerName is a name for a peer of which only the key is known.
func peerName(key string, taken map[string]bool) string {
	plain := strings.NewReplacer("+", "-", "/", "_").Replace(key)
	for n := 8; ; n++ {
		if name := "peer-" + plain[:n]; !taken[name] {
			taken[name] = true
			return name
		}
	}
}

// yamlList writes prefixes as a list on one line.
func yamlList(ps []netip.Prefix) string {
	all := make([]string, len(ps))
	for i, p := range ps {
		all[i] = fmt.Sprintf("%q", p)
	}
	return "[" + strings.Join(all, ", ") + "]"
}
