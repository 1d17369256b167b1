package wait

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrWoken is what Sleep returns once Wake has been called.
var ErrWoken = errors.New("woken to end")

// Waker ends the sleep of every worker at once.
type Waker struct{ fd int }

// NewWaker returns a waker. It holds a descriptor until Close.
func NewWaker() (*Waker, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("make event descriptor: %w", err)
	}
	return &Waker{fd}, nil
}

// Sleep waits until fd can be read or has an error, and returns what poll(2) says of it, or ErrWoken. It allocates nothing.
func (w *Waker) Sleep(fd int) (revents int16, err error) {
	revents, _, err = w.SleepTwo(fd, -1)
	return revents, err
}

// SleepTwo waits as Sleep does, and also until other, if it is not negative, has an error.
func (w *Waker) SleepTwo(fd, other int) (revents, others int16, err error) {
	fds := [3]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(w.fd), Events: unix.POLLIN}, {Fd: int32(other)}}
	for {
		_, _, errno := unix.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&fds[0])), 3, 0, 0, 0, 0)
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			return 0, 0, fmt.Errorf("poll: %w", errno)
		case fds[1].Revents != 0:
			return 0, 0, ErrWoken
		default:
			return fds[0].Revents, fds[2].Revents, nil
		}
	}
}

// Wake ends all sleeps, now and later.
func (w *Waker) Wake() {
	one := [8]byte{1}
	_, _ = unix.Write(w.fd, one[:]) // fails only if the counter is full, and then it is readable
}

// Close gives the descriptor back. Nobody may be asleep.
func (w *Waker) Close() { _ = unix.Close(w.fd) }
