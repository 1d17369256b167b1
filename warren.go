package warren

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/capture"
	"github.com/warrenvpn/warren/dataplane/port/netstack"
)

// Engine is one running instance. A process may hold several.
type Engine struct {
	cfg *Config
	log *slog.Logger
	// network makes underlays instead of sockets, where there is a simulated network.
	network Network
	// lookup finds the addresses of peers' names, nil for the system's resolver.
	lookup LookupFunc
	// reload reads the configuration again and applies it, nil where nobody can.
	reload func() error
	// tap records packets at ports and underlays, if it is set.
	tap *capture.Writer

	// inherited is what another engine has left, nil for nothing.
	inherited *Legacy
	// applying lets one configuration be applied at a time.
	applying sync.Mutex

	mu   sync.Mutex
	site *site
	// up is closed when the site is up, and replaced when it has gone.
	up chan struct{}
	// failed is what the last Run ended with.
	failed error
}

// Option changes how an engine is made.
type Option func(*Engine)

// WithLogger makes the engine log there; without it, or with nil, the engine is silent.
func WithLogger(l *slog.Logger) Option {
	return func(e *Engine) {
		if l != nil {
			e.log = l
		}
	}
}

// Network makes underlays: what carries sealed packets in place of the system's sockets.
type Network interface {
	// Underlay attaches at an address and port with so many receive queues.
	Underlay(local netip.AddrPort, queues int) (dataplane.Underlay, error)
}

// WithNetwork makes the engine send its sealed packets through a network of the caller's, as a test's simulated one.
func WithNetwork(n Network) Option { return func(e *Engine) { e.network = n } }

// WithCapture records the packets of every port, in the clear, and of every underlay, sealed, into a pcapng file. A capture
// that cannot keep up, or whose disk is full, loses copies and never packets. The caller closes w after Run has returned.
func WithCapture(w *capture.Writer) Option { return func(e *Engine) { e.tap = w } }

// ErrNotUp says that the engine is not running.
var ErrNotUp = errors.New("engine is not running")

// errNoConfig says that there is nil in the place of a configuration.
var errNoConfig = errors.New("the configuration is nil")

// New checks the configuration and returns an engine that has not been started. The configuration is not changed, and the
// caller must not change it any more.
func New(cfg *Config, options ...Option) (*Engine, error) {
	if cfg == nil {
		return nil, fmt.Errorf("make engine: %w", errNoConfig)
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	e := &Engine{cfg: cfg.withDefaults(), log: slog.New(slog.DiscardHandler), up: make(chan struct{})}
	for _, o := range options {
		if o != nil {
			o(e)
		}
	}
	return e, nil
}

// Run opens ports and underlays, moves packets until ctx ends, and returns when everything it started is gone. An error
// says what could not be opened, or what failed for good.
//
// When ctx ends while BGP sessions are up, the engine withdraws its routes and goes on forwarding for BGPConfig.Drain, so that
// its neighbours lose no packet. What it protects stays in the kernel as unreachable when it has gone, since it is still
// configured; see VRFConfig.Protect.
func (e *Engine) Run(ctx context.Context) error {
	s, err := e.start()
	if err != nil {
		return err
	}
	e.log.Info("engine is up", "tunnels", len(s.tunnels), "vrfs", len(s.vrfs))
	err = s.run(ctx)
	e.mu.Lock()
	e.site, e.up, e.failed = nil, make(chan struct{}), err
	e.mu.Unlock()
	s.release()
	close(s.left)
	e.log.Info("engine is down")
	return err
}

// start builds the site. Nothing is left open if it fails.
func (e *Engine) start() (*site, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.cfg == nil:
		return nil, errors.New("run engine: it was not made by New")
	case e.site != nil:
		return nil, errors.New("run engine: it is running already")
	}
	s, err := build(e)
	e.failed = err
	if e.inherited != nil {
		e.inherited.Close()
		e.inherited = nil
	}
	if err != nil {
		return nil, err
	}
	s.handing, s.left = make(chan struct{}), make(chan struct{})
	e.site = s
	close(e.up)
	return s, nil
}

// startWait is how long those who need a running engine wait for one that is just being started.
const startWait = 5 * time.Second

// errNoStart is why that wait ends.
var errNoStart = fmt.Errorf("nobody has called Run, or it has returned, and %v have passed", startWait)

// running returns the site, waiting for it to come up, but not for one that nobody starts.
func (e *Engine) running(ctx context.Context) (*site, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startWait, errNoStart)
	defer cancel()
	for {
		e.mu.Lock()
		s, up := e.site, e.up
		e.mu.Unlock()
		if s != nil {
			return s, nil
		}
		select {
		case <-up:
		case <-ctx.Done():
			return nil, e.notUp(context.Cause(ctx))
		}
	}
}

// notUp is ErrNotUp with what the last Run returned, or else with why nobody waits any more.
func (e *Engine) notUp(cause error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.failed != nil {
		return fmt.Errorf("%w: Run returned: %w", ErrNotUp, e.failed)
	}
	return fmt.Errorf("%w: %w", ErrNotUp, cause)
}

// DialContext connects to an address behind the tunnels through the engine's own stack: the one of the vrf that has a
// netstack port. network is tcp, tcp4, tcp6, udp, udp4 or udp6; the address is numeric. Like all that need the stack it waits for an
// engine that is being started, 5 s at most; then the error is ErrNotUp, with what Run returned if that was an error.
func (e *Engine) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	st, err := e.stack(ctx)
	if err != nil {
		return nil, fmt.Errorf("dial %s %s: %w", network, address, err)
	}
	return st.DialContext(ctx, network, address)
}

// Listen listens on an address of the engine's own stack, for tcp, tcp4 or tcp6; the host may be empty, for all addresses. What it
// accepts ends with Run, as all connections of the stack do.
func (e *Engine) Listen(network, address string) (net.Listener, error) {
	st, err := e.stack(context.Background())
	if err != nil {
		return nil, fmt.Errorf("listen on %s %s: %w", network, address, err)
	}
	return st.Listen(network, address)
}

// ListenPacket listens on an address of the engine's own stack, for udp, udp4 or udp6, until it is closed or Run ends.
func (e *Engine) ListenPacket(network, address string) (net.PacketConn, error) {
	st, err := e.stack(context.Background())
	if err != nil {
		return nil, fmt.Errorf("listen on %s %s: %w", network, address, err)
	}
	return st.ListenPacket(network, address)
}

// Ping sends an ICMP echo request from the engine's own stack and returns how long the answer took.
func (e *Engine) Ping(ctx context.Context, dst netip.Addr) (time.Duration, error) {
	st, err := e.stack(ctx)
	if err != nil {
		return 0, fmt.Errorf("ping %v: %w", dst, err)
	}
	return st.Ping(ctx, dst)
}

// stack returns the built-in stack.
func (e *Engine) stack(ctx context.Context) (*netstack.Port, error) {
	s, err := e.running(ctx)
	if err != nil {
		return nil, err
	}
	for _, v := range s.vrfs {
		if v.stack() != nil {
			return v.stack(), nil
		}
	}
	return nil, errors.New("no vrf has a stack of its own: give one `port: {netstack: {addresses: [...]}}`")
}
