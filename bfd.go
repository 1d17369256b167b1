package warren

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/warrenvpn/warren/dataplane/port/netstack"
	"github.com/warrenvpn/warren/routing/bfd"
	"github.com/warrenvpn/warren/routing/bgp"
)

// Ports of RFC 5881 section 4: control packets go to the first, from one of the range that begins with the second.
const (
	bfdPort   = 3784
	bfdSource = 49152
)

// watch is BFD in one vrf, on the engine's own stack.
type watch struct {
	manager  *bfd.Manager
	listener netstack.TTLConn
	ways     ways
	// names are the BGP neighbours by address, tunnels what leads to them where a tunnel does.
	names   map[netip.Addr]string
	tunnels map[netip.Addr]*tunnel
}

// ways are connections to the neighbours, which are made before any packet is sent.
type ways map[netip.Addr]netstack.TTLConn

// Send implements bfd.Transport.
func (w ways) Send(to netip.Addr, packet []byte) error {
	c := w[to]
	if c == nil {
		return net.ErrClosed
	}
	_, err := c.Write(packet)
	return err
}

// watchNeighbor has BFD watch the way to a neighbour of BGP, through a tunnel or, where that is nil, through the port.
func (s *site) watchNeighbor(v *vrf, n *bgp.Neighbor, t *tunnel, c *BFDConfig) error {
	if v.watch == nil {
		listener, err := v.stack.ListenTTL("udp", fmt.Sprintf(":%d", bfdPort))
		if err != nil {
			return fmt.Errorf("BFD: %w", err)
		}
		w := &watch{listener: listener, ways: ways{}, names: map[netip.Addr]string{}, tunnels: map[netip.Addr]*tunnel{}}
		w.manager = bfd.NewManager(bfd.ManagerConfig{Transport: w.ways, Event: func(e bfd.Event) { s.seen(v, e) }})
		v.watch = w
	}
	w := v.watch
	source := netip.AddrPortFrom(n.LocalAddress, bfdSource+uint16(len(w.ways)))
	way, err := v.stack.DialTTL(source, netip.AddrPortFrom(n.Address, bfdPort))
	if err == nil {
		err = way.SetTTL(255)
	}
	if err != nil {
		return fmt.Errorf("BFD: %w", err)
	}
	w.ways[n.Address], w.names[n.Address], w.tunnels[n.Address] = way, n.Name, t
	return w.manager.Add(n.Address, bfd.Config{DesiredMinTx: c.MinTx, RequiredMinRx: c.MinRx, DetectMult: uint8(c.Multiplier)})
}

// run watches until ctx ends.
func (w *watch) run(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- w.receive() }()
	err := w.manager.Run(ctx)
	_ = w.listener.Close()
	for _, way := range w.ways {
		_ = way.Close()
	}
	return errors.Join(err, <-ended)
}

// receive hands over what arrives, until the listener is closed.
func (w *watch) receive() error {
	buf := make([]byte, 512)
	for {
		n, from, ttl, err := w.listener.ReadTTL(buf)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err == nil {
			w.manager.Receive(from.Addr(), buf[:n], ttl)
		}
	}
}

// errBFD is why a session ends whose way BFD found dead.
var errBFD = errors.New("BFD: the way to the neighbor is dead")

// seen acts on what BFD found: BGP leaves a dead way at once, and so do all routes through the tunnel. A neighbour that
// has BFD turned off says nothing of the way (RFC 5882 section 4.2).
func (s *site) seen(v *vrf, e bfd.Event) {
	name, t := v.watch.names[e.Peer], v.watch.tunnels[e.Peer]
	reason := "BFD of " + e.Peer.String()
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
		}
		_ = v.speaker.PathDown(name, fmt.Errorf("%w (%v)", errBFD, e.Diag))
	case e.From == bfd.Up:
		log.Info("BFD was turned off by the neighbor")
	}
}
