package housetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// An arrow says what the packages at and below a directory may import of this module. The most specific directory counts.
// An entry with "/..." means the directory and all below it, one without means it alone; "." is the front door.
type arrow struct {
	from  string
	to    []string
	not   []string // below its own directory, and yet not to be imported
	tests []string // more for its test files, also of what stands in not
}

// arrows is the order of the house: cmd → warren → tunnel, routing, dataplane → esp. Every package may import what is below
// its own directory and internal; every test may import bench/lab, which imports nothing of ours.
var arrows = []arrow{
	{from: "internal", to: []string{"internal/..."}},
	{from: "esp", to: []string{"esp/..."}},
	{from: "routing/fib", to: []string{"routing/fib/..."}},
	{from: "routing", to: []string{"routing/..."}, tests: []string{"dataplane/..."}},

	// The walk knows packets, the route table and what seals them, and neither the ports nor the underlays that implement its
	// interfaces. Its tests do.
	{from: "dataplane", to: []string{"dataplane/packet", "dataplane/wire", "dataplane/counter", "routing/fib", "esp/..."},
		not:   []string{"dataplane/port/...", "dataplane/underlay/..."},
		tests: []string{"dataplane/...", "tunnel/..."}},
	{from: "dataplane/internal", to: []string{"dataplane/internal/..."}},
	{from: "dataplane/wire"},
	{from: "dataplane/counter"},
	{from: "dataplane/packet", to: []string{"dataplane/wire", "dataplane/counter"}},
	{from: "dataplane/packet/packettest", to: []string{"dataplane/packet", "dataplane/wire"}},
	{from: "dataplane/capture", to: []string{"dataplane", "dataplane/packet", "dataplane/wire"}, tests: []string{"dataplane/..."}},
	{from: "dataplane/port", to: []string{"dataplane", "dataplane/packet", "dataplane/wire", "dataplane/counter", "dataplane/capture",
		"dataplane/internal/..."},
		tests: []string{"dataplane/..."}},
	{from: "dataplane/underlay", to: []string{"dataplane", "dataplane/packet", "dataplane/wire", "dataplane/counter", "dataplane/capture",
		"dataplane/internal/..."},
		tests: []string{"dataplane/..."}},

	// Each kind of tunnel stands alone, and shares tunnel/outer; the IKE machine emits plain values and does not know what they
	// will key.
	{from: "tunnel", to: []string{"dataplane", "dataplane/packet", "dataplane/wire", "dataplane/counter", "esp/...", "tunnel/outer"},
		tests: []string{"dataplane/...", "routing/fib"}},
	{from: "tunnel/ike", to: []string{"tunnel/ike/..."}},

	{from: ".", to: []string{"dataplane/...", "tunnel/...", "routing/...", "esp/..."}, tests: []string{"bench/..."}},
	{from: "cmd", to: []string{"."}},
	{from: "bench", to: []string{".", "dataplane/...", "tunnel/...", "routing/...", "esp/...", "bench/..."}},
	{from: "bench/lab"},
}

// keepers says who alone may import a dependency, so that it stays behind one door. Tests are free: a second opinion on what
// we wrote is what several of these libraries are for.
var keepers = map[string][]string{
	"gvisor.dev/gvisor":                   {"dataplane/port/netstack"},
	"github.com/google/gopacket":          {"dataplane/capture"},
	"github.com/prometheus/client_golang": {"cmd"},
	"github.com/spf13":                    {"cmd"},
	"github.com/vishvananda":              {"dataplane", "routing/kernel", "bench"},
	"golang.zx2c4.com/wireguard/device":   {"tunnel/wireguard"},
	"github.com/osrg/gobgp":               {"routing/bgp", "routing/bfd"},
	"filippo.io/bigmod":                   {"tunnel/ike"},
}

func TestImportArrows(t *testing.T) {
	for _, s := range sources(t) {
		for _, imported := range s.imports {
			if err := judge(s, imported); err != nil {
				t.Errorf("%s: %v", s.path, err)
			}
		}
	}
}

// judge returns an error for an import that the table does not allow.
func judge(s source, imported string) error {
	to, ours := strings.CutPrefix(imported+"/", module+"/")
	if !ours {
		return judgeForeign(s, imported)
	}
	if to = strings.TrimSuffix(to, "/"); to == "" {
		to = "."
	}
	from, ok := arrowOf(s.dir)
	switch {
	case !ok:
		return fmt.Errorf("directory %s has no place in the table of arrows", s.dir)
	case s.test && (to == "bench/lab" || matches(from.tests, to)):
		return nil
	case matches(from.not, to):
		return fmt.Errorf("%s must not import %s", from.from, to)
	case within(to, "internal"), within(to, s.dir), matches(from.to, to):
		return nil
	}
	return fmt.Errorf("%s must not import %s; it may import %q (tests also %q)", from.from, to, from.to, from.tests)
}

func judgeForeign(s source, imported string) error {
	for library, doors := range keepers {
		if s.test || !within(imported, library) {
			continue
		}
		if !slices.ContainsFunc(doors, func(door string) bool { return within(s.dir, door) }) {
			return fmt.Errorf("only %q imports %s", doors, library)
		}
	}
	return nil
}

// arrowOf is the entry with the longest directory that holds dir.
func arrowOf(dir string) (best arrow, ok bool) {
	for _, a := range arrows {
		if within(dir, a.from) && (!ok || len(a.from) > len(best.from)) {
			best, ok = a, true
		}
	}
	return best, ok
}

func matches(patterns []string, dir string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		top, below := strings.CutSuffix(pattern, "/...")
		return dir == top || below && within(dir, top)
	})
}

// The table is itself checked: these are the sentences of the design, as imports that must and must not pass.
func TestArrowsMeanWhatTheDesignSays(t *testing.T) {
	tests := []struct {
		file, imports string // from the root of the tree; imports of other modules in full
		want          bool
	}{
		{"cmd/warren/main.go", ".", true},
		{"cmd/warren/main.go", "dataplane", false},
		{"cmd/warren/main.go", "esp", false},
		{"engine.go", "tunnel/ipsec", true},
		{"engine.go", "dataplane/port/tun", true},
		{"engine.go", "cmd/warren", false},
		{"engine.go", "bench/lab", false},
		{"engine_test.go", "bench/lab", true},
		{"dataplane/walk.go", "routing/fib", true},
		{"dataplane/walk.go", "routing/rib", false},
		{"dataplane/walk.go", "tunnel/ipsec", false},
		{"dataplane/walk.go", "dataplane/port/tun", false},
		{"dataplane/walk_test.go", "dataplane/port/pipe", true},
		{"dataplane/wire/parse.go", "dataplane", false},
		{"dataplane/port/tun/tun.go", "dataplane", true},
		{"dataplane/port/tun/tun.go", "dataplane/internal/netns", true},
		{"dataplane/internal/netns/netns.go", "dataplane", false},
		{"dataplane/port/tun/tun.go", "dataplane/underlay/udp", false},
		{"dataplane/port/tun/tun.go", "tunnel/ipsec", false},
		{"dataplane/port/netstack/stack.go", "gvisor.dev/gvisor/pkg/tcpip", true},
		{"dataplane/port/tun/tun.go", "gvisor.dev/gvisor/pkg/tcpip", false},
		{"engine.go", "gvisor.dev/gvisor/pkg/tcpip", false},
		{"tunnel/ipsec/tunnel.go", "dataplane", true},
		{"tunnel/ipsec/tunnel.go", "esp", true},
		{"tunnel/ipsec/tunnel.go", "dataplane/port/tun", false},
		{"tunnel/ipsec/tunnel.go", "tunnel/ike", false},
		{"tunnel/ipsec/tunnel.go", "tunnel/outer", true},
		{"tunnel/ipsec/tunnel.go", "tunnel/wireguard", false},
		{"tunnel/outer/mtu.go", "tunnel/ipsec", false},
		{"tunnel/ike/machine.go", "tunnel/outer", false},
		{"tunnel/ike/machine.go", "esp", false},
		{"tunnel/ike/machine.go", "dataplane", false},
		{"tunnel/ike/machine.go", "tunnel/ike/message", true},
		{"tunnel/ike/machine_test.go", "esp", false},
		{"esp/sa.go", "dataplane/packet", false},
		{"esp/sa.go", "tunnel/ike", false},
		{"esp/sa_test.go", "bench/lab", true},
		{"routing/fib/table.go", "dataplane", false},
		{"routing/rib/rib.go", "routing/fib", true},
		{"routing/rib/rib.go", "tunnel/ipsec", false},
		{"bench/lab/lab.go", ".", false},
		{"bench/e2e/e2e_test.go", "tunnel/ipsec", true},
		{"internal/any/any.go", "esp", false},
		{"elsewhere/any.go", "esp", false},
	}
	for _, test := range tests {
		s := source{path: test.file, dir: ".", test: strings.HasSuffix(test.file, "_test.go")}
		if i := strings.LastIndex(test.file, "/"); i >= 0 {
			s.dir = test.file[:i]
		}
		imported := test.imports
		if first, _, _ := strings.Cut(imported, "/"); imported == "." {
			imported = module
		} else if !strings.Contains(first, ".") {
			imported = module + "/" + imported
		}
		if err := judge(s, imported); (err == nil) != test.want {
			t.Errorf("%s imports %s: %v, want allowed = %v", test.file, test.imports, err, test.want)
		}
	}
}
