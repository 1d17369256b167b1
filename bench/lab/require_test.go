//go:build linux

package lab

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// verdict is a testing.TB that remembers how a test ended instead of ending it.
type verdict struct {
	testing.TB
	fatal, skipped string
}

func (v *verdict) Helper()           {}
func (v *verdict) Fatal(args ...any) { v.fatal += fmt.Sprint(args...) }
func (v *verdict) Skip(args ...any)  { v.skipped += fmt.Sprint(args...) }

func TestRequireOfWhatIsMissing(t *testing.T) {
	var v verdict
	Require(&v, "sh")
	if v.fatal+v.skipped != "" {
		t.Errorf("sh is there, and yet: %+v", v)
	}
	Require(&v, "no-such-program")
	said, other := v.fatal, v.skipped
	if os.Geteuid() != 0 {
		said, other = v.skipped, v.fatal
	}
	if !strings.Contains(said, `"no-such-program"`) || other != "" {
		t.Errorf("root must fail and others skip, with the program's name: %+v", v)
	}
}

func TestMissingNamesThePackage(t *testing.T) {
	if err := missing("ping"); !strings.Contains(err.Error(), "iputils-ping") {
		t.Errorf("%v does not name the package", err)
	}
}
