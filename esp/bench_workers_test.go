package esp

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// What follows measures how one SA serves several workers: 1,400 bytes, batches of 64, ns per packet of all together.

const (
	workersSize   = 1400
	workersRound  = 8192 // packets that are sealed in advance and opened once each
	workersWindow = 8192
)

// inParallel runs work on n workers until all return.
func inParallel(n int, work func(k int)) {
	var wg sync.WaitGroup
	for k := range n {
		wg.Go(func() { work(k) })
	}
	wg.Wait()
}

func forWorkers(b *testing.B, bench func(b *testing.B, workers int)) {
	for _, workers := range []int{1, 2} {
		b.Run(fmt.Sprintf("aes128gcm16/%d-workers", workers), func(b *testing.B) { bench(b, workers) })
	}
}

func BenchmarkSealOneSA(b *testing.B) {
	forWorkers(b, func(b *testing.B, workers int) {
		sa := testOutbound(b, AES128GCM16, true)
		var taken atomic.Int64
		b.SetBytes(workersSize)
		b.ResetTimer()
		inParallel(workers, func(int) {
			scratch, buf := NewScratch(), make([]byte, 2048)
			for taken.Add(benchBatch) < int64(b.N)+benchBatch {
				run := sa.Reserve(benchBatch)
				for run.Left() > 0 {
					run.Seal(scratch, buf, workersSize, 4)
				}
				run.End()
			}
		})
	})
}

func BenchmarkOpenOneSA(b *testing.B) {
	forWorkers(b, func(b *testing.B, workers int) {
		in := testInbound(b, AES128GCM16, false, workersWindow)
		sealed := sealedRun(b, testOutbound(b, AES128GCM16, false), workersRound, workersSize)
		batches, scratches := make([]Batch, workers), make([]*Scratch, workers)
		bufs := make([][][]byte, workers)
		for k := range workers {
			scratches[k], bufs[k] = NewScratch(), benchBuffers(len(sealed[0]))
		}
		b.SetBytes(workersSize)
		b.ResetTimer()
		for left := b.N; left > 0; left -= workersRound {
			in.win = newWindow(workersWindow)
			packets, refused := sealed[:min(left, workersRound)], atomic.Int64{}
			var taken atomic.Int64
			inParallel(workers, func(k int) {
				for {
					from := int(taken.Add(benchBatch)) - benchBatch
					if from >= len(packets) {
						return
					}
					batches[k].Reset()
					for i, p := range packets[from:min(from+benchBatch, len(packets))] {
						copy(bufs[k][i], p)
						batches[k].Add(bufs[k][i])
					}
					in.OpenBatch(scratches[k], &batches[k])
					for i := range batches[k].Len() {
						if _, _, v := batches[k].Result(i); v != OK {
							refused.Add(1)
						}
					}
				}
			})
			if n := refused.Load(); n > 0 {
				b.Errorf("%d of %d good packets were refused", n, len(packets))
			}
		}
	})
}
