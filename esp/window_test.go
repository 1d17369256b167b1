package esp

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/warrenvpn/warren/internal/race"
)

// slowWindow is the replay window as one would explain it: what has been seen, and the highest of it.
type slowWindow struct {
	size, top uint64
	seen      map[uint64]bool
}

func (w *slowWindow) check(seq uint64) Verdict {
	switch {
	case w.size == 0:
		return OK
	case seq == 0 || w.seen[seq]:
		if seq > 0 && w.top-seq >= w.size {
			return TooOld
		}
		return Replayed
	case seq > w.top || w.top-seq < w.size:
		return OK
	}
	return TooOld
}

func (w *slowWindow) commit(seq uint64) (newest bool) {
	newest = seq > w.top
	w.seen[seq] = true
	w.top = max(w.top, seq)
	return newest
}

var windowSizes = []int{0, 1, 2, 31, 32, 63, 64, 65, 100, 127, 128, 1000, DefaultReplayWindow, 4096, 8191, MaxReplayWindow}

// step draws the next number: mostly about the top, at times left of the window, at times far ahead.
func step(r *rand.Rand, top, size uint64) uint64 {
	switch k := r.IntN(100); {
	case k < 50:
		return top + uint64(r.IntN(3))
	case k < 80:
		return top - min(top, r.Uint64N(size+2))
	case k < 90:
		return top - min(top, r.Uint64N(4*size+300))
	case k < 96:
		return top + r.Uint64N(size+70)
	case k < 99:
		return top + r.Uint64N(5*size+9000)
	default:
		return top + r.Uint64N(1<<33)
	}
}

func TestWindowAgainstSlowModel(t *testing.T) {
	rounds := 40000
	if race.Enabled || testing.Short() {
		rounds = 4000
	}
	for _, size := range windowSizes {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			r := seeded(t, uint64(size)+1)
			w, slow := newWindow(size), &slowWindow{size: uint64(size), seen: map[uint64]bool{}}
			for i := range rounds {
				seq := step(r, slow.top, slow.size)
				got, want := w.check(seq), slow.check(seq)
				if got != want {
					t.Fatalf("step %d, top %d: number %d: %v, want %v", i, slow.top, seq, got, want)
				}
				if got != OK || r.IntN(10) == 0 { // a tenth fail their ICV and must leave no trace
					continue
				}
				v, newest := w.commit(seq)
				if want := slow.commit(seq); v != OK || newest != want || w.top != slow.top {
					t.Fatalf("step %d: commit %d: %v, newest %v, top %d; want newest %v, top %d", i, seq, v, newest, w.top, want, slow.top)
				}
			}
		})
	}
}

// TestWindowWithDelayedCommits lets many numbers wait between check and commit, as those of a worker that lost its core do:
// none is accepted twice, and all are accepted that the window's memory still covers.
func TestWindowWithDelayedCommits(t *testing.T) {
	rounds := 40000
	if race.Enabled || testing.Short() {
		rounds = 4000
	}
	for _, size := range windowSizes[1:] {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			r := seeded(t, uint64(size)+7)
			w, slow := newWindow(size), &slowWindow{size: uint64(size), seen: map[uint64]bool{}}
			memory := uint64(len(w.ring)-1) * 64
			if memory < 4*uint64(size) {
				t.Fatalf("remembers %d numbers, want four times %d", memory, size)
			}
			var waiting []uint64
			for i := range rounds {
				if seq := step(r, slow.top, slow.size); w.check(seq) == OK {
					waiting = append(waiting, seq)
				}
				for len(waiting) > 0 && (len(waiting) > 300 || r.IntN(3) == 0) {
					k := r.IntN(len(waiting))
					seq := waiting[k]
					waiting[k] = waiting[len(waiting)-1]
					waiting = waiting[:len(waiting)-1]
					want := OK
					if seq <= slow.top && slow.top-seq > memory {
						want = TooOld
					} else if slow.seen[seq] {
						want = Replayed
					}
					got, newest := w.commit(seq)
					if got != want {
						t.Fatalf("step %d, top %d: commit %d: %v, want %v", i, slow.top, seq, got, want)
					}
					if got == OK && newest != slow.commit(seq) {
						t.Fatalf("step %d: commit %d: newest %v", i, seq, newest)
					}
				}
			}
		})
	}
}

// slowInfer says which number is meant by its lower half: the one from the window's left edge on to 2^32 further (RFC 4303
// appendix A2.1). Below zero there is none: then it is of the first subspace.
func slowInfer(top uint64, size uint64, low uint32) uint64 {
	if size == 0 {
		size = 1 << 31
	}
	space := big.NewInt(1 << 32)
	left := new(big.Int).SetUint64(top)
	left.Sub(left, new(big.Int).SetUint64(size-1))
	n := new(big.Int).Sub(big.NewInt(int64(low)), left)
	n.Mod(n, space) // Euclidean: from 0 to 2^32-1
	n.Add(n, left)
	if n.Sign() < 0 {
		n.Add(n, space)
	}
	return n.Uint64()
}

func TestInferAgainstSlowModel(t *testing.T) {
	r := seeded(t, 4303)
	for _, size := range windowSizes {
		w := window{size: uint64(size)}
		for range 20000 {
			w.top = r.Uint64N(1 << 34)
			if r.IntN(2) == 0 { // about a boundary between subspaces
				w.top = r.Uint64N(5)<<32 + uint64(r.IntN(20000)) - min(uint64(r.IntN(20000)), r.Uint64N(5)<<32)
				w.top &= math.MaxInt64
			}
			low := r.Uint32()
			if r.IntN(2) == 0 {
				low = uint32(w.top) + uint32(r.IntN(40000)) - 20000
			}
			if got, want := w.infer(low), slowInfer(w.top, w.size, low); got != want {
				t.Fatalf("top %#x, window %d, low %#x: %#x, want %#x", w.top, size, low, got, want)
			}
		}
	}
}

// TestESNAcrossSubspaces sends shuffled packets across a boundary of 2^32.
func TestESNAcrossSubspaces(t *testing.T) {
	for _, s := range []Suite{AES128GCM16, ChaCha20Poly1305, AES256SHA256} {
		for _, window := range []int{0, 64, DefaultReplayWindow} {
			t.Run(fmt.Sprintf("%v/%d", s, window), func(t *testing.T) {
				r := seeded(t, uint64(s))
				out, in, scratch := testOutbound(t, s, true), testInbound(t, s, true, window), NewScratch()
				const start = 3<<32 - 100
				out.last.Store(start)
				in.win.top = start
				packets := sealedRun(t, out, 200, 40)
				for i := 0; i < len(packets); i += 20 {
					part := packets[i : i+20]
					r.Shuffle(len(part), func(a, b int) { part[a], part[b] = part[b], part[a] })
				}
				for i, p := range packets {
					if _, v, _ := openOne(in, scratch, append([]byte(nil), p...)); v != OK {
						t.Fatalf("packet %d: %v", i, v)
					}
				}
				if got := in.Received(); got != start+200 {
					t.Errorf("received %#x, want %#x", got, uint64(start+200))
				}
				if window == 64 {
					// Left of the window a number means the next subspace, where it was never sealed.
					if _, v, _ := openOne(in, scratch, packets[0]); v != BadICV {
						t.Errorf("packet left of the window: %v, want %v", v, BadICV)
					}
				}
			})
		}
	}
}

// TestWindowMovesOnlyAfterICV offers a forged number far ahead, which must not push the window on.
func TestWindowMovesOnlyAfterICV(t *testing.T) {
	for _, s := range Suites() {
		out, in, scratch := testOutbound(t, s, false), testInbound(t, s, false, 64), NewScratch()
		packets := sealedRun(t, out, 2, 40)
		forged := append([]byte(nil), packets[1]...)
		forged[4], forged[5] = 0xff, 0xff
		if _, v, newest := openOne(in, scratch, forged); v != BadICV || newest {
			t.Errorf("%v: forged: %v, newest %v", s, v, newest)
		}
		if got := in.Received(); got != 0 {
			t.Errorf("%v: a forged packet moved the window to %d", s, got)
		}
		// Newest is what comes in order, not what comes late.
		if _, v, newest := openOne(in, scratch, packets[1]); v != OK || !newest {
			t.Errorf("%v: packet 2: %v, newest %v", s, v, newest)
		}
		if _, v, newest := openOne(in, scratch, packets[0]); v != OK || newest {
			t.Errorf("%v: packet 1 after 2: %v, newest %v", s, v, newest)
		}
	}
}

// TestExtend: numbers that come in order are recorded as if each came alone, whatever came before and after them, for windows of
// every size.
func TestExtend(t *testing.T) {
	for _, size := range windowSizes {
		seed := rand.Uint64()
		r := rand.New(rand.NewPCG(seed, uint64(size)))
		fast, alone := newWindow(size), newWindow(size)
		for i := range 3000 {
			n := uint64(r.IntN(130))
			if i%50 == 0 {
				n = uint64(r.IntN(20000))
			}
			fast.extend(n)
			for range n {
				if v, newest := alone.commit(alone.top + 1); v != OK || !newest {
					t.Fatalf("seed %d, window %d: %v", seed, size, v)
				}
			}
			for range r.IntN(4) {
				seq := step(r, alone.top, alone.size)
				if fast.check(seq) != OK {
					continue
				}
				fast.commit(seq)
				alone.commit(seq)
			}
			if fast.top != alone.top {
				t.Fatalf("seed %d, window %d: the top is %d, want %d", seed, size, fast.top, alone.top)
			}
			for back := range uint64(min(size+70, 400)) {
				if seq := alone.top - min(alone.top, back); fast.check(seq) != alone.check(seq) {
					t.Fatalf("seed %d, window %d, top %d: %d is %v, want %v", seed, size, alone.top, seq, fast.check(seq), alone.check(seq))
				}
			}
		}
	}
}
