package sock

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// maxErrors is how many ICMP errors one Wait returns; the rest stay in the queue.
	maxErrors = 8
	quoteLen  = 128
	// extendedLen is the length of struct sock_extended_err.
	extendedLen = 16
)

// Error is an ICMP or ICMPv6 error that came for a message of ours, as the kernel reports it, or what the kernel says itself of one
// that is larger than its device takes.
type Error struct {
	// Remote is where the message was going.
	Remote netip.AddrPort
	// MTU is what the router said would fit, in bytes of IP packet; 0 for errors other than packet-too-big.
	MTU int
	// Local: the kernel said it, of a message that never left. It quotes nothing, and the port may be 0.
	Local bool
	// Code says what else it was.
	Code string
	// Quote is the beginning of the message, behind the headers that the kernel put in front of it.
	Quote []byte
}

// errorQueue holds the errors of one Wait and what they quote.
type errorQueue struct {
	n       int
	all     [maxErrors]Error
	data    [maxErrors][quoteLen]byte
	name    Name
	control [512]byte
	hdr     unix.Msghdr
	iov     unix.Iovec
}

// drain reads a socket's error queue: the ICMP errors that came for what it sent (ip(7), IP_RECVERR).
func (q *errorQueue) drain(fd int, v6 bool) {
	for tries := 0; tries < maxErrors && q.n < maxErrors; tries++ {
		data := &q.data[q.n]
		q.iov.Base = &data[0]
		q.iov.SetLen(len(data))
		q.hdr = unix.Msghdr{Name: &q.name[0], Namelen: NameLen, Iov: &q.iov, Control: &q.control[0]}
		q.hdr.SetIovlen(1)
		q.hdr.SetControllen(len(q.control))
		n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&q.hdr)), unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if errno != 0 {
			return
		}
		e := &q.all[q.n]
		*e = Error{Remote: q.name.AddrPort(v6), Quote: data[:n]}
		if e.extended(q.control[:q.hdr.Controllen]) {
			q.n++
		}
	}
}

// extended reads struct sock_extended_err from the control messages. It reports false for what says nothing of the way.
func (e *Error) extended(c []byte) bool {
	for {
		m, rest, ok := NextControl(c)
		if !ok {
			return false
		}
		isErr := m.Level == unix.IPPROTO_IP && m.Type == unix.IP_RECVERR || m.Level == unix.IPPROTO_IPV6 && m.Type == unix.IPV6_RECVERR
		if isErr && len(m.Data) >= extendedLen {
			errno, origin := unix.Errno(binary.NativeEndian.Uint32(m.Data)), m.Data[4]
			e.Local = origin == unix.SO_EE_ORIGIN_LOCAL && errno == unix.EMSGSIZE
			if origin != unix.SO_EE_ORIGIN_ICMP && origin != unix.SO_EE_ORIGIN_ICMP6 && !e.Local {
				return false
			}
			e.Code = errno.Error()
			if errno == unix.EMSGSIZE {
				e.MTU = int(binary.NativeEndian.Uint32(m.Data[8:]))
			}
			return true
		}
		c = rest
	}
}
