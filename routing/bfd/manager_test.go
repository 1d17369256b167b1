package bfd

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var addressA, addressB, addressNobody = netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2"), netip.MustParseAddr("10.9.0.9")

// pipe takes packets to another manager a millisecond later.
type pipe struct {
	from netip.Addr
	ttl  uint8
	mu   sync.Mutex
	to   *Manager
	cut  bool
}

func (p *pipe) Send(peer netip.Addr, b []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut || p.to == nil || peer == addressNobody {
		return errors.New("cut")
	}
	to, ttl := p.to, p.ttl
	time.AfterFunc(time.Millisecond, func() { to.Receive(p.from, b, ttl) })
	return nil
}

func (p *pipe) set(cut bool, ttl uint8) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut, p.ttl = cut, ttl
}

type log struct {
	mu     sync.Mutex
	events []Event
	slow   time.Duration // what acting on an event takes
}

func (l *log) add(e Event) {
	l.mu.Lock()
	l.events = append(l.events, e)
	slow := l.slow
	l.mu.Unlock()
	time.Sleep(slow)
}

func (l *log) last() Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.events) == 0 {
		return Event{}
	}
	return l.events[len(l.events)-1]
}

// two managers, with a session each.
func two(t *testing.T) (m [2]*Manager, pipes [2]*pipe, logs [2]*log, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	pipes = [2]*pipe{{from: addressA, ttl: 255}, {from: addressB, ttl: 255}}
	for i := range m {
		logs[i] = &log{}
		m[i] = NewManager(ManagerConfig{Transport: pipes[i], Event: logs[i].add, Rand: rand.New(rand.NewPCG(uint64(i), 1))})
	}
	pipes[0].to, pipes[1].to = m[1], m[0]
	for i, peer := range [2]netip.Addr{addressB, addressA} {
		if err := m[i].Add(peer, fast(100, 3)); err != nil {
			t.Fatal(err)
		}
		group.Go(func() {
			if err := m[i].Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	return m, pipes, logs, sync.OnceFunc(func() { cancel(); group.Wait() })
}

func TestManager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, pipes, logs, stop := two(t)
		defer stop()
		expect := func(after time.Duration, a, b State) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if x, y := m[0].Sessions()[0], m[1].Sessions()[0]; x.State != a || y.State != b {
				t.Fatalf("sessions %+v\n%+v, want %v and %v", x, y, a, b)
			}
		}
		expect(4*time.Second, Up, Up)
		cut := time.Now()
		pipes[0].set(true, 255)
		expect(305*time.Millisecond, Down, Down)
		if e := logs[0].last(); e.To != Down || e.Diag != DiagNeighborDown || e.RemoteDiag != DiagExpired {
			t.Errorf("event %+v", e)
		}
		if e := logs[1].last(); e.To != Down || e.Diag != DiagExpired || e.Peer != addressA || e.At.Sub(cut) > 301*time.Millisecond {
			t.Errorf("event %+v", e)
		}
		pipes[0].set(false, 254)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if s := m[0].Sessions()[0].State; s == Up {
			t.Error("Up with a neighbour that does not hear us")
		}
		received, _ := m[1].Dropped()
		_, unsent := m[0].Dropped()
		if received[DropTTL] == 0 || unsent == 0 {
			t.Errorf("received %v, unsent %d: want some that were dropped for their TTL, and unsent ones", received, unsent)
		}
		pipes[0].set(false, 255)
		expect(4*time.Second, Up, Up)

		for _, do := range []struct {
			f    func() error
			a, b State
		}{
			{func() error { return m[0].Set(addressB, fast(50, 5)) }, Up, Up},
			{func() error { return m[0].Disable(addressB) }, AdminDown, Down},
			{func() error { return m[0].Enable(addressB) }, Up, Up},
			{func() error { return m[0].PathDown(addressB) }, Up, Up}, // as packets still pass
		} {
			if err := do.f(); err != nil {
				t.Fatal(err)
			}
			expect(5*time.Second, do.a, do.b)
		}
		if e := logs[1].last(); e.To != Up {
			t.Errorf("event %+v", e)
		}
		if s := m[1].Sessions()[0]; s.Detection != 500*time.Millisecond || s.Sent == 0 || s.Received == 0 {
			t.Errorf("session %+v", s)
		}
		stop()
		if len(m[0].Sessions()) != 0 {
			t.Error("sessions are left")
		}
		if e := logs[1].last(); e.To != AdminDown {
			t.Errorf("last event %+v", e)
		}
		time.Sleep(time.Second) // for what is on the way
	})
}

// Who takes long to act on an event keeps no session waiting, and hears of all events in their order.
func TestSlowListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _, logs, stop := two(t)
		defer stop()
		time.Sleep(4 * time.Second)
		logs[0].mu.Lock()
		logs[0].slow, logs[0].events = 20*time.Second, nil
		logs[0].mu.Unlock()
		if err := m[0].Add(addressNobody, fast(100, 3)); err != nil {
			t.Fatal(err)
		}
		before := m[1].Sessions()[0]
		for _, f := range []func(netip.Addr) error{m[0].Disable, m[0].Enable} {
			if err := f(addressNobody); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second)
		}
		if now := m[1].Sessions()[0]; now.State != Up || now.Since != before.Since {
			t.Errorf("the session %+v, want it Up since %v", now, before.Since)
		}
		stop() // waits for the listener
		var states []State
		for _, e := range logs[0].events {
			states = append(states, e.To)
		}
		if want := []State{AdminDown, Down, AdminDown, AdminDown}; !slices.Equal(states, want) {
			t.Errorf("events %v, want %v", states, want)
		}
		time.Sleep(time.Second) // for what is on the way
	})
}

func TestManagerErrors(t *testing.T) {
	m := NewManager(ManagerConfig{Transport: &pipe{}})
	if err := m.Add(addressA, fast(100, 3)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		err, want error
	}{
		{m.Add(addressA, fast(100, 3)), ErrExists},
		{m.Add(netip.AddrFrom16(addressA.As16()), fast(100, 3)), ErrExists},
		{m.Add(addressB, fast(0, 3)), ErrConfig},
		{m.Set(addressA, fast(0, 3)), ErrConfig},
		{m.Set(addressB, fast(100, 3)), ErrNoSession},
		{m.Remove(addressB), ErrNoSession},
		{m.Remove(addressA), nil},
		{m.Remove(addressA), ErrNoSession},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%v, want %v", c.err, c.want)
		}
	}
}

// A packet belongs to a session by its discriminator, and must come from that session's neighbour.
func TestDemultiplexing(t *testing.T) {
	m := NewManager(ManagerConfig{Transport: &pipe{cut: true}, Rand: rand.New(rand.NewPCG(1, 1))})
	for _, peer := range []netip.Addr{addressA, addressB} {
		if err := m.Add(peer, fast(100, 3)); err != nil {
			t.Fatal(err)
		}
	}
	local := m.Sessions()[0].Local
	p := Packet{State: Down, DetectMult: 3, MyDiscriminator: 7, DesiredMinTx: time.Second, RequiredMinRx: time.Second}
	known := p
	known.YourDiscriminator = local
	strange := p
	strange.YourDiscriminator = local + 1
	for _, c := range []struct {
		from netip.Addr
		p    Packet
		want Drop
	}{
		{addressA, strange, DropUnknown},
		{addressB, known, DropUnknown},
		{netip.MustParseAddr("10.9.0.3"), p, DropUnknown},
		{netip.AddrFrom16(addressA.As16()), p, Accepted},
		{addressA, known, Accepted},
	} {
		if got := m.Receive(c.from, c.p.Append(nil), 255); got != c.want {
			t.Errorf("from %v: %v, want %v", c.from, got, c.want)
		}
	}
}

// When the process was late, packets that wait are read before a session expires; a dead neighbour is noticed all the same.
func TestABusyMachineIsNoDeadNeighbour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewManager(ManagerConfig{Transport: &pipe{cut: true}, Rand: rand.New(rand.NewPCG(1, 1))})
		if err := m.Add(addressA, fast(100, 3)); err != nil {
			t.Fatal(err)
		}
		local := m.Sessions()[0].Local
		say := func(state State) {
			p := Packet{State: state, DetectMult: 3, MyDiscriminator: 7, YourDiscriminator: local, DesiredMinTx: 100 * time.Millisecond, RequiredMinRx: time.Second}
			if drop := m.Receive(addressA, p.Append(nil), 255); drop != Accepted {
				t.Fatal(drop)
			}
		}
		state := func(want State) {
			t.Helper()
			if got := m.Sessions()[0].State; got != want {
				t.Fatalf("the session is %v, want %v", got, want)
			}
		}
		say(Down)
		say(Init)
		state(Up)
		for range 5 {
			time.Sleep(400 * time.Millisecond) // nobody ticks for longer than the detection time
			at, _ := m.tick()
			state(Up)
			if d := time.Until(at); d > grace || d <= 0 {
				t.Fatalf("the next tick is in %v", d)
			}
			say(Up)
			m.tick()
			state(Up)
		}
		time.Sleep(400 * time.Millisecond)
		at, _ := m.tick()
		time.Sleep(time.Until(at))
		m.tick()
		state(Down)
	})
}
