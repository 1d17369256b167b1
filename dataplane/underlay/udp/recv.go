package udp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/internal/wait"
)

const (
	// trainSlots is how many trains one Recv takes where the kernel coalesces, datagramSlots where it does not.
	trainSlots    = 32
	datagramSlots = 64
	// trainBytes holds the largest train, datagramBytes the largest datagram of a path with jumbo frames. The odd lines
	// keep the slots' beginnings from falling into the same sets of the cache.
	trainBytes    = 65536 + 5*64
	datagramBytes = 9216 + 5*64
	// enough is how much one call may take before the worker looks at it: what fits a core's own cache.
	enough = 192 << 10
	// atOnce is how many messages one call asks for.
	atOnce = 8

	nameLen    = unix.SizeofSockaddrInet6
	controlLen = 96
)

// mmsghdr is struct mmsghdr.
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   [4]byte
}

// receiver is one worker's end of a socket.
type receiver struct {
	s     *Socket
	using *sync.Mutex
	fd    int
	// errors is a socket of the group that nobody receives from, or -1: the kernel reports an ICMP error to any one of the
	// group.
	errors  int
	buf     []byte
	size    int // of a slot
	msgs    []mmsghdr
	iovs    []unix.Iovec
	names   [][nameLen]byte
	control [][controlLen]byte
	quotes  quotes
}

func newReceiver(s *Socket, fd, errors int) *receiver {
	n, size := trainSlots, trainBytes
	if !s.gro {
		n, size = datagramSlots, datagramBytes
	}
	r := &receiver{s: s, using: s.user(), fd: fd, errors: errors, size: size, buf: make([]byte, n*size),
		msgs: make([]mmsghdr, n), iovs: make([]unix.Iovec, n), names: make([][nameLen]byte, n), control: make([][controlLen]byte, n)}
	for i := range r.msgs {
		r.iovs[i].Base = &r.buf[i*size]
		r.iovs[i].SetLen(size)
		h := &r.msgs[i].hdr
		h.Name, h.Iov, h.Control = &r.names[i][0], &r.iovs[i], &r.control[i][0]
		h.SetIovlen(1)
	}
	return r
}

// Recv implements dataplane.Receiver.
func (r *receiver) Recv(rx *dataplane.Rx) error {
	r.using.Lock()
	defer r.using.Unlock()
	rx.Trains, rx.Errors = rx.Trains[:0], rx.Errors[:0]
	for {
		if r.s.closed.Load() {
			return dataplane.ErrClosed
		}
		if r.take(rx); len(rx.Trains) > 0 {
			return nil
		}
		events, others, err := r.s.waker.SleepTwo(r.fd, r.errors)
		switch {
		case errors.Is(err, wait.ErrWoken):
		case err != nil:
			return fmt.Errorf("wait on %s: %w", r.s.Name(), err)
		case (events|others)&unix.POLLERR != 0:
			r.drainErrors(r.fd, rx)
			if r.errors >= 0 {
				r.drainErrors(r.errors, rx)
			}
			if len(rx.Errors) > 0 {
				return nil
			}
		}
	}
}

// take receives without waiting, until there is nothing more, or enough.
func (r *receiver) take(rx *dataplane.Rx) {
	next, size := 0, 0
	for next < len(r.msgs) && size < enough {
		want := min(atOnce, len(r.msgs)-next)
		for i := next; i < next+want; i++ {
			r.msgs[i].hdr.Namelen = nameLen
			r.msgs[i].hdr.SetControllen(controlLen)
		}
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(r.fd), uintptr(unsafe.Pointer(&r.msgs[next])), uintptr(want), unix.MSG_DONTWAIT, 0, 0)
		if errno != 0 {
			// EAGAIN: nothing there. Anything else is an ICMP error that the kernel reports once and keeps in the error
			// queue, where poll shows it.
			return
		}
		for i := next; i < next+int(n); i++ {
			size += r.train(i, rx)
		}
		next += int(n)
		if int(n) < want {
			return
		}
	}
}

// train reads one message. It returns its length.
func (r *receiver) train(i int, rx *dataplane.Rx) int {
	m := &r.msgs[i]
	n := int(m.n)
	data := r.buf[i*r.size : i*r.size+n : (i+1)*r.size]
	if n <= 1 || m.hdr.Flags&unix.MSG_TRUNC != 0 {
		if n == 1 && data[0] == 0xff {
			r.s.keepalives.Add(1) // RFC 3948 section 2.3
		}
		return n
	}
	t := dataplane.Train{Data: data, Size: n, Remote: addrPort(&r.names[i], r.s.v6)}
	parseControl(r.control[i][:m.hdr.Controllen], &t)
	rx.Trains = append(rx.Trains, t)
	return n
}

// parseControl reads segment size and TOS from the control messages.
func parseControl(c []byte, t *dataplane.Train) {
	for len(c) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&c[0]))
		size := int(h.Len)
		if size < unix.SizeofCmsghdr+1 || size > len(c) {
			return
		}
		data := c[unix.SizeofCmsghdr:size]
		switch {
		case h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(data) >= 2:
			if gso := int(binary.NativeEndian.Uint16(data)); gso > 0 && gso < t.Size {
				t.Size = gso
			}
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TOS, h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_TCLASS:
			t.TOS = data[0] // IPv6 sends an int: little-endian machines have the octet first
			if len(data) >= 4 {
				t.TOS = uint8(binary.NativeEndian.Uint32(data))
			}
		}
		c = c[min(len(c), (size+7)&^7):]
	}
}

func addrPort(name *[nameLen]byte, v6 bool) netip.AddrPort {
	port := binary.BigEndian.Uint16(name[2:])
	if v6 {
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(name[8:24])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(name[4:8])), port)
}
