package capture

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
)

// Directions, as pcapng's epb_flags has them.
const (
	inbound  = 1
	outbound = 2
)

// A record in a ring is a header of recordHeader bytes, the copy, and padding to eight bytes. It never wraps: where the
// ring's end is too near, a record of kind skip fills the rest.
//
//	0  size of the record in bytes, 32 bits     16 bytes copied, 32 bits      42 port, 16 bits
//	4  kind, direction, TOS, DF                 20 length, 32 bits
//	8  time in ns since 1970, 64 bits           24 the peer's address in 16 bytes
//	40 which of the interface's underlays
const recordHeader = 48

const (
	kindSkip  = iota // nothing but the size and kind is there
	kindClear        // an IP packet
	kindFrame        // what follows the outer headers
)

// meta is what is known of a packet beside its bytes.
type meta struct {
	kind, dir uint8
	tos       uint8
	under     uint8 // the frame's underlay, of those in the interface's outers
	df        bool
	time      int64 // ns since 1970
	length    int   // before it was cut to the snap length
	remote    netip.AddrPort
}

// ring carries copies from one worker to the writer: the worker alone moves head, the writer alone tail.
type ring struct {
	iface int
	snap  int
	buf   []byte // a power of two
	// next is where the worker fills; what is below head may be read.
	next       uint64
	head, tail atomic.Uint64
	captured   atomic.Uint64
	dropped    atomic.Uint64
}

func newRing(iface, size, snap int) *ring {
	return &ring{iface: iface, snap: snap, buf: make([]byte, size)}
}

// put copies a packet, or counts it where there is no room. The copy may not be read before publish.
func (r *ring) put(m *meta, b []byte) {
	n := min(len(b), r.snap)
	size := (recordHeader + n + 7) &^ 7
	at := int(r.next) & (len(r.buf) - 1)
	skip := 0
	if rest := len(r.buf) - at; rest < size {
		skip = rest
	}
	if int(r.next-r.tail.Load())+skip+size > len(r.buf) {
		r.dropped.Add(1)
		return
	}
	if skip > 0 {
		binary.LittleEndian.PutUint32(r.buf[at:], uint32(skip))
		r.buf[at+4] = kindSkip
		at = 0
	}
	h := r.buf[at : at+recordHeader]
	binary.LittleEndian.PutUint32(h, uint32(size))
	h[4], h[5], h[6], h[7] = m.kind, m.dir, m.tos, 0
	if m.df {
		h[7] = 1
	}
	binary.LittleEndian.PutUint64(h[8:], uint64(m.time))
	binary.LittleEndian.PutUint32(h[16:], uint32(n))
	binary.LittleEndian.PutUint32(h[20:], uint32(len(b)))
	if m.kind == kindFrame {
		a := m.remote.Addr().As16()
		copy(h[24:40], a[:])
		h[40] = m.under
		binary.LittleEndian.PutUint16(h[42:], m.remote.Port())
	}
	copy(r.buf[at+recordHeader:], b[:n])
	r.next += uint64(skip + size)
	r.captured.Add(1)
}

// publish lets the writer see what was put. It reports whether there was anything.
func (r *ring) publish() bool {
	if r.head.Load() == r.next {
		return false
	}
	r.head.Store(r.next)
	return true
}

// peek returns the oldest record, and false where there is none. The bytes are valid until done.
func (r *ring) peek() (m meta, b []byte, ok bool) {
	for {
		tail := r.tail.Load()
		if tail == r.head.Load() {
			return m, nil, false
		}
		h := r.buf[int(tail)&(len(r.buf)-1):]
		if h[4] == kindSkip {
			r.tail.Store(tail + uint64(binary.LittleEndian.Uint32(h)))
			continue
		}
		m = meta{kind: h[4], dir: h[5], tos: h[6], df: h[7] == 1, time: int64(binary.LittleEndian.Uint64(h[8:]))}
		n := int(binary.LittleEndian.Uint32(h[16:]))
		m.length = int(binary.LittleEndian.Uint32(h[20:]))
		if m.kind == kindFrame {
			m.remote = netip.AddrPortFrom(netip.AddrFrom16([16]byte(h[24:40])).Unmap(), binary.LittleEndian.Uint16(h[42:]))
			m.under = h[40]
		}
		return m, h[recordHeader : recordHeader+n], true
	}
}

// done gives back the record that peek returned.
func (r *ring) done() {
	tail := r.tail.Load()
	h := r.buf[int(tail)&(len(r.buf)-1):]
	r.tail.Store(tail + uint64(binary.LittleEndian.Uint32(h)))
}
