package handshake

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"
)

func TestSessionComesAboutAndCarriesBothWays(t *testing.T) {
	psk := NewPresharedKey()
	for name, conf := range map[string]func(*PeerConfig){
		"without a pre-shared key": func(*PeerConfig) {},
		"with a pre-shared key":    func(c *PeerConfig) { c.PresharedKey = psk },
	} {
		t.Run(name, func(t *testing.T) {
			w := newPair(t, 1, conf)
			w.connect()
			l, r := w.peers[0].Keypairs().Current, w.peers[1].Keypairs().Current
			if l.SendKey != r.RecvKey || l.RecvKey != r.SendKey || l.LocalIndex != r.RemoteIndex || l.RemoteIndex != r.LocalIndex {
				t.Error("the two keypairs do not fit")
			}
			w.hosts[1].send(w.peers[1], "back")
			w.run(time.Second)
			if got := w.hosts[0].took(); !slices.Equal(got, []string{"back"}) {
				t.Errorf("left received %q", got)
			}
			if w.count(0, TypeInitiation)+w.count(1, TypeInitiation) != 0 {
				t.Error("there were more handshakes")
			}
		})
	}
}

func TestOtherPresharedKeyMakesNoSession(t *testing.T) {
	w := newPair(t, 1)
	w.peers[1].SetPresharedKey(NewPresharedKey())
	w.hosts[0].send(w.peers[0], "lost")
	w.run(time.Second)
	if w.hosts[0].drops[BadHandshake] != 1 || w.peers[0].Keypairs().Current != nil {
		t.Errorf("drops %v", w.hosts[0].drops)
	}
	w.peers[1].SetPresharedKey(PresharedKey{})
	w.run(10 * time.Second)
	if w.peers[0].Keypairs().Current == nil {
		t.Error("no session with the right one")
	}
}

// TestResponderWaitsForConfirmation: a session that was answered may not be sent by until the initiator has used it.
func TestResponderWaitsForConfirmation(t *testing.T) {
	w := newPair(t, 1)
	w.lose = func(f flight) bool { kind, _ := TypeOf(f.b); return kind == TypeTransport }
	w.hosts[0].send(w.peers[0], "first")
	w.run(time.Second)
	k := w.peers[1].Keypairs()
	if k.Next == nil || k.Current != nil || k.Next.Initiator {
		t.Fatalf("right has %+v", k)
	}
	w.hosts[1].send(w.peers[1], "waits")
	if w.count(1, TypeTransport) != 0 {
		t.Error("right sent by Next")
	}
	// It may answer, but not yet begin: it sent a handshake message less than RekeyTimeout ago. What waits is not forgotten.
	if w.count(1, TypeInitiation) != 0 {
		t.Error("right began within RekeyTimeout of its response")
	}
	w.lose = nil
	w.run(6 * time.Second)
	if got := w.hosts[0].took(); !slices.Equal(got, []string{"waits"}) {
		t.Errorf("left received %q", got)
	}
}

func TestReplayedMessagesAreRefused(t *testing.T) {
	w := newPair(t, 1)
	w.hosts[0].send(w.peers[0], "first")
	w.run(time.Second)
	var initiation, response flight
	for _, f := range w.sent {
		switch kind, _ := TypeOf(f.b); kind {
		case TypeInitiation:
			initiation = f
		case TypeResponse:
			response = f
		}
	}
	was := w.peers[1].Keypairs()
	w.run(time.Minute)
	w.clear()
	w.hosts[1].receive(initiation.b, initiation.from)
	w.hosts[0].receive(response.b, response.from)
	if w.hosts[1].drops[Replayed] != 1 || w.hosts[0].drops[UnknownIndex] != 1 {
		t.Errorf("drops %v, %v", w.hosts[0].drops, w.hosts[1].drops)
	}
	if w.peers[1].Keypairs() != was || len(w.hosts[1].actions) != 0 || w.count(1, TypeResponse) != 0 {
		t.Errorf("a replay changed something: %v", w.hosts[1].actions)
	}
}

// TestInitiationsOfOnePeerAreLimited: newer ones too, if they come within 20 ms, so that a peer cannot keep us busy.
func TestInitiationsOfOnePeerAreLimited(t *testing.T) {
	w := newPair(t, 1)
	var all [][]byte
	for range 3 {
		w.peers[0].end()
		w.peers[0].NeedSession(w.now)
		for _, a := range w.hosts[0].d.Actions() {
			if s, ok := a.(Send); ok {
				all = append(all, s.Bytes)
			}
		}
	}
	right := w.hosts[1]
	right.receive(all[0], w.hosts[0].at)
	right.receive(all[1], w.hosts[0].at)
	w.now = w.now.Add(20 * time.Millisecond)
	right.receive(all[2], w.hosts[0].at)
	right.receive(all[1], w.hosts[0].at)
	if right.drops[None] != 2 || right.drops[RateLimited] != 1 || right.drops[Replayed] != 1 {
		t.Errorf("drops %v", right.drops)
	}
}

// TestForgedResponsesDoNotEndAHandshake: who sees an initiation can make a response with a right mac1, even with a point
// of low order. The right one must still be accepted.
func TestForgedResponsesDoNotEndAHandshake(t *testing.T) {
	w := newPair(t, 1)
	w.lose = func(f flight) bool { return true }
	w.hosts[0].send(w.peers[0], "first")
	w.hosts[1].receive(w.sent[0].b, w.hosts[0].at)
	right, _ := ParseResponse(w.sent[1].b)
	forge := func(change func(*Response)) []byte {
		m := right
		change(&m)
		b := m.Append(nil)
		new(purse).sign(w.now, w.hosts[0].d.PublicKey(), b)
		return b
	}
	for _, b := range [][]byte{
		forge(func(m *Response) { clear(m.Noise[:32]) }),
		forge(func(m *Response) { m.Noise[47] ^= 1 }),
		forge(func(m *Response) { m.Noise[3] ^= 1 }),
	} {
		w.hosts[0].receive(b, address(9))
	}
	if w.hosts[0].drops[BadHandshake] != 3 || w.hosts[0].ends[w.peers[0]] != w.hosts[1].at {
		t.Fatalf("drops %v", w.hosts[0].drops)
	}
	w.hosts[0].receive(w.sent[1].b, w.hosts[1].at)
	if w.peers[0].Keypairs().Current == nil {
		t.Errorf("the right response was refused: %v", w.hosts[0].drops)
	}
}

func TestStrangersAndGarbageGetNoAnswer(t *testing.T) {
	w := newPair(t, 1)
	left, right := w.hosts[0], w.hosts[1]
	stranger := newPair(t, 2)
	stranger.hosts[0].add(PeerConfig{PublicKey: right.d.PublicKey()}, right.at)
	p := stranger.hosts[0].d.Peer(right.d.PublicKey())
	p.NeedSession(w.now)
	b := stranger.hosts[0].d.Actions()[0].(Send).Bytes
	right.receive(b, address(9))
	bad := bytes.Clone(b)
	bad[InitiationSize-17] ^= 1
	right.receive(bad, address(9))
	right.receive(b[:100], address(9))
	left.receive(b, address(9)) // it is not for left
	bad = bytes.Clone(b)
	bad[50] ^= 1
	new(purse).sign(w.now, right.d.PublicKey(), bad)
	right.receive(bad, address(9))
	want := [Drops]int{UnknownPeer: 1, BadMAC1: 1, BadMessage: 1, BadHandshake: 1}
	if right.drops != want || left.drops[BadMAC1] != 1 {
		t.Errorf("drops %v, want %v; left %v", right.drops, want, left.drops)
	}
	if len(w.sent) != 0 || len(right.actions) != 0 {
		t.Errorf("it answered: %d, %v", len(w.sent), right.actions)
	}
}

// TestBothBeginAtOnce: each answers the other's initiation and still takes the response to its own.
func TestBothBeginAtOnce(t *testing.T) {
	w := newPair(t, 1)
	w.hosts[0].send(w.peers[0], "to right")
	w.hosts[1].send(w.peers[1], "to left")
	w.run(time.Second)
	if l, r := w.hosts[0].took(), w.hosts[1].took(); !slices.Equal(l, []string{"to left"}) || !slices.Equal(r, []string{"to right"}) {
		t.Errorf("received %q, %q", l, r)
	}
	w.run(time.Minute)
	for i, h := range w.hosts {
		h.checkIndices()
		if n := w.count(i, TypeInitiation); n != 1 {
			t.Errorf("%s began %d times", h.name, n)
		}
	}
}

func TestHandshakesMoveTheEndpoint(t *testing.T) {
	w := newPair(t, 1)
	w.connect()
	w.hosts[0].at = address(7)
	w.run(RekeyAfterTime)
	w.hosts[0].send(w.peers[0], "rekeys")
	w.run(time.Second)
	if !slices.Contains(w.hosts[1].actions, Action(Roam{w.peers[1], address(7)})) {
		t.Errorf("actions %v", w.hosts[1].actions)
	}
}

func TestOtherPrivateKeyEndsSessions(t *testing.T) {
	w := newPair(t, 1)
	w.connect()
	left := w.hosts[0]
	old := w.peers[0].Keypairs().Current
	prepared := left.d.Prepare(w.now, initiationTo(t, w, 0), w.hosts[1].at, false, Knock{})
	if prepared.Drop() != None {
		t.Fatal(prepared.Drop())
	}
	k := NewPrivateKey()
	if err := left.d.SetPrivateKey(k); err != nil {
		t.Fatal(err)
	}
	left.obey()
	left.d.Actions()
	if w.peers[0].Keypairs() != (Keypairs{}) || !zero(old.SendKey[:]) || !zero(old.RecvKey[:]) {
		t.Error("sessions of the old key are there")
	}
	left.checkIndices()
	if got := left.d.Commit(w.now, prepared); got != Stale {
		t.Errorf("what was prepared with the old key: %v", got)
	}
	right := w.hosts[1]
	right.d.RemovePeer(w.peers[1])
	right.obey()
	right.checkIndices()
	if !right.d.Deadline().IsZero() {
		t.Error("a removed peer has timers")
	}
	w.conf[1].PublicKey = k.Public()
	w.peers[1] = right.add(w.conf[1], left.at)
	w.clear()
	w.connect()
}

// initiationTo is an initiation of the other to host i, which has it not yet.
func initiationTo(t *testing.T, w *pair, i int) []byte {
	t.Helper()
	p := w.peers[1-i]
	s, noise, err := initiate(p.device.id.Load(), p.public, must(p.secretWith(p.device.id.Load())), p.stamp())
	if err != nil {
		t.Fatal(err)
	}
	_ = s
	m := Initiation{Sender: 1, Noise: noise}
	b := m.Append(nil)
	p.purse.sign(w.now, p.public, b)
	return b
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestOtherPrivateKeyEndsTimers of what was under way with the old one.
func TestOtherPrivateKeyEndsTimers(t *testing.T) {
	w := newPair(t, 1)
	w.connect()
	w.run(RekeyAfterTime)
	w.lose = func(flight) bool { return true }
	w.hosts[0].send(w.peers[0], "rekeys, and waits for an answer")
	if w.peers[0].begun == nil {
		t.Fatal("no handshake to end")
	}
	w.clear()
	if err := w.hosts[0].d.SetPrivateKey(NewPrivateKey()); err != nil {
		t.Fatal(err)
	}
	w.hosts[0].obey()
	w.run(10 * time.Minute)
	if w.count(0, TypeInitiation) != 0 || w.hosts[0].gaveUp != 0 {
		t.Errorf("the old handshake goes on: %v, given up %d times", w.times(0, TypeInitiation), w.hosts[0].gaveUp)
	}
}

func TestRemovedPeerIsGone(t *testing.T) {
	w := newPair(t, 1)
	w.connect()
	left, p := w.hosts[0], w.peers[0]
	prepared := left.d.Prepare(w.now, initiationTo(t, w, 0), w.hosts[1].at, false, Knock{})
	left.d.RemovePeer(p)
	left.d.RemovePeer(p)
	left.obey()
	if len(left.indices.used) != 0 || len(left.sessions) != 0 || left.d.Peer(p.PublicKey()) != nil || !left.d.Deadline().IsZero() {
		t.Error("something of the peer is left")
	}
	p.NeedSession(w.now)
	p.Sent(w.now, true)
	p.Received(w.now, true, nil)
	p.SetPersistentKeepalive(w.now, time.Second)
	if got := left.d.Commit(w.now, prepared); got != Stale {
		t.Errorf("what was prepared for it: %v", got)
	}
	if a := left.d.Actions(); len(a) != 0 || !left.d.Deadline().IsZero() {
		t.Errorf("actions %v", a)
	}
}

func TestBadSettingsAreRefused(t *testing.T) {
	w := newPair(t, 1)
	d := w.hosts[0].d
	low := PublicKey{1}
	for _, c := range []struct {
		key  PublicKey
		want error
	}{{PublicKey{}, ErrNoKey}, {d.PublicKey(), ErrOwnKey}, {w.conf[0].PublicKey, ErrPeerExists}, {low, ErrWeakKey}} {
		if _, err := d.AddPeer(w.now, PeerConfig{PublicKey: c.key}); !errors.Is(err, c.want) {
			t.Errorf("%v: %v, want %v", c.key, err, c.want)
		}
	}
	if err := d.SetPrivateKey(w.hosts[1].key); !errors.Is(err, ErrOwnKey) {
		t.Error(err)
	}
	if err := d.SetPrivateKey(PrivateKey{}); !errors.Is(err, ErrNoKey) {
		t.Error(err)
	}
	if _, err := New(Config{PrivateKey: NewPrivateKey()}); err == nil {
		t.Error("a device without indices")
	}
}
