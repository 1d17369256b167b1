package ike

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/warrenvpn/warren/internal/race"
	"github.com/warrenvpn/warren/tunnel/ike/message"
)

var (
	simSeed = flag.Uint64("sim.seed", 0, "run the simulator with this seed only, and show what happens")
	simRuns = flag.Uint64("sim.runs", 2000, "how many runs the simulator makes")
)

// The simulator has two machines do random things at random times over a network that loses, doubles and reorders, from a
// seed. Then it lets them come to rest and states what must hold.
func TestSimulator(t *testing.T) {
	if *simSeed != 0 {
		simulate(t, *simSeed, true)
		return
	}
	runs := *simRuns
	if race.Enabled || testing.Short() {
		runs /= 8
	}
	seen := map[string]int{}
	for seed := uint64(1); seed <= runs && !t.Failed(); seed++ {
		for what, n := range simulate(t, seed, false) {
			seen[what] += n
		}
	}
	t.Logf("%d runs: %v", runs, seen)
	for _, what := range []string{"up", "rekeyed", "IKE rekeyed", "collision", "IKE collision", "TEMPORARY_FAILURE", "CHILD_SA_NOT_FOUND"} {
		if seen[what] == 0 && runs >= 200 {
			t.Errorf("no run came across this: %s", what)
		}
	}
}

// A sim is one run.
type sim struct {
	*pair
	seen map[string]int
}

func newSim(t testing.TB, seed uint64) *sim {
	s := &sim{pair: newPair(t, seed), seen: map[string]int{}}
	children := []ChildConfig{s.moonCfg.Children[0], s.moonCfg.Children[0]}
	children[1].Name, children[1].Local, children[1].Remote = "web", ts("10.3.0.0/16"), ts("10.4.0.0/16")
	children[1].Proposals = espList(t, []string{"aes256gcm16-curve25519", "aes256gcm16-ecp256-curve25519", "aes256gcm16-curve25519-ke1_ecp256"}[s.rand.IntN(3)])
	s.moonCfg.DPDDelay = 20 * time.Second
	if s.rand.IntN(4) == 0 {
		s.moonCfg.Proposals = ikeList(t, "aes256gcm16-prfsha256-curve25519-ke1_mlkem768")
	}
	if s.rand.IntN(6) == 0 {
		s.shortTimes(&s.moonCfg)
	}
	s.sunCfg.Proposals, s.sunCfg.DPDDelay = s.moonCfg.Proposals, s.moonCfg.DPDDelay
	s.sunCfg.RekeyTime, s.sunCfg.ReauthTime = s.moonCfg.RekeyTime, s.moonCfg.ReauthTime
	for i := range children {
		children[i].DPDAction, children[i].CloseAction = CloseAction(s.rand.IntN(3)), CloseAction(s.rand.IntN(3))
		if s.moonCfg.RekeyTime > 0 {
			children[i].Lifetime = Lifetime{RekeyTime: 8 * time.Second, LifeTime: 40 * time.Second, RandTime: 3 * time.Second}
		}
	}
	s.moonCfg.Children = children
	s.sunCfg.Children = append([]ChildConfig(nil), children...)
	for i := range children {
		c := &s.sunCfg.Children[i]
		c.Local, c.Remote = c.Remote, c.Local
	}
	if s.rand.IntN(2) == 0 {
		s.sunCfg.Children[1].Proposals = espList(t, "aes256gcm16-ecp256-curve25519-ke1_ecp256-ke1_none")
	}
	return s
}

func (s *sim) shortTimes(c *PeerConfig) {
	c.RekeyTime, c.OverTime, c.RandTime = 15*time.Second, 30*time.Second, 5*time.Second
	if s.rand.IntN(2) == 0 {
		c.ReauthTime = 25 * time.Second
	}
}

// act has a node do something.
func (s *sim) act() {
	nd, peer := s.moon, "sun"
	if s.rand.IntN(2) == 0 {
		nd, peer = s.sun, "moon"
	}
	child := []string{"", "net", "web"}[s.rand.IntN(3)]
	switch s.rand.IntN(12) {
	case 0, 1, 2, 3:
		nd.must(nd.Initiate(s.now, peer, child))
	case 4:
		nd.must(nd.Terminate(s.now, peer, child))
	case 5:
		if s.rand.IntN(3) == 0 {
			nd.must(nd.Terminate(s.now, peer, ""))
		}
	case 6:
		for in, c := range nd.sas {
			nd.do(nd.Used(s.now, in, Usage{InPackets: s.rand.Uint64N(1000), OutBytes: s.rand.Uint64N(1000)}))
			_ = c
			break
		}
	default:
		nd.must(nd.Rekey(s.now, peer, child))
		if s.rand.IntN(2) == 0 { // and the other at nearly the same time
			s.run(time.Duration(s.rand.Int64N(int64(30 * time.Millisecond))))
			other, back := s.sun, "moon"
			if nd == s.sun {
				other, back = s.moon, "sun"
			}
			other.must(other.Rekey(s.now, back, []string{"", "net", "web"}[s.rand.IntN(3)]))
		}
	}
}

func simulate(t testing.TB, seed uint64, show bool) map[string]int {
	s := newSim(t, seed)
	s.delay, s.jitter = 5*time.Millisecond, time.Duration(s.rand.IntN(3))*20*time.Millisecond
	s.loss, s.double = float64(s.rand.IntN(4))*0.1, float64(s.rand.IntN(3))*0.1
	s.add()
	for range 5 + s.rand.IntN(15) {
		s.act()
		pause := 20 * time.Millisecond
		if s.rand.IntN(3) == 0 {
			pause = 3 * time.Second
		}
		s.run(time.Duration(s.rand.Int64N(int64(pause))))
	}
	s.loss, s.double = 0, 0
	if s.moonCfg.RekeyTime > 0 {
		// They rekey for ever, so they are at rest only when all is gone.
		s.run(30 * time.Second)
		for range 2 {
			s.moon.must(s.moon.Terminate(s.now, "sun", ""))
			s.sun.must(s.sun.Terminate(s.now, "moon", ""))
			s.run(4 * time.Minute)
		}
		for range 2 {
			s.moon.do(must(s.moon.RemovePeer(s.now, "sun")))
			s.sun.do(must(s.sun.RemovePeer(s.now, "moon")))
			s.run(4 * time.Minute)
		}
	} else {
		s.run(6 * time.Minute)
	}
	err := s.check()
	if err == nil {
		err = s.single()
	}
	if err == nil && s.moonCfg.RekeyTime > 0 && len(s.moon.ikes)+len(s.moon.sas) > 0 {
		err = fmt.Errorf("SAs of a removed peer are up")
	}
	if err != nil || show {
		s.dump()
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
	s.count()
	return s.seen
}

// single says what there is more than one of.
func (s *sim) single() error {
	names := map[string]int{}
	for _, c := range s.moon.sas {
		if names[c.Name]++; names[c.Name] > 1 {
			return fmt.Errorf("child %q is there %d times", c.Name, names[c.Name])
		}
	}
	if n := len(s.moon.ikes); n > 1 {
		return fmt.Errorf("%d IKE SAs", n)
	}
	return nil
}

// must is for commands that fail once the peer is removed.
func must(actions []Action, _ error) []Action { return actions }

func (s *sim) count() {
	for _, nd := range s.nodes {
		s.seen["up"] += len(find[ChildUp](nd))
		s.seen["rekeyed"] += len(find[ChildRekeyed](nd))
		s.seen["IKE rekeyed"] += len(find[IKERekeyed](nd))
		for _, l := range nd.logs {
			switch {
			case strings.HasPrefix(l.Text, "both sides rekeyed the IKE SA"):
				s.seen["IKE collision"]++
			case strings.HasPrefix(l.Text, "both sides rekeyed"):
				s.seen["collision"]++
			case l.Err != nil:
				for _, n := range []message.NotifyType{message.TemporaryFailure, message.ChildSANotFound} {
					if strings.Contains(l.Err.Error(), n.String()) {
						s.seen[n.String()]++
					}
				}
			}
		}
	}
}
