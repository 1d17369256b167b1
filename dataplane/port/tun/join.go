package tun

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
)

// TCP flags in octet 13 of the header (RFC 9293 section 3.1, RFC 3168 section 6.1).
const (
	tcpFIN = 0x01
	tcpPSH = 0x08
	tcpACK = 0x10
	tcpECE = 0x40
	tcpCWR = 0x80
)

const (
	// maxSuper is how long a super-packet may be in bytes with all headers: what an IPv4 length can say.
	maxSuper = 65535
	// maxDatagrams is how many datagrams the kernel cuts out of one (UDP_MAX_SEGMENTS of the kernels that know USO).
	maxDatagrams = 64
	// maxHeaders is the length of IPv6's header and TCP's longest.
	maxHeaders = wire.IPv6HeaderLen + 60
)

// segment is a packet that may be joined with its neighbours: TCP with no flags but ACK, PSH, FIN and ECE or UDP with a
// checksum, neither fragment nor options nor extension headers, with some payload.
type segment struct {
	b       []byte
	l4      int // offset of the transport header
	payload int // offset of the payload
	udp     bool
}

func (s *segment) size() int   { return len(s.b) - s.payload }
func (s *segment) seq() uint32 { return binary.BigEndian.Uint32(s.b[s.l4+4:]) }
func (s *segment) flags() byte { return s.b[s.l4+13] }

// parse reports false for a packet that leaves as it is, whatever the reason.
func (s *segment) parse(p *packet.Packet) bool {
	b := p.Bytes()
	if p.Drop != packet.None || p.Offload.NeedsCsum || len(b) < wire.IPv4HeaderLen+wire.UDPHeaderLen {
		return false
	}
	var proto uint8
	switch b[0] >> 4 {
	case 4:
		if b[0] != 0x45 || int(binary.BigEndian.Uint16(b[2:])) != len(b) || binary.BigEndian.Uint16(b[6:])&^ipv4DF != 0 {
			return false
		}
		proto, s.l4 = b[9], wire.IPv4HeaderLen
	case 6:
		if len(b) < wire.IPv6HeaderLen || wire.IPv6HeaderLen+int(binary.BigEndian.Uint16(b[4:])) != len(b) {
			return false
		}
		proto, s.l4 = b[6], wire.IPv6HeaderLen
	default:
		return false
	}
	s.b = b
	switch proto {
	case wire.ProtoTCP:
		return s.parseTCP()
	case wire.ProtoUDP:
		return s.parseUDP()
	}
	return false
}

func (s *segment) parseTCP() bool {
	s.udp = false
	if len(s.b) < s.l4+wire.TCPHeaderLen {
		return false
	}
	t := s.b[s.l4:]
	s.payload = s.l4 + int(t[12]>>4)*4
	return s.payload >= s.l4+wire.TCPHeaderLen && s.payload < len(s.b) && t[13]&^(tcpPSH|tcpFIN|tcpECE) == tcpACK
}

func (s *segment) parseUDP() bool {
	s.udp = true
	s.payload = s.l4 + wire.UDPHeaderLen
	if s.payload >= len(s.b) {
		return false
	}
	t := s.b[s.l4:]
	return int(binary.BigEndian.Uint16(t[4:])) == len(t) && t[6]|t[7] != 0
}

// ends says whether nothing may follow s in a super-packet whose segments have size bytes.
func (s *segment) ends(size int) bool {
	return s.size() < size || !s.udp && s.flags()&(tcpPSH|tcpFIN) != 0
}

const ipv4DF = 0x4000

// follows says whether s is what the kernel would cut from behind last, in a super-packet that begins with head and has n
// segments so far.
func (s *segment) follows(head, last *segment, n int) bool {
	if s.l4 != head.l4 || s.payload != head.payload || s.udp != head.udp || s.size() > head.size() {
		return false
	}
	a, b := head.b, s.b
	if head.l4 == wire.IPv4HeaderLen {
		// TOS; DF, TTL and protocol; addresses.
		if a[1] != b[1] || binary.NativeEndian.Uint32(a[6:]) != binary.NativeEndian.Uint32(b[6:]) ||
			binary.NativeEndian.Uint64(a[12:]) != binary.NativeEndian.Uint64(b[12:]) {
			return false
		}
		// Without DF a router on the way may have use for the identification (RFC 6864 section 4.1).
		if a[6]&(ipv4DF>>8) == 0 && binary.BigEndian.Uint16(b[4:]) != binary.BigEndian.Uint16(a[4:])+uint16(n) {
			return false
		}
	} else if binary.NativeEndian.Uint32(a) != binary.NativeEndian.Uint32(b) || !bytes.Equal(a[6:40], b[6:40]) {
		return false
	}
	t, u := a[head.l4:], b[head.l4:]
	if binary.NativeEndian.Uint32(t) != binary.NativeEndian.Uint32(u) { // ports
		return false
	}
	return head.udp || s.seq() == last.seq()+uint32(last.size()) && sameTCP(t[:head.payload-head.l4], u)
}

// sameTCP says whether two TCP headers differ in nothing but sequence number, checksum, PSH and FIN.
func sameTCP(s, t []byte) bool {
	return binary.NativeEndian.Uint32(s[8:]) == binary.NativeEndian.Uint32(t[8:]) && // acknowledgment
		s[12] == t[12] && (s[13]^t[13])&tcpECE == 0 && // data offset, flags
		binary.NativeEndian.Uint16(s[14:]) == binary.NativeEndian.Uint16(t[14:]) && // window
		bytes.Equal(s[18:], t[18:len(s)]) // urgent pointer, options
}

// sound verifies the checksums of s, and that they are written as the kernel would: never as minus zero, but for UDP,
// where zero says that there is none.
func (s *segment) sound() bool {
	b, t := s.b, s.b[s.l4:]
	proto, at := uint8(wire.ProtoTCP), tcpChecksum
	if s.udp {
		proto, at = wire.ProtoUDP, udpChecksum
	} else if t[at]&t[at+1] == 0xff {
		return false
	}
	if s.l4 == wire.IPv4HeaderLen && (b[10]&b[11] == 0xff || wire.Checksum(b[:wire.IPv4HeaderLen], 0) != 0) {
		return false
	}
	return wire.Checksum(t, wire.PseudoSum(b, proto, len(t))) == 0
}

// joiner makes super-packets of neighbours. It holds one at a time, as what writev(2) takes: virtio header and packet
// headers in hdr, then the payloads where they stand.
type joiner struct {
	udp bool // the kernel takes super-packets of datagrams
	hdr [vnetLen + maxHeaders]byte
	iov [1 + packet.MaxBatch]unix.Iovec
	// Scratch of join.
	head, last, next segment
}

// join returns how many of the packets, from the first, leave together, and prepares j.iov if it is more than one. The
// first has Drop none.
func (j *joiner) join(pkts []packet.Packet) int {
	if len(pkts) < 2 || !j.head.parse(&pkts[0]) || j.head.udp && !j.udp {
		return 1
	}
	j.last = j.head
	size, total, n := j.head.size(), len(j.head.b), 1
	limit := min(len(pkts), packet.MaxBatch)
	if j.head.udp {
		limit = min(limit, maxDatagrams)
	}
	for ; n < limit && !j.last.ends(size); n++ {
		next := &j.next
		if !next.parse(&pkts[n]) || total+next.size() > maxSuper || !next.follows(&j.head, &j.last, n) {
			break
		}
		if n == 1 && !j.head.sound() || !next.sound() {
			break
		}
		if n == 1 {
			j.payload(0, &j.head)
		}
		j.payload(n, next)
		total += next.size()
		j.last = *next
	}
	if n > 1 {
		j.headers(total)
	}
	return n
}

func (j *joiner) payload(i int, s *segment) {
	v := &j.iov[1+i]
	v.Base = &s.b[s.payload]
	v.SetLen(s.size())
}

// headers writes the super-packet's headers: those of its first segment, for a packet of total bytes, the transport
// checksum partial. PSH and FIN are the last segment's.
func (j *joiner) headers(total int) {
	s := &j.head
	b := j.hdr[vnetLen : vnetLen+s.payload]
	copy(b, s.b)
	o := wire.Offload{NeedsCsum: true, Size: uint16(s.size()), HdrLen: uint16(s.payload), CsumStart: uint16(s.l4)}
	proto, t := uint8(wire.ProtoTCP), b[s.l4:]
	if s.udp {
		proto, o.GSO, o.CsumOffset = wire.ProtoUDP, wire.GSOUDP, udpChecksum
		binary.BigEndian.PutUint16(t[4:], uint16(total-s.l4))
	} else {
		o.GSO, o.CsumOffset = wire.GSOTCP6, tcpChecksum
		t[13] |= j.last.flags() & (tcpPSH | tcpFIN)
	}
	if s.l4 == wire.IPv4HeaderLen {
		if !s.udp {
			o.GSO = wire.GSOTCP4
		}
		binary.BigEndian.PutUint16(b[2:], uint16(total))
		wire.SetIPv4Checksum(b)
	} else {
		binary.BigEndian.PutUint16(b[4:], uint16(total-wire.IPv6HeaderLen))
	}
	binary.BigEndian.PutUint16(t[o.CsumOffset:], wire.Fold(wire.PseudoSum(b, proto, total-s.l4)))
	encode(j.hdr[:], b, &o)
	j.iov[0].Base = &j.hdr[0]
	j.iov[0].SetLen(vnetLen + s.payload)
}
