package udp

import (
	"encoding/binary"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
)

const (
	// sendSlots is how many groups one system call sends, sendVectors how many pieces of memory they may have.
	sendSlots   = 64
	sendVectors = 256
	// oneControl is the room of one control message with an int.
	oneControl = unix.SizeofCmsghdr + 8
)

// sender is one worker's way out. Frames are collected into groups, groups into one sendmmsg.
type sender struct {
	s       *Socket
	using   *sync.Mutex
	fd      int
	n       int // groups in hand
	vectors int
	first   [sendSlots]int // index of each group's first frame
	frames  [sendSlots]int // and how many it has
	msgs    [sendSlots]mmsghdr
	iovs    [sendVectors]unix.Iovec
	names   [sendSlots][nameLen]byte
	control [sendSlots][controlLen]byte
}

// NewSender implements dataplane.Underlay.
func (s *Socket) NewSender() dataplane.Sender { return &sender{s: s, using: s.user()} }

// Send implements dataplane.Sender.
func (t *sender) Send(frames []dataplane.Frame) {
	t.using.Lock()
	defer t.using.Unlock()
	if t.s.closed.Load() {
		refuse(frames, packet.UnderlayUnreachable)
		return
	}
	for i := 0; i < len(frames); {
		f := &frames[i]
		fd := t.s.fds[0]
		if !f.DF && t.s.fragmenting >= 0 {
			fd = t.s.fragmenting
		}
		n := 1
		if t.s.gso.Load() {
			n = groupLen(frames[i:])
		}
		if fd != t.fd || t.n == sendSlots || t.vectors+n > sendVectors {
			t.flush(frames)
			t.fd = fd
		}
		t.add(frames, i, n)
		i += n
	}
	t.flush(frames)
}

// add puts frames[i:i+n] into hand as one group.
func (t *sender) add(frames []dataplane.Frame, i, n int) {
	g := t.n
	t.first[g], t.frames[g] = i, n
	start := t.vectors
	for j := i; j < i+n; j++ {
		data := frames[j].Data
		if j > i && adjacent(frames[j-1].Data, data) {
			v := &t.iovs[t.vectors-1]
			v.SetLen(int(v.Len) + len(data))
			continue
		}
		v := &t.iovs[t.vectors]
		v.Base = unsafe.SliceData(data)
		v.SetLen(len(data))
		t.vectors++
	}
	h := &t.msgs[g].hdr
	h.Name, h.Namelen = &t.names[g][0], t.name(g, frames[i].Path)
	h.Iov = &t.iovs[start]
	h.SetIovlen(t.vectors - start)
	size := 0
	if n > 1 {
		size = len(frames[i].Data)
	}
	h.Control = &t.control[g][0]
	h.SetControllen(t.cmsg(g, size, frames[i].TOS))
	t.n++
}

// name writes the peer's sockaddr.
func (t *sender) name(g int, p *dataplane.Path) uint32 {
	b := &t.names[g]
	binary.BigEndian.PutUint16(b[2:], p.Remote.Port())
	if t.s.v6 {
		binary.NativeEndian.PutUint16(b[:], unix.AF_INET6)
		a := p.Remote.Addr().As16()
		copy(b[8:24], a[:])
		return unix.SizeofSockaddrInet6
	}
	binary.NativeEndian.PutUint16(b[:], unix.AF_INET)
	a := p.Remote.Addr().Unmap().As4()
	copy(b[4:8], a[:])
	return unix.SizeofSockaddrInet4
}

// cmsg writes TOS and, for a group of several frames, the segment size, and returns the length.
func (t *sender) cmsg(g, size int, tos uint8) int {
	b := t.control[g][:]
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = unix.IPPROTO_IP, unix.IP_TOS
	if t.s.v6 {
		h.Level, h.Type = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
	}
	h.SetLen(unix.SizeofCmsghdr + 4)
	binary.NativeEndian.PutUint32(b[unix.SizeofCmsghdr:], uint32(tos))
	if size == 0 {
		return oneControl
	}
	h = (*unix.Cmsghdr)(unsafe.Pointer(&b[oneControl]))
	h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.SizeofCmsghdr + 2)
	binary.NativeEndian.PutUint16(b[oneControl+unix.SizeofCmsghdr:], uint16(size))
	return 2 * oneControl
}

// flush sends the groups in hand and settles what the kernel refused.
func (t *sender) flush(frames []dataplane.Frame) {
	for at, tries := 0, 0; at < t.n; {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(t.fd), uintptr(unsafe.Pointer(&t.msgs[at])), uintptr(t.n-at), unix.MSG_DONTWAIT, 0, 0)
		if errno == 0 {
			at += max(1, int(n))
			tries = 0
			continue
		}
		// An ICMP error about an earlier frame is reported by the next call, whatever that sends: ask once more.
		if tries++; tries < 2 && errno != unix.EAGAIN && errno != unix.ENOBUFS {
			continue
		}
		tries = 0
		group := frames[t.first[at] : t.first[at]+t.frames[at]]
		if len(group) > 1 && (errno == unix.EMSGSIZE || errno == unix.EINVAL || errno == unix.EIO) {
			if errno == unix.EIO && t.s.gso.CompareAndSwap(true, false) {
				t.s.log.Info("device cannot segment UDP, frames are sent one by one from now on", "underlay", t.s.Name())
			}
			t.oneByOne(at, group)
		} else {
			refuse(group, reason(errno))
		}
		at++
	}
	t.n, t.vectors = 0, 0
}

// oneByOne sends the frames of the group at msgs[at] each by a call of its own: one of them is too large for the path, or
// the device cannot segment.
func (t *sender) oneByOne(at int, group []dataplane.Frame) {
	h := t.msgs[at].hdr
	h.SetControllen(oneControl) // TOS, without the segment size
	var iov unix.Iovec
	h.Iov = &iov
	h.SetIovlen(1)
	for i := range group {
		iov.Base = unsafe.SliceData(group[i].Data)
		iov.SetLen(len(group[i].Data))
		for tries := 0; ; tries++ {
			_, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(t.fd), uintptr(unsafe.Pointer(&h)), unix.MSG_DONTWAIT)
			if errno == 0 {
				break
			}
			if tries > 0 || errno == unix.EAGAIN || errno == unix.ENOBUFS {
				group[i].Drop = reason(errno)
				break
			}
		}
	}
}

func refuse(group []dataplane.Frame, r packet.Reason) {
	for i := range group {
		group[i].Drop = r
	}
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
