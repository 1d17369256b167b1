package wait

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/internal/until"
)

// patience bounds every wait; nothing waits for it to pass.
const patience = time.Minute

func waker(t *testing.T) *Waker {
	w, err := NewWaker()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

func pipe(t *testing.T) (in, out int) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(p[0]); unix.Close(p[1]) })
	return p[0], p[1]
}

func put(t *testing.T, fd int) {
	if _, err := unix.Write(fd, []byte("x")); err != nil {
		t.Error(err)
	}
}

// TestSleepSeesReadinessAndWake: in Go's poller, and in poll(2) once sleeps are brief.
func TestSleepSeesReadinessAndWake(t *testing.T) {
	w := waker(t)
	in, out := pipe(t)
	put(t, out)
	s := w.Sleeper(in, -1)
	n := testing.AllocsPerRun(3*busy, func() {
		if ev, _, err := s.Sleep(); err != nil || ev&unix.POLLIN == 0 {
			t.Fatal(ev, err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
	until.True(t, "so many sleeps in a row are brief", patience, func() bool { // or more, if the machine stood still
		_, _, err := s.Sleep()
		return err != nil || s.briefs >= busy
	})
	w.Wake()
	for range 2 {
		if _, _, err := s.Sleep(); !errors.Is(err, ErrWoken) {
			t.Error(err)
		}
		s.briefs = 0 // and once more in Go's poller
	}
}

// TestSleepEndsWhenSomethingComes: each of many packets wakes a sleeper that reads before it sleeps again, whether they come often
// or now and then, and whether it had to read once or more than once.
func TestSleepEndsWhenSomethingComes(t *testing.T) {
	w := waker(t)
	in, out := pipe(t)
	s := w.Sleeper(in, -1)
	const all = 200
	read := make(chan int)
	go func() {
		for i := range all {
			put(t, out)
			if i%3 == 0 {
				<-read // it has been read, and the reader is asleep or soon will be
			}
			if i%20 == 0 {
				time.Sleep(2 * brief)
			}
		}
	}()
	var b [1]byte
	late := time.AfterFunc(patience, w.Wake)
	defer late.Stop()
	for got := 0; got < all; {
		n, err := unix.Read(in, b[:])
		switch {
		case err == unix.EAGAIN:
			if _, _, err := s.Sleep(); err != nil {
				t.Fatalf("after %d of %d: %v", got, all, err)
			}
		case err != nil:
			t.Fatal(err)
		default:
			if got%3 == 0 {
				read <- got
			}
			got += n
		}
	}
}

// TestSleepForgetsABusyTime: who sleeps long is not busy any more, and is woken nevertheless.
func TestSleepForgetsABusyTime(t *testing.T) {
	w := waker(t)
	in, out := pipe(t)
	s := w.Sleeper(in, -1)
	s.briefs = busy
	go func() { // once it sleeps in Go's poller, and then more than briefly
		until.Holds(patience, func() bool { return until.Waits("wait.(*Sleeper).Sleep", "IO wait") })
		time.Sleep(2 * brief)
		put(t, out)
	}()
	if ev, _, err := s.Sleep(); err != nil || ev&unix.POLLIN == 0 {
		t.Fatal(ev, err)
	}
	if s.briefs != 0 {
		t.Errorf("%d sleeps were brief", s.briefs)
	}
}

// TestNothingWatchesWhileBusy: whoever fills a queue has nobody to call while its worker pauses or sleeps in poll(2), and wakes it
// nevertheless, in either way of sleeping, afterwards.
func TestNothingWatchesWhileBusy(t *testing.T) {
	w := waker(t)
	in, out := pipe(t)
	put(t, out)
	s := w.Sleeper(in, -1)
	sleep := func(briefs int) {
		t.Helper()
		s.briefs = briefs
		if ev, _, err := s.Sleep(); err != nil || ev&unix.POLLIN == 0 {
			t.Fatal(ev, err)
		}
	}
	watched := func() bool {
		t.Helper()
		// A line for each descriptor: "tfd: 7 events: ...".
		info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", s.epoll))
		if err != nil {
			t.Fatal(err)
		}
		return regexp.MustCompile(fmt.Sprintf(`(?m)^tfd:\s+%d\s`, in)).Match(info)
	}
	for range 2 {
		if sleep(0); !watched() {
			t.Error("Go's poller watches nothing")
		}
		if sleep(busy); watched() {
			t.Error("watched while it sleeps in poll(2)")
		}
		if sleep(0); !watched() {
			t.Error("Go's poller watches nothing after a busy time")
		}
		if s.Pause(time.Microsecond); watched() {
			t.Error("watched in a pause")
		}
	}
}

// TestSleepSeesErrorsOfTheOther: a pipe that nobody reads any more has an error, which is all that is waited for.
func TestSleepSeesErrorsOfTheOther(t *testing.T) {
	for _, briefs := range []int{0, busy} {
		w := waker(t)
		in, _ := pipe(t)
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(p[1])
		s := w.Sleeper(in, p[1])
		s.briefs = briefs
		time.AfterFunc(20*brief, func() { unix.Close(p[0]) })
		ev, others, err := s.Sleep()
		if err != nil || ev != 0 || others&unix.POLLERR == 0 {
			t.Errorf("%d brief sleeps before: %#x, %#x, %v", briefs, ev, others, err)
		}
	}
}
