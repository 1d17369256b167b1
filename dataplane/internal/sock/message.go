package sock

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Message is struct mmsghdr.
type Message struct {
	Hdr unix.Msghdr
	N   uint32
	_   [4]byte
}

const (
	// NameLen is the room of a socket address of either family.
	NameLen = unix.SizeofSockaddrInet6
	// ControlLen is the room of the control messages that one message is sent or received with, IntControlLen that of
	// one with an int.
	ControlLen    = 96
	IntControlLen = unix.SizeofCmsghdr + 8
)

// Name is a socket address as the kernel has it.
type Name [NameLen]byte

// AddrPort reads the address.
func (n *Name) AddrPort(v6 bool) netip.AddrPort {
	port := binary.BigEndian.Uint16(n[2:])
	if v6 {
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(n[8:24])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(n[4:8])), port)
}

// Set writes an address and returns its length.
func (n *Name) Set(to netip.Addr, port uint16, v6 bool) uint32 {
	binary.BigEndian.PutUint16(n[2:], port)
	if v6 {
		binary.NativeEndian.PutUint16(n[:], unix.AF_INET6)
		a := to.As16()
		copy(n[8:24], a[:])
		return unix.SizeofSockaddrInet6
	}
	binary.NativeEndian.PutUint16(n[:], unix.AF_INET)
	a := to.Unmap().As4()
	copy(n[4:8], a[:])
	return unix.SizeofSockaddrInet4
}

// PutTOS writes the control message that sets a datagram's type-of-service octet or traffic class, of IntControlLen bytes.
func PutTOS(c []byte, tos uint8, v6 bool) {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&c[0]))
	h.Level, h.Type = unix.IPPROTO_IP, unix.IP_TOS
	if v6 {
		h.Level, h.Type = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
	}
	h.SetLen(unix.SizeofCmsghdr + 4)
	binary.NativeEndian.PutUint32(c[unix.SizeofCmsghdr:], uint32(tos))
}

// Control is a control message.
type Control struct {
	Level, Type int32
	Data        []byte
}

// NextControl takes the first control message off c. It reports false at the end, and where a length is impossible.
func NextControl(c []byte) (m Control, rest []byte, ok bool) {
	if len(c) < unix.SizeofCmsghdr {
		return Control{}, nil, false
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&c[0]))
	if h.Len < unix.SizeofCmsghdr || h.Len > uint64(len(c)) {
		return Control{}, nil, false
	}
	size := int(h.Len)
	return Control{h.Level, h.Type, c[unix.SizeofCmsghdr:size]}, c[min(len(c), (size+7)&^7):], true
}

// TOS reads the type-of-service octet or traffic class that a datagram came with. It reports false for another message.
func (m Control) TOS() (tos uint8, ok bool) {
	if !(m.Level == unix.IPPROTO_IP && m.Type == unix.IP_TOS || m.Level == unix.IPPROTO_IPV6 && m.Type == unix.IPV6_TCLASS) {
		return 0, false
	}
	switch {
	case len(m.Data) >= 4: // IPv6 has an int
		return uint8(binary.NativeEndian.Uint32(m.Data)), true
	case len(m.Data) >= 1:
		return m.Data[0], true
	}
	return 0, false
}

// Lost reads how many messages the socket has refused, modulo 2^32, before this one came: for want of room, or with a wrong checksum.
// It reports false for another control message; while there are none, there is no such message.
func (m Control) Lost() (n uint32, ok bool) {
	if m.Level != unix.SOL_SOCKET || m.Type != unix.SO_RXQ_OVFL || len(m.Data) < 4 {
		return 0, false
	}
	return binary.NativeEndian.Uint32(m.Data), true
}

// Send sends messages without waiting. It returns how many left, at least one, or why the first did not.
func Send(fd int, msgs []Message) (n int, errno unix.Errno) {
	for tries := 0; ; tries++ {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
		if errno == 0 {
			return max(1, int(n)), 0
		}
		// An ICMP error about an earlier message is reported by the next call, whatever that sends: ask once more.
		if tries > 0 || errno == unix.EAGAIN || errno == unix.ENOBUFS {
			return 0, errno
		}
	}
}

// Refused returns what an error of Send means for its message: there was no room, it is too big, or there is no way.
func Refused[T any](errno unix.Errno, full, tooBig, unreachable T) T {
	switch errno {
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
		return full
	case unix.EMSGSIZE:
		return tooBig
	}
	return unreachable
}
