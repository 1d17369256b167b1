package tun

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
)

// writer is one worker's way to the kernel.
type writer struct {
	*user
	vnet int // length of the virtio network header, 0 without
	uso  bool
	join joiner
	cut  wire.Segmenter
	// hdr and iov serve packets that have no room for the header in front of them.
	hdr [vnetLen]byte
	iov [2]unix.Iovec
}

func newWriter(u *user) *writer {
	return &writer{user: u, vnet: u.dev.vnetLen, uso: u.dev.has.uso, join: joiner{udp: u.dev.has.uso}}
}

// Write implements [dataplane.PortWriter]. Super-packets that the kernel cannot take are cut in place: their bytes are
// spent then.
func (w *writer) Write(pkts []packet.Packet) {
	w.mu.Lock()
	defer w.mu.Unlock()
	closed := w.dev.closed.Load()
	for n := 0; len(pkts) > 0; pkts = pkts[n:] {
		n = 1
		p := &pkts[0]
		switch {
		case p.Drop != packet.None:
		case closed:
			p.Drop = packet.PortDown
		case p.Offload.NeedsCsum:
			p.Drop = w.unfinished(p)
		case w.vnet == 0:
			p.Drop = w.whole(p.Buf, p.Off, p.Len)
		default:
			if n = w.join.join(pkts); n > 1 {
				w.joined(pkts[:n])
			} else {
				p.Drop = w.whole(p.Buf, p.Off, p.Len)
			}
		}
	}
}

// joined writes the super-packet that join prepared of these packets.
func (w *writer) joined(pkts []packet.Packet) {
	if drop := w.writev(w.join.iov[:1+len(pkts)]); drop != packet.None {
		for i := range pkts {
			pkts[i].Drop = drop
		}
	}
}

// unfinished writes a packet that the port it came from left something to be done to.
func (w *writer) unfinished(p *packet.Packet) packet.Reason {
	o := p.Offload
	switch {
	case o.GSO != wire.GSONone && (w.vnet == 0 || o.GSO == wire.GSOUDP && !w.uso):
		return w.segments(p)
	case w.vnet == 0:
		wire.CompleteChecksum(p.Bytes(), &o)
	}
	return w.packet(p.Buf, p.Off, p.Len, &o)
}

// segments cuts a super-packet and writes what it was made of. Where the port refuses some, the packet counts as refused.
func (w *writer) segments(p *packet.Packet) (drop packet.Reason) {
	if !w.cut.Reset(p.Buf, p.Off, p.Len, &p.Offload) {
		return packet.BadOffload
	}
	for off, n := w.cut.Next(); n > 0; off, n = w.cut.Next() {
		if d := w.whole(p.Buf, off, n); d != packet.None {
			drop = d
		}
	}
	return drop
}

// whole writes the complete packet buf[off:off+n].
func (w *writer) whole(buf []byte, off, n int) packet.Reason {
	return w.packet(buf, off, n, &wire.Offload{})
}

// packet writes buf[off:off+n], with its virtio header in the room in front of it.
func (w *writer) packet(buf []byte, off, n int, o *wire.Offload) packet.Reason {
	b := buf[off : off+n]
	switch {
	case n == 0:
		return packet.Malformed
	case w.vnet == 0:
		return w.write(b)
	case off >= w.vnet:
		encode(buf[off-w.vnet:], b, o)
		return w.write(buf[off-w.vnet : off+n])
	}
	encode(w.hdr[:], b, o)
	w.iov[0].Base = &w.hdr[0]
	w.iov[0].SetLen(w.vnet)
	w.iov[1].Base = &b[0]
	w.iov[1].SetLen(n)
	return w.writev(w.iov[:])
}

// write and writev cannot block: the descriptor is set so.

func (w *writer) write(b []byte) packet.Reason {
	_, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(w.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return refusal(errno)
}

func (w *writer) writev(iov []unix.Iovec) packet.Reason {
	_, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(w.fd), uintptr(unsafe.Pointer(&iov[0])), uintptr(len(iov)))
	return refusal(errno)
}

// refusal is what the kernel's answer to a write means for the packet.
func refusal(errno unix.Errno) packet.Reason {
	switch errno {
	case 0:
		return packet.None
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
		return packet.PortFull
	case unix.EINVAL: // neither IPv4 nor IPv6, or offload fields that it cannot follow
		return packet.BadOffload
	}
	return packet.PortDown // EIO: the device is not up; EBADFD: it is gone
}
