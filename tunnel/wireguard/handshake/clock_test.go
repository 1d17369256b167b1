package handshake

import (
	"slices"
	"testing"
	"time"
)

// TestTimestampsOnlyRise whatever the clock of day does while we run.
func TestTimestampsOnlyRise(t *testing.T) {
	w := newPair(t, 1)
	w.connect()
	for _, skew := range []time.Duration{-time.Hour, 24 * time.Hour, -1000 * time.Hour, 0} {
		w.skew[0] = skew
		w.run(RekeyAfterTime + time.Second)
		w.hosts[0].send(w.peers[0], "rekeys")
		w.run(time.Second)
		if age := w.now.Sub(w.peers[0].Keypairs().Current.Created); age > 2*time.Second {
			t.Errorf("clock off by %v: the session is %v old", skew, age)
		}
	}
	if w.hosts[1].drops[Replayed] != 0 {
		t.Errorf("%d were taken for replays", w.hosts[1].drops[Replayed])
	}
	l := stamp(time.Unix(1, 999_999_999))
	if n := next(l); !n.After(l) || n != stamp(time.Unix(2, 0)) {
		t.Errorf("after %v comes %v", l, n)
	}
}

// TestClockSetBackBeforeARestart is what doc.go says of it.
func TestClockSetBackBeforeARestart(t *testing.T) {
	w := newPair(t, 1)
	w.connect()
	w.skew[0] = -time.Hour
	w.restart(0, w.hosts[0].key)
	w.hosts[0].send(w.peers[0], "refused")
	w.run(time.Minute)
	if w.hosts[1].drops[Replayed] < 10 || w.peers[0].Keypairs().Current != nil {
		t.Fatalf("drops %v", w.hosts[1].drops)
	}
	w.run(2 * time.Minute)
	w.hosts[1].send(w.peers[1], "the other side begins")
	w.run(time.Second)
	if got := w.hosts[0].took(); !slices.Equal(got, []string{"the other side begins"}) {
		t.Errorf("left received %q", got)
	}
	w.run(time.Hour)
	w.clear()
	w.connect()
}
