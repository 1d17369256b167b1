package bgp

import (
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/warrenvpn/warren/routing/bgp/message"
)

// sim is two machines, the network between them, and a clock that jumps from one event to the next.
type sim struct {
	t     *testing.T
	rnd   *rand.Rand
	now   time.Time
	queue simQueue
	seq   int
	sides [2]*simSide
	links []*simLink
	cut   bool // the network swallows everything
	steps int
	trace []string
}

type simSide struct {
	m       *Machine
	config  Neighbor
	local   Local
	links   map[ConnID]*simLink
	session ConnID // of Up, until Down
	tick    time.Time
	ups     int
	stale   message.Families
}

// simLink is a connection: ids by side, and when each direction has delivered what was sent last, so that order is kept.
type simLink struct {
	id    [2]ConnID
	alive [2]bool
	last  [2]time.Time
}

type simEvent struct {
	at  time.Time
	seq int
	do  func()
}

type simQueue []simEvent

func (q simQueue) Len() int { return len(q) }
func (q simQueue) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].seq < q[j].seq
}
func (q simQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *simQueue) Push(x any)   { *q = append(*q, x.(simEvent)) }
func (q *simQueue) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}

func (s *sim) at(t time.Time, do func()) {
	s.seq++
	heap.Push(&s.queue, simEvent{t, s.seq, do})
}

func (s *sim) after(d time.Duration, do func()) { s.at(s.now.Add(d), do) }

func (s *sim) delay() time.Duration { return time.Duration(1+s.rnd.IntN(80)) * time.Millisecond }

func (s *sim) logf(format string, a ...any) {
	s.trace = append(s.trace, fmt.Sprintf("%8.3f ", s.now.Sub(simStart).Seconds())+fmt.Sprintf(format, a...))
}

var simStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newSim(t *testing.T, seed uint64, change func(a, b *Neighbor)) *sim {
	s := &sim{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), now: simStart}
	a, b := testNeighbor("b", 65002), testNeighbor("a", 65001)
	if change != nil {
		change(a, b)
	}
	s.sides[0] = &simSide{config: *a, local: Local{AS: 65001, RouterID: 1}}
	s.sides[1] = &simSide{config: *b, local: Local{AS: 65002, RouterID: 2}}
	return s
}

func testNeighbor(name string, as uint32) *Neighbor {
	n := &Neighbor{Name: name, AS: as, Families: message.FamiliesOf(message.IPv4Unicast, message.IPv6Unicast), Timers: DefaultTimers(),
		Helper: true, RestartTime: 60 * time.Second}
	n.Timers.Hold = 9 * time.Second
	n.Timers.ConnectRetry = 16 * time.Second
	n.Timers.InitialHold = 20 * time.Second
	n.Timers.MaxIdleHold = 20 * time.Second
	return n
}

// boot starts a machine on a side, of which nothing was there before.
func (s *sim) boot(i int) {
	side := s.sides[i]
	side.m = NewMachine(side.local, &side.config, rand.New(rand.NewPCG(s.rnd.Uint64(), 2)))
	side.links, side.session, side.tick, side.stale = map[ConnID]*simLink{}, 0, time.Time{}, 0
	s.logf("%d: boot", i)
	side.m.Start(s.now)
	s.obey(i)
}

// obey carries out the actions of a side and holds them against what must always be true.
func (s *sim) obey(i int) {
	side := s.sides[i]
	for _, a := range side.m.Actions() {
		s.logf("%d: %T %+v", i, a, a)
		switch a := a.(type) {
		case Dial:
			s.dial(i, a.Conn)
		case Send:
			s.transmit(i, side.links[a.Conn], a.Data)
		case Close:
			s.close(i, a.Conn)
		case Up:
			if side.session != 0 {
				s.t.Fatalf("side %d: a second session, %d beside %d", i, a.Conn, side.session)
			}
			if n := len(side.m.conns); n != 1 {
				s.t.Fatalf("side %d: a session among %d connections", i, n)
			}
			side.session = a.Conn
			side.ups++
		case Down:
			if side.session == 0 {
				s.t.Fatalf("side %d: down without a session", i)
			}
			side.session, side.stale = 0, a.Stale
		case Sweep:
			if !side.stale.Has(a.Family) {
				s.t.Fatalf("side %d: sweep of %v, stale is %v", i, a.Family, side.stale)
			}
			side.stale &^= message.FamiliesOf(a.Family)
		}
	}
	if got, want := side.m.State() == Established, side.session != 0; got != want {
		s.t.Fatalf("side %d: state %v, session %d", i, side.m.State(), side.session)
	}
	s.schedule(i)
}

// schedule asks for a Tick at the machine's deadline.
func (s *sim) schedule(i int) {
	side := s.sides[i]
	d := side.m.Deadline()
	if d.IsZero() || d.Equal(side.tick) {
		return
	}
	side.tick = d
	m := side.m
	s.at(latest(d, s.now), func() {
		if side.m == m && side.tick.Equal(d) {
			side.tick = time.Time{}
			m.Tick(s.now)
			s.obey(i)
		}
	})
}

func (s *sim) dial(i int, id ConnID) {
	l := &simLink{}
	l.id[i], l.alive[i] = id, true
	s.sides[i].links[id] = l
	m := s.sides[i].m
	s.after(s.delay(), func() {
		other := s.sides[1-i]
		if s.cut || !l.alive[i] {
			return // the SYN is lost; the attempt runs into its timer
		}
		accepted := other.m.Accept(s.now)
		if accepted != 0 {
			l.id[1-i], l.alive[1-i] = accepted, true
			other.links[accepted] = l
			s.links = append(s.links, l)
		}
		s.at(s.arrival(1-i, l), func() {
			switch {
			case s.cut:
				return
			case s.sides[i].m != m || !l.alive[i]:
				s.reset(1-i, l)
				return
			case accepted == 0:
				m.Failed(s.now, id, errors.New("refused"))
			default:
				m.Dialed(s.now, id)
			}
			s.obey(i)
		})
		s.obey(1 - i)
	})
}

func (s *sim) arrival(i int, l *simLink) time.Time {
	at := latest(s.now.Add(s.delay()), l.last[i].Add(1))
	l.last[i] = at
	return at
}

func (s *sim) transmit(i int, l *simLink, data []byte) {
	s.sides[i].m.Wrote(s.now, l.id[i])
	m := s.sides[1-i].m
	s.at(s.arrival(i, l), func() {
		other := s.sides[1-i]
		switch {
		case s.cut:
		case other.m != m || l.id[1-i] == 0:
			s.reset(i, l)
		case l.alive[1-i]: // who closed reads on for a moment, so that its last words are not lost
			other.m.Receive(s.now, l.id[1-i], data)
			s.obey(1 - i)
		}
	})
}

// reset tells side i that its connection is gone.
func (s *sim) reset(i int, l *simLink) {
	if m := s.sides[i].m; !s.cut && l.alive[i] && l.id[i] != 0 && s.sides[i].links[l.id[i]] == l {
		l.alive[i] = false
		m.Failed(s.now, l.id[i], errors.New("reset"))
		s.obey(i)
	}
}

// close ends a connection behind what was sent on it.
func (s *sim) close(i int, id ConnID) {
	l := s.sides[i].links[id]
	l.alive[i] = false
	delete(s.sides[i].links, id)
	s.at(s.arrival(i, l), func() { s.reset(1-i, l) })
}

// run lets time pass; work at each instant is bounded, or the machines chase each other without end.
func (s *sim) run(d time.Duration) {
	end := s.now.Add(d)
	for len(s.queue) > 0 && !s.queue[0].at.After(end) {
		e := heap.Pop(&s.queue).(simEvent)
		s.now = e.at
		if s.steps++; s.steps > 200000 {
			s.t.Fatal("the machines do not come to rest")
		}
		e.do()
	}
	s.now = end
}

// chaos does one bad thing.
func (s *sim) chaos() {
	switch s.rnd.IntN(6) {
	case 0, 1: // a connection breaks, for both or for one who cannot know
		if len(s.links) > 0 {
			l := s.links[len(s.links)-1]
			i := s.rnd.IntN(2)
			s.logf("break a link of %d", i)
			s.reset(i, l)
			if s.rnd.IntN(2) == 0 {
				s.after(s.delay(), func() { s.reset(1-i, l) })
			}
		}
	case 2, 3:
		s.cut = true
		s.logf("cut")
		s.after(time.Duration(s.rnd.IntN(20000))*time.Millisecond, func() { s.cut = false; s.logf("healed") })
	case 4:
		s.boot(s.rnd.IntN(2))
	case 5:
		i := s.rnd.IntN(2)
		s.sides[i].m.Stop(s.now, Shutdown(message.CeaseAdminReset, "maintenance"))
		s.obey(i)
		s.after(s.delay(), func() { s.sides[i].m.Start(s.now); s.obey(i) })
	}
}

// settled says whether there is one session, the same on both sides, and nothing else.
func (s *sim) settled() error {
	for i, side := range s.sides {
		l := side.links[side.session]
		if side.session == 0 || len(side.m.conns) != 1 {
			return fmt.Errorf("side %d: %v with %d connections", i, side.m.State(), len(side.m.conns))
		}
		if l.id[1-i] != s.sides[1-i].session {
			return fmt.Errorf("the sides have different sessions")
		}
	}
	return nil
}

func TestSimulatedSessionsRecover(t *testing.T) {
	for seed := range uint64(200) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			s := newSim(t, seed, func(a, b *Neighbor) {
				a.Passive = seed%5 == 4
				a.Timers.Retry, b.Timers.Retry = time.Second, time.Duration(1+seed%3)*time.Second/2
			})
			t.Cleanup(func() {
				if t.Failed() {
					for _, line := range s.trace[max(0, len(s.trace)-200):] {
						t.Log(line)
					}
				}
			})
			s.boot(0)
			s.boot(1)
			for range 12 {
				s.run(time.Duration(s.rnd.IntN(12000)) * time.Millisecond)
				s.chaos()
			}
			s.run(2 * time.Minute)
			if err := s.settled(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Two that dial each other at the same moment have one session soon, whatever the delays.
func TestSimultaneousDials(t *testing.T) {
	slow := 0
	for seed := range uint64(300) {
		s := newSim(t, seed, nil)
		s.boot(0)
		s.boot(1)
		s.run(time.Second)
		if s.settled() != nil {
			slow++
		}
		s.run(5 * time.Second)
		if err := s.settled(); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
	if slow > 30 {
		t.Errorf("%d of 300 collisions took more than a second", slow)
	}
}
