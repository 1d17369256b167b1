package raw

import (
	"encoding/binary"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
)

// sendSlots is how many packets one system call sends.
const sendSlots = 64

// sender is one worker's way out.
type sender struct {
	s       *Socket
	using   *sync.Mutex
	msgs    [sendSlots]mmsghdr
	iovs    [sendSlots]unix.Iovec
	names   [sendSlots][nameLen]byte
	control [sendSlots][unix.SizeofCmsghdr + 8]byte
}

// NewSender implements dataplane.Underlay.
func (s *Socket) NewSender() dataplane.Sender { return &sender{s: s, using: s.user()} }

// Send implements dataplane.Sender: runs of equal DF leave together.
func (t *sender) Send(frames []dataplane.Frame) {
	t.using.Lock()
	defer t.using.Unlock()
	if t.s.closed.Load() {
		for i := range frames {
			frames[i].Drop = packet.UnderlayUnreachable
		}
		return
	}
	for lo := 0; lo < len(frames); {
		hi := lo + 1
		for hi < len(frames) && hi-lo < sendSlots && frames[hi].DF == frames[lo].DF {
			hi++
		}
		t.run(frames[lo:hi])
		lo = hi
	}
}

// run sends frames through one socket.
func (t *sender) run(frames []dataplane.Frame) {
	fd := t.s.fds[0]
	if !frames[0].DF {
		fd = t.s.clearDF
	}
	for i := range frames {
		t.prepare(i, &frames[i])
	}
	for at, tries := 0, 0; at < len(frames); {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&t.msgs[at])), uintptr(len(frames)-at), unix.MSG_DONTWAIT, 0, 0)
		if errno == 0 {
			at += max(1, int(n))
			tries = 0
			continue
		}
		// An ICMP error about an earlier frame is reported by the next call, whatever that sends: ask once more.
		if tries++; tries < 2 && errno != unix.EAGAIN && errno != unix.ENOBUFS {
			continue
		}
		frames[at].Drop = reason(errno)
		at++
		tries = 0
	}
}

func (t *sender) prepare(i int, f *dataplane.Frame) {
	t.iovs[i].Base = unsafe.SliceData(f.Data)
	t.iovs[i].SetLen(len(f.Data))
	h := &t.msgs[i].hdr
	h.Iov = &t.iovs[i]
	h.SetIovlen(1)
	b := &t.names[i]
	h.Name = &b[0]
	c := (*unix.Cmsghdr)(unsafe.Pointer(&t.control[i][0]))
	if t.s.v6 {
		binary.NativeEndian.PutUint16(b[:], unix.AF_INET6)
		a := f.Path.Remote.Addr().As16()
		copy(b[8:24], a[:])
		h.Namelen = unix.SizeofSockaddrInet6
		c.Level, c.Type = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
	} else {
		binary.NativeEndian.PutUint16(b[:], unix.AF_INET)
		a := f.Path.Remote.Addr().Unmap().As4()
		copy(b[4:8], a[:])
		h.Namelen = unix.SizeofSockaddrInet4
		c.Level, c.Type = unix.IPPROTO_IP, unix.IP_TOS
	}
	c.SetLen(unix.SizeofCmsghdr + 4)
	binary.NativeEndian.PutUint32(t.control[i][unix.SizeofCmsghdr:], uint32(f.TOS))
	h.Control = &t.control[i][0]
	h.SetControllen(len(t.control[i]))
}

func reason(errno unix.Errno) packet.Reason {
	switch errno {
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
		return packet.UnderlayFull
	case unix.EMSGSIZE:
		return packet.UnderlayTooBig
	}
	return packet.UnderlayUnreachable
}
