//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// programDir is where the program is built; it is removed after the last test.
var programDir string

func TestMain(m *testing.M) {
	var err error
	if programDir, err = os.MkdirTemp("", "warren-e2e-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	if err := os.RemoveAll(programDir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

// program is the path of warren, built by the first test that wants it.
var program = sync.OnceValues(func() (string, error) {
	path := filepath.Join(programDir, "warren")
	out, err := exec.Command("go", "build", "-o", path, "github.com/warrenvpn/warren/cmd/warren").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, err
})

// build returns a warren of the test's own.
func build(t testing.TB) string {
	t.Helper()
	shared, err := program()
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(t.TempDir(), "warren")
	if err := os.Link(shared, own); err != nil {
		t.Fatal(err)
	}
	return own
}
