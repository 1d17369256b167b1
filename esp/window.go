package esp

import "math/bits"

// window is the replay window of an inbound SA (RFC 4303 section 3.4.3, RFC 6479): a ring of bits, one for each sequence
// number, that remembers at least four times as many numbers as the window is wide. It is guarded by the SA's mutex.
type window struct {
	// top is the highest number that arrived with a right ICV; 0 for none.
	top uint64
	// size is how many numbers up to top may still arrive; 0: all may, as often as they like.
	size uint64
	// ring has bit n%64 of word n/64%len for number n. Bits of numbers more than len*64-64 below top are meaningless.
	ring []uint64
}

// minMemory is how many numbers the ring remembers at the least.
const minMemory = 2048

func newWindow(size int) window {
	if size == 0 {
		return window{}
	}
	n := max(4*size, minMemory) + 64
	return window{size: uint64(size), ring: make([]uint64, 1<<bits.Len(uint(n-1))/64)}
}

// check says whether a number may still arrive. It is the look before the ICV.
func (w *window) check(seq uint64) Verdict {
	switch {
	case w.size == 0:
		return OK
	case seq == 0: // never sent (RFC 4303 section 3.3.3)
		return Replayed
	case seq > w.top:
		return OK
	case w.top-seq >= w.size:
		return TooOld
	case w.seen(seq):
		return Replayed
	}
	return OK
}

// commit records a number whose ICV was right. What passed check is refused here only if it has been seen meanwhile, or
// if the window moved on by more than it remembers. It says whether the number is the highest so far.
func (w *window) commit(seq uint64) (v Verdict, newest bool) {
	if w.size == 0 {
		newest = seq > w.top
		w.top = max(w.top, seq)
		return OK, newest
	}
	if seq > w.top {
		w.advance(seq)
		newest = true
	} else if w.top-seq > uint64(len(w.ring)-1)*64 {
		return TooOld, false
	} else if w.seen(seq) {
		return Replayed, false
	}
	word, bit := w.at(seq)
	*word |= bit
	return OK, newest
}

// extend records the n numbers behind the top.
func (w *window) extend(n uint64) {
	if w.size == 0 {
		w.top += n
		return
	}
	for n > 0 {
		word, bit := w.at(w.top + 1)
		if bit == 1 {
			*word = 0
		}
		some := min(n, 64-(w.top+1)%64)
		*word |= (1<<some - 1) * bit
		w.top += some
		n -= some
	}
}

func (w *window) at(seq uint64) (word *uint64, bit uint64) {
	return &w.ring[seq/64&uint64(len(w.ring)-1)], 1 << (seq % 64)
}

func (w *window) seen(seq uint64) bool {
	word, bit := w.at(seq)
	return *word&bit != 0
}

// advance makes seq the top and forgets the words that it passes.
func (w *window) advance(seq uint64) {
	from, to := w.top/64, seq/64
	if to-from >= uint64(len(w.ring)) {
		clear(w.ring)
	} else {
		for i := from + 1; i <= to; i++ {
			w.ring[i&uint64(len(w.ring)-1)] = 0
		}
	}
	w.top = seq
}

// infer returns the 64-bit number of which low are the lower bits: one within the window or else the next to its right
// (RFC 4303 appendix A2.1). What is left of the window so gets a number that its ICV will not bear out. Without a window it
// is the number closest to the top, since packets may then come in any order.
func (w *window) infer(low uint32) uint64 {
	size := uint32(w.size)
	if size == 0 {
		size = 1 << 31
	}
	high, top := w.top>>32, uint32(w.top)
	bottom := top - size + 1 // modulo 2^32
	if top >= size-1 {       // the window lies within one subspace
		if low < bottom {
			high++
		}
	} else if low >= bottom && high > 0 { // it spans two, and low is in the lower one
		high--
	}
	return high<<32 | uint64(low)
}
