package warren

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/warrenvpn/warren/dataplane/port/netstack"
	"github.com/warrenvpn/warren/routing/bfd"
)

// Ports of RFC 5881 section 4: control packets go to the first, from one of the range that begins with the second.
const (
	bfdPort    = 3784
	bfdSource  = 49152
	bfdSources = 65536 - bfdSource
)

// watch is BFD in one vrf, on the engine's own stack.
type watch struct {
	manager *bfd.Manager
	// release ends that the stack's workers hand over what arrives.
	release func()

	mu sync.Mutex
	// ways are by the neighbour's address; opened counts all there ever were.
	ways   map[netip.Addr]*watched
	opened uint16
}

// watched is the way to a neighbour of BGP: through a tunnel, or where that is nil through the port.
type watched struct {
	name   string
	tunnel *tunnel
	conn   netstack.TTLConn
	// since is before all that BFD finds of it: what is told later of an earlier session to the neighbour is of no interest.
	since time.Time
}

// way returns the way to a neighbour, nil if it is not watched any more.
func (w *watch) way(to netip.Addr) *watched {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ways[to]
}

// Send implements bfd.Transport.
func (w *watch) Send(to netip.Addr, packet []byte) error {
	way := w.way(to)
	if way == nil {
		return net.ErrClosed
	}
	_, err := way.conn.Write(packet)
	return err
}

// openWatch listens on a vrf's stack.
func (s *site) openWatch(v *vrf) (*watch, error) {
	w := &watch{ways: map[netip.Addr]*watched{}}
	w.manager = bfd.NewManager(bfd.ManagerConfig{Transport: w, Event: func(e bfd.Event) { s.seen(v, w, e) }})
	var err error
	w.release, err = v.stack().TakeUDP(bfdPort, func(from netip.AddrPort, ttl uint8, payload []byte) { w.manager.Offer(from.Addr(), payload, ttl) })
	if err != nil {
		return nil, fmt.Errorf("BFD: %w", err)
	}
	v.watch.Store(w)
	return w, nil
}

// watchNeighbor has BFD watch the way to a neighbour of BGP.
func (s *site) watchNeighbor(v *vrf, a *adjacency) (err error) {
	w := v.watch.Load()
	if w == nil {
		if w, err = s.openWatch(v); err != nil {
			return err
		}
		if s.part != nil { // else run does it
			s.part(w.run)
		}
	}
	n := a.neighbor
	w.mu.Lock()
	source := netip.AddrPortFrom(n.LocalAddress, bfdSource+w.opened%bfdSources)
	w.opened++
	w.mu.Unlock()
	conn, err := v.stack().DialTTL(source, netip.AddrPortFrom(n.Address, bfdPort))
	if err != nil {
		return fmt.Errorf("BFD: %w", err)
	}
	if err = conn.SetTTL(255); err == nil {
		w.mu.Lock()
		w.ways[n.Address] = &watched{name: n.Name, tunnel: a.tunnel, conn: conn, since: time.Now()}
		w.mu.Unlock()
		err = w.manager.Add(n.Address, a.bfd.session())
	}
	if err != nil {
		w.forget(n.Address)
		return errors.Join(fmt.Errorf("BFD: %w", err), conn.Close())
	}
	return nil
}

// session is what a BFD session wants.
func (c *BFDConfig) session() bfd.Config {
	return bfd.Config{DesiredMinTx: c.MinTx, RequiredMinRx: c.MinRx, DetectMult: uint8(c.Multiplier)}
}

// forget takes out the way to a neighbour, and returns it.
func (w *watch) forget(to netip.Addr) *watched {
	w.mu.Lock()
	defer w.mu.Unlock()
	way := w.ways[to]
	delete(w.ways, to)
	return way
}

// unwatch ends watching a neighbour. What BFD had against its tunnel is no reason any more.
func (w *watch) unwatch(to netip.Addr) {
	_ = w.manager.Remove(to) // with the run of an engine that leaves it is gone already
	way := w.forget(to)
	if way == nil {
		return
	}
	_ = way.conn.Close()
	if way.tunnel != nil {
		way.tunnel.alive(bfdReason(to))
	}
}

// run watches until ctx ends. Neighbours are told AdminDown then, which does not say that the way is dead (RFC 5882 section 4.2): who
// takes over keeps their BGP sessions' routes.
func (w *watch) run(ctx context.Context) error {
	err := w.manager.Run(ctx)
	w.release()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, way := range w.ways {
		_ = way.conn.Close()
	}
	return err
}

// errBFD is why a session ends whose way BFD found dead.
var errBFD = errors.New("BFD: the way to the neighbor is dead")

// bfdReason is why nothing is routed into a tunnel whose neighbour BFD found dead.
func bfdReason(peer netip.Addr) string { return "BFD of " + peer.String() }

// seen acts on what BFD found: BGP leaves a dead way at once, and so do all routes through the tunnel. A neighbour that
// has BFD turned off says nothing of the way (RFC 5882 section 4.2).
func (s *site) seen(v *vrf, w *watch, e bfd.Event) {
	way := w.way(e.Peer)
	if way == nil || e.At.Before(way.since) || e.To == bfd.AdminDown {
		return
	}
	name, t, reason := way.name, way.tunnel, bfdReason(e.Peer)
	log := s.log.With("vrf", v.name, "neighbor", name)
	switch {
	case e.To == bfd.Up:
		log.Info("BFD is up")
		if t != nil {
			t.alive(reason)
		}
		_ = v.speaker.PathUp(name) // ended, if anything
	case e.From == bfd.Up && e.Remote != bfd.AdminDown && e.To == bfd.Down:
		log.Warn("BFD is down", "reason", e.Diag, "neighbor_says", e.RemoteDiag)
		if t != nil {
			t.dead(reason)
			if w.way(e.Peer) != way { // unwatch may have come before, and nobody would say that it is alive
				t.alive(reason)
				return
			}
		}
		_ = v.speaker.PathDown(name, fmt.Errorf("%w (%v)", errBFD, e.Diag))
	case e.From == bfd.Up:
		log.Info("BFD was turned off by the neighbor")
	}
}
