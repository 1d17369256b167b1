package esp

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/warrenvpn/warren/internal/race"
)

// TestConcurrentReceiversAcceptOnce gives every packet to every receiver, each in an order of its own.
func TestConcurrentReceiversAcceptOnce(t *testing.T) {
	for _, c := range []struct {
		name            string
		suite           Suite
		window, packets int
		all, esn        bool
	}{
		{name: "all within the window", suite: AES128GCM16, window: MaxReplayWindow, packets: 4096, all: true},
		{name: "all within the window, CBC", suite: AES128SHA256, window: DefaultReplayWindow, packets: 1000, all: true, esn: true},
		{name: "many left of the window", suite: ChaCha20Poly1305, window: 64, packets: 4096, esn: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			const receivers = 4
			packets := sealedRun(t, testOutbound(t, c.suite, c.esn), c.packets, 40)
			in := testInbound(t, c.suite, c.esn, c.window)
			accepted := make([]atomic.Int32, c.packets+1)
			var wg sync.WaitGroup
			for k := range receivers {
				wg.Go(func() { receiveAll(in, packets, accepted, rand.New(rand.NewPCG(1, uint64(k)))) })
			}
			wg.Wait()
			for seq := 1; seq <= c.packets; seq++ {
				if n := accepted[seq].Load(); n > 1 || c.all && n != 1 {
					t.Errorf("number %d was accepted %d times", seq, n)
				}
			}
			if got := in.Received(); got != uint64(c.packets) {
				t.Errorf("received %d, want %d", got, c.packets)
			}
		})
	}
}

// receiveAll opens copies of all packets in random order, in batches of random size.
func receiveAll(in *Inbound, packets [][]byte, accepted []atomic.Int32, r *rand.Rand) {
	scratch, batch := NewScratch(), new(Batch)
	order := r.Perm(len(packets))
	for len(order) > 0 {
		n := min(1+r.IntN(MaxBatch), len(order))
		batch.Reset()
		for _, i := range order[:n] {
			batch.Add(bytes.Clone(packets[i]))
		}
		in.OpenBatch(scratch, batch)
		for i := range n {
			if _, _, v := batch.Result(i); v == OK {
				accepted[binary.BigEndian.Uint32(batch.Datagram(i)[4:])].Add(1)
			}
		}
		order = order[n:]
	}
}

// TestConcurrentSealersNeverShareANumber takes runs of random length until the numbers are used up.
func TestConcurrentSealersNeverShareANumber(t *testing.T) {
	for _, s := range []Suite{AES128GCM16, ChaCha20Poly1305, AES128SHA1} {
		t.Run(s.String(), func(t *testing.T) {
			const left, sealers = 3001, 4
			out := testOutbound(t, s, false)
			first := uint64(math.MaxUint32 - left + 1)
			out.last.Store(first - 1)
			var mu sync.Mutex
			numbers, ivs := map[uint64]int{}, map[string]int{}
			var wg sync.WaitGroup
			for k := range sealers {
				wg.Go(func() {
					r, scratch, b := rand.New(rand.NewPCG(2, uint64(k))), NewScratch(), make([]byte, 200)
					for {
						run := out.Reserve(1 + r.IntN(17))
						if run.Left() == 0 {
							run.End()
							return
						}
						for run.Left() > 0 {
							seq := run.First()
							run.Seal(scratch, b, 20, 4)
							mu.Lock()
							numbers[seq]++
							ivs[string(b[8:out.HeaderLen()])]++
							mu.Unlock()
							if got := binary.BigEndian.Uint32(b[4:]); uint64(got) != seq {
								t.Errorf("sealed as %d, reserved was %d", got, seq)
							}
						}
						run.End()
					}
				})
			}
			wg.Wait()
			if len(ivs) != left || len(numbers) != left {
				t.Errorf("%d numbers and %d IVs, want %d", len(numbers), len(ivs), left)
			}
			for seq := first; seq <= math.MaxUint32; seq++ {
				if numbers[seq] != 1 {
					t.Fatalf("number %d was used %d times", seq, numbers[seq])
				}
			}
			if !out.Exhausted() || out.Sent() != math.MaxUint32 {
				t.Errorf("exhausted %v, sent %d", out.Exhausted(), out.Sent())
			}
			for range 1000 { // asking on does not bring the counter round
				if run := out.Reserve(1 << 20); run.Left() != 0 {
					t.Fatal("numbers after the last")
				}
			}
		})
	}
}

// TestReservationsNeverOverlap does nothing but reserve, as fast as it goes.
func TestReservationsNeverOverlap(t *testing.T) {
	const workers = 4
	each := 400_000
	if race.Enabled || testing.Short() {
		each = 50_000
	}
	out := testOutbound(t, AES128GCM16, true)
	var firsts [workers][]uint64
	var start sync.WaitGroup
	start.Add(workers)
	var wg sync.WaitGroup
	for k := range workers {
		firsts[k] = make([]uint64, 0, each)
		wg.Go(func() {
			start.Done()
			start.Wait()
			for i := range each {
				run := out.Reserve(1 + i%3)
				firsts[k] = append(firsts[k], run.First()<<2|uint64(run.Left()))
			}
		})
	}
	wg.Wait()
	all := slices.Concat(firsts[:]...)
	slices.Sort(all)
	next := uint64(1)
	for _, r := range all {
		if r>>2 != next {
			t.Fatalf("a run starts at %d, the one before ends in front of %d", r>>2, next)
		}
		next += r & 3
	}
	if out.Sent() != next-1 {
		t.Errorf("sent %d, want %d", out.Sent(), next-1)
	}
}

// TestStatusBesideTraffic reads what status shows while others seal and open.
func TestStatusBesideTraffic(t *testing.T) {
	out, in := testOutbound(t, AES128GCM16, true), testInbound(t, AES128GCM16, true, 128)
	done := make(chan struct{})
	go func() {
		defer close(done)
		scratch := NewScratch()
		for range 300 {
			for _, p := range sealedRun(t, out, 3, 60) {
				if _, v, _ := openOne(in, scratch, p); v != OK {
					t.Error(v)
				}
			}
		}
	}()
	for sent, received := uint64(0), uint64(0); ; {
		s, r := out.Sent(), in.Received()
		if s < sent || r < received {
			t.Fatalf("counters went back: sent %d to %d, received %d to %d", sent, s, received, r)
		}
		sent, received = s, r
		if out.IV() <= s || out.Exhausted() || in.ReplayWindow() != 128 || in.SPI() != testSPI || !in.ESN() {
			t.Fatal("wrong status")
		}
		select {
		case <-done:
			return
		default:
		}
	}
}
