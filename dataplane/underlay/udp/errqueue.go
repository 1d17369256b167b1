package udp

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane"
)

const (
	// maxErrors is how many ICMP errors one Recv reports; the rest wait.
	maxErrors = 8
	quoteLen  = 64
)

// quotes hold what the errors of one Recv quote.
type quotes struct {
	data    [maxErrors][quoteLen]byte
	name    [maxErrors][nameLen]byte
	control [512]byte
}

// drainErrors reads a socket's error queue: the ICMP errors that came for our datagrams, each with the beginning of the
// datagram behind its outer headers (ip(7), IP_RECVERR).
func (r *receiver) drainErrors(fd int, rx *dataplane.Rx) {
	for range maxErrors {
		i := len(rx.Errors)
		if i == maxErrors {
			return
		}
		q := &r.quotes
		iov := unix.Iovec{Base: &q.data[i][0]}
		iov.SetLen(quoteLen)
		h := unix.Msghdr{Name: &q.name[i][0], Namelen: nameLen, Iov: &iov, Control: &q.control[0]}
		h.SetIovlen(1)
		h.SetControllen(len(q.control))
		n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&h)), unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if errno != 0 {
			return
		}
		e := dataplane.PathError{Remote: addrPort(&q.name[i], r.s.v6), Quote: q.data[i][:n]}
		if parseExtended(q.control[:h.Controllen], &e) {
			rx.Errors = append(rx.Errors, e)
		}
	}
}

// parseExtended reads struct sock_extended_err. It reports false for what did not come by ICMP.
func parseExtended(c []byte, e *dataplane.PathError) bool {
	for len(c) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&c[0]))
		size := int(h.Len)
		if size < unix.SizeofCmsghdr || size > len(c) {
			return false
		}
		data := c[unix.SizeofCmsghdr:size]
		isErr := h.Level == unix.IPPROTO_IP && h.Type == unix.IP_RECVERR || h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_RECVERR
		if isErr && len(data) >= 16 {
			errno, origin := unix.Errno(binary.NativeEndian.Uint32(data)), data[4]
			if origin != unix.SO_EE_ORIGIN_ICMP && origin != unix.SO_EE_ORIGIN_ICMP6 {
				return false
			}
			e.Code = errno.Error()
			if errno == unix.EMSGSIZE {
				e.MTU = int(binary.NativeEndian.Uint32(data[8:]))
			}
			return true
		}
		c = c[min(len(c), (size+7)&^7):]
	}
	return false
}
