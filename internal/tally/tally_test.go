package tally_test

import (
	"sync"
	"testing"

	"github.com/warrenvpn/warren/internal/tally"
)

// TestPair: nothing that the one writer adds is lost, and who looks meanwhile sees numbers that were there, in order.
func TestPair(t *testing.T) {
	const n, step = 200_000, 1<<32 - 1 // both halves of the word change with each addition
	var p tally.Pair
	var readers sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			var before uint64
			for {
				a, b := p.Load()
				if a%step != 0 || a < before || b > n {
					t.Errorf("read %d, %d after %d", a, b, before)
					return
				}
				before = a
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for range n {
		p.Add(step, 1)
	}
	close(done)
	readers.Wait()
	if a, b := p.Load(); a != n*step || b != n {
		t.Errorf("%d, %d, want %d, %d", a, b, uint64(n*step), n)
	}
	if allocs := testing.AllocsPerRun(100, func() { p.Add(1, 1) }); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// TestShared: nothing is lost, whoever came first.
func TestShared(t *testing.T) {
	const n = 100_000
	for range 10 {
		var s tally.Shared
		var workers sync.WaitGroup
		for w := range 3 {
			workers.Go(func() {
				for range n {
					s.Add(w, 3)
				}
			})
		}
		workers.Wait()
		if got := s.Load(); got != 9*n {
			t.Fatalf("%d, want %d", got, 9*n)
		}
	}
}
