package until

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestHolds(t *testing.T) {
	for _, c := range []struct {
		name          string
		since, within time.Duration
		want          bool
		looks         int // at least
	}{
		{"at once", 0, time.Second, true, 1},
		{"without patience", 0, 0, true, 1},
		{"later", 500 * time.Millisecond, time.Second, true, 400},
		{"at the last moment", time.Second, time.Second, true, 900},
		{"too late", time.Second + 2*pause, time.Second, false, 900},
		{"never", time.Hour, 0, false, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			began, looks := time.Now(), 0
			got := Holds(c.within, func() bool { looks++; return time.Since(began) >= c.since })
			took := time.Since(began)
			if got != c.want || looks < c.looks || took > c.within+pause || got && took < c.since {
				t.Errorf("%s: %v after %v and %d looks", c.name, got, took, looks)
			}
		})
	}
}

// A machine that was away longer than the deadline still looks once more.
func TestLooksOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		if !Holds(time.Second, func() bool {
			if looks++; looks == 1 {
				time.Sleep(time.Minute)
			}
			return looks == 2
		}) {
			t.Error("gave up without a look behind the deadline")
		}
	})
}

// failure records how a test fails.
type failure struct {
	testing.TB
	said string
}

func (*failure) Helper() {}

func (f *failure) Fatalf(format string, args ...any) {
	f.said = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestTrue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		True(t, "what holds", time.Second, func() bool { return true })
		f := new(failure)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			True(f, "pigs fly", time.Second, func() bool { return false })
		}()
		<-ended
		if f.said != "not within 1s: pigs fly" {
			t.Errorf("said %q", f.said)
		}
	})
}

// gate is where TestWaits has a goroutine stand.
type gate struct{ mu sync.Mutex }

func (g *gate) pass() {
	g.mu.Lock()
	defer g.mu.Unlock()
}

func TestWaits(t *testing.T) {
	const function = "until.(*gate).pass"
	g := new(gate)
	g.mu.Lock()
	if Waits(function, "sync.Mutex.Lock") {
		t.Error("waits before it is called")
	}
	passed := make(chan struct{})
	go func() {
		defer close(passed)
		g.pass()
	}()
	True(t, "somebody stands at the gate", time.Minute, func() bool { return Waits(function, "sync.Mutex.Lock") })
	if Waits(function, "chan receive") || Waits("until.(*gate).passed", "sync.Mutex.Lock") {
		t.Error("waits for another reason, or elsewhere")
	}
	g.mu.Unlock()
	<-passed
	if Waits(function, "sync.Mutex.Lock") {
		t.Error("waits behind the gate")
	}
}
