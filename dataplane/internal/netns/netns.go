package netns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// folder is where `ip netns` keeps namespaces by name.
const folder = "/run/netns"

// Do runs f on a thread that is in the named namespace: a name as `ip netns list` shows it, or a path such as
// /proc/1/ns/net. The empty name is the namespace that the process is in.
func Do(name string, f func() error) error {
	if name == "" {
		return f()
	}
	path := name
	if !strings.Contains(name, "/") {
		path = filepath.Join(folder, name)
	}
	target, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("network namespace %q does not exist; make it with `ip netns add`", name)
	}
	if err != nil {
		return fmt.Errorf("open network namespace %q: %w", name, err)
	}
	defer target.Close()
	done := make(chan error, 1)
	go func() { done <- onThread(name, target, f) }()
	return <-done
}

// onThread switches its thread over and back. A thread that cannot get back stays locked and ends with the goroutine.
func onThread(name string, target *os.File, f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("find own network namespace: %w", err)
	}
	defer home.Close()
	if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		if errors.Is(err, unix.EPERM) {
			return fmt.Errorf("entering network namespace %q needs root (CAP_SYS_ADMIN); without `netns` it takes no privilege: %w", name, err)
		}
		return fmt.Errorf("enter network namespace %q: %w", name, err)
	}
	err = f()
	if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
	return err
}
