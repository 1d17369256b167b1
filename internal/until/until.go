package until

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

// pause is how long to wait before looking again.
const pause = time.Millisecond

// Holds looks until the condition holds, and says whether it did within that time. It looks a last time when the time is over, so
// that a machine that is busy does not decide.
func Holds(within time.Duration, condition func() bool) bool {
	for deadline := time.Now().Add(within); ; time.Sleep(pause) {
		late := !time.Now().Before(deadline)
		if condition() {
			return true
		}
		if late {
			return false
		}
	}
}

// True fails the test unless the condition holds within that time. What is waited for is said in words.
func True(t testing.TB, what string, within time.Duration, condition func() bool) {
	t.Helper()
	if !Holds(within, condition) {
		t.Fatalf("not within %v: %s", within, what)
	}
}

// Waits says whether a goroutine stands still in a function, because of what the runtime calls reason: "sync.Mutex.Lock",
// "sync.WaitGroup.Wait", "chan receive". The function is named as in a stack trace, its package without the path:
// "sock.(*Sockets).Close". That something does not go on without another can so be seen, where a pause would only guess.
func Waits(function, reason string) bool {
	stacks := make([]byte, 1<<16)
	for {
		n := runtime.Stack(stacks, true)
		if n < len(stacks) {
			stacks = stacks[:n]
			break
		}
		stacks = make([]byte, 2*len(stacks))
	}
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		state, calls, _ := strings.Cut(stack, "\n")
		if strings.Contains(state, " ["+reason) && (strings.Contains(calls, "/"+function+"(") || strings.HasPrefix(calls, function+"(")) {
			return true
		}
	}
	return false
}
