package until

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

// NoLeaks runs a package's tests, as its TestMain, and fails if goroutines are left. Those that are about to end get the time that
// a busy machine takes to let them.
func NoLeaks(m *testing.M) { goleak.VerifyTestMain(settled{m}) }

type settled struct{ *testing.M }

func (m settled) Run() int {
	code := m.M.Run()
	if code == 0 {
		Holds(time.Minute, func() bool { return goleak.Find() == nil })
	}
	return code
}
