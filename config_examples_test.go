package warren

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDesignExamples reads the scenarios of the design, where they lie beside the tree: what this version cannot do it must
// say so of, and never that it does not know a key.
func TestDesignExamples(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join("..", "shared", "design", "examples", "*.yaml"))
	if len(files) == 0 {
		t.Skip("the design's examples are not beside the tree")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			_, err := LoadConfig(file)
			switch filepath.Base(file) {
			case "static-keys.yaml", "bgp-lan.yaml", "interface-per-tunnel.yaml", "policy.yaml", "site-ipsec.yaml", "roadwarriors.yaml",
				"site-wireguard.yaml", "sidecar.yaml":
				mustOnlyMissFiles(t, err)
				return
			}
			var all ConfigErrors
			if !errors.As(err, &all) {
				t.Fatalf("%v, want ConfigErrors", err)
			}
			for _, e := range all {
				if !strings.Contains(e.Problem, "not supported yet by this version") && !strings.Contains(e.Problem, "no such file") {
					t.Error(e)
				}
			}
		})
	}
}

func FuzzParseConfig(f *testing.F) {
	for _, pattern := range []string{"*.yaml", "*/*.yaml"} {
		files, err := filepath.Glob(filepath.Join("testdata", "config", pattern))
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig("x.yaml", data)
		if err != nil {
			var all ConfigErrors
			if !errors.As(err, &all) || len(all) == 0 || err.Error() == "" || c != nil {
				t.Fatalf("%v beside %v", err, c)
			}
			return
		}
		if err := c.Validate(); err != nil {
			t.Fatalf("what was read is not valid: %v", err)
		}
		for _, w := range c.Warnings {
			if w.Line < 1 || w.String() == "" {
				t.Fatalf("warning %+v", w)
			}
		}
	})
}

// mustOnlyMissFiles sees that nothing is wrong with a configuration but that the secrets it names are not on this host.
func mustOnlyMissFiles(t *testing.T, err error) {
	t.Helper()
	var all ConfigErrors
	if err != nil && !errors.As(err, &all) {
		t.Fatal(err)
	}
	for _, e := range all {
		if !strings.Contains(e.Problem, "no such file") {
			t.Error(e)
		}
	}
}
