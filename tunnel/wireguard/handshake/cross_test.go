package handshake

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/tun/tuntest"

	"github.com/warrenvpn/warren/internal/race"
)

// TestNothingIsLostInACrossing lets both sides of a session begin again at about the same time, over and over, under a stream both
// ways, through a network that loses nothing but changes the order: whatever was sent must be opened. The other side is one of
// us, or has one handshake and three keypairs as the usual implementations do, which lose what is on its way if the
// two handshakes end apart by themselves.
func TestNothingIsLostInACrossing(t *testing.T) {
	seeds := uint64(15)
	if race.Enabled {
		seeds = 2 // nothing in it runs beside anything
	}
	for name, c := range map[string]struct {
		usual bool
		late  time.Duration // the most that a datagram takes
	}{
		"one of us": {late: 5 * time.Millisecond}, "one of us, far away": {late: 200 * time.Millisecond},
		"another": {usual: true, late: 5 * time.Millisecond}, "another, a little away": {usual: true, late: 20 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range seeds {
				crossings(t, seed, c.usual, c.late)
			}
		})
	}
}

func crossings(t *testing.T, seed uint64, usual bool, late time.Duration) {
	t.Helper()
	w := newPair(t, seed)
	w.connect()
	base := time.Duration(w.rnd.Int64N(int64(late)/2)) + time.Microsecond
	w.delay = func() time.Duration { return base + time.Duration(w.rnd.Int64N(int64(late)/10)) }
	if usual {
		w.hosts[1].usual = true
	}
	var sent [2][]string
	stream := func(d time.Duration) {
		for end := w.now.Add(d); w.now.Before(end); w.run(time.Millisecond) {
			for i, h := range w.hosts {
				data := fmt.Sprint(len(sent[i]))
				sent[i] = append(sent[i], data)
				h.send(w.peers[i], data)
			}
		}
	}
	for range 3 {
		w.run(RekeyTimeout + rekeyJitter)
		first := w.rnd.IntN(2)
		for _, i := range []int{first, 1 - first} {
			w.hosts[i].d.Actions()
			w.peers[i].Renew(w.now)
			w.hosts[i].obey()
			stream(time.Duration(w.rnd.Int64N(int64(2 * base))))
		}
		stream(6*late + 3*crossTime)
	}
	w.run(time.Second)
	for i, h := range w.hosts {
		h.checkIndices()
		got := w.hosts[1-i].took()
		if len(got) != len(sent[i]) {
			t.Errorf("seed %d, %v one way: %d of %d packets of %s came through", seed, base, len(got), len(sent[i]), h.name)
		}
	}
}

// TestTwoOfUsAgreeInACrossing: of two handshakes that begin at the same time one remains, unless it takes long to the other side.
func TestTwoOfUsAgreeInACrossing(t *testing.T) {
	for seed := range uint64(20) {
		w := newPair(t, seed)
		w.hosts[0].send(w.peers[0], "to right")
		w.hosts[1].send(w.peers[1], "to left")
		w.run(time.Second)
		l, r := w.peers[0].Keypairs(), w.peers[1].Keypairs()
		if l.Current == nil || r.Current == nil || l.Current.LocalIndex != r.Current.RemoteIndex {
			t.Errorf("left has %v, right %v", l, r)
		}
		if n := w.count(0, TypeResponse) + w.count(1, TypeResponse); n != 1 {
			t.Errorf("%d responses", n)
		}
	}
}

// TestHeldAnswerIsGivenAtLast where nobody answers us: our initiation was lost.
func TestHeldAnswerIsGivenAtLast(t *testing.T) {
	w := newPair(t, 1)
	w.lose = func(f flight) bool { kind, _ := TypeOf(f.b); return kind == TypeInitiation && f.from == w.hosts[0].at }
	w.hosts[0].send(w.peers[0], "to right")
	w.hosts[1].send(w.peers[1], "to left")
	w.run(2*crossTime + 50*time.Millisecond)
	if l, r := w.hosts[0].took(), w.hosts[1].took(); !slices.Equal(l, []string{"to left"}) || !slices.Equal(r, []string{"to right"}) {
		t.Errorf("received %q, %q", l, r)
	}
	if p := w.peers[0]; p.held != nil || !p.due[reply].IsZero() {
		t.Error("an answer is held still")
	}
}

// TestHeldAnswerGoesWithThePeer and with the key that it was computed with.
func TestHeldAnswerGoesWithThePeer(t *testing.T) {
	for name, end := range map[string]func(*pair) error{
		"peer removed": func(w *pair) error { w.hosts[0].d.RemovePeer(w.peers[0]); return nil },
		"other key":    func(w *pair) error { return w.hosts[0].d.SetPrivateKey(NewPrivateKey()) },
	} {
		w := newPair(t, 1)
		w.lose = func(f flight) bool { return f.from == w.hosts[0].at }
		w.hosts[0].send(w.peers[0], "to right")
		w.hosts[1].send(w.peers[1], "to left")
		w.run(10 * time.Millisecond)
		if w.peers[0].held == nil {
			t.Fatal("no answer is held")
		}
		if err := end(w); err != nil {
			t.Fatal(err)
		}
		w.hosts[0].obey()
		w.run(time.Second)
		if w.peers[0].held != nil || w.count(0, TypeResponse) != 0 {
			t.Errorf("%s: the answer is there still, or was sent", name)
		}
	}
}

// TestCrossingWithWireguardGo: it takes our initiation while its own is on its way. Were it sent the response to that at the same time, it
// would now and then mix both, and not hear us any more.
func TestCrossingWithWireguardGo(t *testing.T) {
	t.Parallel()
	for range 5 {
		w := meetWireguardGo(t, NewPresharedKey())
		w.patient = true
		var responses int
		send := w.out
		w.out = func(to netip.AddrPort, b []byte) {
			if kind, ok := TypeOf(b); ok && kind == TypeResponse {
				responses++
			}
			send(to, b)
		}
		w.tun.Outbound <- tuntest.Ping(ourAddress, theirAddress)
		initiation := <-w.in
		at := w.clock()
		m := w.d.Prepare(at, initiation, address(1), false, Knock{})
		w.peer.NeedSession(at)
		w.obey()
		if drop := w.d.Commit(at, m); drop != None {
			t.Fatal(drop)
		}
		w.obey()
		for w.peer.Keypairs().Current == nil {
			select {
			case b := <-w.in:
				w.receive(b, address(1))
			case <-time.After(30 * time.Second):
				t.Fatal("no answer")
			}
		}
		w.tell()
		w.ask()
		w.wantSession(true)
		if responses != 0 {
			t.Error("it was sent a response too")
		}
	}
}
