package bfd

import (
	"testing"
	"time"
)

// TestOfferNeverWaits: what is offered while the Manager is in somebody's hand is taken up by him, up to a bound.
func TestOfferNeverWaits(t *testing.T) {
	m := NewManager(ManagerConfig{Transport: &pipe{}})
	if err := m.Add(addressB, fast(100, 3)); err != nil {
		t.Fatal(err)
	}
	const over = 5
	packet := make([]byte, 300)
	m.mu.Lock()
	offered := make(chan struct{})
	go func() {
		defer close(offered)
		for i := range waiting + over {
			m.Offer(addressB, packet[:i%2*24+i/2], 255-uint8(i%2)) // too short with the right TTL, or long enough with another
		}
	}()
	select {
	case <-offered:
	case <-time.After(10 * time.Second):
		t.Error("Offer waits for who holds the Manager")
	}
	m.unlock()
	<-offered
	received, _ := m.Dropped()
	if received[DropTTL] != waiting/2 || received[DropBusy] != over || received[Accepted] != 0 {
		t.Errorf("dropped %v", received)
	}
	m.Offer(addressB, packet, 1)
	if received, _ := m.Dropped(); received[DropTTL] != waiting/2+1 {
		t.Errorf("with nobody there: dropped %v", received)
	}
	if m.Offer(addressB, packet[:1], 255); len(m.inbox) != 0 {
		t.Error("what could be taken up at once waits")
	}
}
