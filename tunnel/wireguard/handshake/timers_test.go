package handshake

import (
	"slices"
	"testing"
	"time"
)

// times are when a host sent messages of a type, after the pair's clear.
func (w *pair) times(i int, kind Type) (at []time.Duration) {
	for _, f := range w.sent {
		if got, ok := TypeOf(f.b); ok && got == kind && f.from == w.hosts[i].at {
			at = append(at, f.at.Sub(start))
		}
	}
	return at
}

// instantly makes the time at which a datagram comes in that at which it was sent, for tests that count it.
func instantly(w *pair) { w.delay = func() time.Duration { return 0 } }

func TestTriesComeEveryFiveSecondsAndEndAfterNinety(t *testing.T) {
	w := newPair(t, 1)
	instantly(w)
	w.lose = func(flight) bool { return true }
	w.hosts[0].send(w.peers[0], "never")
	w.run(10 * time.Minute)
	at := w.times(0, TypeInitiation)
	if len(at) != 18 {
		t.Errorf("%d tries at %v", len(at), at)
	}
	jittered := 0
	for i := range at[1:] {
		between := at[i+1] - at[i]
		if between < RekeyTimeout || between > RekeyTimeout+rekeyJitter {
			t.Errorf("%v between two tries", between)
		}
		if between > RekeyTimeout+50*time.Millisecond {
			jittered++
		}
	}
	if jittered < 5 {
		t.Errorf("hardly any jitter: %v", at)
	}
	if w.hosts[0].gaveUp != 1 || len(w.hosts[0].indices.used) != 0 || w.peers[0].begun != nil || len(w.hosts[0].waiting[w.peers[0]]) != 0 {
		t.Error("it was not given up, or something of it is left")
	}
	// Another packet makes it try again.
	w.lose = nil
	w.connect()
}

func TestMorePacketsProlongTheTries(t *testing.T) {
	w := newPair(t, 1)
	w.lose = func(flight) bool { return true }
	for range 20 {
		w.hosts[0].send(w.peers[0], "more")
		w.run(30 * time.Second)
	}
	if w.hosts[0].gaveUp != 0 {
		t.Error("given up while packets came")
	}
	if n := w.count(0, TypeInitiation); n > 600/5+1 {
		t.Errorf("%d initiations in ten minutes", n)
	}
}

// TestOnlyTheInitiatorRekeysByTime: else both would, at the same time.
func TestOnlyTheInitiatorRekeysByTime(t *testing.T) {
	for _, sender := range []int{0, 1} {
		w := newPair(t, 1)
		w.connect()
		w.run(RekeyAfterTime - 2*time.Second)
		w.hosts[sender].send(w.peers[sender], "early")
		w.run(time.Second / 2)
		if n := w.count(0, TypeInitiation) + w.count(1, TypeInitiation); n != 0 {
			t.Errorf("%d initiations before RekeyAfterTime", n)
		}
		w.run(2 * time.Second)
		w.hosts[sender].send(w.peers[sender], "late")
		w.run(time.Second)
		if l, r := w.count(0, TypeInitiation), w.count(1, TypeInitiation); l != 1-sender || r != 0 {
			t.Errorf("host %d sends: %d and %d initiations", sender, l, r)
		}
		w.hosts[0].checkIndices()
		w.hosts[1].checkIndices()
	}
}

// TestReceiverRekeysInTime: an initiator that only receives makes a new session before the old one ends, once.
func TestReceiverRekeysInTime(t *testing.T) {
	w := newPair(t, 1)
	w.connect()
	at := w.peers[0].Keypairs().Current.Created.Add(RejectAfterTime - KeepaliveTimeout - RekeyTimeout)
	w.lose = func(f flight) bool { kind, _ := TypeOf(f.b); return kind != TypeTransport }
	w.peers[0].device.jitter = func(time.Duration) time.Duration { return 0 }
	receive := func() {
		w.hosts[0].d.Actions()
		w.peers[0].Received(w.now, false, w.peers[0].Keypairs().Current) // a keepalive, so that nothing is sent in return
		w.hosts[0].obey()
	}
	w.run(at.Sub(w.now) - time.Millisecond)
	receive()
	if w.count(0, TypeInitiation) != 0 {
		t.Error("too early")
	}
	w.run(time.Millisecond)
	receive()
	if w.count(0, TypeInitiation) != 1 {
		t.Error("not in time")
	}
	tried := w.peers[0].firstTry
	w.run(time.Second)
	receive()
	if w.peers[0].firstTry != tried {
		t.Error("a second time")
	}
}

// TestReceiverRekeysEverySession: having done so once is of that session only.
func TestReceiverRekeysEverySession(t *testing.T) {
	w := newPair(t, 1)
	w.connect()
	for range 3 {
		k := w.peers[0].Keypairs().Current
		w.run(k.Created.Add(RejectAfterTime - KeepaliveTimeout).Sub(w.now))
		w.peers[0].Received(w.now, false, k)
		w.hosts[0].obey()
		w.run(time.Second)
		if w.peers[0].Keypairs().Current == k {
			t.Fatal("no new session")
		}
	}
}

// TestCompletedHandshakeEndsTheTries of both sides, whoever began it.
func TestCompletedHandshakeEndsTheTries(t *testing.T) {
	w := newPair(t, 1)
	w.lose = func(f flight) bool { kind, _ := TypeOf(f.b); return kind == TypeInitiation && f.from == w.hosts[1].at }
	w.hosts[1].send(w.peers[1], "to left")
	w.hosts[0].send(w.peers[0], "to right")
	w.run(time.Second)
	if got := w.hosts[0].took(); !slices.Equal(got, []string{"to left"}) {
		t.Errorf("left received %q", got)
	}
	w.run(2 * time.Minute)
	for i, h := range w.hosts {
		if n := w.count(i, TypeInitiation); n != 1 || h.gaveUp != 0 || w.peers[i].begun != nil || w.peers[i].Established().IsZero() {
			t.Errorf("%s began %d times, gave up %d times", h.name, n, h.gaveUp)
		}
		h.checkIndices()
	}
}

func TestKeysAreRejectedAfterThreeMinutes(t *testing.T) {
	w := newPair(t, 1)
	w.connect()
	was := [2]*Keypair{w.peers[0].Keypairs().Current, w.peers[1].Keypairs().Current}
	w.run(was[0].Created.Add(RejectAfterTime).Sub(w.now) - time.Millisecond)
	if w.peers[0].Keypairs().Current == nil {
		t.Error("too early")
	}
	w.run(20 * time.Millisecond)
	for i, h := range w.hosts {
		if w.peers[i].Keypairs() != (Keypairs{}) || len(h.indices.used) != 0 {
			t.Errorf("%s still has %+v", h.name, w.peers[i].Keypairs())
		}
		h.d.Actions()
		if !zero(was[i].SendKey[:]) || !zero(was[i].RecvKey[:]) {
			t.Error("the keys are not erased")
		}
		if !h.d.Deadline().IsZero() {
			t.Errorf("%s has timers without anything to do", h.name)
		}
	}
	if w.count(0, TypeInitiation)+w.count(1, TypeInitiation) != 0 {
		t.Error("idle peers made a handshake")
	}
}

// TestKeysOfABatchAreWholeUntilItIsDone: who installs a keypair that is erased later in the same batch must not find zeros.
func TestKeysOfABatchAreWholeUntilItIsDone(t *testing.T) {
	w := newPair(t, 1)
	for range 2 {
		b := initiationTo(t, w, 1)
		if drop := w.hosts[1].d.HandleMessage(w.now, b, w.hosts[0].at, false); drop != None {
			t.Fatal(drop)
		}
		w.now = w.now.Add(time.Second)
	}
	var first, erased *Keypair
	for _, a := range w.hosts[1].d.Actions() {
		switch a := a.(type) {
		case Rotate:
			if first == nil {
				first = a.Keypairs.Next
			}
		case Erase:
			erased = a.Keypair
		}
	}
	if first == nil || erased != first || zero(first.RecvKey[:]) {
		t.Fatalf("first %p, erased %p", first, erased)
	}
	w.hosts[1].d.Actions()
	if !zero(first.RecvKey[:]) {
		t.Error("the keys are never erased")
	}
}

func TestKeepaliveAnswersDataThatGotNoAnswer(t *testing.T) {
	w := newPair(t, 1)
	instantly(w)
	w.connect()
	w.run(time.Minute)
	w.clear()
	began := w.now.Sub(start)
	w.hosts[0].send(w.peers[0], "one")
	w.run(4 * time.Second)
	w.hosts[0].send(w.peers[0], "two") // while the keepalive is set, which answers both
	w.run(time.Minute)
	want := []time.Duration{began + KeepaliveTimeout}
	if got := w.times(1, TypeTransport); !slices.Equal(got, want) {
		t.Errorf("keepalives at %v, want %v", got, want)
	}
	if w.count(0, TypeTransport) != 2 || w.count(0, TypeInitiation) != 0 {
		t.Error("a keepalive was answered, or was not heard")
	}
	// Whoever sends data needs no keepalive.
	w.clear()
	w.hosts[0].send(w.peers[0], "three")
	w.run(time.Second)
	w.hosts[1].send(w.peers[1], "answer")
	w.run(5 * time.Second)
	if w.count(1, TypeTransport) != 1 {
		t.Error("a keepalive beside data")
	}
}

func TestSilenceMakesANewHandshake(t *testing.T) {
	w := newPair(t, 1)
	instantly(w)
	w.connect()
	w.run(30 * time.Second)
	w.clear()
	w.lose = func(f flight) bool { return f.from == w.hosts[1].at }
	began := w.now.Sub(start)
	w.hosts[0].send(w.peers[0], "heard?")
	w.run(7 * time.Second)
	w.hosts[0].send(w.peers[0], "heard?")
	w.run(9 * time.Second)
	at := w.times(0, TypeInitiation)
	if len(at) != 1 || at[0] < began+KeepaliveTimeout+RekeyTimeout || at[0] > began+KeepaliveTimeout+RekeyTimeout+rekeyJitter {
		t.Errorf("initiations at %v, data at %v", at, began)
	}
}

// TestSamplesMayComeInEitherOrder: the packet path tells both directions once in a while, with the times of the last.
func TestSamplesMayComeInEitherOrder(t *testing.T) {
	w := newPair(t, 1)
	w.connect()
	w.run(20 * time.Second)
	p, k := w.peers[0], w.peers[0].Keypairs().Current
	old, recent := w.now.Add(-30*time.Millisecond), w.now.Add(-10*time.Millisecond)

	p.Received(recent, true, k)
	p.Sent(old, true) // what came in came after it
	if !p.due[silence].IsZero() || p.due[passive] != recent.Add(KeepaliveTimeout) {
		t.Error("an answered packet waits for its answer, or data has no keepalive")
	}
	p.Sent(w.now, true)
	p.Received(recent, true, k)
	if p.due[silence].IsZero() || !p.due[passive].IsZero() {
		t.Error("what came before was taken for the answer, or a keepalive is set though data went out since")
	}
}

func TestPersistentKeepalives(t *testing.T) {
	w := newPair(t, 1)
	instantly(w)
	w.peers[0].SetPersistentKeepalive(w.now, 25*time.Second)
	w.run(time.Second)
	for i, p := range w.peers {
		if k := p.Keypairs(); k.Current == nil || k.Next != nil {
			t.Fatalf("%s has %+v after the first", w.hosts[i].name, k)
		}
	}
	w.clear()
	w.run(100 * time.Second)
	if got := w.times(0, TypeTransport); len(got) != 4 {
		t.Errorf("keepalives at %v", got)
	}
	w.run(time.Hour)
	if age := w.now.Sub(w.peers[0].Keypairs().Current.Created); age > RekeyAfterTime+25*time.Second {
		t.Errorf("the session is %v old", age)
	}
	w.clear()
	w.peers[0].SetPersistentKeepalive(w.now, 0)
	w.run(time.Hour)
	if len(w.sent) != 0 {
		t.Errorf("%d datagrams without an interval", len(w.sent))
	}

	// It never gives up for good.
	w.lose = func(flight) bool { return true }
	w.peers[0].SetPersistentKeepalive(w.now, 25*time.Second)
	w.run(time.Hour)
	w.lose = nil
	w.run(30 * time.Second)
	if w.peers[0].Keypairs().Current == nil {
		t.Error("no session after an hour without a network")
	}
}

func TestLimitsOfMessages(t *testing.T) {
	for _, i := range []int{0, 1} { // the responder rekeys by messages too
		w := newPair(t, 1)
		w.connect()
		w.run(10 * time.Second)
		p, k := w.peers[i], w.peers[i].Keypairs().Current
		p.Counter(w.now, k, RekeyAfterMessages-1)
		p.Counter(w.now, nil, RejectAfterMessages)
		if p.begun != nil || p.Keypairs().Current != k {
			t.Fatal("too early, or for another keypair")
		}
		p.Counter(w.now, k, RekeyAfterMessages)
		if p.begun == nil || p.Keypairs().Current != k {
			t.Fatal("no handshake at RekeyAfterMessages")
		}
		p.Counter(w.now, k, RejectAfterMessages)
		if p.Keypairs().Current != nil {
			t.Fatal("the keypair is in use at RejectAfterMessages")
		}
		w.hosts[i].obey()
		w.run(time.Second)
		if p.Keypairs().Current == nil {
			t.Error("no session after it")
		}
	}
}

func TestTicksAreShort(t *testing.T) {
	w := newPair(t, 1)
	d := w.hosts[0].d
	for range 3 * tickPeers {
		if _, err := d.AddPeer(w.now, PeerConfig{PublicKey: NewPrivateKey().Public(), PersistentKeepalive: time.Second}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		if d.Deadline().After(w.now) {
			t.Fatalf("nothing more to do after %d ticks", i)
		}
		d.Tick(w.now)
		if n := len(d.Actions()); n != tickPeers {
			t.Errorf("%d actions in a tick", n)
		}
	}
	if !d.Deadline().After(w.now) {
		t.Error("still more to do")
	}
}
