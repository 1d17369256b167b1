package raw

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
	// slots is how many packets one Recv takes, slotLen how long one may be: a path with jumbo frames.
	slots      = 64
	slotLen    = 9216 + 5*64
	maxErrors  = 8
	quoteLen   = 128
	nameLen    = unix.SizeofSockaddrInet6
	controlLen = 96
)

// mmsghdr is struct mmsghdr.
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   [4]byte
}

// receiver is one worker's end.
type receiver struct {
	s     *Socket
	using *sync.Mutex
	fd    int
	// other is a socket that nobody receives from but whose errors are ours too, or -1.
	other   int
	buf     []byte
	msgs    [slots]mmsghdr
	iovs    [slots]unix.Iovec
	names   [slots][nameLen]byte
	control [slots][controlLen]byte
	errs    struct {
		data    [maxErrors][quoteLen]byte
		name    [maxErrors][nameLen]byte
		control [512]byte
		hdr     unix.Msghdr
		iov     unix.Iovec
	}
}

func newReceiver(s *Socket, fd, other int) *receiver {
	r := &receiver{s: s, using: s.user(), fd: fd, other: other, buf: make([]byte, slots*slotLen)}
	for i := range r.msgs {
		r.iovs[i].Base = &r.buf[i*slotLen]
		r.iovs[i].SetLen(slotLen)
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
		events, others, err := r.s.waker.SleepTwo(r.fd, r.other)
		switch {
		case errors.Is(err, wait.ErrWoken):
		case err != nil:
			return fmt.Errorf("wait on %s: %w", r.s.Name(), err)
		case (events|others)&unix.POLLERR != 0:
			r.drainErrors(r.fd, rx)
			if r.other >= 0 {
				r.drainErrors(r.other, rx)
			}
			if len(rx.Errors) > 0 {
				return nil
			}
		}
	}
}

// take receives without waiting.
func (r *receiver) take(rx *dataplane.Rx) {
	for i := range r.msgs {
		r.msgs[i].hdr.Namelen = nameLen
		r.msgs[i].hdr.SetControllen(controlLen)
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(r.fd), uintptr(unsafe.Pointer(&r.msgs[0])), slots, unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return
	}
	for i := range int(n) {
		m := &r.msgs[i]
		if m.hdr.Flags&unix.MSG_TRUNC != 0 {
			continue
		}
		t := dataplane.Train{Remote: address(&r.names[i], r.s.v6)}
		data := r.buf[i*slotLen : i*slotLen+int(m.n)]
		if r.s.v6 {
			t.Data, t.TOS = data, trafficClass(r.control[i][:m.hdr.Controllen])
		} else {
			hdr := 0
			if len(data) >= 20 {
				hdr = int(data[0]&0xf) * 4
			}
			if hdr < 20 || hdr > len(data) {
				continue // the kernel delivers no such packet
			}
			t.Data, t.TOS = data[hdr:], data[1]
		}
		if len(t.Data) > 0 {
			t.Size = len(t.Data)
			rx.Trains = append(rx.Trains, t)
		}
	}
}

func address(name *[nameLen]byte, v6 bool) netip.AddrPort {
	if v6 {
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(name[8:24])), 0)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(name[4:8])), 0)
}

func trafficClass(c []byte) uint8 {
	for len(c) >= unix.SizeofCmsghdr+4 {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&c[0]))
		if h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_TCLASS {
			return uint8(binary.NativeEndian.Uint32(c[unix.SizeofCmsghdr:]))
		}
		if h.Len < unix.SizeofCmsghdr {
			return 0
		}
		c = c[min(uint64(len(c)), (h.Len+7)&^7):]
	}
	return 0
}

// drainErrors reads a socket's error queue: the ICMP errors that came for our packets (ip(7), IP_RECVERR). What a raw
// socket's error quotes begins, on IPv4, with the outer header that was sent.
func (r *receiver) drainErrors(fd int, rx *dataplane.Rx) {
	e := &r.errs
	for len(rx.Errors) < maxErrors {
		i := len(rx.Errors)
		e.iov.Base = &e.data[i][0]
		e.iov.SetLen(quoteLen)
		e.hdr = unix.Msghdr{Name: &e.name[i][0], Namelen: nameLen, Iov: &e.iov, Control: &e.control[0]}
		e.hdr.SetIovlen(1)
		e.hdr.SetControllen(len(e.control))
		n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&e.hdr)), unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if errno != 0 {
			return
		}
		pe := dataplane.PathError{Remote: address(&e.name[i], r.s.v6), Quote: e.data[i][:n]}
		if q := pe.Quote; !r.s.v6 && len(q) >= 20 && q[0]>>4 == 4 && q[9] == protocolESP && int(q[0]&0xf)*4 <= len(q) {
			pe.Quote = q[int(q[0]&0xf)*4:]
		}
		if extended(e.control[:e.hdr.Controllen], &pe) {
			rx.Errors = append(rx.Errors, pe)
		}
	}
}

// extended reads struct sock_extended_err. It reports false for what did not come by ICMP.
func extended(c []byte, e *dataplane.PathError) bool {
	for len(c) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&c[0]))
		if h.Len < unix.SizeofCmsghdr || h.Len > uint64(len(c)) {
			return false
		}
		data := c[unix.SizeofCmsghdr:h.Len]
		if (h.Level == unix.IPPROTO_IP && h.Type == unix.IP_RECVERR || h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_RECVERR) && len(data) >= 16 {
			if origin := data[4]; origin != unix.SO_EE_ORIGIN_ICMP && origin != unix.SO_EE_ORIGIN_ICMP6 {
				return false
			}
			errno := unix.Errno(binary.NativeEndian.Uint32(data))
			e.Code = errno.Error()
			if errno == unix.EMSGSIZE {
				e.MTU = int(binary.NativeEndian.Uint32(data[8:]))
			}
			return true
		}
		c = c[min(uint64(len(c)), (h.Len+7)&^7):]
	}
	return false
}
