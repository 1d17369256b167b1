//go:build linux

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/warrenvpn/warren/bench/lab"
	"github.com/warrenvpn/warren/routing/fib/fibtest"
)

// TestRun goes through everything with a small table.
func TestRun(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	lab.Require(t, "bird", "birdc", "ip")
	t.Chdir(filepath.Join("..", "..", ".."))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var out bytes.Buffer
	if err := run(ctx, []string{"-rounds", "1", "-prefixes", "4000"}, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`warren: \S+ go1`, `BIRD version 2`, `3\d\d\d IPv4 and \d+ IPv6 prefixes \(.*\) with 500 sets`,
		`learned from BIRD, s since Established +\d\S* .*(met|missed)`, `resident at most, MB +\d\d`, `sent to BIRD.* +\d\S* .*(met|missed)`,
		`withdrawn by BIRD, s +\d\S* .*(met|missed)`} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestParse(t *testing.T) {
	for _, args := range []string{"-rounds 0", "-share 0", "-prefixes -1", "-nonsense"} {
		if _, err := parse(strings.Fields(args)); err == nil {
			t.Errorf("%s: no error", args)
		}
	}
}

// TestWorld: part of a table has both families, and consecutive prefixes share attributes.
func TestWorld(t *testing.T) {
	table := fibtest.Table{Prefixes: fibtest.Generate(1)}
	w := newWorld(table, 1000, 4)
	if w.v4+w.v6 != 1000 || w.v4 < 700 || w.v6 < 100 || w.attributeSets() != 250 {
		t.Errorf("%d and %d prefixes, %d sets", w.v4, w.v6, w.attributeSets())
	}
	var text bytes.Buffer
	if err := w.writeStatics(&text); err != nil {
		t.Fatal(err)
	}
	sets := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^route \S+ unreachable \{ (bgp_path.*bgp_community\.add.*) \};$`).FindAllStringSubmatch(text.String(), -1) {
		sets[m[1]]++
	}
	if len(sets) != 250 {
		t.Errorf("%d sets, want 250", len(sets))
	}
	for set, n := range sets {
		if n != 4 {
			t.Errorf("%d prefixes have %s", n, set)
		}
	}
}
