package wait

import (
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pausing is how many goroutines are in Pause. It is the process's, as the processors are that they keep.
var pausing atomic.Int32

// Pause is Pause for a worker that looks into its queue behind it: nothing watches that meanwhile.
func (s *Sleeper) Pause(d time.Duration) bool {
	s.unwatch()
	return Pause(d)
}

// Pause sleeps for d, to which the kernel adds the thread's timer slack (50 µs) and what a wake-up takes. It is for times well below
// a millisecond: the goroutine keeps its processor (Go's P). To let go of it and take it back costs what a pause should save, as Go's
// monitor never rests then. So that others always find a processor, fewer goroutines pause at a time than there are processors; those
// that come then are refused at once, and Pause reports false.
func Pause(d time.Duration) bool {
	defer pausing.Add(-1)
	if int(pausing.Add(1)) >= runtime.GOMAXPROCS(0) {
		return false
	}
	t := unix.NsecToTimespec(int64(d))
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0) // a signal may end it early
	return true
}
