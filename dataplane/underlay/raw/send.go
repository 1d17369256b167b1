package raw

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/internal/sock"
	"github.com/warrenvpn/warren/dataplane/packet"
)

// sendSlots is how many packets one system call sends.
const sendSlots = 64

// sender is one worker's way out.
type sender struct {
	s       *Socket
	using   *sock.User
	msgs    [sendSlots]sock.Message
	iovs    [sendSlots]unix.Iovec
	names   [sendSlots]sock.Name
	control [sendSlots][sock.IntControlLen]byte
}

// NewSender implements dataplane.Underlay.
func (s *Socket) NewSender() dataplane.Sender { return &sender{s: s, using: s.socks.User()} }

// Send implements dataplane.Sender: runs of equal DF leave together.
func (t *sender) Send(frames []dataplane.Frame) {
	t.using.Lock()
	defer t.using.Unlock()
	if t.using.Closed() {
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
	fd := t.s.socks.Sender(frames[0].DF)
	for i := range frames {
		t.prepare(i, &frames[i])
	}
	for at := 0; at < len(frames); {
		n, errno := sock.Send(fd, t.msgs[at:len(frames)])
		if at += n; errno != 0 {
			frames[at].Drop = sock.Refused(errno, packet.UnderlayFull, packet.UnderlayTooBig, packet.UnderlayUnreachable)
			at++
		}
	}
}

func (t *sender) prepare(i int, f *dataplane.Frame) {
	t.iovs[i].Base = unsafe.SliceData(f.Data)
	t.iovs[i].SetLen(len(f.Data))
	h := &t.msgs[i].Hdr
	h.Iov = &t.iovs[i]
	h.SetIovlen(1)
	h.Name, h.Namelen = &t.names[i][0], t.names[i].Set(f.Path.Remote.Addr(), 0, t.s.place.V6)
	sock.PutTOS(t.control[i][:], f.TOS, t.s.place.V6)
	h.Control = &t.control[i][0]
	h.SetControllen(len(t.control[i]))
}
