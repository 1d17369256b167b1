package tun

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/internal/wait"
	"github.com/warrenvpn/warren/dataplane/packet"
)

// drain is how many packets one Read takes at the most: enough to pay for the wake-up, few enough to stay in the cache.
const drain = 64

// lead is how far into the free part of the arena packets are placed where there is a virtio header, which ends there. They
// stand on a cache line then, as a cipher likes it (5 % of sealing 1400 bytes).
const lead = 64

// reader is one queue.
type reader struct {
	*user
	sleeper *wait.Sleeper
	pace    moderation
}

// Read implements [dataplane.PortReader]. It looks before it sleeps: under load there is always something. Where there is,
// but little, it pauses before it looks.
func (r *reader) Read(b *packet.Batch) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	b.Reset()
	for {
		if r.dev.closed.Load() {
			return dataplane.ErrClosed
		}
		r.pace.before()
		if err := r.take(b); err != nil {
			return fmt.Errorf("read from TUN device %q: %w", r.dev.name, err)
		}
		r.pace.took(b.Len())
		if b.Len() > 0 {
			return nil
		}
		if _, _, err := r.sleeper.Sleep(); err != nil && !errors.Is(err, wait.ErrWoken) {
			return fmt.Errorf("wait for TUN device %q: %w", r.dev.name, err)
		}
	}
}

// take reads what is there without waiting. The calls cannot block, so that the scheduler need not know of them.
func (r *reader) take(b *packet.Batch) error {
	front := 0 // bytes of the space in front of what is read
	if r.dev.vnetLen > 0 {
		front = lead - vnetLen
	}
	want := lead + packet.MaxSize
	for b.Len() < drain {
		space := b.Space(want)
		if space == nil {
			if b.Len() == 0 {
				return fmt.Errorf("the batch's arena has no room for a packet of %d bytes", want)
			}
			return nil
		}
		n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(r.fd), uintptr(unsafe.Pointer(&space[front])), uintptr(len(space)-front))
		switch errno {
		case 0:
			r.commit(b, space[:front+int(n)])
		case unix.EINTR:
		case unix.EAGAIN:
			return nil
		case unix.EBADFD, unix.EFAULT:
			return fmt.Errorf("somebody removed it: %w", errno)
		default:
			return errno
		}
	}
	return nil
}

// commit makes a packet of what was read.
func (r *reader) commit(b *packet.Batch, read []byte) {
	skip := 0
	if r.dev.vnetLen > 0 {
		skip = lead
	}
	if len(read) <= skip {
		b.Commit(0, 0).Drop = packet.Malformed
		return
	}
	p := b.Commit(skip, len(read)-skip)
	if skip > 0 && !decode(read[lead-vnetLen:lead], read[lead:], &p.Offload) {
		p.Drop = packet.BadOffload
	}
}
