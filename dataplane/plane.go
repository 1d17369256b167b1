package dataplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/routing/fib"
)

// Options for a plane. The zero value is ready to use.
type Options struct {
	// Logger for what operators should know; nil discards.
	Logger *slog.Logger
	// Workers is how many workers may run at a time: the receive queues of all ports and underlays together. 0 means
	// MaxWorkers. Each takes 32 bytes of counters for every tunnel, in blocks for 128 tunnels.
	Workers int
	// Now is the clock of the ICMP rate limit; nil is time.Now.
	Now func() time.Time
}

// Plane is a running data plane: vrfs with their ports and tunnels, underlays with their openers, and a worker for each
// receive queue. Everything may be added before Run and while it runs.
type Plane struct {
	log        *slog.Logger
	now        func() time.Time
	maxWorkers int
	tunnels    tunnelTable
	own        ownFrames

	mu      sync.Mutex
	vrfs    map[string]*VRF
	closers []closer // ports and underlays, in the order of being added
	pending []*worker
	workers [MaxWorkers]*worker // live ones, by index
	gone    Drops               // what workers that ended had counted
	running bool
	stopped bool
	wg      sync.WaitGroup
	failed  chan error

	injectors
}

// The injector is the worker that has no queue: whoever injects is it, one at a time.
type injectors struct {
	injecting sync.Mutex
	injector  *worker
}

type closer interface {
	Name() string
	Close() error
}

// New returns a plane without ports, underlays or tunnels. It starts nothing.
func New(o Options) *Plane {
	p := &Plane{log: o.Logger, now: o.Now, maxWorkers: o.Workers, vrfs: map[string]*VRF{}, failed: make(chan error, 1)}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.now == nil {
		p.now = time.Now
	}
	if p.maxWorkers <= 0 || p.maxWorkers > MaxWorkers {
		p.maxWorkers = MaxWorkers
	}
	return p
}

// AddVRF makes an empty routing domain.
func (p *Plane) AddVRF(name string) (*VRF, error) { return p.addVRF(name, false) }

// AddLink makes a routing domain that is no router but the wire between a port, the first that it is given, and a tunnel: routes
// say what goes into the tunnel, but whatever comes out of it goes out of the port, and multicast and link-local packets pass.
func (p *Plane) AddLink(name string) (*VRF, error) { return p.addVRF(name, true) }

func (p *Plane) addVRF(name string, link bool) (*VRF, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.vrfs[name] != nil {
		return nil, fmt.Errorf("add vrf %q: there is one of that name", name)
	}
	v := &VRF{name: name, table: fib.New(fib.Options{}), link: link}
	p.vrfs[name] = v
	return v, nil
}

// AddPort gives the vrf a port, with a worker for each of its receive queues, and returns its number within the vrf for
// PortHop. addrs are the addresses on the port's far side. The plane closes the port when it stops.
func (p *Plane) AddPort(v *VRF, port Port, addrs []netip.Addr) (number int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := &portEntry{port: port, addrs: addrs}
	readers := port.Readers()
	ws := make([]*worker, len(readers))
	for i, r := range readers {
		ws[i] = newWorker(p, fmt.Sprintf("%s/%d", port.Name(), i))
		ws[i].loop = (&outbound{worker: ws[i], vrf: v, from: e, reader: r}).run
	}
	if err := p.start(ws); err != nil {
		return 0, fmt.Errorf("add port %s to vrf %q: %w", port.Name(), v.name, err)
	}
	var ports []*portEntry
	if old := v.ports.Load(); old != nil {
		ports = slices.Clone(*old)
	}
	ports = append(ports, e)
	v.ports.Store(&ports)
	p.closers = append(p.closers, port)
	p.launch(ws)
	return len(ports) - 1, nil
}

// AddUnderlay adds an underlay whose datagrams o opens, with a worker for each of its receive queues. The plane closes
// the underlay when it stops.
func (p *Plane) AddUnderlay(u Underlay, o Opener) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	rs := u.Receivers()
	ws := make([]*worker, len(rs))
	for i, r := range rs {
		ws[i] = newWorker(p, fmt.Sprintf("%s/%d", u.Name(), i))
		ws[i].underlay = u
		ws[i].loop = (&inbound{worker: ws[i], underlay: u, opener: o, receiver: r}).run
	}
	if err := p.start(ws); err != nil {
		return fmt.Errorf("add underlay %s: %w", u.Name(), err)
	}
	p.own.add(u)
	p.closers = append(p.closers, u)
	p.launch(ws)
	return nil
}

// RemoveUnderlay closes an underlay, waits for its workers to end and forgets it. What is still sent
// through it is lost.
func (p *Plane) RemoveUnderlay(u Underlay) error {
	p.mu.Lock()
	p.own.remove(u)
	p.closers = slices.DeleteFunc(p.closers, func(c closer) bool { return c == closer(u) })
	var ending []*worker
	for i, w := range p.workers {
		switch {
		case w == nil || w.underlay != u:
		case p.running:
			ending = append(ending, w)
		default:
			p.workers[i] = nil
			p.pending = slices.DeleteFunc(p.pending, func(o *worker) bool { return o == w })
		}
	}
	p.mu.Unlock()
	err := u.Close()
	for _, w := range ending {
		<-w.gone
	}
	if err != nil {
		return fmt.Errorf("remove underlay %s: %w", u.Name(), err)
	}
	return nil
}

// Peers is the register of peers' addresses on the underlay, by which the plane recognises its own frames when they come
// back through a port.
func (p *Plane) Peers() *Peers { return &p.own.peers }

// start gives the workers their indexes; launch lets them run. Both hold p.mu.
func (p *Plane) start(ws []*worker) error {
	if p.stopped {
		return ErrClosed
	}
	free := make([]int, 0, len(ws))
	for i := 0; i < p.maxWorkers && len(free) < len(ws); i++ {
		if p.workers[i] == nil {
			free = append(free, i)
		}
	}
	if len(free) < len(ws) {
		return fmt.Errorf("%d more workers wanted, %d of %d left", len(ws), len(free), p.maxWorkers)
	}
	for i, w := range ws {
		w.setIndex(free[i])
		p.workers[free[i]] = w
	}
	return nil
}

func (p *Plane) launch(ws []*worker) {
	if !p.running {
		p.pending = append(p.pending, ws...)
		return
	}
	for _, w := range ws {
		p.wg.Add(1)
		go p.work(w)
	}
}

// work runs one worker to its end and keeps what it counted.
func (p *Plane) work(w *worker) {
	defer p.wg.Done()
	err := w.loop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for r := range w.counters.drops {
		p.gone[r].Add(w.counters.drops[r].Load())
	}
	p.workers[w.ctx.Worker] = nil
	close(w.gone)
	if err != nil && !errors.Is(err, ErrClosed) {
		select {
		case p.failed <- fmt.Errorf("worker %s: %w", w.name, err):
		default:
		}
	}
}

// Run lets the workers work until ctx ends or a port or underlay fails for good, closes all ports and underlays, and
// returns when every worker is gone. A plane runs once.
func (p *Plane) Run(ctx context.Context) error {
	p.mu.Lock()
	if p.running || p.stopped {
		p.mu.Unlock()
		return errors.New("run data plane: it has been run before")
	}
	p.running = true
	p.launch(p.pending)
	p.pending = nil
	p.mu.Unlock()
	var err error
	select {
	case <-ctx.Done():
	case err = <-p.failed:
	}
	return errors.Join(err, p.Close())
}

// Close closes all ports and underlays and waits for the workers. It is for a plane that was never run; Run does it
// itself. It may be called twice.
func (p *Plane) Close() error {
	p.mu.Lock()
	p.stopped = true
	closers := p.closers
	p.closers = nil
	p.mu.Unlock()
	var errs []error
	for _, c := range closers {
		if err := c.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", c.Name(), err))
		}
	}
	p.wg.Wait()
	return errors.Join(errs...)
}

// WorkerStats are one worker's drops.
type WorkerStats struct {
	Name  string
	Drops map[packet.Reason]uint64
}

// WorkerStats returns what each live worker dropped; workers that have ended are summed up under the name "ended".
func (p *Plane) WorkerStats() []WorkerStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []WorkerStats
	for _, w := range p.workers {
		if w != nil {
			out = append(out, WorkerStats{w.name, w.counters.drops.snapshot()})
		}
	}
	if g := p.gone.snapshot(); len(g) > 0 {
		out = append(out, WorkerStats{"ended", g})
	}
	return out
}
