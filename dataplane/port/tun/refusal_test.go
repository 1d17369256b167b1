package tun

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane/packet"
)

// TestRefusal: every answer of the kernel but success is a reason to drop, and says the one that an operator can act on.
func TestRefusal(t *testing.T) {
	for errno, want := range map[unix.Errno]packet.Reason{
		0: packet.None, unix.EAGAIN: packet.PortFull, unix.ENOBUFS: packet.PortFull, unix.ENOMEM: packet.PortFull,
		unix.EINVAL: packet.BadOffload, unix.EIO: packet.PortDown, unix.EBADFD: packet.PortDown, unix.EPERM: packet.PortDown,
	} {
		if got := refusal(errno); got != want {
			t.Errorf("%v is %v, want %v", errno, got, want)
		}
	}
}
