package handshake

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/device"
)

func TestCookieExchangeUnderLoad(t *testing.T) {
	w := newPair(t, 1)
	right := w.hosts[1]
	right.load = true
	w.hosts[0].send(w.peers[0], "first")
	w.run(time.Second)
	if right.drops[NeedsCookie] != 1 || w.count(1, TypeCookieReply) != 1 || w.count(1, TypeResponse) != 0 {
		t.Fatalf("drops %v", right.drops)
	}
	if f := w.sent[1]; f.to != w.hosts[0].at {
		t.Errorf("the cookie reply went to %v", f.to)
	}
	// The cookie is used by the next try, not at once (paper, section 6.6).
	if w.count(0, TypeInitiation) != 1 {
		t.Error("left tried again at once")
	}
	w.run(RekeyTimeout)
	if got := right.took(); !slices.Equal(got, []string{"first"}) {
		t.Fatalf("right received %q; drops %v", got, right.drops)
	}
	right.checkIndices()

	// The cookie is bound to the address.
	w.clear()
	right.d.RemovePeer(w.peers[1])
	right.obey()
	w.peers[1] = right.add(w.conf[1], w.hosts[0].at)
	w.hosts[0].at = address(7)
	w.hosts[0].d.RemovePeer(w.peers[0])
	w.hosts[0].obey()
	purse := w.peers[0].purse
	w.peers[0] = w.hosts[0].add(w.conf[0], right.at)
	w.peers[0].purse = purse
	w.hosts[0].send(w.peers[0], "moved")
	w.run(time.Second)
	if right.drops[NeedsCookie] != 2 {
		t.Errorf("drops %v", right.drops)
	}
}

// TestCookieDoesNotBuyEverything: who has one is still limited.
func TestCookieDoesNotBuyEverything(t *testing.T) {
	w := newPair(t, 1)
	right, from := w.hosts[1], w.hosts[0].at
	for range 41 {
		if drop := right.d.HandleMessage(w.now, initiationTo(t, w, 1), from, true); drop == NeedsCookie {
			b := right.d.Actions()[0].(Send).Bytes
			m, _ := ParseCookieReply(b)
			w.peers[0].purse.take(w.now, w.conf[0].PublicKey, &m)
		} else {
			right.drops[drop]++
		}
		w.now = w.now.Add(25 * time.Millisecond)
	}
	if n := right.drops[None]; n < 20 || n > 25 || right.drops[RateLimited] != 40-n {
		t.Errorf("drops %v in a second", right.drops)
	}
}

func TestInitiatorUnderLoadAsksTheResponderForACookie(t *testing.T) {
	w := newPair(t, 1)
	w.hosts[0].load = true
	w.hosts[0].send(w.peers[0], "first")
	w.run(20 * time.Second)
	if w.hosts[0].drops[NeedsCookie] != 1 {
		t.Errorf("drops %v", w.hosts[0].drops)
	}
	if got := w.hosts[1].took(); !slices.Equal(got, []string{"first"}) {
		t.Errorf("right received %q", got)
	}
}

func TestCookiesExpire(t *testing.T) {
	own := NewPrivateKey().Public()
	door, p, from := newDoorman(own), new(purse), address(1)
	b := make([]byte, InitiationSize)
	p.sign(start, own, b)
	if !door.knocks(b) || door.proves(start, b, from) {
		t.Fatal("mac1 is wrong, or mac2 right")
	}
	reply := door.refuse(start, b, 7, from)
	bad := reply
	bad.Cookie[3] ^= 1
	if p.take(start, own, &bad) || !p.take(start, own, &reply) || p.take(start, own, &reply) {
		t.Error("a bad cookie was taken, or a good one not, or twice")
	}
	for _, c := range []struct {
		after time.Duration
		from  netip.AddrPort
		want  bool
	}{
		{0, from, true}, {0, netip.AddrPortFrom(from.Addr(), 1), false}, {0, address(2), false},
		{0, netip.AddrPortFrom(netip.AddrFrom16(from.Addr().As16()), from.Port()), true}, // the same, as a socket of both families tells it
		{CookieRefreshTime - 1, from, true}, {CookieRefreshTime, from, false},
	} {
		now := start.Add(c.after)
		b := make([]byte, InitiationSize)
		p.sign(now, own, b)
		if got := door.proves(now, b, c.from); got != c.want {
			t.Errorf("after %v from %v: %v", c.after, c.from, got)
		}
	}
	// The doorman's secret is another one by then, and the sender stops to use its cookie too.
	b = make([]byte, InitiationSize)
	p.sign(start.Add(CookieRefreshTime), own, b)
	if !zero(b[InitiationSize-macSize:]) {
		t.Error("mac2 by a cookie that has expired")
	}
}

// TestCookiesAreThoseOfWireguardGo holds each half against the other half of wireguard-go.
func TestCookiesAreThoseOfWireguardGo(t *testing.T) {
	own, from := NewPrivateKey().Public(), address(1)
	var checker device.CookieChecker
	var generator device.CookieGenerator
	checker.Init(device.NoisePublicKey(own))
	generator.Init(device.NoisePublicKey(own))
	source := binary.BigEndian.AppendUint16(from.Addr().AsSlice(), from.Port())

	p, b := new(purse), make([]byte, ResponseSize)
	p.sign(start, own, b)
	if !checker.CheckMAC1(b) {
		t.Fatal("wireguard-go refuses our mac1")
	}
	theirs, err := checker.CreateReply(b, 9, source)
	if err != nil {
		t.Fatal(err)
	}
	if !p.take(start, own, &CookieReply{theirs.Receiver, theirs.Nonce, theirs.Cookie}) {
		t.Fatal("we refuse a cookie of wireguard-go")
	}
	p.sign(start, own, b)
	if !checker.CheckMAC2(b, source) {
		t.Error("wireguard-go refuses our mac2")
	}

	door, b := newDoorman(own), make([]byte, InitiationSize)
	generator.AddMacs(b)
	if !door.knocks(b) {
		t.Fatal("we refuse a mac1 of wireguard-go")
	}
	ours := door.refuse(start, b, 9, from)
	if !generator.ConsumeReply(&device.MessageCookieReply{Type: 3, Receiver: ours.Receiver, Nonce: ours.Nonce, Cookie: ours.Cookie}) {
		t.Fatal("wireguard-go refuses our cookie")
	}
	generator.AddMacs(b)
	if !door.proves(start, b, from) {
		t.Error("we refuse a mac2 of wireguard-go")
	}
}

func TestLimiterLetsTwentyASecondThrough(t *testing.T) {
	var l limiter
	a, b := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8:0:1::1")
	burst := 0
	for range 20 {
		if l.allow(start, a) {
			burst++
		}
	}
	if burst != 5 || l.allow(start, netip.MustParseAddr("2001:db8::2")) || !l.allow(start, b) {
		t.Errorf("%d at once; a neighbour in the /64 counts for itself, or another network does not", burst)
	}
	n, now := 0, start
	for ; now.Before(start.Add(10 * time.Second)); now = now.Add(time.Millisecond) {
		if l.allow(now, a) {
			n++
		}
	}
	if n < 199 || n > 201 {
		t.Errorf("%d in 10 s", n)
	}
	for i := range limitAddrs + 100 {
		l.allow(now, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
	}
	if len(l.full) > limitAddrs {
		t.Errorf("%d addresses are kept", len(l.full))
	}
	l.allow(now.Add(2*time.Second), b)
	if len(l.full) != 1 {
		t.Errorf("%d addresses are kept that have not been heard of", len(l.full))
	}
}

// TestKnocksAreOfAKey: mac1 is not checked again for who has been let in, unless the key has changed since.
func TestKnocksAreOfAKey(t *testing.T) {
	w := newPair(t, 1)
	d, in := w.hosts[1].d, initiationTo(t, w, 1)
	by, ok := d.Knocks(in)
	if !ok {
		t.Fatal("it is refused")
	}
	bad := slices.Clone(in)
	bad[InitiationSize-2*macSize] ^= 1
	if _, ok := d.Knocks(bad); ok {
		t.Fatal("a wrong mac1 is let in")
	}
	elsewhere, _ := w.hosts[0].d.Knocks(initiationTo(t, w, 0))
	refused := func(b []byte, by Knock) Drop { m := d.Prepare(w.now, b, address(1), false, by); return m.Drop() }
	if refused(bad, by) != None || refused(bad, Knock{}) != BadMAC1 || refused(bad, elsewhere) != BadMAC1 {
		t.Error("mac1 is checked again, or not where it was not checked")
	}
	if err := d.SetPrivateKey(NewPrivateKey()); err != nil {
		t.Fatal(err)
	}
	if refused(in, by) != BadMAC1 {
		t.Error("mac1 of the key before is right still")
	}
}
