package udp

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/internal/sock"
	"github.com/warrenvpn/warren/dataplane/packet"
)

const (
	// sendSlots is how many groups one system call sends, sendVectors how many pieces of memory they may have.
	sendSlots   = 64
	sendVectors = 256
)

// sender is one worker's way out. Frames are collected into groups, groups into one sendmmsg.
type sender struct {
	s       *Socket
	using   *sock.User
	fd      int
	n       int // groups in hand
	vectors int
	first   [sendSlots]int // index of each group's first frame
	frames  [sendSlots]int // and how many it has
	msgs    [sendSlots]sock.Message
	iovs    [sendVectors]unix.Iovec
	names   [sendSlots]sock.Name
	control [sendSlots][sock.ControlLen]byte
}

// NewSender implements dataplane.Underlay.
func (s *Socket) NewSender() dataplane.Sender { return &sender{s: s, using: s.socks.User()} }

// Send implements dataplane.Sender.
func (t *sender) Send(frames []dataplane.Frame) {
	t.using.Lock()
	defer t.using.Unlock()
	if t.using.Closed() {
		refuse(frames, packet.UnderlayUnreachable)
		return
	}
	for i := 0; i < len(frames); {
		fd := t.s.socks.Sender(frames[i].DF)
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
	h := &t.msgs[g].Hdr
	to := frames[i].Path.Remote
	h.Name, h.Namelen = &t.names[g][0], t.names[g].Set(to.Addr(), to.Port(), t.s.place.V6)
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

// cmsg writes TOS and, for a group of several frames, the segment size, and returns the length.
func (t *sender) cmsg(g, size int, tos uint8) int {
	b := t.control[g][:]
	sock.PutTOS(b, tos, t.s.place.V6)
	if size == 0 {
		return sock.IntControlLen
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[sock.IntControlLen]))
	h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.SizeofCmsghdr + 2)
	binary.NativeEndian.PutUint16(b[sock.IntControlLen+unix.SizeofCmsghdr:], uint16(size))
	return 2 * sock.IntControlLen
}

// flush sends the groups in hand and settles what the kernel refused.
func (t *sender) flush(frames []dataplane.Frame) {
	for at := 0; at < t.n; {
		n, errno := sock.Send(t.fd, t.msgs[at:t.n])
		if at += n; errno == 0 {
			continue
		}
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
	one := [1]sock.Message{t.msgs[at]}
	h := &one[0].Hdr
	h.SetControllen(sock.IntControlLen) // TOS, without the segment size
	var iov unix.Iovec
	h.Iov = &iov
	h.SetIovlen(1)
	for i := range group {
		iov.Base = unsafe.SliceData(group[i].Data)
		iov.SetLen(len(group[i].Data))
		if _, errno := sock.Send(t.fd, one[:]); errno != 0 {
			group[i].Drop = reason(errno)
		}
	}
}

func refuse(group []dataplane.Frame, r packet.Reason) {
	for i := range group {
		group[i].Drop = r
	}
}

func reason(errno unix.Errno) packet.Reason {
	return sock.Refused(errno, packet.UnderlayFull, packet.UnderlayTooBig, packet.UnderlayUnreachable)
}
