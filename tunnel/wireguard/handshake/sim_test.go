package handshake

import (
	"fmt"
	"testing"
	"time"

	"github.com/warrenvpn/warren/internal/race"
)

// A day is how a simulated day goes.
type day struct {
	loss       float64
	reorder    time.Duration // the most by which a datagram is late
	persistent time.Duration
	talk, rest time.Duration // how long one talks and is silent, about
	restarts   bool
	load       bool
}

// TestADayOfTimers lets two machines talk for a day through a network that loses, reorders and repeats, and demands that
// packets get through whenever there are some: after a loss, a restart, a silence. Every key and counter is checked on the way.
func TestADayOfTimers(t *testing.T) {
	hours, seeds := 24, uint64(2)
	if race.Enabled {
		hours, seeds = 6, 1 // nothing in it runs beside anything
	}
	for name, d := range map[string]day{
		"quiet network":        {talk: 10 * time.Minute, rest: 20 * time.Minute, reorder: 50 * time.Millisecond},
		"a third lost":         {loss: 0.3, talk: 10 * time.Minute, rest: 20 * time.Minute, reorder: 200 * time.Millisecond},
		"persistent, lossy":    {loss: 0.3, persistent: 25 * time.Second, talk: time.Minute, rest: 10 * time.Minute, reorder: time.Second},
		"restarts, lossy":      {loss: 0.3, talk: 10 * time.Minute, rest: 10 * time.Minute, reorder: 200 * time.Millisecond, restarts: true},
		"restarts and cookies": {loss: 0.1, talk: 10 * time.Minute, rest: 10 * time.Minute, reorder: 50 * time.Millisecond, restarts: true, load: true},
	} {
		for seed := range seeds {
			t.Run(fmt.Sprintf("%s/seed %d", name, seed), func(t *testing.T) {
				t.Parallel()
				d.simulate(t, seed, hours)
			})
		}
	}
}

func (d day) simulate(t *testing.T, seed uint64, hours int) {
	w := newPair(t, seed, func(c *PeerConfig) { c.PersistentKeepalive = d.persistent })
	w.lose = func(flight) bool { return w.rnd.Float64() < d.loss }
	w.delay = func() time.Duration { return 10*time.Millisecond + time.Duration(w.rnd.Int64N(int64(d.reorder))) }
	var passed [2]int
	var worst time.Duration
	for end := start.Add(time.Duration(hours) * time.Hour); w.now.Before(end); {
		if d.restarts {
			i := w.rnd.IntN(2)
			w.restart(i, w.hosts[i].key)
		}
		for i := range w.hosts {
			w.hosts[i].load = d.load && w.rnd.IntN(2) == 0
		}
		worst = max(worst, d.talking(w, &passed))
		w.run(d.rest + time.Duration(w.rnd.Int64N(int64(d.rest))))
		w.sent = nil
	}
	for i, h := range w.hosts {
		h.checkIndices()
		if passed[i] < 40*hours {
			t.Errorf("only %d packets came to %s", passed[i], h.name)
		}
	}
	// A try is lost with 0.51 in 5 s; a session's first packets are lost with 0.3.
	limit := 10 * time.Second
	if d.loss > 0 || d.restarts {
		limit = 100 * time.Second
	}
	if worst > limit {
		t.Errorf("no packet came through for %v", worst)
	}

	// At the end the network is whole again.
	w.lose = nil
	for i, h := range w.hosts {
		h.load = false
		w.run(20 * time.Second)
		w.clear()
		h.send(w.peers[i], "last")
		w.run(6 * time.Second)
		if got := w.hosts[1-i].took(); len(got) == 0 {
			t.Errorf("nothing from %s at the end", h.name)
		}
	}
	t.Logf("%d keys; %d and %d packets; longest gap %v; drops %v %v",
		len(w.keys.owner), passed[0], passed[1], worst, w.hosts[0].drops, w.hosts[1].drops)
}

// talking lets both sides send for a while, and returns the longest time in which nothing came through.
func (d day) talking(w *pair, passed *[2]int) (worst time.Duration) {
	last := w.now
	both := w.rnd.IntN(3) // 0 and 1: that side alone sends, and the other sends keepalives
	for end := w.now.Add(d.talk/2 + time.Duration(w.rnd.Int64N(int64(d.talk)))); w.now.Before(end); {
		for i, h := range w.hosts {
			if both == 2 || both == i {
				h.send(w.peers[i], "data")
			}
		}
		w.run(time.Duration(w.rnd.Int64N(int64(4 * time.Second))))
		w.repeat()
		for i, h := range w.hosts {
			if n := len(h.took()); n > 0 {
				passed[i] += n
				last = w.now
			}
			h.actions = nil
		}
		worst = max(worst, w.now.Sub(last))
	}
	return worst
}

// repeat lets a datagram of before come in again.
func (w *pair) repeat() {
	if len(w.sent) > 0 {
		f := w.sent[w.rnd.IntN(len(w.sent))]
		for _, h := range w.hosts {
			if h.at == f.to {
				h.receive(f.b, f.from)
			}
		}
	}
}
