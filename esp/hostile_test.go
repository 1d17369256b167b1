package esp

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/warrenvpn/warren/internal/race"
)

// TestHostilePackets offers random and mutated packets to every suite: none is accepted, none panics, none moves the window.
func TestHostilePackets(t *testing.T) {
	count := 1_000_000
	if race.Enabled || testing.Short() {
		count = 40_000
	}
	each := count / (2 * len(Suites()))
	forEachSA(t, func(t *testing.T, s Suite, esn bool) {
		r := seeded(t, uint64(s)<<1|1)
		out, in, scratch := testOutbound(t, s, esn), testInbound(t, s, esn, DefaultReplayWindow), NewScratch()
		out.last.Store(1 << 20)
		in.win.top = 1 << 20
		var good [][]byte
		for _, n := range []int{1, 20, 64, 576, 1400} {
			good = append(good, sealedRun(t, out, 4, n)...)
		}
		genuine := map[string]bool{}
		for _, g := range good {
			genuine[string(g)] = true
		}
		batch := new(Batch)
		for done := 0; done < each; done += batch.Len() {
			batch.Reset()
			for range min(MaxBatch, each-done) {
				d := hostile(r, good)
				for genuine[string(d)] {
					d = hostile(r, good)
				}
				batch.Add(d)
			}
			if newest := in.OpenBatch(scratch, batch); newest {
				t.Fatal("a hostile packet is the newest")
			}
			for i := range batch.Len() {
				_, _, v := batch.Result(i)
				switch v {
				case TooShort, BadICV, TooOld, Replayed:
				default:
					t.Fatalf("accepted as %v: %x", v, batch.Datagram(i))
				}
			}
		}
		if got := in.Received(); got != 1<<20 {
			t.Errorf("hostile packets moved the window to %d", got)
		}
		for i, g := range good { // and left no number behind as seen
			if _, v, _ := openOne(in, scratch, g); v != OK {
				t.Errorf("genuine packet %d: %v", i, v)
			}
		}
	})
}

// hostile makes up a datagram of at least 4 bytes: noise, or a genuine packet with something changed.
func hostile(r *rand.Rand, good [][]byte) []byte {
	g := good[r.IntN(len(good))]
	d := bytes.Clone(g)
	switch r.IntN(8) {
	case 0: // noise behind the right SPI
		d = noise(r, 4+r.IntN(200))
		binary.BigEndian.PutUint32(d, testSPI)
	case 1: // a bit or a few
		for range 1 + r.IntN(3) {
			d[r.IntN(len(d))] ^= 1 << r.IntN(8)
		}
	case 2: // cut short
		d = d[:4+r.IntN(len(d)-4)]
	case 3: // longer, up to whole blocks
		d = append(d, noise(r, 1+r.IntN(48))...)
	case 4: // another number
		binary.BigEndian.PutUint32(d[4:], uint32(1<<20+r.IntN(3000)-1500))
	case 5: // one packet's beginning with another's end
		o := good[r.IntN(len(good))]
		cut := 4 + r.IntN(min(len(d), len(o))-4)
		d = append(d[:cut:cut], o[cut:]...)
	case 6: // a block moved
		if len(d) > 64 {
			from, to := r.IntN(len(d)-16), r.IntN(len(d)-16)
			copy(d[to:to+16], g[from:from+16])
		}
	case 7: // a zeroed tail
		clear(d[4+r.IntN(len(d)-4):])
	}
	return d
}

func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}
