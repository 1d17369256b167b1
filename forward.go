package warren

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Forward carries connections between the host and what lies behind the tunnels, until it is closed or its engine stops.
//
// One goroutine accepts; each TCP connection has two, one for each direction, and each UDP flow two. All end with Close. This
// is not on the packet path: it is an application on the host's stack and on the engine's.
type Forward struct {
	cfg    ForwardConfig
	vrf    string
	inside bool // the stack listens, and the host connects
	// lasting says that it is configured, and not there for who asked for it.
	lasting bool
	log     *slog.Logger
	addr    netip.AddrPort
	// Of the two that listen one is set. dial connects on the other side.
	listener net.Listener
	packets  net.PacketConn
	dial     func(ctx context.Context, network, address string) (net.Conn, error)

	// ctx ends with Close; running counts the goroutines. done is closed when nothing is accepted any more.
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	done    chan struct{}
	// forget takes it off the engine's list, whose lock guards started.
	forget  func()
	started bool

	tally forwardTally
}

// forwardTally counts what a forward does.
type forwardTally struct {
	open                           atomic.Int64
	total, limited, sent, received atomic.Uint64

	mu          sync.Mutex
	errors      uint64
	lastError   string
	lastErrorAt time.Time
}

// fail counts and remembers an error.
func (t *forwardTally) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.errors++
	t.lastError, t.lastErrorAt = err.Error(), time.Now()
}

// ForwardStatus tells of one forward.
type ForwardStatus struct {
	// In is the side that listens, "host" or "stack" (that of VRF), on Listen; the other connects to To. Protocol is "tcp" or "udp".
	Listen   netip.AddrPort `json:"listen"`
	In       string         `json:"in"`
	To       string         `json:"to"`
	Protocol string         `json:"protocol"`
	VRF      string         `json:"vrf"`
	// Open is how many connections there are now, at most MaxConnections, Total how many there have been. Limited counts how often one
	// more would have been too many. For UDP they are the sources.
	Open           int    `json:"open"`
	MaxConnections int    `json:"max_connections"`
	Total          uint64 `json:"total"`
	Limited        uint64 `json:"limited"`
	// SentBytes went on to To, ReceivedBytes came back from there.
	SentBytes     uint64 `json:"sent_bytes"`
	ReceivedBytes uint64 `json:"received_bytes"`
	// Errors counts connections that failed or could not be made, and lost datagrams; LastError is the last one.
	Errors      uint64    `json:"errors"`
	LastError   string    `json:"last_error,omitzero"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
}

// Status returns the forward's counters.
func (f *Forward) Status() ForwardStatus {
	t := &f.tally
	s := ForwardStatus{Listen: f.addr, In: "host", To: f.cfg.To, Protocol: f.cfg.Protocol, VRF: f.vrf, MaxConnections: f.cfg.MaxConnections,
		Open: int(t.open.Load()), Total: t.total.Load(), Limited: t.limited.Load(), SentBytes: t.sent.Load(), ReceivedBytes: t.received.Load()}
	if f.inside {
		s.In = "stack"
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s.Errors, s.LastError, s.LastErrorAt = t.errors, t.lastError, t.lastErrorAt
	return s
}

// Done returns a channel that is closed when nothing is accepted any more: the forward was closed, or the engine stops.
func (f *Forward) Done() <-chan struct{} { return f.done }

// Close ends the forward and its connections, and returns when its goroutines are gone.
func (f *Forward) Close() error {
	f.forget()
	return f.end()
}

func (f *Forward) end() error {
	f.cancel()
	var err error
	if f.listener != nil {
		err = f.listener.Close()
	} else {
		err = f.packets.Close()
	}
	f.running.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// start begins to accept, unless that was done before.
func (f *Forward) start() {
	if f.started {
		return
	}
	f.started = true
	f.running.Go(func() {
		defer close(f.done)
		if f.listener != nil {
			f.serveTCP()
		} else {
			f.serveUDP()
		}
	})
}

// Forward adds a forward to those that are configured. It waits for an engine that is being started, as DialContext does; later ctx
// has no effect. Mistakes in cfg are ConfigErrors, with keys as in a file.
func (e *Engine) Forward(ctx context.Context, cfg ForwardConfig) (*Forward, error) {
	s, err := e.running(ctx)
	if err != nil {
		return nil, fmt.Errorf("forward %v: %w", cfg.Listen, err)
	}
	k := &checker{cfg: s.cfg}
	k.forward(nil, &cfg, s.stacks())
	if err := k.err(); err != nil {
		return nil, err
	}
	f, err := s.openForward(forwardDefaults([]ForwardConfig{cfg})[0])
	if err != nil {
		return nil, err
	}
	if err := s.forwards.add(f, true); err != nil {
		return nil, err
	}
	return f, nil
}

// forwards are those of a site.
type forwards struct {
	mu   sync.Mutex
	all  []*Forward
	left bool
}

// add takes in a forward, which is closed where the site has been left already.
func (fs *forwards) add(f *Forward, start bool) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.left {
		return errors.Join(ErrNotUp, f.end())
	}
	f.forget = func() { fs.forget(f) }
	fs.all = append(fs.all, f)
	if start {
		f.start()
	}
	return nil
}

func (fs *forwards) forget(f *Forward) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.all = slices.DeleteFunc(fs.all, func(o *Forward) bool { return o == f })
}

// start lets those that are configured accept.
func (fs *forwards) start() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for _, f := range fs.all {
		f.start()
	}
}

// leave ends all of them, while packets still move so that the peers hear of it.
func (fs *forwards) leave() {
	fs.mu.Lock()
	all := fs.all
	fs.all, fs.left = nil, true
	fs.mu.Unlock()
	for _, f := range all {
		f.cancel() // all at once
	}
	for _, f := range all {
		_ = f.end()
	}
}

// configured are those of the configuration.
func (fs *forwards) configured() []*Forward {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(fs.all), func(f *Forward) bool { return !f.lasting })
}

func (fs *forwards) status() []ForwardStatus {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	all := make([]ForwardStatus, 0, len(fs.all))
	for _, f := range fs.all {
		all = append(all, f.Status())
	}
	return all
}

// stacks are those that the site has.
func (s *site) stacks() (all []stackAddrs) {
	for _, v := range s.vrfs {
		if v.stack() == nil {
			continue
		}
		a := stackAddrs{vrf: v.name}
		for _, p := range v.stack().Addresses() {
			a.addrs = append(a.addrs, p.Addr())
		}
		all = append(all, a)
	}
	return all
}

// openForwards makes those that are configured listen. Nothing is accepted before the site runs.
func (s *site) openForwards() error {
	for i := range s.cfg.Forwards {
		f, err := s.openForward(s.cfg.Forwards[i])
		if err != nil {
			return err
		}
		f.lasting = true
		if err := s.forwards.add(f, false); err != nil {
			return err
		}
	}
	return nil
}

// openForward listens.
func (s *site) openForward(cfg ForwardConfig) (*Forward, error) {
	stack, inside, wrong := cfg.stackOf(s.stacks())
	if wrong != nil {
		return nil, fmt.Errorf("forward %v: %s; want %s", cfg.Listen, wrong.problem, wrong.want)
	}
	f := &Forward{cfg: cfg, vrf: stack.vrf, inside: inside, done: make(chan struct{}), forget: func() {}}
	f.log = s.log.With("forward", cfg.Listen, "to", cfg.To, "protocol", cfg.Protocol)
	f.ctx, f.cancel = context.WithCancel(context.Background())
	port := s.vrfNamed(stack.vrf).stack()
	var err error
	if inside {
		f.dial = new(net.Dialer).DialContext
		err = f.listen(port)
	} else {
		f.dial = port.DialContext
		err = f.listen(hostSockets{})
	}
	if err != nil {
		f.cancel()
		return nil, fmt.Errorf("forward %v to %s: %w", cfg.Listen, cfg.To, err)
	}
	return f, nil
}

// sockets are what listens: the host's or a stack's.
type sockets interface {
	Listen(network, address string) (net.Listener, error)
	ListenPacket(network, address string) (net.PacketConn, error)
}

// hostSockets are the host's.
type hostSockets struct{}

func (hostSockets) Listen(network, address string) (net.Listener, error) {
	return net.Listen(network, address)
}
func (hostSockets) ListenPacket(network, address string) (net.PacketConn, error) {
	return net.ListenPacket(network, address)
}

func (f *Forward) listen(on sockets) (err error) {
	network := f.cfg.Protocol
	if f.cfg.Listen.Addr().Is4() {
		network += "4" // else 0.0.0.0 would be :: too
	}
	if f.cfg.Protocol == "udp" {
		if f.packets, err = on.ListenPacket(network, f.cfg.Listen.String()); err == nil {
			f.addr = unmapped(f.packets.LocalAddr().(*net.UDPAddr).AddrPort())
		}
		return err
	}
	if f.listener, err = on.Listen(network, f.cfg.Listen.String()); err == nil {
		f.addr = unmapped(f.listener.Addr().(*net.TCPAddr).AddrPort())
	}
	return err
}

// unmapped is a with an IPv4 address in its own form.
func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// Pauses after an error of accepting, which doubles from the first to the last.
const (
	minAcceptPause = 5 * time.Millisecond
	maxAcceptPause = time.Second
)

// again says whether to accept again after an error, when it is time to: what else than being closed can fail, as descriptors
// that have run out, goes by. failures is how many there were in a row.
func (f *Forward) again(err error, failures int) bool {
	if f.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
		return false
	}
	f.tally.fail(err)
	if failures == 0 {
		f.log.Warn("forward cannot accept", "error", err)
	}
	pause := time.NewTimer(min(maxAcceptPause, minAcceptPause<<min(failures, 10)))
	defer pause.Stop()
	select {
	case <-f.ctx.Done():
		return false
	case <-pause.C:
		return true
	}
}
