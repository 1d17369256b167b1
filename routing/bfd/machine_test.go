package bfd

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestUpAndDetected(t *testing.T) {
	for seed := range uint64(50) {
		s := newSim(t, seed, fast(100, 3), fast(100, 3))
		s.up()
		// Slow start: two round trips at a second each, and one to agree.
		if d := s.now.Sub(epoch); d > 3500*time.Millisecond {
			t.Errorf("seed %d: up after %v", seed, d)
		}
		s.run(time.Duration(s.rand.IntN(1000)) * time.Millisecond)
		s.cut = [2]bool{true, true}
		cut := s.now
		s.run(2 * time.Second)
		for i, n := range s.nodes {
			last := n.changes[len(n.changes)-1]
			if last.To != Down || last.Diag != DiagExpired || last.From != Up {
				t.Fatalf("seed %d: node %d changed %+v", seed, i, last)
			}
			if d := last.at.Sub(cut); d < 200*time.Millisecond || d > 302*time.Millisecond {
				t.Errorf("seed %d: detected after %v, want 200 to 302 ms", seed, d)
			}
		}
		s.cut = [2]bool{}
		s.up()
	}
}

// One direction dies: who hears nothing tells the other.
func TestOneWay(t *testing.T) {
	s := newSim(t, 1, fast(100, 3), fast(100, 3))
	s.up()
	s.cut[0] = true
	s.run(400 * time.Millisecond)
	last := s.nodes[0].changes[len(s.nodes[0].changes)-1]
	if last.To != Down || last.Diag != DiagNeighborDown || last.RemoteDiag != DiagExpired || last.Remote != Down {
		t.Errorf("the one that is not heard changed %+v", last)
	}
	s.expect(Down, Down)
	s.run(10 * time.Second)
	if s.states()[1] == Up {
		t.Error("the one that hears nothing is Up")
	}
}

func TestLoss(t *testing.T) {
	for seed := range uint64(5) {
		s := newSim(t, seed, fast(100, 10), fast(100, 10))
		s.loss = 0.2
		s.run(20 * time.Second) // Down, Init and Up take longer, and may be tried twice
		s.expect(Up, Up)
		before := len(s.nodes[0].changes) + len(s.nodes[1].changes)
		s.run(10 * time.Minute)
		if n := len(s.nodes[0].changes) + len(s.nodes[1].changes) - before; n != 0 {
			t.Errorf("seed %d: %d changes at a loss of 20%% with a multiplier of 10", seed, n)
		}
	}
}

// Periodic packets come at 75 to 100 % of the interval, at no more than 90 % with a multiplier of 1, and spread over that.
func TestJitter(t *testing.T) {
	for mult, most := range map[uint8]time.Duration{1: 90, 3: 100} {
		s := newSim(t, 3, fast(100, mult), fast(50, 3))
		s.delay = time.Microsecond
		s.up()
		n := s.nodes[0]
		n.sent = nil
		s.run(100 * time.Second)
		shortest, longest := time.Hour, time.Duration(0)
		for i := 1; i < len(n.sent); i++ {
			d := n.sent[i].at.Sub(n.sent[i-1].at)
			shortest, longest = min(shortest, d), max(longest, d)
		}
		if shortest < 75*time.Millisecond || shortest > 77*time.Millisecond || longest > most*time.Millisecond || longest < (most-2)*time.Millisecond {
			t.Errorf("multiplier %d: intervals from %v to %v, want 75 to %d ms", mult, shortest, longest, most)
		}
	}
}

// Before it is Up a session sends no more than once a second, apart from changes of state.
func TestSlowStart(t *testing.T) {
	s := newSim(t, 4, fast(10, 3), fast(10, 3))
	s.cut = [2]bool{true, true}
	s.run(100 * time.Second)
	for i, n := range s.nodes {
		if len(n.sent) < 100 || len(n.sent) > 134 {
			t.Errorf("node %d sent %d packets in 100 s, want 100 to 134", i, len(n.sent))
		}
		for _, p := range n.sent {
			if p.DesiredMinTx != time.Second || p.RequiredMinRx != 10*time.Millisecond || p.State != Down || p.Poll {
				t.Fatalf("node %d sent %+v while Down", i, p)
			}
		}
	}
}

func TestIntervalsAreThoseOfTheSlower(t *testing.T) {
	a := Config{DesiredMinTx: 50 * time.Millisecond, RequiredMinRx: 400 * time.Millisecond, DetectMult: 2}
	b := Config{DesiredMinTx: 100 * time.Millisecond, RequiredMinRx: 200 * time.Millisecond, DetectMult: 5}
	s := newSim(t, 5, a, b)
	s.up()
	s.run(time.Second)
	for i, want := range [2][2]time.Duration{{200 * time.Millisecond, 5 * 400 * time.Millisecond}, {400 * time.Millisecond, 2 * 200 * time.Millisecond}} {
		if st := s.nodes[i].Status(); st.Transmit != want[0] || st.Detection != want[1] {
			t.Errorf("node %d: transmit %v and detection %v, want %v", i, st.Transmit, st.Detection, want)
		}
	}
}

// Intervals change while Up by Poll and Final, to and fro, also twice at once and under loss, and nothing flaps. What gets
// slower must not be used before the neighbour knows.
func TestChangeWhileUp(t *testing.T) {
	for seed := range uint64(30) {
		s := newSim(t, seed, fast(100, 4), fast(100, 4))
		s.up()
		s.loss = 0.1
		changes := len(s.nodes[0].changes) + len(s.nodes[1].changes)
		for range 20 {
			for range 1 + s.rand.IntN(3) {
				i, c := s.rand.IntN(2), fast(50+s.rand.IntN(400), 8)
				s.do(i, func(m *Machine, now time.Time) {
					before, beforeRx := m.usedTx, m.usedRx
					m.Set(c, now)
					if c.DesiredMinTx > before && m.usedTx != before {
						t.Errorf("seed %d: slower at once", seed)
					}
					if c.RequiredMinRx < beforeRx && (!m.polling || m.usedRx != beforeRx) {
						t.Errorf("seed %d: a shorter detection at once, or without Poll Sequence", seed)
					}
				})
			}
			s.run(time.Duration(s.rand.IntN(8000)) * time.Millisecond)
		}
		s.loss = 0
		s.run(5 * time.Second)
		s.expect(Up, Up)
		for i, n := range s.nodes {
			other := s.nodes[1-i]
			if n.polling || n.usedTx != n.config.DesiredMinTx || n.usedRx != n.config.RequiredMinRx || n.interval() != max(n.config.DesiredMinTx, other.config.RequiredMinRx) {
				t.Errorf("seed %d: node %d has not settled: %+v", seed, i, n.Status())
			}
		}
		if n := len(s.nodes[0].changes) + len(s.nodes[1].changes) - changes; n != 0 {
			t.Errorf("seed %d: %d changes of state", seed, n)
		}
	}
}

func TestAdminDown(t *testing.T) {
	s := newSim(t, 6, fast(100, 3), fast(100, 3))
	s.up()
	s.do(0, (*Machine).Disable)
	s.run(10 * time.Millisecond)
	s.expect(AdminDown, Down)
	last := s.nodes[1].changes[len(s.nodes[1].changes)-1]
	if last.Diag != DiagNeighborDown || last.Remote != AdminDown || last.RemoteDiag != DiagAdminDown {
		t.Errorf("the neighbour changed %+v", last)
	}
	s.run(time.Minute)
	s.expect(AdminDown, Down)
	n := len(s.nodes[0].sent)
	s.run(time.Minute)
	if len(s.nodes[0].sent) != n {
		t.Error("AdminDown is announced for ever")
	}
	if d := s.nodes[0].Deadline(); !d.IsZero() {
		t.Errorf("AdminDown waits for %v", d)
	}
	if drop := s.nodes[0].Receive(s.nodes[1].last[:], 255, s.now); drop != DropAdminDown {
		t.Errorf("a packet is %v", drop)
	}
	s.do(0, (*Machine).Enable)
	s.up()
}

func TestPathDown(t *testing.T) {
	s := newSim(t, 7, fast(100, 3), fast(100, 3))
	s.up()
	n := len(s.nodes[1].changes)
	s.do(0, (*Machine).PathDown)
	s.run(10 * time.Millisecond)
	if len(s.nodes[1].changes) == n {
		t.Fatal("the neighbour does not notice")
	}
	if c := s.nodes[1].changes[n]; c.RemoteDiag != DiagPathDown || c.To != Down {
		t.Errorf("the neighbour changed %+v", c)
	}
	s.up()
}

func TestPassive(t *testing.T) {
	passive := fast(100, 3)
	passive.Passive = true
	s := newSim(t, 8, passive, passive)
	s.run(time.Minute)
	if n := len(s.nodes[0].sent) + len(s.nodes[1].sent); n != 0 {
		t.Errorf("%d packets from two passive nodes", n)
	}
	s = newSim(t, 8, passive, fast(100, 3))
	s.up()
	s.cut = [2]bool{true, true}
	s.run(time.Second)
	n := len(s.nodes[0].sent)
	s.run(time.Minute)
	if len(s.nodes[0].sent) != n {
		t.Error("a passive node goes on when its neighbour has gone")
	}
	s.cut = [2]bool{}
	s.up()
}

// puppet is a neighbour of whom the test writes each packet.
type puppet struct {
	*Machine
	now time.Time
	p   Packet
}

func newPuppet(t *testing.T) *puppet {
	p := &puppet{Machine: NewMachine(fast(100, 3), 100, rand.New(rand.NewPCG(1, 1)), epoch), now: epoch,
		p: Packet{DetectMult: 3, MyDiscriminator: 7, DesiredMinTx: 100 * time.Millisecond, RequiredMinRx: 100 * time.Millisecond}}
	p.say(Down)
	p.p.YourDiscriminator = 100
	p.say(Init)
	p.p.Final = true
	p.say(Up)
	p.p.Final = false
	if p.state != Up || p.polling {
		t.Fatalf("the session is %v, polling %v", p.state, p.polling)
	}
	p.Take()
	return p
}

func (p *puppet) say(state State) Drop {
	p.p.State = state
	return p.Receive(p.p.Append(nil), 255, p.now)
}

// Parameters that change during a Poll Sequence are confirmed by the Final of another: the first may answer an older Poll.
func TestPollAgain(t *testing.T) {
	p := newPuppet(t)
	p.Set(fast(200, 3), p.now)
	p.Set(fast(300, 3), p.now)
	p.Take()
	p.p.Final = true
	p.say(Up)
	sent, _ := p.Take()
	if len(sent) != 1 || p.usedTx != 100*time.Millisecond {
		t.Fatalf("after the first Final: %d packets, and %v in use", len(sent), p.usedTx)
	}
	if again, _ := Parse(sent[0]); !again.Poll || again.DesiredMinTx != 300*time.Millisecond {
		t.Errorf("after the first Final: %+v", again)
	}
	p.say(Up)
	if p.polling || p.usedTx != 300*time.Millisecond {
		t.Errorf("after the second Final: polling %v, and %v in use", p.polling, p.usedTx)
	}
}

// A neighbour in demand mode gets answers to Polls, changes, and our Polls, and nothing else.
func TestDemandModeOfTheNeighbour(t *testing.T) {
	p := newPuppet(t)
	p.p.Demand = true
	for range 100 {
		p.say(Up)
		p.now = p.now.Add(90 * time.Millisecond)
		p.Tick(p.now)
	}
	if sent, changes := p.Take(); len(sent) != 0 || len(changes) != 0 || p.state != Up {
		t.Errorf("%d packets and %v towards demand mode", len(sent), changes)
	}
	p.p.Poll = true
	p.say(Up)
	p.p.Poll = false
	sent, _ := p.Take()
	if len(sent) != 1 {
		t.Fatalf("%d answers to a Poll", len(sent))
	}
	if a, _ := Parse(sent[0]); !a.Final || a.Poll {
		t.Errorf("the answer to a Poll is %+v", a)
	}
	p.Set(fast(200, 3), p.now)
	for range 10 {
		p.say(Up)
		p.now = p.now.Add(90 * time.Millisecond)
		p.Tick(p.now)
	}
	if sent, _ := p.Take(); len(sent) < 8 {
		t.Errorf("%d Polls in 900 ms", len(sent))
	}
	p.p.Final = true
	p.say(Up)
	p.Take()
	p.now = p.now.Add(250 * time.Millisecond)
	p.p.Final = false
	p.say(Up)
	if sent, _ := p.Take(); len(sent) != 0 {
		t.Errorf("%d packets after Final", len(sent))
	}
	// It falls silent: that is noticed all the same, as we do not ask for demand mode.
	p.now = p.now.Add(601 * time.Millisecond)
	p.Tick(p.now)
	if p.state != Down {
		t.Errorf("silence leaves it %v", p.state)
	}
}

// A neighbour that wants no packets gets none but answers.
func TestRequiredMinRxZero(t *testing.T) {
	p := newPuppet(t)
	p.p.RequiredMinRx = 0
	for range 100 {
		p.say(Up)
		p.now = p.now.Add(90 * time.Millisecond)
		p.Tick(p.now)
	}
	if sent, _ := p.Take(); len(sent) != 0 {
		t.Errorf("%d packets to one that wants none", len(sent))
	}
	p.now = p.now.Add(time.Second)
	p.Tick(p.now)
	p.now = p.now.Add(time.Second)
	p.Tick(p.now)
	if sent, _ := p.Take(); len(sent) == 0 {
		t.Error("a neighbour that is gone is not looked for")
	}
}

// A faster neighbour is answered faster at once, not after the slow interval that was agreed before.
func TestFasterAtOnce(t *testing.T) {
	p := newPuppet(t)
	p.p.RequiredMinRx = 10 * time.Second
	p.say(Up)
	p.now = p.now.Add(200 * time.Millisecond)
	p.say(Up)
	if sent, _ := p.Take(); len(sent) != 0 {
		t.Errorf("%d packets too early", len(sent))
	}
	p.p.RequiredMinRx = 100 * time.Millisecond
	p.say(Up)
	if sent, _ := p.Take(); len(sent) != 1 {
		t.Errorf("%d packets, want 1", len(sent))
	}
}
