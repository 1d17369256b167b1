package warren

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/warrenvpn/warren/tunnel/wireguard/quick"
)

// quickSuffix is how the names of wg-quick's files end.
const quickSuffix = ".conf"

// ImportQuick reads a configuration file of wg-quick(8) and returns a configuration in YAML that means the same, secrets included.
// Warnings say what in the file has no effect; mistakes in it are ConfigErrors. A file wg0.conf makes the device wg0, as it does with
// wg-quick.
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
	quickInterface(b, name, q)
	quickPeers(b, q.Peers)
	if openToAll(path) {
		warnings = append(warnings, ConfigWarning{File: path, Text: "everybody may read the keys in it: want chmod 600"})
	}
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
	cfg, err := parseConfig(path+" as YAML", yaml, false, false)
	if err != nil {
		return nil, err
	}
	cfg.Warnings = append(cfg.Warnings, warnings...)
	return cfg, nil
}

// quickMark is the mark and the table of wg-quick(8) where a file has a default route and says neither.
const quickMark = 51820

// mainTable is the name of the kernel's main table, the only one whose name every system has.
const mainTable = "main"

// importable says what a file wants that warren does not do, and that nobody should miss in silence.
func importable(path string, q *quick.Config) error {
	if q.Interface.PrivateKey.IsZero() {
		return fmt.Errorf("import %s: PrivateKey is missing: want PrivateKey = KEY under [Interface]", path)
	}
	switch table := q.Interface.Table; table {
	case "", "auto", "off":
	case mainTable:
		if hasDefault(q.Peers) {
			return fmt.Errorf("import %s: AllowedIPs has a default route, which in table main would lead our own packets into the tunnel: want Table = auto", path)
		}
	default:
		if _, err := strconv.ParseUint(table, 10, 32); err != nil {
			return fmt.Errorf("import %s: table %q is known by a name that is not the kernel's: want its number", path, table)
		}
	}
	return nil
}

// hasDefault says whether a peer is allowed everything.
func hasDefault(peers []quick.Peer) bool {
	return slices.ContainsFunc(peers, func(p quick.Peer) bool {
		return slices.ContainsFunc(p.AllowedIPs, func(p netip.Prefix) bool { return p.Bits() == 0 })
	})
}

// quickInterface writes what the Interface section says.
func quickInterface(b *bytes.Buffer, name string, q *quick.Config) {
	i := &q.Interface
	kernel := quickKernel(q)
	if strings.Contains(kernel, "policy_routing") {
		fmt.Fprintf(b, "underlay: {mark: %d}\n", cmp.Or(i.FwMark, quickMark))
	}
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
	b.WriteString("}\n" + kernel)
}

// quickKernel is where the routes go.
func quickKernel(q *quick.Config) string {
	switch table := q.Interface.Table; {
	case table == "off":
		return ""
	case table == mainTable:
		return "    kernel: {export: [{from: static}]}\n"
	case table != "" && table != "auto":
		return fmt.Sprintf("    kernel: {export: [{from: static}], table: %s}\n", table)
	case hasDefault(q.Peers):
		return fmt.Sprintf("    # All but our own packets go by a table of ours, as with wg-quick.\n    kernel: {export: [{from: static}], policy_routing: %d}\n",
			cmp.Or(q.Interface.FwMark, quickMark))
	}
	return "    kernel: {export: [{from: static}]}\n"
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
