package bgp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/warrenvpn/warren/routing/bgp/message"
	"github.com/warrenvpn/warren/routing/route"
)

// Dialer makes connections to neighbours, for as long as the context lives.
type Dialer interface {
	Dial(ctx context.Context, n *Neighbor) (net.Conn, error)
}

// Config is what a Speaker works with.
type Config struct {
	Local Local
	// Table keeps the routes.
	Table Table
	// Dialer may be nil if all neighbours are passive.
	Dialer Dialer
	// Listeners accept connections of neighbours. Run closes them.
	Listeners []net.Listener
	// Log may be nil.
	Log *slog.Logger
}

// Speaker speaks BGP with neighbours: New, Apply, Run. Methods may be called from any goroutine.
type Speaker struct {
	config Config
	log    *slog.Logger
	pools  *pools

	mu    sync.Mutex
	peers map[string]*running
	ctx   context.Context // of Run, nil before
	ended bool
	// parting are those that were removed and may not have said so yet.
	parting []*running
	tasks   sync.WaitGroup // peers and accept loops
}

// running is a peer and what ends it. Nothing runs before Run.
type running struct {
	*peer
	stop   context.CancelFunc
	mu     sync.Mutex
	reason *message.NotificationError
}

func (r *running) why() *message.NotificationError {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reason
}

// New makes a Speaker without neighbours; Apply gives it some.
func New(c Config) (*Speaker, error) {
	var errs []error
	if c.Local.AS == 0 || c.Local.AS == message.ASTrans {
		errs = append(errs, fmt.Errorf("local AS %d is not an AS number of our own", c.Local.AS))
	}
	if c.Local.RouterID == 0 {
		errs = append(errs, errors.New("no router id"))
	}
	if c.Table == nil {
		errs = append(errs, errors.New("no table"))
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Speaker{config: c, log: c.Log, pools: newPools(), peers: map[string]*running{}}, errors.Join(errs...)
}

// Apply sets the neighbours. The sessions of those that did not change are not touched; those that are gone are told so.
// With an error, which says all that is wrong, nothing happens.
func (s *Speaker) Apply(neighbors []*Neighbor) error {
	if err := s.check(neighbors); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return errEnded
	}
	s.parting = slices.DeleteFunc(s.parting, func(r *running) bool {
		select {
		case <-r.done:
			return true
		default:
			return false
		}
	})
	keep, before := make(map[string]bool), make(map[string]*running)
	var begin []*Neighbor
	for _, n := range neighbors {
		r := s.peers[n.Name]
		if keep[n.Name] = r != nil && reflect.DeepEqual(r.neighbor, n); !keep[n.Name] {
			begin = append(begin, n)
		}
	}
	for name, r := range s.peers {
		if !keep[name] {
			subcode := message.CeasePeerDeconfigured
			if slices.ContainsFunc(begin, func(n *Neighbor) bool { return n.Name == name }) {
				subcode = message.CeaseConfigurationChange
			}
			s.remove(name, r, Shutdown(subcode, ""))
			before[name] = r
			if s.ctx != nil {
				s.parting = append(s.parting, r)
			}
		}
	}
	for _, n := range begin {
		s.add(n, before[n.Name])
	}
	return nil
}

// Keep says which routes the process before this one has left of a neighbour: who it was to the Table, which has them as stale, and
// of which families. It is called before Run, and means something with Local.Resumed. An error says that they are of nobody: the
// neighbour is not there any more, or was not asked to keep ours.
func (s *Speaker) Keep(name string, peer *route.Peer, families message.Families) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.peers[name]
	switch {
	case s.ctx != nil:
		return errors.New("the speaker runs already")
	case r == nil:
		return fmt.Errorf("no neighbor %q", name)
	}
	r.machine.Keep(time.Now(), families)
	if r.machine.stale == 0 {
		return fmt.Errorf("neighbor %q was not asked to keep our routes", name)
	}
	r.peer.peer, r.stale = peer, r.machine.stale
	return nil
}

// Parted waits until the neighbours that Apply removed have been told so, as far as that goes, or ctx ends. It is for a caller that is
// about to remove the way to them too.
func (s *Speaker) Parted(ctx context.Context) {
	s.mu.Lock()
	parting := s.parting
	s.parting = nil
	s.mu.Unlock()
	for _, r := range parting {
		select {
		case <-r.done:
		case <-ctx.Done():
			return
		}
	}
}

var errEnded = errors.New("the speaker has ended")

func (s *Speaker) check(neighbors []*Neighbor) error {
	var errs []error
	names, addresses := map[string]bool{}, map[netip.Addr]string{}
	for _, n := range neighbors {
		errs = append(errs, n.Check())
		if names[n.Name] {
			errs = append(errs, fmt.Errorf("neighbor %s is there twice", n.Name))
		}
		names[n.Name] = true
		if other, ok := addresses[n.Address]; ok {
			errs = append(errs, fmt.Errorf("neighbors %s and %s have the same address %v", other, n.Name, n.Address))
		}
		addresses[n.Address] = n.Name
		if !n.Passive && s.config.Dialer == nil {
			errs = append(errs, fmt.Errorf("neighbor %s is to be dialed, and there is no dialer", n.Name))
		}
	}
	return errors.Join(errs...)
}

// add starts a peer, or leaves that to Run. Another of its name, which was removed, has said its last to the Table first.
func (s *Speaker) add(n *Neighbor, before *running) {
	r := &running{peer: newPeer(&s.config, n, s.log, s.pools), stop: func() {}, reason: Shutdown(message.CeaseAdminShutdown, "")}
	s.peers[n.Name] = r
	if s.ctx != nil {
		s.start(r, before)
	}
}

func (s *Speaker) start(r, before *running) {
	ctx, cancel := context.WithCancel(s.ctx)
	r.stop = cancel
	s.tasks.Go(func() {
		defer cancel()
		if before != nil {
			<-before.quiet
		}
		r.run(ctx, r.why)
	})
}

func (s *Speaker) remove(name string, r *running, reason *message.NotificationError) {
	r.mu.Lock()
	r.reason = reason
	r.mu.Unlock()
	r.stop()
	delete(s.peers, name)
}

// Run speaks until ctx ends, and returns when all it started is gone. Sessions that are up then end with Administrative
// Shutdown; Leave, before, is the polite way. It runs once.
func (s *Speaker) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.ctx != nil {
		s.mu.Unlock()
		return errors.New("the speaker runs, or has run")
	}
	s.ctx = ctx
	for _, r := range s.peers {
		s.start(r, nil)
	}
	for _, l := range s.config.Listeners {
		s.tasks.Go(func() { s.listen(ctx, l) })
	}
	s.mu.Unlock()

	<-ctx.Done()
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	for _, l := range s.config.Listeners {
		l.Close()
	}
	s.tasks.Wait()
	return nil
}

// listen accepts connections of neighbours.
func (s *Speaker) listen(ctx context.Context, l net.Listener) {
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			s.tasks.Go(func() { s.accept(conn) }) // whoever is not ready for it keeps no other waiting
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return
		default:
			s.log.Warn("accepting connections", "error", err)
			select { // out of files, perhaps: not again at once
			case <-ctx.Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}

func (s *Speaker) accept(conn net.Conn) {
	remote := addrOf(conn.RemoteAddr())
	r := s.byAddress(remote)
	if r == nil {
		s.log.Debug("connection of a stranger", "from", remote)
		conn.Close()
		return
	}
	r.accept(conn)
}

// byAddress finds the neighbour with an address. Link-local ones may be configured with or without their zone.
func (s *Speaker) byAddress(a netip.Addr) *running {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found *running
	for _, r := range s.peers {
		switch r.neighbor.Address.Unmap() {
		case a:
			return r
		case a.WithZone(""):
			found = r
		}
	}
	return found
}

func (s *Speaker) byName(name string) (*running, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.peers[name]
	if r == nil {
		return nil, fmt.Errorf("no neighbor %q", name)
	}
	if s.ctx == nil {
		return nil, errors.New("the speaker does not run yet")
	}
	return r, nil
}

// all are the peers that run, by name.
func (s *Speaker) all() []*running {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*running
	for _, r := range s.peers {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b *running) int { return strings.Compare(a.neighbor.Name, b.neighbor.Name) })
	return list
}

// Status returns the status of all neighbours, by name.
func (s *Speaker) Status() []Status {
	var list []Status
	for _, r := range s.all() {
		list = append(list, r.snapshot())
	}
	return list
}

// newRand is the randomness of timers.
func newRand() *rand.Rand { return rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())) }
