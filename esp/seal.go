package esp

import "encoding/binary"

// Run is a reservation of consecutive sequence numbers by one worker, to be used one packet at a time, in order. Reserve
// late and no more than is in hand: while a worker holds numbers that it has not sent, others run ahead, and the peer's
// window moves on.
type Run struct {
	sa   *Outbound
	next uint64
	left int
	cbc  *cbcContext
}

// Reserve takes n sequence numbers by one atomic operation. The run has fewer, down to none, where the SA's numbers are
// used up: they never cycle. End must be called when the run has been used.
func (sa *Outbound) Reserve(n int) Run {
	// The counter may pass the limit, by what workers ask for at the same time: numbers beyond it are not used.
	limit := sa.limit.Load()
	if sa.last.Load() >= limit {
		return Run{sa: sa}
	}
	last := sa.last.Add(uint64(n))
	r := Run{sa: sa, next: last - uint64(n) + 1, left: n}
	if last > limit {
		r.left = 0
		if r.next <= limit {
			r.left = int(limit - r.next + 1)
		}
	}
	if sa.cbc != nil {
		r.cbc = sa.cbc.get()
	}
	return r
}

// Left returns how many numbers the run still has.
func (r *Run) Left() int { return r.left }

// End gives back what the run borrowed from its SA. Numbers that were not used are lost, which the peer does not mind.
func (r *Run) End() {
	r.left = 0
	if r.cbc != nil {
		r.sa.cbc.put(r.cbc)
		r.cbc = nil
	}
}

// First returns the next sequence number that the run will use.
func (r *Run) First() uint64 { return r.next }

// Seal seals the inner packet of n bytes that stands in b behind HeaderLen bytes, in place, and returns the length of
// the ESP packet that b then starts with. b must have room for it: SealedLen(n) bytes. next is the next header, 4 or 41.
// The run must have a number left.
func (r *Run) Seal(s *Scratch, b []byte, n int, next byte) int {
	z := r.sa.size
	from := z.header()
	to := from + n + z.pad(n) + 2
	putTrailer(b[from+n:to], next)
	r.seal(s, b[:to+z.icv], b[from:to])
	return to + z.icv
}

// SealTo seals the inner packet src[:n] into dst, which must be SealedLen(n) bytes long and must not overlap src. The
// bytes behind the packet, up to TrailerLen(n) of them, are overwritten with the trailer and put back, since they may be
// somebody's: the next segment of a super-packet.
func (r *Run) SealTo(s *Scratch, dst, src []byte, n int, next byte) {
	z := r.sa.size
	body := n + z.pad(n) + 2
	plain := src[:body]
	behind := s.saved[:copy(s.saved[:], plain[n:])]
	putTrailer(plain[n:], next)
	r.seal(s, dst[:z.header()+body+z.icv], plain)
	copy(plain[n:], behind)
}

// Reseal gives an ESP packet that was sealed with this SA and has not been sent the run's next number in place of its own,
// seq. Its old number stays unused. It is for packets that waited while other workers ran ahead: the peer's replay window
// may have moved past them.
func (r *Run) Reseal(s *Scratch, b []byte, seq uint64) {
	sa := r.sa
	if r.cbc != nil {
		r.stamp(b)
		r.cbc.authenticate(s, sa, b[:len(b)-sa.size.icv], uint32((r.next-1)>>32))
		return
	}
	aad := b[:8:8]
	if sa.esn {
		aad = s.associated(b, uint32(seq>>32))
	}
	copy(s.nonce[:4], sa.salt[:])
	copy(s.nonce[4:], b[8:16])
	plain, err := sa.aead.Open(b[16:16], s.nonce[:], b[16:], aad)
	if err != nil {
		panic("esp: Reseal of a packet that this SA did not seal with that number")
	}
	r.seal(s, b, plain)
}

// stamp writes the SPI and the run's next number.
func (r *Run) stamp(b []byte) (seq uint64) {
	seq = r.next
	r.next++
	r.left--
	binary.BigEndian.PutUint64(b, uint64(r.sa.spi)<<32|seq&0xffffffff)
	return seq
}

// putTrailer writes padding 1, 2, 3 ..., its length and the next header (RFC 4303 section 2.4).
func putTrailer(t []byte, next byte) {
	last := len(t) - 1
	for i := range last - 1 {
		t[i] = byte(i + 1)
	}
	t[last-1] = byte(last - 1)
	t[last] = next
}

// seal writes the ESP packet b around plain, which stands in b at its place or elsewhere.
func (r *Run) seal(s *Scratch, b, plain []byte) {
	sa := r.sa
	seq := r.stamp(b)
	if r.cbc != nil {
		r.cbc.seal(s, sa, b, plain, uint32(seq>>32))
		return
	}
	iv := sa.ivBase + seq
	binary.BigEndian.PutUint64(b[8:], iv)
	copy(s.nonce[:4], sa.salt[:])
	binary.BigEndian.PutUint64(s.nonce[4:], iv)
	aad := b[:8:8]
	if sa.esn {
		aad = s.associated(b, uint32(seq>>32))
	}
	sa.aead.Seal(b[16:16], s.nonce[:], plain, aad)
}

// associated returns the AEAD's associated data with ESN: SPI and all 64 bits of the sequence number (RFC 4106 section 5,
// RFC 7634 section 2.1). Without ESN it is what the packet begins with.
func (s *Scratch) associated(b []byte, high uint32) []byte {
	copy(s.aad[:4], b[:4])
	binary.BigEndian.PutUint32(s.aad[4:], high)
	copy(s.aad[8:], b[4:8])
	return s.aad[:]
}
