package wire

import "encoding/binary"

// maxHeaders bounds the headers that a super-packet's segments repeat: IPv4 and TCP with all options take 120 bytes,
// IPv6 with a few extension headers no more than this.
const maxHeaders = 256

// Segmenter cuts a super-packet into the packets it stands for, in place: before each piece of payload it writes that
// segment's headers over the end of the segment before, which must have been consumed by then. So the caller takes one
// segment, seals it elsewhere, and only then asks for the next.
//
//	slot:  [headers][payload 0][payload 1][payload 2]
//	seg 1:            [headers][payload 1]
//
// The bytes behind a segment are the next one's payload: whoever needs them for a trailer puts them back.
type Segmenter struct {
	slot    []byte
	off     int // where the next segment starts in slot
	end     int // end of the super-packet
	o       Offload
	csum    int // offset of the transport checksum in a segment
	index   int
	headers [maxHeaders]byte
}

// Reset prepares to cut the super-packet slot[off:off+n]. It reports false where the offload contradicts the packet.
func (s *Segmenter) Reset(slot []byte, off, n int, o *Offload) bool {
	hdr := int(o.HdrLen)
	transport := TCPHeaderLen
	if o.GSO == GSOUDP {
		transport = UDPHeaderLen
	}
	csum := int(o.CsumStart) + int(o.CsumOffset)
	if hdr > maxHeaders || hdr > n || o.Size == 0 || int(o.CsumStart)+transport > hdr || csum+2 > hdr {
		return false
	}
	ip := IPv4HeaderLen
	if slot[off]>>4 == 6 {
		ip = IPv6HeaderLen
	}
	if int(o.CsumStart) < ip || int(o.CsumOffset) < 6 {
		return false
	}
	s.slot, s.off, s.end, s.o, s.index, s.csum = slot, off, off+n, *o, 0, csum
	copy(s.headers[:hdr], slot[off:])
	return true
}

// Next writes the headers of the next segment and returns where it stands in the slot; n is 0 when there is none left.
func (s *Segmenter) Next() (off, n int) {
	hdr, size := int(s.o.HdrLen), int(s.o.Size)
	left := s.end - s.off - hdr
	if left <= 0 && s.index > 0 {
		return 0, 0
	}
	if left < size {
		size = left
	}
	off, n = s.off, hdr+size
	b := s.slot[off : off+n]
	copy(b, s.headers[:hdr])
	s.ip(b)
	if s.o.GSO == GSOUDP {
		binary.BigEndian.PutUint16(b[int(s.o.CsumStart)+4:], uint16(n-int(s.o.CsumStart)))
	} else {
		s.tcp(b, left == size)
	}
	s.checksum(b)
	s.off += int(s.o.Size)
	s.index++
	return off, n
}

// ip sets the length, and for IPv4 an identification of its own for each segment and the header checksum.
func (s *Segmenter) ip(b []byte) {
	if b[0]>>4 == 6 {
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-IPv6HeaderLen))
		return
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint16(b[4:], binary.BigEndian.Uint16(b[4:])+uint16(s.index))
	SetIPv4Checksum(b)
}

// TCP flag bits in octet 13 of the header (RFC 9293 section 3.1, RFC 3168 section 6.1).
const (
	tcpFIN = 0x01
	tcpSYN = 0x02
	tcpPSH = 0x08
	tcpCWR = 0x80
)

// tcp moves the sequence number on. FIN and PSH belong to the last segment, CWR to the first.
func (s *Segmenter) tcp(b []byte, last bool) {
	t := b[s.o.CsumStart:]
	binary.BigEndian.PutUint32(t[4:], binary.BigEndian.Uint32(t[4:])+uint32(s.index)*uint32(s.o.Size))
	if !last {
		t[13] &^= tcpFIN | tcpPSH
	}
	if s.index > 0 {
		t[13] &^= tcpCWR
	}
}

func (s *Segmenter) checksum(b []byte) {
	start := int(s.o.CsumStart)
	proto := uint8(ProtoTCP)
	if s.o.GSO == GSOUDP {
		proto = ProtoUDP
	}
	b[s.csum], b[s.csum+1] = 0, 0
	c := Checksum(b[start:], PseudoSum(b, proto, len(b)-start))
	if c == 0 && proto == ProtoUDP {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(b[s.csum:], c)
}
