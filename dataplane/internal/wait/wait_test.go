package wait

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSleepSeesReadinessAndWake(t *testing.T) {
	w, err := NewWaker()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	if _, err := unix.Write(p[1], []byte("x")); err != nil {
		t.Fatal(err)
	}
	n := testing.AllocsPerRun(10, func() {
		if ev, err := w.Sleep(p[0]); err != nil || ev&unix.POLLIN == 0 {
			t.Fatal(ev, err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
	w.Wake()
	for range 2 {
		if _, err := w.Sleep(p[0]); !errors.Is(err, ErrWoken) {
			t.Error(err)
		}
	}
}
