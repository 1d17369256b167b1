package wait

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warrenvpn/warren/internal/until"
)

// TestPauseLeavesAProcessor for the other goroutines, whatever there are.
func TestPauseLeavesAProcessor(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	if begin := time.Now(); Pause(time.Minute) || time.Since(begin) > patience/2 {
		t.Error("the only processor was kept through a pause")
	}
	runtime.GOMAXPROCS(2)
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			Pause(10 * time.Millisecond) // a signal of Go's monitor may end it early
		}
	})
	until.True(t, "a pause that is refused because another one keeps the other processor", patience, func() bool { return !Pause(time.Microsecond) })
	stop.Store(true)
	wg.Wait()
	if n := pausing.Load(); n != 0 {
		t.Errorf("%d pause, at the end", n)
	}
	if !Pause(time.Microsecond) {
		t.Error("the first of two processors was refused")
	}
}

func TestPauseAllocatesNothing(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2)) // testing.AllocsPerRun leaves only one, with which there are no pauses
	const times = 1000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range times {
		if !Pause(time.Microsecond) {
			t.Fatal("refused")
		}
	}
	runtime.ReadMemStats(&after)
	if n := after.Mallocs - before.Mallocs; n > times/2 { // others may allocate a little
		t.Errorf("%d allocations in %d pauses", n, times)
	}
}
