package bgp

import (
	"errors"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/warrenvpn/warren/routing/bgp/message"
)

// up boots both sides and waits for their session.
func (s *sim) up() {
	s.t.Helper()
	s.boot(0)
	s.boot(1)
	s.run(10 * time.Second)
	if err := s.settled(); err != nil {
		s.t.Fatal(err)
	}
	s.trace = nil
}

// wants checks that the trace has all of the texts.
func (s *sim) wants(texts ...string) {
	s.t.Helper()
	all := strings.Join(s.trace, "\n")
	for _, text := range texts {
		if !strings.Contains(all, text) {
			s.t.Errorf("nothing says %q in\n%s", text, all)
		}
	}
}

func TestRefusedOpens(t *testing.T) {
	both := message.FamiliesOf(message.IPv4Unicast, message.IPv6Unicast)
	for _, c := range []struct {
		name  string
		local func(*Local)
		a, b  func(*Neighbor)
		wants []string
	}{
		{"AS", nil, func(a *Neighbor) { a.AS = 65009 }, nil,
			[]string{"0: bgp.StateChange {From:OpenSent To:Idle Why:the neighbor says it is AS 65002, wanted 65009}",
				"Why:the neighbor closed: OPEN Message Error: Bad Peer AS}"}},
		{"local AS of the other", nil, func(a *Neighbor) { a.LocalAS = 64999 }, nil,
			[]string{"1: bgp.StateChange {From:OpenSent To:Idle Why:the neighbor says it is AS 64999, wanted 65001}"}},
		{"router id", func(l *Local) { l.AS, l.RouterID = 65001, 1 }, func(a *Neighbor) { a.AS = 65001 }, nil,
			[]string{"0: bgp.StateChange {From:OpenSent To:Idle Why:the neighbor has our own router id 0.0.0.1}"}},
		{"families", nil, func(a *Neighbor) { a.Families = message.FamiliesOf(message.IPv6Unicast) },
			func(b *Neighbor) { b.Families = message.FamiliesOf(message.IPv4Unicast) },
			[]string{"the neighbor offers IPv4 unicast, wanted IPv6 unicast: no family in common"}},
		{"some families", nil, func(a *Neighbor) { a.Families = both },
			func(b *Neighbor) { b.Families = message.FamiliesOf(message.IPv4Unicast) },
			[]string{"To:Established", "the neighbor offers IPv4 unicast, wanted IPv4 unicast, IPv6 unicast: only IPv4 unicast is exchanged"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSim(t, 1, func(a, b *Neighbor) {
				b.Passive = true
				for n, change := range map[*Neighbor]func(*Neighbor){a: c.a, b: c.b} {
					if change != nil {
						change(n)
					}
				}
			})
			if c.local != nil {
				c.local(&s.sides[1].local)
			}
			s.boot(1)
			s.boot(0)
			s.run(2 * time.Second)
			s.wants(c.wants...)
		})
	}
}

func TestLocalAS(t *testing.T) {
	s := newSim(t, 1, func(a, b *Neighbor) { a.LocalAS, b.AS = 64999, 64999 })
	s.up()
}

func TestIBGP(t *testing.T) {
	s := newSim(t, 1, func(a, b *Neighbor) { a.AS = 65001 })
	s.sides[1].local.AS = 65001
	s.up()
	if !s.sides[0].m.conns[0].deal.Options.IBGP {
		t.Error("the codec does not know that it is iBGP")
	}
}

func TestTimersOfSession(t *testing.T) {
	t.Run("hold", func(t *testing.T) {
		s := newSim(t, 1, func(a, b *Neighbor) { b.Timers.Hold = 6 * time.Second })
		s.up()
		s.run(time.Hour)
		if s.sides[0].ups != 1 {
			t.Fatal("keepalives do not keep the session")
		}
		s.cut = true
		s.run(3900 * time.Millisecond)
		if err := s.settled(); err != nil {
			t.Errorf("before the hold time: %v", err)
		}
		s.run(2200 * time.Millisecond)
		if s.sides[0].session != 0 || s.sides[1].session != 0 {
			t.Error("a session outlived its hold time")
		}
		s.wants(ErrHoldTimer.Error())
	})
	t.Run("octets count", func(t *testing.T) {
		s := newSim(t, 1, nil)
		s.up()
		s.cut = true
		for range 20 {
			s.run(3 * time.Second)
			s.sides[0].m.Heard(s.now, s.sides[0].session)
		}
		if s.sides[0].session == 0 || s.sides[1].session != 0 {
			t.Error("octets that arrive do not keep the session, or nothing does")
		}
	})
	t.Run("none", func(t *testing.T) {
		s := newSim(t, 1, func(a, b *Neighbor) { b.Timers.Hold = 0 })
		s.up()
		s.cut = true
		s.run(time.Hour)
		if s.sides[0].session == 0 || !s.sides[0].m.Deadline().IsZero() {
			t.Error("without a hold time there is still a timer")
		}
	})
	t.Run("send hold", func(t *testing.T) {
		s := newSim(t, 1, func(a, b *Neighbor) { a.Timers.SendHold = 30 * time.Second })
		s.up()
		side := s.sides[0]
		for range 11 { // nothing more is written, while the neighbour goes on
			s.now = s.now.Add(3 * time.Second)
			side.m.Heard(s.now, side.session)
			side.m.Tick(s.now)
		}
		actions := side.m.Actions()
		for _, a := range actions {
			if down, ok := a.(Down); ok && errors.Is(down.Why, ErrSendHold) {
				return
			}
		}
		t.Errorf("a neighbour that accepts nothing for 33 s keeps its session: %v", actions)
	})
}

func TestPrefixLimit(t *testing.T) {
	s := newSim(t, 1, func(a, b *Neighbor) {
		a.Limits = map[message.Family]Limit{message.IPv4Unicast: {Warn: 10, Max: 20}}
	})
	s.up()
	for _, n := range []int{10, 11, 12, 20, 21} {
		s.sides[0].m.Holding(s.now, message.IPv4Unicast, n)
		s.sides[0].m.Holding(s.now, message.IPv6Unicast, 1000*n)
		s.obey(0)
	}
	s.run(time.Second)
	s.wants("11 prefixes of IPv4 unicast announced, more than 10", "From:Established To:Idle Why:21 prefixes of IPv4 unicast announced, the limit is 20",
		"Maximum Number of Prefixes Reached")
	if all := strings.Join(s.trace, "\n"); strings.Contains(all, "12 prefixes") {
		t.Error("the warning comes more than once")
	}
}

func TestShutdownMessage(t *testing.T) {
	s := newSim(t, 1, nil)
	s.up()
	s.sides[0].m.Stop(s.now, Shutdown(message.CeaseAdminShutdown, "tonight's work"))
	s.obey(0)
	s.run(time.Minute)
	s.wants(`the neighbor closed: Cease: Administrative Shutdown ("tonight's work")`)
	if st := s.sides[0].m.State(); st != Idle || !s.sides[0].m.Deadline().IsZero() {
		t.Errorf("stopped, and yet %v until %v", st, s.sides[0].m.Deadline())
	}
	s.sides[0].m.Start(s.now)
	s.obey(0)
	s.run(30 * time.Second)
	if err := s.settled(); err != nil {
		t.Error(err)
	}
}

func TestPathDown(t *testing.T) {
	s := newSim(t, 1, nil)
	s.up()
	s.sides[0].m.PathDown(s.now, errors.New("BFD says so"))
	s.obey(0)
	if s.sides[0].session != 0 || s.sides[0].stale != 0 {
		t.Errorf("after PathDown: session %d, stale %v", s.sides[0].session, s.sides[0].stale)
	}
	s.wants("From:Established To:Active Why:BFD says so")
	s.sides[0].m.PathUp(s.now)
	s.obey(0)
	s.run(time.Second)
	if err := s.settled(); err != nil {
		t.Error(err)
	}
}

// TestPathUp: both sides have dialled into a way that was dead. When it is there again they wait neither for those attempts to end nor
// for the next.
func TestPathUp(t *testing.T) {
	for _, dead := range []time.Duration{500 * time.Millisecond, 5 * time.Second, 21 * time.Second, 10 * time.Minute} {
		for seed := range uint64(20) {
			s := newSim(t, seed, nil)
			s.up()
			s.cut = true
			for i, side := range s.sides {
				side.m.PathDown(s.now, errors.New("BFD says so"))
				s.obey(i)
			}
			s.run(dead)
			s.cut = false
			for i, side := range s.sides {
				side.m.PathUp(s.now)
				s.obey(i)
			}
			s.run(5 * time.Second) // two that dial each other at the same moment may need another attempt
			if err := s.settled(); err != nil {
				t.Fatalf("seed %d: 5 s after a way that was dead for %v: %v", seed, dead, err)
			}
		}
	}
}

// TestPathUpLeavesIdle: that there is a way says nothing against the error for which a session waits in Idle.
func TestPathUpLeavesIdle(t *testing.T) {
	s := newSim(t, 1, func(a, b *Neighbor) { a.AS, b.Passive = 65009, true })
	side := s.sides[0]
	s.boot(1)
	s.boot(0)
	for _, want := range []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second} {
		for side.m.State() != Idle {
			s.run(time.Millisecond)
		}
		entered := s.now
		for side.m.State() == Idle {
			side.m.PathUp(s.now)
			s.obey(0)
			s.run(100 * time.Millisecond)
			s.boot(1) // its own wait is not of interest
		}
		if wait := s.now.Sub(entered); wait < want*3/4 {
			t.Errorf("in Idle for %v, want about %v", wait, want)
		}
	}
}

// TestUnsteadyPath: a way that comes and goes all the time does not make a neighbour that refuses be asked each time, and one that
// was steady for a while is used at once again.
func TestUnsteadyPath(t *testing.T) {
	n := testNeighbor("a", 65001)
	m := NewMachine(Local{AS: 65002, RouterID: 2}, n, rand.New(rand.NewPCG(1, 1)))
	now, dials := simStart, 0
	refuse := func() {
		for range 3 { // a refusal has no other attempt follow at once
			for _, a := range m.Actions() {
				if a, ok := a.(Dial); ok {
					dials++
					m.Failed(now, a.Conn, errors.New("refused"))
				}
			}
		}
	}
	pass := func(d time.Duration, unsteady bool) int {
		before := dials
		for end := now.Add(d); now.Before(end); now = now.Add(250 * time.Millisecond) {
			m.Tick(now)
			refuse()
			if unsteady {
				m.PathDown(now, errors.New("BFD says so"))
				refuse()
				m.PathUp(now)
				refuse()
			}
		}
		return dials - before
	}
	m.Start(now)
	steady := pass(10*time.Minute, false)
	unsteady := pass(10*time.Minute, true)
	if steady < 30 || unsteady > 2*steady {
		t.Errorf("%d attempts in 10 minutes, and %d while the way comes and goes", steady, unsteady)
	}
	pass(3*n.Timers.ConnectRetry, false)
	for range 2 {
		before := dials
		m.PathUp(now)
		if refuse(); dials != before+1 {
			t.Errorf("%d attempts when a way is there again, want 1", dials-before)
		}
		now = now.Add(n.Timers.Retry)
	}
}

// TestPathUpGivesUp: the attempt that went the dead way is closed when another begins, so that none is left hanging.
func TestPathUpGivesUp(t *testing.T) {
	m := NewMachine(Local{AS: 65002, RouterID: 2}, testNeighbor("a", 65001), rand.New(rand.NewPCG(1, 1)))
	open := map[ConnID]bool{}
	obey := func() {
		for _, a := range m.Actions() {
			switch a := a.(type) {
			case Dial:
				open[a.Conn] = true
			case Close:
				delete(open, a.Conn)
			}
		}
	}
	m.Start(simStart)
	obey()
	before := maps.Clone(open)
	m.PathUp(simStart.Add(time.Second))
	if obey(); len(before) != 1 || len(open) != 1 || maps.Equal(before, open) {
		t.Errorf("attempts on their way: %v before, %v now", before, open)
	}
}

// The wait after an error grows, to its maximum, and is never shorter than three quarters of what it should be.
func TestIdleHold(t *testing.T) {
	s := newSim(t, 1, func(a, b *Neighbor) {
		a.AS, b.Passive = 65009, true
		a.Timers.IdleHold, a.Timers.MaxIdleHold = 2*time.Second, 10*time.Second
	})
	side := s.sides[0]
	s.boot(1)
	s.boot(0)
	for _, want := range []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second, 10 * time.Second} {
		for side.m.State() != Idle {
			s.run(time.Millisecond)
		}
		wait := side.m.Deadline().Sub(s.now)
		if wait > want || wait < want*3/4-10*time.Millisecond {
			t.Errorf("waits %v, want up to a quarter less than %v", wait, want)
		}
		if side.m.Accept(s.now) != 0 {
			t.Error("Idle accepts a connection")
		}
		s.run(wait + time.Millisecond)
		s.boot(1) // its own wait is not of interest
	}
}

func TestGracefulRestartHelper(t *testing.T) {
	both := message.FamiliesOf(message.IPv4Unicast, message.IPv6Unicast)
	restart := func(t *testing.T, resumed bool) *sim {
		s := newSim(t, 1, nil)
		s.up()
		s.sides[1].local.Resumed = resumed
		s.boot(1) // the process is another; its connections are unknown to it
		l := s.sides[0].links[s.sides[0].session]
		s.reset(0, l)
		if s.sides[0].stale != both {
			t.Fatalf("kept %v, want both families", s.sides[0].stale)
		}
		return s
	}
	t.Run("cold start", func(t *testing.T) {
		s := restart(t, false)
		s.run(5 * time.Second)
		if s.settled() != nil || s.sides[0].stale != 0 {
			t.Errorf("%v, stale %v: want what is stale gone with an OPEN without the F bits", s.settled(), s.sides[0].stale)
		}
	})
	t.Run("take-over", func(t *testing.T) {
		s := restart(t, true)
		s.run(5 * time.Second)
		if s.settled() != nil || s.sides[0].stale != both {
			t.Fatalf("%v, stale %v: want both families kept until End-of-RIB", s.settled(), s.sides[0].stale)
		}
		side := s.sides[0]
		side.m.Receive(s.now, side.session, message.AppendEndOfRIB(nil, message.IPv4Unicast))
		s.obey(0)
		if side.stale != message.FamiliesOf(message.IPv6Unicast) {
			t.Errorf("after End-of-RIB of IPv4 stale is %v", side.stale)
		}
		s.run(6 * time.Minute)
		if side.stale != 0 || side.session == 0 {
			t.Error("what is stale outlives its time")
		}
	})
	t.Run("nobody comes", func(t *testing.T) {
		s := restart(t, false)
		s.cut = true
		s.run(59 * time.Second)
		if s.sides[0].stale != both {
			t.Error("forgotten before the restart time")
		}
		s.run(2 * time.Second)
		if s.sides[0].stale != 0 {
			t.Error("kept beyond the restart time")
		}
	})
	t.Run("not asked", func(t *testing.T) {
		s := newSim(t, 1, func(a, b *Neighbor) { b.RestartTime = 0 })
		s.up()
		s.reset(0, s.sides[0].links[s.sides[0].session])
		if s.sides[0].stale != 0 {
			t.Error("kept for a neighbour that did not ask")
		}
	})
}

// A neighbour that comes back without having closed is let in at once.
func TestForgottenSessionIsReplaced(t *testing.T) {
	s := newSim(t, 1, func(a, b *Neighbor) { a.Passive = true })
	s.up()
	s.cut = true
	s.boot(1)
	s.cut = false
	s.run(25 * time.Second)
	s.wants("Why:" + errReplaced.Error())
	if err := s.settled(); err != nil {
		t.Error(err)
	}
}

// A neighbour that dials again has forgotten the connection before.
func TestSecondAcceptReplacesFirst(t *testing.T) {
	m := NewMachine(Local{AS: 65002, RouterID: 2}, testNeighbor("a", 65001), rand.New(rand.NewPCG(1, 1)))
	m.Start(simStart)
	first, second := m.Accept(simStart), m.Accept(simStart)
	if m.find(first) != nil || m.find(second) == nil {
		t.Errorf("after connections %d and %d there are %d", first, second, len(m.conns))
	}
}

func TestCheck(t *testing.T) {
	n := Neighbor{Name: "x", Timers: Timers{Hold: 2 * time.Second}, RestartTime: 2 * time.Hour}
	err := n.Check()
	for _, want := range []string{"no address\n", "0 is not an AS", "no address family", "hold time 2s, want", "timers that are 0", "restart time 2h0m0s"} {
		if err == nil || !strings.Contains(err.Error()+"\n", want) {
			t.Errorf("nothing says %q in %v", want, err)
		}
	}
}

// Whatever a neighbour sends, the machine neither panics nor lets go of its rules.
func FuzzReceive(f *testing.F) {
	local, n := Local{AS: 65002, RouterID: 2}, testNeighbor("a", 65001)
	open := (&message.OpenMessage{AS: 65001, HoldTime: 9, RouterID: 1, FourOctetAS: true,
		Families: message.FamiliesOf(message.IPv4Unicast)}).Append(nil)
	f.Add([]byte{0}, open)
	f.Add([]byte{1}, message.AppendKeepalive(nil))
	f.Add([]byte{2}, message.AppendEndOfRIB(nil, message.IPv6Unicast))
	f.Add([]byte{2}, message.AppendNotification(nil, message.CodeCease, message.CeaseAdminShutdown, []byte{200, 1}))
	f.Fuzz(func(t *testing.T, steps, msg []byte) {
		m := NewMachine(local, n, rand.New(rand.NewPCG(1, 1)))
		m.Start(simStart)
		id := m.Accept(simStart)
		for i := range min(len(steps), 8) {
			switch steps[i] % 4 {
			case 1:
				m.Receive(simStart, id, open)
			case 2:
				m.Receive(simStart, id, open)
				m.Receive(simStart, id, message.AppendKeepalive(nil))
			}
			m.Receive(simStart, id, msg)
			m.Tick(simStart.Add(time.Duration(i) * time.Second))
		}
		if m.State() == Established && m.session() == nil {
			t.Error("Established without a session")
		}
	})
}
