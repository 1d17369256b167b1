package wait

import (
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A sleep is brief if it ends within this time: below, Go's poller and a second thread that it wakes cost more than the monitor.
const brief = 250 * time.Microsecond

// busy is how many brief sleeps in a row make a worker that is busy.
const busy = 8

// Sleeper is how one worker sleeps. It allocates nothing but in its first Sleep.
type Sleeper struct {
	waker *Waker
	// fds are those to be read, whose errors are waited for, and the waker's. The second may be negative.
	fds [3]int
	// briefs is how many of the last sleeps were brief.
	briefs int

	// file is an epoll(7) instance, on which Go's poller waits. It watches fds, the first two once for each time they are armed: what
	// comes while the worker is awake wakes nobody. They are taken out while the worker is busy: even then, whoever fills a queue
	// calls what watches it, for each packet (2 % of sending a datagram into a TUN device).
	file    *os.File
	epoll   uintptr // its descriptor
	raw     syscall.RawConn
	look    func(epoll uintptr) bool
	armed   bool
	watched bool // the first two are in
	events  [3]unix.EpollEvent
	found   int
	failed  unix.Errno
}

// Sleep waits, and returns what poll(2) would say of the two descriptors, or ErrWoken.
func (s *Sleeper) Sleep() (revents, others int16, err error) {
	if s.briefs >= busy {
		s.unwatch()
		var ready bool
		if ready, revents, others, err = s.poll(); ready {
			return revents, others, err
		}
		s.briefs = 0
	}
	if s.file == nil {
		if err := s.open(); err != nil {
			return 0, 0, err
		}
	}
	begin := time.Now()
	s.armed, s.found, s.failed = false, 0, 0
	if err := s.raw.Read(s.look); err != nil {
		return 0, 0, fmt.Errorf("wait for a descriptor: %w", err)
	}
	if s.failed != 0 {
		return 0, 0, fmt.Errorf("watch a descriptor: %w", s.failed)
	}
	if s.briefs++; time.Since(begin) > brief {
		s.briefs = 0
	}
	for _, e := range s.events[:s.found] {
		switch e.Fd {
		case 0:
			revents = int16(e.Events)
		case 1:
			others = int16(e.Events)
		default:
			err = ErrWoken
		}
	}
	return revents, others, err
}

// poll sleeps in poll(2), for a brief time.
func (s *Sleeper) poll() (ready bool, revents, others int16, err error) {
	fds := [3]unix.PollFd{{Fd: int32(s.fds[0]), Events: unix.POLLIN}, {Fd: int32(s.fds[1])}, {Fd: int32(s.fds[2]), Events: unix.POLLIN}}
	limit := unix.NsecToTimespec(int64(brief))
	n, _, errno := unix.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&fds[0])), 3, uintptr(unsafe.Pointer(&limit)), 0, 0, 0)
	switch {
	case errno == unix.EINTR || errno == 0 && n == 0:
		return false, 0, 0, nil
	case errno != 0:
		return true, 0, 0, fmt.Errorf("poll: %w", errno)
	case fds[2].Revents != 0:
		return true, 0, 0, ErrWoken
	}
	return true, fds[0].Revents, fds[1].Revents, nil
}

// watch is what is waited for on each of the fds. Errors need not be asked for.
var watch = [3]uint32{unix.EPOLLIN | unix.EPOLLONESHOT, unix.EPOLLONESHOT, unix.EPOLLIN}

func (s *Sleeper) open() error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err == nil {
		err = unix.SetNonblock(fd, true) // so that Go's poller takes it
	}
	if err == nil {
		err = unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, s.fds[2], &unix.EpollEvent{Events: watch[2], Fd: 2})
	}
	if err != nil {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
		return fmt.Errorf("watch descriptors: %w", err)
	}
	s.epoll = uintptr(fd)
	s.file = os.NewFile(uintptr(fd), "epoll")
	s.raw, err = s.file.SyscallConn()
	return err
}

// lookAndArm says whether there is something. While there is not, the next thing that comes makes the epoll instance readable. The
// calls cannot block, so that the scheduler need not know of them.
func (s *Sleeper) lookAndArm(epoll uintptr) bool {
	if !s.armed {
		op := unix.EPOLL_CTL_ADD
		if s.watched {
			op = unix.EPOLL_CTL_MOD
		}
		if s.failed = s.control(epoll, op); s.failed != 0 {
			return true
		}
		s.armed, s.watched = true, true
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, epoll, uintptr(unsafe.Pointer(&s.events[0])), uintptr(len(s.events)), 0, 0, 0)
	if errno != 0 {
		s.failed = errno
		return true
	}
	s.found = int(n)
	return n > 0
}

// unwatch takes the first two descriptors out of the epoll instance.
func (s *Sleeper) unwatch() {
	if s.watched {
		s.watched = false
		_ = s.control(s.epoll, unix.EPOLL_CTL_DEL) // a descriptor that is gone is out of it
	}
}

// control changes what the epoll instance knows of the first two descriptors.
func (s *Sleeper) control(epoll uintptr, op int) unix.Errno {
	for i, fd := range s.fds[:2] {
		if fd < 0 {
			continue
		}
		s.events[i] = unix.EpollEvent{Events: watch[i], Fd: int32(i)}
		_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, epoll, uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(&s.events[i])), 0, 0)
		if errno != 0 {
			return errno
		}
	}
	return 0
}
