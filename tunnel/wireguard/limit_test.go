package wireguard

import (
	"sync"
	"testing"

	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

// TestCountersEnd: what several workers reserve at the end of a session's counters is all that there is, once, and then nothing more,
// however often they ask. No counter is near the one at which it would begin anew.
func TestCountersEnd(t *testing.T) {
	const left, workers, atOnce = 1000, 8, 7
	k := new(keypair)
	k.next.Store(sendLimit - left)
	var mu sync.Mutex
	used := map[uint64]bool{}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range 2 * left {
				r := k.reserve(atOnce)
				mu.Lock()
				for i := range uint64(r.left) {
					if used[r.next+i] {
						t.Errorf("counter %d twice", r.next+i)
					}
					used[r.next+i] = true
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(used) != left {
		t.Errorf("%d counters were used, want %d", len(used), left)
	}
	for c := range used {
		if c < sendLimit-left || c >= sendLimit {
			t.Fatalf("counter %d was used, beyond %d", c, uint64(sendLimit))
		}
	}
	if n := k.next.Load(); n > sendLimit+workers*atOnce || n >= handshake.RejectAfterMessages {
		t.Errorf("the counter ran on to %d", n)
	}
}
