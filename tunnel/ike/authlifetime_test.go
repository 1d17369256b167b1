package ike

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// deaf is a peer that does not know RFC 4478: its IKE SAs are never authenticated anew by it.
func deaf(nd *node) {
	for _, sa := range nd.Endpoint.sas {
		sa.e.timers.stop(&sa.life.reauth)
		sa.e.timers.stop(&sa.life.auth)
		sa.life.reauthAt, sa.life.validUntil = time.Time{}, time.Time{}
	}
}

// TestNotAuthenticatedAnew: a peer that does not authenticate anew in the time that it was told loses the IKE SA and its children, not
// before the grace is over, however often the IKE SA was rekeyed and by whom; and it is told so.
func TestNotAuthenticatedAnew(t *testing.T) {
	const reauth = 10 * time.Minute
	for _, tc := range []struct {
		name                  string
		over, grace           time.Duration
		moonRekeys, sunRekeys bool
	}{
		{name: "a tenth", grace: time.Minute},
		{name: "of its own", over: 5 * time.Minute, grace: 5 * time.Minute},
		{name: "at least", over: time.Second, grace: authGrace},
		{name: "rekeyed by the peer", grace: time.Minute, moonRekeys: true},
		{name: "rekeyed by us", grace: time.Minute, sunRekeys: true},
	} {
		p := newPair(t, 44)
		p.sunCfg.ReauthTime, p.sunCfg.OverTime = reauth, tc.over
		p.add()
		p.moon.must(p.moon.Initiate(p.now, "sun", ""))
		for len(p.sun.ikes) == 0 && p.step(p.now.Add(time.Second)) {
		}
		up := p.now
		p.run(time.Second)
		p.agree(1)
		for n := range 5 {
			deaf(p.moon)
			if tc.moonRekeys && n > 0 {
				p.moon.must(p.moon.Rekey(p.now, "sun", ""))
			}
			if tc.sunRekeys && n > 0 {
				p.sun.must(p.sun.Rekey(p.now, "moon", ""))
			}
			p.run(time.Minute)
		}
		deaf(p.moon)
		end := up.Add(reauth + tc.grace)
		p.run(end.Sub(p.now) - time.Millisecond)
		if len(p.sun.ikes) != 1 || len(p.sun.sas) != 1 {
			t.Fatalf("%s: ended before its time", tc.name)
		}
		p.run(time.Second)
		if len(p.sun.ikes) != 0 || len(p.sun.sas) != 0 {
			t.Fatalf("%s: not ended in time", tc.name)
		}
		for _, a := range find[IKEDown](p.sun) {
			if !errors.Is(a.Reason, errAuthOld) {
				t.Errorf("%s: ended since %v", tc.name, a.Reason)
			}
		}
		p.run(time.Minute)
		p.agree(0) // the peer was told
	}
}

// TestAuthenticatedAnewInTime: who obeys keeps its tunnel. Where that can be done no more, the IKE SA ends by itself at the
// initiator too, whether the time is its own or was told, when the grace is over; and all is well again once it can.
func TestAuthenticatedAnewInTime(t *testing.T) {
	for _, initiators := range []bool{true, false} {
		p := newPair(t, 45)
		p.moonCfg.RandTime = -1
		if initiators {
			p.moonCfg.ReauthTime, p.moonCfg.OverTime = 5*time.Minute, 2*time.Minute
		} else {
			p.sunCfg.ReauthTime, p.sunCfg.OverTime = 5*time.Minute, 2*time.Minute
		}
		p.up()
		p.run(62 * time.Minute)
		p.agree(1)
		for _, a := range find[IKEDown](p.sun) {
			if !errors.Is(a.Reason, errReplaced) && !errors.Is(a.Reason, errPeerClosed) {
				t.Errorf("an IKE SA ended since %v", a.Reason)
			}
		}
		p.filter = func(k *packet) bool {
			h, err := message.ParseHeader(k.data)
			return err != nil || h.Exchange != message.IKESAInit
		}
		p.run(7 * time.Minute)
		if len(p.moon.ikes) != 0 || len(p.sun.ikes) != 0 {
			t.Errorf("%d and %d IKE SAs that were not authenticated in time", len(p.moon.ikes), len(p.sun.ikes))
		}
		if !slices.ContainsFunc(find[IKEDown](p.moon), func(a IKEDown) bool { return errors.Is(a.Reason, errAuthOld) }) {
			t.Error("ended for another reason")
		}
		p.filter = nil
		p.moon.must(p.moon.Initiate(p.now, "sun", ""))
		p.run(2 * time.Minute)
		p.agree(1)
	}
}

// TestToldLater: the responder may shorten the time in an INFORMATIONAL exchange (RFC 4478 section 3), the initiator may not.
func TestToldLater(t *testing.T) {
	for _, byResponder := range []bool{true, false} {
		p := newPair(t, 47)
		p.moonCfg.RandTime = -1
		p.sunCfg.ReauthTime = time.Hour
		p.up()
		teller, peer := p.sun, p.moon
		if !byResponder {
			teller, peer = p.moon, p.sun
		}
		p.sun.must(p.sun.Rekey(p.now, "moon", "")) // who initiates that does not matter
		p.run(20 * time.Second)
		for _, told := range []time.Duration{2 * time.Hour, 10 * time.Minute} {
			sa := onlySA(t, teller)
			teller.do(teller.handle(p.now, func() { sa.enqueue(telling{told}) }))
			p.run(time.Second)
		}
		before := len(find[IKEUp](peer))
		p.run(18 * time.Minute)
		if again := len(find[IKEUp](peer)) > before; again != byResponder {
			t.Errorf("told by the responder: %v; authenticated anew: %v", byResponder, again)
		}
		p.agree(1)
	}
}

// telling is a request that tells how long the authentication lasts.
type telling struct{ d time.Duration }

func (r telling) begin(*ikeSA) (message.ExchangeType, []message.Payload, bool) {
	return message.Informational, []message.Payload{authLifetimeNotify(r.d)}, true
}

func (telling) done(*ikeSA, []message.Payload) {}

func (telling) lost(*ikeSA, error) {}

// TestAuthLifetimesMeet: whatever times two peers have, and whoever rekeys meanwhile, the tunnel stands.
func TestAuthLifetimesMeet(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 3))
		p := newPair(t, 400+seed)
		for _, c := range []*PeerConfig{&p.moonCfg, &p.sunCfg} {
			c.ReauthTime = time.Duration(r.IntN(3)) * time.Duration(1+r.IntN(600)) * time.Second
			c.RekeyTime = time.Duration(r.IntN(2)) * time.Duration(60+r.IntN(300)) * time.Second
			c.Children = append([]ChildConfig(nil), c.Children...)
			c.Children[0].CloseAction = ActionStart
		}
		p.up()
		for range 30 {
			p.run(time.Duration(r.IntN(120)) * time.Second)
			if len(p.moon.sas) == 0 || len(p.sun.sas) == 0 {
				t.Fatalf("seed %d: no child", seed)
			}
		}
	}
}
