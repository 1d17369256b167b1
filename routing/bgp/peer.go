package bgp

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warrenvpn/warren/routing/bgp/message"
	"github.com/warrenvpn/warren/routing/route"
)

// A peer drives the machine of one neighbour. Its goroutine alone touches the machine, and never waits for the network or for the
// table: connections have their own goroutines, and what the table is told goes through outbox to the deliverer. While that
// is behind, nothing is read; timers go on.
type peer struct {
	config   *Config
	neighbor *Neighbor
	machine  *Machine
	log      *slog.Logger
	clock    *clock
	pools    *pools

	commands chan func(now time.Time)
	input    chan chunk
	deliver  chan delivery
	held     atomic.Pointer[Counts] // what the table has of the neighbour, not yet told to the machine
	poke     chan struct{}          // held is new
	done     chan struct{}          // closed when the goroutine has ended
	quiet    chan struct{}          // closed when the Table has heard the last of it
	tasks    sync.WaitGroup         // links, attempts and the deliverer

	dialing    context.Context // of attempts to connect; it ends with run
	outbox     []delivery
	batch      []Route
	interned   *interner // of the session
	links      map[ConnID]*link
	dials      map[ConnID]context.CancelFunc
	session    *Session // until Down
	peer       *route.Peer
	stale      message.Families
	complained bool // of a malformed UPDATE, in this session

	counters counters
	shown    shown
}

func newPeer(c *Config, n *Neighbor, log *slog.Logger, pools *pools) *peer {
	p := &peer{config: c, neighbor: n, pools: pools, machine: NewMachine(c.Local, n, newRand()), log: log.With("neighbor", n.Name),
		clock:    newClock(),
		commands: make(chan func(time.Time)), input: make(chan chunk), deliver: make(chan delivery, 2),
		poke: make(chan struct{}, 1), done: make(chan struct{}), quiet: make(chan struct{}),
		links: map[ConnID]*link{}, dials: map[ConnID]context.CancelFunc{}}
	p.shown.status = Status{Name: n.Name, Address: n.Address, AS: n.AS, LocalAS: n.localAS(c.Local), Since: time.Now()}
	return p
}

// do runs f in the peer's goroutine, and says whether it will be run.
func (p *peer) do(f func(now time.Time)) bool {
	select {
	case p.commands <- f:
		return true
	case <-p.done:
		return false
	}
}

// run is the peer's life. When ctx ends the session is stopped with what reason says.
func (p *peer) run(ctx context.Context, reason func() *message.NotificationError) {
	defer close(p.done)
	var cancel context.CancelFunc
	p.dialing, cancel = context.WithCancel(context.WithoutCancel(ctx)) // the machine closes attempts, and its last words come first
	defer cancel()
	p.tasks.Go(p.deliverer)
	p.machine.Start(time.Now())
	p.obey()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		p.schedule(timer)
		p.step(ctx, timer)
		p.obey()
		p.flush()
	}
	p.machine.Stop(time.Now(), reason())
	p.obey()
	p.flush()
	cancel()
	for _, d := range p.outbox {
		p.deliver <- d
	}
	close(p.deliver)
	p.tasks.Wait()
}

// step waits for one thing to happen and hands it to the machine.
func (p *peer) step(ctx context.Context, timer *time.Timer) {
	input, deliver := p.input, chan delivery(nil)
	var head delivery
	if len(p.outbox) > 0 {
		input, deliver, head = nil, p.deliver, p.outbox[0]
	}
	select {
	case <-ctx.Done():
	case f := <-p.commands:
		f(time.Now())
	case c := <-input:
		p.receive(c)
	case deliver <- head:
		p.outbox = p.outbox[1:]
	case <-p.poke:
		if held := p.held.Swap(nil); held != nil {
			p.hold(*held)
		}
	case <-timer.C:
		p.tick(time.Now())
	}
}

func (p *peer) schedule(timer *time.Timer) {
	wait := time.Hour
	if d := p.machine.Deadline(); !d.IsZero() {
		wait = time.Until(d)
	}
	timer.Reset(max(wait, 0))
}

// tick tells the machine how its connections are before it looks at its timers: what has arrived and was not yet read by us is
// no silence of the neighbour.
func (p *peer) tick(now time.Time) {
	for id, l := range p.links {
		heard := p.clock.time(l.heard.Load())
		if len(p.outbox) > 0 {
			heard = now
		}
		p.machine.Heard(heard, id)
		wrote := now
		if since := l.blocked.Load(); since != 0 {
			wrote = p.clock.time(since)
		}
		p.machine.Wrote(wrote, id)
	}
	p.machine.Tick(now)
}

func (p *peer) hold(c Counts) {
	now := time.Now()
	p.shown.in(c)
	p.machine.Holding(now, message.IPv4Unicast, c.IPv4)
	p.machine.Holding(now, message.IPv6Unicast, c.IPv6)
}

// receive hands what a link has read to the machine, and the routes in it, together, to the deliverer.
func (p *peer) receive(c chunk) {
	now := time.Now()
	for rest := c.data; len(rest) > 0; {
		var msg []byte
		msg, rest = split(rest)
		p.counters.messagesIn.Add(1)
		p.machine.Receive(now, c.link.id, msg)
		p.obey()
	}
	if c.buf != nil {
		p.pools.buffers.Put(c.buf)
	}
	if c.err != nil {
		p.machine.Failed(now, c.link.id, c.err)
	}
}

// connected is the answer to Dial.
func (p *peer) connected(now time.Time, id ConnID, conn net.Conn, err error) {
	cancel, wanted := p.dials[id]
	delete(p.dials, id)
	switch {
	case !wanted:
		if conn != nil {
			conn.Close()
		}
		return
	case err != nil:
		p.machine.Failed(now, id, err)
	default:
		p.start(id, conn)
		p.machine.Dialed(now, id)
	}
	cancel()
}

// accept offers a connection of the neighbour to the machine.
func (p *peer) accept(conn net.Conn) {
	taken := p.do(func(now time.Time) {
		if id := p.machine.Accept(now); id != 0 {
			p.start(id, conn)
		} else {
			conn.Close()
		}
	})
	if !taken {
		conn.Close()
	}
}

func (p *peer) start(id ConnID, conn net.Conn) {
	l := newLink(id, conn, p.clock, &p.counters, &p.pools.buffers)
	p.links[id] = l
	p.tasks.Go(func() { l.read(p.input) })
	p.tasks.Go(l.write)
}

func (p *peer) dial(id ConnID) {
	ctx, cancel := context.WithCancel(p.dialing)
	p.dials[id] = cancel
	p.tasks.Go(func() {
		conn, err := p.config.Dialer.Dial(ctx, p.neighbor)
		if err == nil && conn == nil {
			err = errors.New("the dialer returned nothing")
		}
		if !p.post(ctx, func(now time.Time) { p.connected(now, id, conn, err) }) && conn != nil {
			conn.Close()
		}
	})
}

// post is do for a task that the peer waits for when it ends: it gives up with ctx.
func (p *peer) post(ctx context.Context, f func(now time.Time)) bool {
	select {
	case p.commands <- f:
		return true
	case <-ctx.Done():
		return false
	}
}

// local is the address of our end of the session's connection.
func (l *link) addrs() (local, remote netip.Addr) {
	return addrOf(l.conn.LocalAddr()), addrOf(l.conn.RemoteAddr())
}
