package handshake

import (
	"bytes"
	"container/heap"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// A flight is a datagram on its way.
type flight struct {
	at       time.Time
	from, to netip.AddrPort
	b        []byte
}

type flights []flight

func (f flights) Len() int           { return len(f) }
func (f flights) Less(i, j int) bool { return f[i].at.Before(f[j].at) }
func (f flights) Swap(i, j int)      { f[i], f[j] = f[j], f[i] }
func (f *flights) Push(x any)        { *f = append(*f, x.(flight)) }
func (f *flights) Pop() any {
	last := (*f)[len(*f)-1]
	*f = (*f)[:len(*f)-1]
	return last
}

// A pair is two hosts, their clock, and the network between them.
type pair struct {
	t     *testing.T
	rnd   *rand.Rand
	now   time.Time
	skew  [2]time.Duration // of the hosts' clocks of day
	keys  *keyLedger
	hosts [2]*host
	peers [2]*Peer // as the host has the other
	conf  [2]PeerConfig
	air   flights
	// lose and delay are of each datagram; nil: none is lost, each takes 10 ms.
	lose  func(flight) bool
	delay func() time.Duration
	sent  []flight // all, for who looks
}

func newPair(t *testing.T, seed uint64, conf ...func(*PeerConfig)) *pair {
	t.Helper()
	w := &pair{t: t, rnd: rand.New(rand.NewPCG(seed, 0)), now: start, keys: newLedger(t)}
	keys := [2]PrivateKey{NewPrivateKey(), NewPrivateKey()}
	l, r := keys[0].Public(), keys[1].Public()
	if (bytes.Compare(l[:], r[:]) > 0) != (seed%2 == 1) { // who yields where both begin follows from the seed too
		keys[0], keys[1] = keys[1], keys[0]
	}
	for i := range 2 {
		w.conf[i] = PeerConfig{PublicKey: keys[1-i].Public()}
		for _, f := range conf {
			f(&w.conf[i])
		}
		w.restart(i, keys[i])
	}
	return w
}

// restart makes a host anew: all it knew is gone but its key.
func (w *pair) restart(i int, key PrivateKey) {
	w.t.Helper()
	h := newHost(w.t, [2]string{"left", "right"}[i], key, w.rnd, func() time.Time { return w.now },
		func() time.Time { return w.now.Add(w.skew[i]) }, w.keys)
	h.at = address(i)
	h.out = func(to netip.AddrPort, b []byte) { w.put(h.at, to, b) }
	w.hosts[i] = h
	w.peers[i] = h.add(w.conf[i], address(1-i))
}

func (w *pair) put(from, to netip.AddrPort, b []byte) {
	f := flight{w.now.Add(10 * time.Millisecond), from, to, b}
	if w.delay != nil {
		f.at = w.now.Add(w.delay())
	}
	w.sent = append(w.sent, f)
	if w.lose == nil || !w.lose(f) {
		heap.Push(&w.air, f)
	}
}

// run lets the time pass, and everything happen in it at its time.
func (w *pair) run(d time.Duration) {
	w.t.Helper()
	for end := w.now.Add(d); ; {
		next := end
		for _, h := range w.hosts {
			if at := h.d.Deadline(); !at.IsZero() && at.Before(next) {
				next = at
			}
		}
		if len(w.air) > 0 && w.air[0].at.Before(next) {
			next = w.air[0].at
		}
		if next.After(w.now) {
			w.now = next
		}
		for len(w.air) > 0 && !w.air[0].at.After(w.now) {
			f := heap.Pop(&w.air).(flight)
			for _, h := range w.hosts {
				if h.at == f.to {
					h.receive(f.b, f.from)
				}
			}
		}
		for _, h := range w.hosts {
			h.d.Tick(w.now)
			h.obey()
		}
		if !w.now.Before(end) {
			return
		}
	}
}

// connect makes a session that the left host began.
func (w *pair) connect() {
	w.t.Helper()
	w.hosts[0].send(w.peers[0], "first")
	w.run(time.Second)
	for i, p := range w.peers {
		if k := p.Keypairs(); k.Current == nil || k.Next != nil || k.Current.Initiator != (i == 0) {
			w.t.Fatalf("%s has %+v", w.hosts[i].name, k)
		}
	}
	if got := w.hosts[1].took(); len(got) != 1 || got[0] != "first" {
		w.t.Fatalf("right received %q", got)
	}
	w.clear()
}

func (w *pair) clear() {
	w.sent = nil
	for _, h := range w.hosts {
		h.actions, h.opened = nil, nil
	}
}

// count is how many datagrams of a type a host has sent since clear.
func (w *pair) count(i int, kind Type) (n int) {
	for _, f := range w.sent {
		if got, ok := TypeOf(f.b); ok && got == kind && f.from == w.hosts[i].at {
			n++
		}
	}
	return n
}
