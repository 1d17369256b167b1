package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	// receiveBuffer is what the kernel may hold for us until we read: about 20,000 notifications.
	receiveBuffer = 16 << 20
	// readBuffer is larger than any datagram of the kernel: dumps come in pieces of at most 32 kB.
	readBuffer = 64 << 10
	// answerTime is how long the kernel may take to answer; it answers before the write returns.
	answerTime = 10 * time.Second
)

// errOverrun says that notifications or answers were lost.
var errOverrun = errors.New("netlink messages were lost")

// socket is a netlink socket for rtnetlink. One goroutine may read it, one write it.
type socket struct {
	file *os.File
	raw  syscall.RawConn
	port uint32 // nlmsg_pid of our requests, and of the notifications that they cause
	buf  []byte
}

// openSocket opens a socket in the namespace, that hears the groups (a mask of RTMGRP_*), except for what the port caused.
func openSocket(namespace string, groups, deaf uint32) (s *socket, err error) {
	err = within(namespace, func() error {
		s, err = newSocket(groups, deaf)
		return err
	})
	return s, err
}

func newSocket(groups, deaf uint32) (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	s, err := prepare(fd, groups, deaf)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	s.file = os.NewFile(uintptr(fd), "netlink")
	if s.raw, err = s.file.SyscallConn(); err != nil {
		s.file.Close()
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	return s, nil
}

func prepare(fd int, groups, deaf uint32) (*socket, error) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		// Without privilege there is what the system allows; too little shows as an overrun, which is repaired.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	for _, option := range []int{unix.NETLINK_EXT_ACK, unix.NETLINK_CAP_ACK} {
		if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, option, 1); err != nil {
			return nil, fmt.Errorf("set netlink option %d: %w", option, err)
		}
	}
	if deaf != 0 {
		if err := ignore(fd, deaf); err != nil {
			return nil, fmt.Errorf("attach netlink filter: %w", err)
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return nil, fmt.Errorf("bind netlink socket: %w", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return nil, fmt.Errorf("name netlink socket: %w", err)
	}
	address, ok := name.(*unix.SockaddrNetlink)
	if !ok {
		return nil, fmt.Errorf("netlink socket has an address of type %T", name)
	}
	return &socket{port: address.Pid, buf: make([]byte, readBuffer)}, nil
}

// ignore drops messages whose nlmsg_pid is the port.
func ignore(fd int, port uint32) error {
	var native [4]byte
	binary.NativeEndian.PutUint32(native[:], port)
	const offsetPID = 12
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offsetPID},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: binary.BigEndian.Uint32(native[:]), Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
}

func (s *socket) close() { s.file.Close() }

func (s *socket) send(b []byte) error {
	var failed error
	err := s.raw.Write(func(fd uintptr) bool {
		failed = unix.Sendto(int(fd), b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		return failed != unix.EAGAIN
	})
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("write to netlink: %w", err)
	}
	return nil
}

// receive returns a datagram of the kernel, good until the next call. The zero deadline is never.
func (s *socket) receive(deadline time.Time) ([]byte, error) {
	if err := s.file.SetReadDeadline(deadline); err != nil {
		return nil, fmt.Errorf("read from netlink: %w", err)
	}
	for {
		var n int
		var from unix.Sockaddr
		var failed error
		err := s.raw.Read(func(fd uintptr) bool {
			n, from, failed = unix.Recvfrom(int(fd), s.buf, unix.MSG_TRUNC)
			return failed != unix.EAGAIN
		})
		switch sender, ok := from.(*unix.SockaddrNetlink); {
		case err != nil:
			return nil, fmt.Errorf("read from netlink: %w", err)
		case failed == unix.EINTR:
		case failed == unix.ENOBUFS, n > len(s.buf):
			return nil, errOverrun
		case failed != nil:
			return nil, fmt.Errorf("read from netlink: %w", failed)
		case ok && sender.Pid == 0: // the kernel, no other process
			return s.buf[:n], nil
		}
	}
}

// within runs f in the network namespace: a name as `ip netns` shows it, or a path; empty is that of the process. A thread
// that cannot get back stays locked and ends with its goroutine.
func within(namespace string, f func() error) error {
	if namespace == "" {
		return f()
	}
	done := make(chan error, 1)
	go func() { done <- onThread(namespace, f) }()
	return <-done
}

func onThread(namespace string, f func() error) error {
	open := netns.GetFromName
	if strings.Contains(namespace, "/") {
		open = netns.GetFromPath
	}
	target, err := open(namespace)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("network namespace %q does not exist; make it with `ip netns add`", namespace)
	}
	if err != nil {
		return fmt.Errorf("open network namespace %q: %w", namespace, err)
	}
	defer target.Close()
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("find own network namespace: %w", err)
	}
	defer home.Close()
	if err := netns.Set(target); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace %q: %w", namespace, err)
	}
	err = f()
	if netns.Set(home) == nil {
		runtime.UnlockOSThread()
	}
	return err
}
