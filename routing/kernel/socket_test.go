package kernel

import (
	"strings"
	"testing"
)

func TestNamespaceThatIsNotThere(t *testing.T) {
	for _, name := range []string{"warren-nowhere", "/proc/self/ns/nowhere"} {
		err := within(name, func() error { t.Error("it was entered"); return nil })
		if err == nil || !strings.Contains(err.Error(), "does not exist; make it with `ip netns add`") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
