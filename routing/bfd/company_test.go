package bfd

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// hub notes when a manager sends to whom, and takes its packets there.
type hub struct {
	mu   sync.Mutex
	to   map[netip.Addr]*Manager
	sent map[netip.Addr][]time.Time
}

func (h *hub) Send(peer netip.Addr, b []byte) error {
	h.mu.Lock()
	h.sent[peer] = append(h.sent[peer], time.Now())
	h.mu.Unlock()
	p := pipe{from: addressA, ttl: 255, to: h.to[peer]}
	return p.Send(peer, b)
}

// TestSessionsSendTogether: eight sessions wake their manager hardly more often than one, each with the jitter of RFC 5880 section
// 6.8.7, and no more often than they would alone. One whose interval is another does as it would.
func TestSessionsSendTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const peers, seconds = 9, 60
		h := &hub{to: map[netip.Addr]*Manager{}, sent: map[netip.Addr][]time.Time{}}
		m := NewManager(ManagerConfig{Transport: h, Rand: rand.New(rand.NewPCG(1, 2))})
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		run := func(m *Manager) { group.Go(func() { _ = m.Run(ctx) }) }
		odd := netip.AddrFrom4([4]byte{10, 9, 1, peers - 1})
		for i := range peers {
			peer := netip.AddrFrom4([4]byte{10, 9, 1, byte(i)})
			config := fast(100, 3)
			if peer == odd {
				config = fast(170, 3)
			}
			there := NewManager(ManagerConfig{Transport: &pipe{from: peer, ttl: 255, to: m}, Rand: rand.New(rand.NewPCG(uint64(i), 3))})
			h.to[peer] = there
			if err := there.Add(addressA, fast(100, 3)); err != nil {
				t.Fatal(err)
			}
			if err := m.Add(peer, config); err != nil {
				t.Fatal(err)
			}
			run(there)
		}
		run(m)
		time.Sleep(10 * time.Second) // up, and together
		h.mu.Lock()
		clear(h.sent)
		h.mu.Unlock()
		time.Sleep(seconds * time.Second)
		cancel()
		group.Wait()

		instants := map[time.Time]bool{}
		for peer, sent := range h.sent {
			interval := 100 * time.Millisecond
			if peer == odd {
				interval = 170 * time.Millisecond
			}
			sent = sent[:len(sent)-1] // the last is the farewell
			for i, at := range sent {
				if instants[at] = true; i == 0 {
					continue
				}
				if d := at.Sub(sent[i-1]); d < interval*3/4 || d > interval {
					t.Fatalf("to %v %v after the one before, want %v to %v", peer, d, interval*3/4, interval)
				}
			}
			mean := seconds * time.Second / time.Duration(len(sent))
			if low, high := interval*84/100, interval*91/100; mean < low && peer != odd || mean > high {
				t.Errorf("to %v every %v on average, want %v to %v", peer, mean, low, high)
			}
		}
		if n := len(instants) / seconds; n > 19 { // 11.4 for eight of them, 6.7 for the other
			t.Errorf("sent at %d instants a second", n)
		}
		for _, s := range m.Sessions() {
			t.Errorf("%v is left", s)
		}
	})
}
