package bfd

import (
	"container/heap"
	"math/rand/v2"
	"testing"
	"time"
)

// sim is two machines and the path between them, under a clock that jumps.
type sim struct {
	t     *testing.T
	rand  *rand.Rand
	now   time.Time
	nodes [2]*node
	wires wires
	loss  float64 // of either direction
	cut   [2]bool // what node i sends is lost
	delay time.Duration
}

type node struct {
	*Machine
	changes []stamped
	sent    []sentPacket
}

type stamped struct {
	at time.Time
	Change
}

type sentPacket struct {
	at time.Time
	Packet
}

type wire struct {
	at    time.Time
	order int
	to    int
	b     []byte
}

type wires []wire

func (w wires) Len() int { return len(w) }
func (w wires) Less(i, j int) bool {
	return w[i].at.Before(w[j].at) || w[i].at.Equal(w[j].at) && w[i].order < w[j].order
}
func (w wires) Swap(i, j int) { w[i], w[j] = w[j], w[i] }
func (w *wires) Push(x any)   { *w = append(*w, x.(wire)) }
func (w *wires) Pop() any {
	last := (*w)[len(*w)-1]
	*w = (*w)[:len(*w)-1]
	return last
}

var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func newSim(t *testing.T, seed uint64, a, b Config) *sim {
	s := &sim{t: t, rand: rand.New(rand.NewPCG(seed, 1)), now: epoch, delay: 2 * time.Millisecond}
	for i, c := range []Config{a, b} {
		if err := c.Check(); err != nil {
			t.Fatal(err)
		}
		s.nodes[i] = &node{Machine: NewMachine(c, uint32(100+i), s.rand, epoch)}
	}
	return s
}

// collect takes up what machine i wants.
func (s *sim) collect(i int) {
	packets, changes := s.nodes[i].Take()
	for _, b := range packets {
		p, drop := Parse(b)
		if drop != Accepted {
			s.t.Fatalf("node %d sends what is dropped as %v", i, drop)
		}
		if p.Poll && p.Final {
			s.t.Fatalf("node %d sends Poll and Final at once", i)
		}
		s.nodes[i].sent = append(s.nodes[i].sent, sentPacket{s.now, p})
		if s.cut[i] || s.rand.Float64() < s.loss {
			continue
		}
		heap.Push(&s.wires, wire{at: s.now.Add(s.delay), order: len(s.nodes[i].sent), to: 1 - i, b: b})
	}
	for _, c := range changes {
		s.nodes[i].changes = append(s.nodes[i].changes, stamped{s.now, c})
	}
}

// do gives machine i a command.
func (s *sim) do(i int, f func(m *Machine, now time.Time)) {
	f(s.nodes[i].Machine, s.now)
	s.collect(i)
}

// run lets time pass.
func (s *sim) run(d time.Duration) {
	end := s.now.Add(d)
	for steps := 0; ; steps++ {
		at, who := end, -1
		for i, n := range s.nodes {
			if deadline := n.Deadline(); !deadline.IsZero() && deadline.Before(at) {
				at, who = deadline, i
			}
		}
		if len(s.wires) > 0 && s.wires[0].at.Before(at) {
			at, who = s.wires[0].at, 2
		}
		if at.After(s.now) {
			s.now = at
			steps = 0
		}
		if steps > 100 {
			s.t.Fatalf("time stands still: %+v %+v", s.nodes[0].Status(), s.nodes[1].Status())
		}
		switch who {
		case -1:
			return
		case 2:
			w := heap.Pop(&s.wires).(wire)
			s.nodes[w.to].Receive(w.b, 255, s.now)
			s.collect(w.to)
		default:
			s.nodes[who].Tick(s.now)
			s.collect(who)
		}
	}
}

func (s *sim) states() [2]State { return [2]State{s.nodes[0].state, s.nodes[1].state} }

func (s *sim) expect(states ...State) {
	s.t.Helper()
	if got := s.states(); got != [2]State(states) {
		s.t.Fatalf("states %v, want %v, after %v", got, states, s.now.Sub(epoch))
	}
}

// up waits until both are Up and have agreed on their intervals.
func (s *sim) up() {
	s.t.Helper()
	for range 100 {
		s.run(100 * time.Millisecond)
		if s.states() == [2]State{Up, Up} && !s.nodes[0].polling && !s.nodes[1].polling {
			return
		}
	}
	s.t.Fatalf("not up after 10 s: %+v %+v", s.nodes[0].Status(), s.nodes[1].Status())
}

func fast(ms int, mult uint8) Config {
	d := time.Duration(ms) * time.Millisecond
	return Config{DesiredMinTx: d, RequiredMinRx: d, DetectMult: mult}
}
