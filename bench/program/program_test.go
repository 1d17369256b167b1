package program

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestWarren(t *testing.T) {
	path, remove, err := Warren(t.Context(), "/opt/warren")
	if path != "/opt/warren" || err != nil || remove() != nil {
		t.Errorf("named: %q, %v", path, err)
	}
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Setenv("PATH", dir) // where there is no go
	path, remove, err = Warren(t.Context(), "")
	if err == nil || !strings.HasPrefix(err.Error(), "build warren: ") || !strings.HasPrefix(path, dir) {
		t.Errorf("built without a compiler: %q, %v", path, err)
	}
	if err := remove(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	t.Setenv("TMPDIR", filepath.Join(dir, "nowhere"))
	if _, remove, err := Warren(t.Context(), ""); err == nil || remove() != nil {
		t.Errorf("built nowhere: %v", err)
	}
}

func TestMachine(t *testing.T) {
	got := Machine()
	if !strings.HasSuffix(got, runtime.Version()) || runtime.GOOS == "linux" && !strings.Contains(got, ", Linux ") || strings.Contains(got, "\n") {
		t.Errorf("the machine is %q", got)
	}
}
