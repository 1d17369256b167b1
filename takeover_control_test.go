package warren

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// unixPair are the two ends of a stream.
func unixPair(t *testing.T) (ends [2]*net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "pair")
		conn, err := net.FileConn(file)
		_ = file.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		ends[i] = conn.(*net.UnixConn)
	}
	return ends
}

// numbered are files of which each says its number.
func numbered(t *testing.T, first, n int) (fds []int) {
	t.Helper()
	for i := range n {
		fd, err := unix.MemfdCreate("queue", unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, fd)
		if _, err := fmt.Fprint(fdWriter(fd), first+i); err != nil {
			t.Fatal(err)
		}
	}
	return fds
}

type fdWriter int

func (w fdWriter) Write(b []byte) (int, error) { return unix.Pwrite(int(w), b, 0) }

// TestHandOverManyQueues: a device may have more queues than one message can carry; all arrive, in order, and none of another device.
func TestHandOverManyQueues(t *testing.T) {
	for _, sizes := range [][]int{{1}, {maxDescriptors}, {maxDescriptors + 1, 2}, {2, 2*maxDescriptors + 1, 3}} {
		t.Run(fmt.Sprint(sizes), func(t *testing.T) {
			old := newLegacy()
			defer func() { old.Close() }()
			for i, n := range sizes {
				old.devices[deviceKey{name: fmt.Sprint(i)}] = numbered(t, 1000*i, n)
			}
			ends := unixPair(t)
			sent := make(chan error, 1)
			go func() {
				header, err := old.send(ends[0])
				if err == nil {
					_, err = ends[0].Read(make([]byte, 1))
				}
				if err == nil {
					err = old.sendDevices(ends[0], &header)
				}
				_ = ends[0].Close()
				sent <- err
			}()
			got, err := receiveLegacy(bufio.NewReader(ends[1]), ends[1])
			if failed := <-sent; failed != nil || err != nil {
				t.Fatalf("sent: %v; received: %v", failed, err)
			}
			defer got.Close()
			for i, n := range sizes {
				queues := got.devices[deviceKey{name: fmt.Sprint(i)}]
				if len(queues) != n {
					t.Fatalf("device %d came with %d queues, want %d", i, len(queues), n)
				}
				for j, fd := range queues {
					b := make([]byte, 16)
					m, err := unix.Pread(fd, b, 0)
					if err != nil || string(b[:m]) != fmt.Sprint(1000*i+j) {
						t.Fatalf("queue %d of device %d is %q, %v", j, i, b[:max(m, 0)], err)
					}
				}
			}
		})
	}
}

// TestHandOverOtherQueues: fewer queues than were announced, more of them, and a message without any are errors.
func TestHandOverOtherQueues(t *testing.T) {
	for name, messages := range map[string][]int{"fewer": {2}, "more": {2, 2}, "none": {1, 0, 2}} {
		t.Run(name, func(t *testing.T) {
			ends := unixPair(t)
			for _, n := range messages {
				fds := numbered(t, 0, n)
				if _, _, err := ends[0].WriteMsgUnix([]byte{handOverOctet}, unix.UnixRights(fds...), nil); err != nil {
					t.Fatal(err)
				}
				for _, fd := range fds {
					_ = unix.Close(fd)
				}
			}
			_ = ends[0].Close()
			queues, err := receiveQueues(ends[1], 3)
			if err == nil {
				t.Errorf("%d queues in place of 3", len(queues))
			}
			for _, fd := range queues {
				_ = unix.Close(fd)
			}
		})
	}
}
