package kernel

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

var native = binary.NativeEndian

// hop is a next hop as rtnetlink has it.
type hop struct {
	index   int32
	weight  uint16 // 1 to 256
	onLink  bool
	gateway netip.Addr // may be of the other family (RFC 8950)
}

// kernelRoute is a route as rtnetlink has it.
type kernelRoute struct {
	prefix   netip.Prefix
	table    uint32
	metric   uint32
	protocol uint8
	kind     uint8 // RTN_*
	tos      uint8
	flags    uint32 // RTM_F_*
	hops     []hop
}

// appendRoute appends a request to make (RTM_NEWROUTE) or remove (RTM_DELROUTE) a route.
func appendRoute(b []byte, command, flags uint16, seq uint32, r *kernelRoute) []byte {
	start := len(b)
	b = native.AppendUint32(b, 0) // the length, when it is known
	b = native.AppendUint16(b, command)
	b = native.AppendUint16(b, flags|unix.NLM_F_REQUEST)
	b = native.AppendUint32(b, seq)
	b = native.AppendUint32(b, 0)

	scope := uint8(unix.RT_SCOPE_UNIVERSE)
	if command == unix.RTM_DELROUTE {
		scope = unix.RT_SCOPE_NOWHERE // any
	}
	table := uint8(unix.RT_TABLE_UNSPEC)
	if r.table < 256 {
		table = uint8(r.table)
	}
	rtmFlags := uint32(0)
	if len(r.hops) == 1 && r.hops[0].onLink {
		rtmFlags = unix.RTNH_F_ONLINK
	}
	b = append(b, family(r.prefix.Addr()), uint8(r.prefix.Bits()), 0, r.tos, table, r.protocol, scope, r.kind)
	b = native.AppendUint32(b, rtmFlags)

	b = appendAttr(b, unix.RTA_DST, r.prefix.Addr().AsSlice())
	b = appendAttr(b, unix.RTA_TABLE, native.AppendUint32(nil, r.table))
	b = appendAttr(b, unix.RTA_PRIORITY, native.AppendUint32(nil, r.metric))
	switch len(r.hops) {
	case 0:
	case 1:
		b = appendAttr(b, unix.RTA_OIF, native.AppendUint32(nil, uint32(r.hops[0].index)))
		b = appendGateway(b, r.prefix.Addr(), r.hops[0].gateway)
	default:
		b = appendMultipath(b, r)
	}
	native.PutUint32(b[start:], uint32(len(b)-start))
	return b
}

func appendMultipath(b []byte, r *kernelRoute) []byte {
	outer := len(b)
	b = append(b, 0, 0, 0, 0)
	for _, h := range r.hops {
		start := len(b)
		flags := uint8(0)
		if h.onLink {
			flags = unix.RTNH_F_ONLINK
		}
		b = append(b, 0, 0, flags, uint8(h.weight-1))
		b = native.AppendUint32(b, uint32(h.index))
		b = appendGateway(b, r.prefix.Addr(), h.gateway)
		native.PutUint16(b[start:], uint16(len(b)-start))
	}
	native.PutUint16(b[outer:], uint16(len(b)-outer))
	native.PutUint16(b[outer+2:], unix.RTA_MULTIPATH)
	return b
}

func appendGateway(b []byte, destination, gateway netip.Addr) []byte {
	switch {
	case !gateway.IsValid():
		return b
	case gateway.Is4() == destination.Is4():
		return appendAttr(b, unix.RTA_GATEWAY, gateway.AsSlice())
	}
	via := native.AppendUint16(nil, uint16(family(gateway)))
	return appendAttr(b, unix.RTA_VIA, append(via, gateway.AsSlice()...))
}

func appendAttr(b []byte, kind uint16, value []byte) []byte {
	b = native.AppendUint16(b, uint16(4+len(value)))
	b = native.AppendUint16(b, kind)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// appendDump appends a request for all routes of a family or for all links; both accept the header of the other.
func appendDump(b []byte, command uint16, family uint8, seq uint32) []byte {
	size := 16 + unix.SizeofRtMsg
	if command == unix.RTM_GETLINK {
		size = 16 + unix.SizeofIfInfomsg
	}
	b = native.AppendUint32(b, uint32(size))
	b = native.AppendUint16(b, command)
	b = native.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	b = native.AppendUint32(b, seq)
	b = native.AppendUint32(b, 0)
	b = append(b, family)
	return append(b, make([]byte, size-17)...)
}

func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// message is one of a datagram.
type message struct {
	kind, flags uint16
	seq, port   uint32
	body        []byte
}

// next cuts the first message off a datagram.
func next(b []byte) (m message, rest []byte, ok bool) {
	if len(b) < 16 {
		return message{}, nil, false
	}
	n := int(native.Uint32(b))
	if n < 16 || n > len(b) {
		return message{}, nil, false
	}
	m = message{kind: native.Uint16(b[4:]), flags: native.Uint16(b[6:]), seq: native.Uint32(b[8:]), port: native.Uint32(b[12:]), body: b[16:n]}
	return m, b[min(align(n), len(b)):], true
}

// nextAttr cuts the first attribute off.
func nextAttr(b []byte) (kind uint16, value, rest []byte, ok bool) {
	if len(b) < 4 {
		return 0, nil, nil, false
	}
	n := int(native.Uint16(b))
	if n < 4 || n > len(b) {
		return 0, nil, nil, false
	}
	return native.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER), b[4:n], b[min(align(n), len(b)):], true
}

func align(n int) int { return (n + 3) &^ 3 }

// parseRoute reads the body of RTM_NEWROUTE and RTM_DELROUTE. It is false for what is no IPv4 or IPv6 route.
func parseRoute(b []byte) (r kernelRoute, ok bool) {
	if len(b) < unix.SizeofRtMsg {
		return r, false
	}
	bits, source := int(b[1]), b[2]
	destination := netip.IPv4Unspecified()
	if b[0] == unix.AF_INET6 {
		destination = netip.IPv6Unspecified()
	} else if b[0] != unix.AF_INET {
		return r, false
	}
	r.tos, r.table, r.protocol, r.kind, r.flags = b[3], uint32(b[4]), b[5], b[7], native.Uint32(b[8:])
	var only hop
	for kind, value, rest, ok := nextAttr(b[unix.SizeofRtMsg:]); ok; kind, value, rest, ok = nextAttr(rest) {
		switch {
		case kind == unix.RTA_DST:
			if destination, ok = netip.AddrFromSlice(value); !ok {
				return r, false
			}
		case kind == unix.RTA_TABLE && len(value) >= 4:
			r.table = native.Uint32(value)
		case kind == unix.RTA_PRIORITY && len(value) >= 4:
			r.metric = native.Uint32(value)
		case kind == unix.RTA_OIF && len(value) >= 4:
			only.index = int32(native.Uint32(value))
		case kind == unix.RTA_GATEWAY || kind == unix.RTA_VIA:
			only.gateway = parseGateway(kind, value)
		case kind == unix.RTA_MULTIPATH:
			r.hops = parseMultipath(value)
			slices.SortFunc(r.hops, compareHops) // IPv6 has no order of its own
		}
	}
	if r.hops == nil && only.index != 0 {
		only.weight, only.onLink = 1, r.flags&unix.RTNH_F_ONLINK != 0
		r.hops = []hop{only}
	}
	r.prefix = netip.PrefixFrom(destination, bits)
	return r, source == 0 && r.prefix.IsValid()
}

func parseMultipath(b []byte) (hops []hop) {
	for len(b) >= 8 {
		n := int(native.Uint16(b))
		if n < 8 || n > len(b) {
			break
		}
		h := hop{index: int32(native.Uint32(b[4:])), weight: uint16(b[3]) + 1, onLink: b[2]&unix.RTNH_F_ONLINK != 0}
		for kind, value, rest, ok := nextAttr(b[8:n]); ok; kind, value, rest, ok = nextAttr(rest) {
			if kind == unix.RTA_GATEWAY || kind == unix.RTA_VIA {
				h.gateway = parseGateway(kind, value)
			}
		}
		hops = append(hops, h)
		b = b[min(align(n), len(b)):]
	}
	return hops
}

func parseGateway(kind uint16, value []byte) netip.Addr {
	if kind == unix.RTA_VIA && len(value) >= 2 {
		value = value[2:]
	}
	gateway, _ := netip.AddrFromSlice(value)
	return gateway
}

// link is a device.
type link struct {
	index int32
	flags uint32 // IFF_*
	name  string
}

// live says that packets can leave: the device is up, and has carrier.
func (l link) live() bool { return l.flags&unix.IFF_UP != 0 && l.flags&unix.IFF_RUNNING != 0 }

// parseLink reads the body of RTM_NEWLINK and RTM_DELLINK. It is false for what only bridges know.
func parseLink(b []byte) (l link, ok bool) {
	if len(b) < unix.SizeofIfInfomsg || b[0] != unix.AF_UNSPEC {
		return l, false
	}
	l = link{index: int32(native.Uint32(b[4:])), flags: native.Uint32(b[8:])}
	for kind, value, rest, ok := nextAttr(b[unix.SizeofIfInfomsg:]); ok; kind, value, rest, ok = nextAttr(rest) {
		if kind == unix.IFLA_IFNAME {
			l.name = unix.ByteSliceToString(value)
		}
	}
	return l, l.name != ""
}

// parseError reads the body of NLMSG_ERROR: the error number, 0 for success, and the kernel's words.
func parseError(m message) (number unix.Errno, words string) {
	if len(m.body) < 20 {
		return unix.EBADMSG, ""
	}
	number = unix.Errno(-int32(native.Uint32(m.body)))
	if m.flags&unix.NLM_F_ACK_TLVS == 0 {
		return number, ""
	}
	attrs := m.body[20:]
	if m.flags&unix.NLM_F_CAPPED == 0 { // the whole request stands before them
		attrs = m.body[min(4+align(int(native.Uint32(m.body[4:]))), len(m.body)):]
	}
	for kind, value, rest, ok := nextAttr(attrs); ok; kind, value, rest, ok = nextAttr(rest) {
		if kind == unix.NLMSGERR_ATTR_MSG {
			words = unix.ByteSliceToString(value)
		}
	}
	return number, words
}
