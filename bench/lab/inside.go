//go:build linux

package lab

import (
	"fmt"
	"runtime"

	"github.com/vishvananda/netns"
)

// Inside calls f on a thread that is in the host's namespace: sockets that f makes stay there. What f starts as goroutines is not
// inside.
func (h *Host) Inside(f func() error) error {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open our own namespace: %w", err)
	}
	defer home.Close()
	there, err := netns.GetFromName(h.Namespace)
	if err == nil {
		defer there.Close()
		err = netns.Set(there)
	}
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter host %s: %w", h.Name, err)
	}
	err = f()
	if back := netns.Set(home); back != nil {
		// The thread stays locked, so that it ends with its goroutine and nobody else finds himself in this namespace.
		return fmt.Errorf("leave host %s: %w", h.Name, back)
	}
	runtime.UnlockOSThread()
	return err
}
