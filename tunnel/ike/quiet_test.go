package ike

import (
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/warrenvpn/warren/internal/race"
	"github.com/warrenvpn/warren/tunnel/ike/message"
)

var quietSeed = flag.Uint64("quiet.seed", 0, "run TestNothingIsSentTwice with this seed only, and show what happens")

// On a network that loses nothing, nothing is sent twice, whatever commands follow each other on either side, and though what
// is sent at the same time may arrive in another order: a request that nobody answers shows as its retransmission.
func TestNothingIsSentTwice(t *testing.T) {
	runs := uint64(600)
	if race.Enabled || testing.Short() {
		runs /= 8
	}
	first := uint64(1)
	if *quietSeed != 0 {
		first, runs = *quietSeed, *quietSeed
	}
	for seed := first; seed <= runs && !t.Failed(); seed++ {
		quiet(t, seed, *quietSeed != 0)
	}
}

func quiet(t *testing.T, seed uint64, show bool) {
	s := newSim(t, seed)
	r := rand.New(rand.NewPCG(seed, 7))
	timed := seed%3 == 0 // what the clock causes comes between
	s.times(timed)
	for _, c := range []*PeerConfig{&s.moonCfg, &s.sunCfg} {
		for i := range c.Children {
			c.Children[i].Trap = r.IntN(2) == 0
		}
	}
	s.delay = time.Duration(1+r.IntN(40)) * time.Millisecond
	if seed%2 == 0 {
		s.jitter = time.Millisecond
	}
	seen := map[string]bool{}
	start := s.now
	s.filter = func(k *packet) bool {
		h, err := message.ParseHeader(k.data)
		if err != nil {
			t.Fatal(err)
		}
		if show {
			t.Logf("%v %v %v spi %x/%x id %d response %v, %d bytes", s.now.Sub(start), k.from, h.Exchange, h.SPIi>>48, h.SPIr>>48, h.MessageID, h.Response(), len(k.data))
		}
		if seen[string(k.data)] {
			t.Errorf("seed %d: at %v %v sends an %v message twice", seed, s.now.Sub(start), k.from, h.Exchange)
		}
		seen[string(k.data)] = true
		return true
	}
	s.add()
	for range 4 + r.IntN(12) {
		nd, peer := s.moon, "sun"
		if r.IntN(2) == 0 {
			nd, peer = s.sun, "moon"
		}
		child := []string{"", "net", "web"}[r.IntN(3)]
		what := r.IntN(10)
		if show {
			t.Logf("%v %s: command %d %q", s.now.Sub(start), nd.name, what, child)
		}
		switch what {
		case 0, 1, 2:
			nd.must(nd.Initiate(s.now, peer, child))
		case 3:
			nd.must(nd.Terminate(s.now, peer, child))
		case 4, 5:
			if child != "" {
				nd.must(nd.TrapHit(s.now, peer, child))
			}
		default:
			nd.must(nd.Rekey(s.now, peer, child))
		}
		switch r.IntN(4) {
		case 0:
		case 1, 2:
			s.run(time.Duration(r.Int64N(int64(3 * s.delay))))
		default:
			s.run(time.Duration(r.Int64N(int64(2 * time.Second))))
		}
	}
	s.run(2 * time.Minute)
	if err := s.check(); err != nil && !timed {
		t.Errorf("seed %d: %v", seed, err)
	}
	if t.Failed() && show {
		s.dump()
	}
}

// times has the clock cause exchanges, or only commands.
func (s *sim) times(on bool) {
	for _, c := range []*PeerConfig{&s.moonCfg, &s.sunCfg} {
		c.RekeyTime, c.OverTime, c.RandTime, c.ReauthTime, c.DPDDelay = 0, 0, 0, 0, 0
		life := Lifetime{}
		if on {
			s.shortTimes(c)
			c.DPDDelay = 3 * time.Second
			life = Lifetime{RekeyTime: 8 * time.Second, LifeTime: 40 * time.Second, RandTime: 3 * time.Second}
		}
		for i := range c.Children {
			c.Children[i].Lifetime = life
		}
	}
}

// The responder asks as soon as it has answered IKE_AUTH, or the rekeying of the IKE SA, and what it asks overtakes the answer.
func TestRequestOvertakes(t *testing.T) {
	for seed := range uint64(30) {
		p := newPair(t, 300+seed)
		p.delay, p.jitter = 10*time.Millisecond, 8*time.Millisecond
		seen := map[string]bool{}
		p.filter = func(k *packet) bool {
			if seen[string(k.data)] {
				t.Errorf("seed %d: sent twice", seed)
			}
			seen[string(k.data)] = true
			return true
		}
		p.add()
		p.moon.must(p.moon.Initiate(p.now, "sun", ""))
		end := p.now.Add(time.Second)
		for len(p.sun.sas) == 0 && p.step(end) {
		}
		p.sun.must(p.sun.Rekey(p.now, "moon", "net"))
		p.run(10 * time.Second)
		p.moon.must(p.moon.Rekey(p.now, "sun", ""))
		end = p.now.Add(time.Second)
		for len(find[IKERekeyed](p.sun)) == 0 && p.step(end) {
		}
		p.sun.must(p.sun.Rekey(p.now, "moon", "net"))
		p.run(20 * time.Second)
		p.agree(1)
		if n := len(find[ChildRekeyed](p.moon)); n != 2 {
			t.Errorf("seed %d: rekeyed %d times", seed, n)
		}
	}
}
