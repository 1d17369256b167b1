package wire

import "encoding/binary"

// MinIPv4MTU is the smallest MTU of an IPv4 link in bytes (RFC 791 section 3.2): any fragment has room there.
const MinIPv4MTU = 68

// MinIPv6MTU is what every link must carry of IPv6 (RFC 8200 section 5).
const MinIPv6MTU = 1280

// Fragmenter cuts an IPv4 packet into fragments of at most mtu bytes (RFC 791 section 3.2). The packet may itself be a
// fragment. The caller has seen that it may be fragmented.
type Fragmenter struct {
	b    []byte
	mtu  int
	hdr  int // header length of the fragment to come
	at   int // payload already cut, in bytes
	next [60]byte
	// moreBehind: the packet was a fragment with others behind it.
	moreBehind bool
	offset     int // the packet's own fragment offset in bytes
}

// Reset prepares to cut the parsed IPv4 packet b. mtu must be at least MinIPv4MTU.
func (f *Fragmenter) Reset(b []byte, mtu int) {
	hdr := int(b[0]&0xf) << 2
	frag := binary.BigEndian.Uint16(b[6:])
	*f = Fragmenter{b: b, mtu: mtu, hdr: hdr, moreBehind: frag&0x2000 != 0, offset: int(frag&0x1fff) * 8}
	copy(f.next[:], b[:hdr])
}

// Next writes the next fragment to dst, which must hold mtu bytes, and returns its length; 0 when there is none left.
func (f *Fragmenter) Next(dst []byte) int {
	payload := f.b[int(f.b[0]&0xf)<<2:]
	left := len(payload) - f.at
	if left <= 0 {
		return 0
	}
	size, more := left, f.moreBehind
	if f.hdr+size > f.mtu {
		size, more = (f.mtu-f.hdr)&^7, true
	}
	n := copy(dst, f.next[:f.hdr])
	n += copy(dst[n:], payload[f.at:f.at+size])
	binary.BigEndian.PutUint16(dst[2:], uint16(n))
	frag := uint16((f.offset + f.at) / 8)
	if more {
		frag |= 0x2000
	}
	binary.BigEndian.PutUint16(dst[6:], frag)
	SetIPv4Checksum(dst[:n])
	if f.at == 0 {
		f.laterHeader()
	}
	f.at += size
	return n
}

// laterHeader keeps of the options only those whose copied flag is set (RFC 791 section 3.1).
func (f *Fragmenter) laterHeader() {
	n := IPv4HeaderLen
	for i := IPv4HeaderLen; i < f.hdr; {
		kind := f.b[i]
		if kind == 0 {
			break
		}
		size := 1
		if kind != 1 {
			if i+1 >= f.hdr || f.b[i+1] < 2 || i+int(f.b[i+1]) > f.hdr {
				break
			}
			size = int(f.b[i+1])
		}
		if kind&0x80 != 0 {
			n += copy(f.next[n:], f.b[i:i+size])
		}
		i += size
	}
	for n%4 != 0 {
		f.next[n] = 0
		n++
	}
	f.hdr = n
	f.next[0] = 0x40 | uint8(n/4)
}
