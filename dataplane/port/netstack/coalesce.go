package netstack

import (
	"bytes"
	"encoding/binary"
	"math/bits"

	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
)

// TCP flags in octet 13 of the header (RFC 9293 section 3.1).
const (
	tcpPSH = 0x08
	tcpACK = 0x10
)

// segment is a TCP packet that may be joined with its neighbours: no IP options, no fragment, no flag but ACK and PSH,
// and some payload.
type segment struct {
	b       []byte
	hdr     int // length of the IP header
	payload int // offset of the payload
}

func (s *segment) size() int   { return len(s.b) - s.payload }
func (s *segment) tcp() []byte { return s.b[s.hdr:s.payload] }
func (s *segment) seq() uint32 { return binary.BigEndian.Uint32(s.b[s.hdr+4:]) }

// parseSegment reports false for a packet that goes to the stack as it is, whatever the reason.
func parseSegment(p *packet.Packet) (s segment, ok bool) {
	b := p.Bytes()
	if p.Offload != (packet.Offload{}) || len(b) == 0 || wire.Length(b) != len(b) {
		return s, false
	}
	hdr := wire.IPv6HeaderLen
	if b[0]>>4 == 4 {
		hdr = wire.IPv4HeaderLen
		if b[0] != 0x45 || b[9] != wire.ProtoTCP || binary.BigEndian.Uint16(b[6:])&0x3fff != 0 {
			return s, false
		}
	} else if b[6] != wire.ProtoTCP {
		return s, false
	}
	if len(b) < hdr+wire.TCPHeaderLen {
		return s, false
	}
	payload := hdr + int(b[hdr+12]>>4)*4
	if payload < hdr+wire.TCPHeaderLen || payload >= len(b) || b[hdr+13]&^tcpPSH != tcpACK {
		return s, false
	}
	return segment{b, hdr, payload}, true
}

// follows says whether next is the continuation of a run of segments that began with head and ends at sequence number
// seq: the same flow, headers that say the same, and no larger than head.
func follows(head, next *segment, seq uint32) bool {
	if next.hdr != head.hdr || next.payload != head.payload || next.seq() != seq || next.size() > head.size() {
		return false
	}
	a, b := head.b, next.b
	if head.hdr == wire.IPv4HeaderLen {
		// Version and TOS, DF, TTL and protocol, addresses. The identification and the checksum differ.
		if binary.BigEndian.Uint16(a) != binary.BigEndian.Uint16(b) || !bytes.Equal(a[6:10], b[6:10]) ||
			!bytes.Equal(a[12:20], b[12:20]) || !ipv4ChecksumOK(b) {
			return false
		}
	} else if !bytes.Equal(a[:4], b[:4]) || !bytes.Equal(a[6:40], b[6:40]) {
		return false
	}
	s, t := head.tcp(), next.tcp()
	// Ports; acknowledgment and data offset; window; urgent pointer and options.
	return bytes.Equal(s[:4], t[:4]) && bytes.Equal(s[8:13], t[8:13]) && bytes.Equal(s[14:16], t[14:16]) &&
		bytes.Equal(s[18:], t[18:])
}

func ipv4ChecksumOK(b []byte) bool { return wire.Checksum(b[:wire.IPv4HeaderLen], 0) == 0 }

// countRun returns how many of the packets, from the first, are one run of TCP segments that can go to the stack as one
// packet, and that packet's length. Packets that were dropped end a run. It is 1 where nothing can be joined.
func countRun(pkts []packet.Packet) (n, length int) {
	length = pkts[0].Len
	head, ok := parseSegment(&pkts[0])
	if !ok || (head.hdr == wire.IPv4HeaderLen && !ipv4ChecksumOK(head.b)) {
		return 1, length
	}
	last, seq := head, head.seq()
	for n = 1; n < len(pkts); n++ {
		seq += uint32(last.size())
		if last.tcp()[13]&tcpPSH != 0 || last.size() < head.size() || pkts[n].Drop != packet.None {
			break
		}
		next, ok := parseSegment(&pkts[n])
		if !ok || length+next.size() > maxSuper || !follows(&head, &next, seq) {
			break
		}
		length += next.size()
		last = next
	}
	return n, length
}

// joinRun writes a run of segments as one packet to dst, which has the run's length.
//
// Its TCP checksum is worked out from the segments' own: each says what its payload must sum up to, so that nothing but
// headers is read here and the stack, when it sums up the payload, finds a fault in any of the segments. It then
// discards the whole run.
func joinRun(dst []byte, pkts []packet.Packet) {
	head, _ := parseSegment(&pkts[0])
	n := copy(dst, head.b[:head.payload])
	var sum uint64
	for i := range pkts {
		s, _ := parseSegment(&pkts[i])
		claimed := ^wire.Fold(wire.Sum(s.tcp(), wire.PseudoSum(s.b, wire.ProtoTCP, len(s.b)-s.hdr)))
		if (n-head.payload)%2 == 1 {
			claimed = bits.ReverseBytes16(claimed)
		}
		sum = wire.SumValue(claimed, sum)
		n += copy(dst[n:], s.b[s.payload:])
		dst[head.hdr+13] |= s.tcp()[13] & tcpPSH
	}
	setLength(dst)
	t := dst[head.hdr:]
	t[16], t[17] = 0, 0
	sum = wire.SumValue(wire.Fold(wire.PseudoSum(dst, wire.ProtoTCP, len(t))), sum)
	binary.BigEndian.PutUint16(t[16:], wire.Checksum(t[:head.payload-head.hdr], sum))
}

// setLength makes the IP header of b agree with its length.
func setLength(b []byte) {
	if b[0]>>4 == 6 {
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-wire.IPv6HeaderLen))
		return
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	wire.SetIPv4Checksum(b)
}
