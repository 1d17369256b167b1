package wait

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrWoken is what Sleep returns once Wake has been called.
var ErrWoken = errors.New("woken to end")

// Waker ends the sleep of every worker at once.
type Waker struct {
	fd int

	mu       sync.Mutex
	sleepers []*Sleeper
}

// NewWaker returns a waker. It holds descriptors until Close: one, and one for each Sleeper that has slept.
func NewWaker() (*Waker, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("make event descriptor: %w", err)
	}
	return &Waker{fd: fd}, nil
}

// Sleeper returns what sleeps until fd can be read or has an error, or other, if it is not negative, has an error.
func (w *Waker) Sleeper(fd, other int) *Sleeper {
	s := &Sleeper{waker: w, fds: [3]int{fd, other, w.fd}}
	s.look = s.lookAndArm
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sleepers = append(w.sleepers, s)
	return s
}

// Wake ends all sleeps, now and later.
func (w *Waker) Wake() {
	one := [8]byte{1}
	_, _ = unix.Write(w.fd, one[:]) // fails only if the counter is full, and then it is readable
}

// Close gives the descriptors back. Nobody may be asleep.
func (w *Waker) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.sleepers {
		if s.file != nil {
			_ = s.file.Close()
		}
	}
	w.sleepers = nil
	_ = unix.Close(w.fd)
}
