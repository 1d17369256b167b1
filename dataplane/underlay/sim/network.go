package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
)

// Faults of a way from one endpoint to another. Probabilities are from 0 to 1.
type Faults struct {
	// Loss, Duplicate and Corrupt are the probabilities that a frame is lost, arrives twice, arrives with one bit
	// flipped. Reorder is the probability that a frame is held back until the next one has passed.
	Loss, Duplicate, Corrupt, Reorder float64
	// Delay is how long a frame takes; Jitter is added to it, uniformly distributed.
	Delay, Jitter time.Duration
	// MTU is the largest IP packet in bytes, 1500 if 0. A larger one with DF earns its sender a PathError; without DF it
	// passes, as if fragmented and put together again.
	MTU int
	// Cut lets nothing pass.
	Cut bool
}

// Config of a network.
type Config struct {
	Seed uint64
	// Faults of all ways that Set does not say otherwise of.
	Faults Faults
	// Queue is how many datagrams an endpoint's queue holds; 0 for 4096.
	Queue int
	// Tap, if set, sees every frame that a sender hands over, before any fault. It must not keep data.
	Tap func(from, to netip.AddrPort, tos uint8, data []byte)
}

const (
	defaultMTU   = 1500
	defaultQueue = 4096
)

// way is from one address to another, ports left aside.
type way struct{ from, to netip.Addr }

// Network joins endpoints.
type Network struct {
	cfg Config

	mu        sync.Mutex
	rand      *rand.Rand
	endpoints map[netip.AddrPort]*Endpoint
	ways      map[way]Faults
	seenAs    map[netip.AddrPort]netip.AddrPort // by NAT
	behind    map[netip.AddrPort]netip.AddrPort // its reverse
	held      map[way]*datagram
	stats     Stats
}

// Stats count what the network did.
type Stats struct {
	Sent, Delivered, Lost, Duplicated, Corrupted, Reordered, Full, NoEndpoint uint64
}

// New returns a network without endpoints.
func New(cfg Config) *Network {
	if cfg.Queue == 0 {
		cfg.Queue = defaultQueue
	}
	return &Network{cfg: cfg, rand: rand.New(rand.NewPCG(cfg.Seed, 0x77617272656e)), endpoints: map[netip.AddrPort]*Endpoint{},
		ways: map[way]Faults{}, seenAs: map[netip.AddrPort]netip.AddrPort{}, behind: map[netip.AddrPort]netip.AddrPort{}, held: map[way]*datagram{}}
}

// Set changes the faults of the way from one address to another. The way back is another one.
func (n *Network) Set(from, to netip.Addr, f Faults) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ways[way{from, to}] = f
}

// Cut lets nothing pass between two addresses, either way, or with cut false lets it pass again.
func (n *Network) Cut(a, b netip.Addr, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range []way{{a, b}, {b, a}} {
		f := n.faults(w)
		f.Cut = cut
		n.ways[w] = f
	}
}

// Rebind makes an endpoint appear to others under another address and port, as a NAT does, and what is sent there come to
// it. What is sent to its former appearance is lost.
func (n *Network) Rebind(endpoint, appearance netip.AddrPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.behind, n.seenAs[endpoint])
	n.seenAs[endpoint], n.behind[appearance] = appearance, endpoint
}

// Stats returns what the network has done so far.
func (n *Network) Stats() Stats {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stats
}

// Underlay attaches an endpoint at an address with so many receive queues.
func (n *Network) Underlay(local netip.AddrPort, queues int) (dataplane.Underlay, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.endpoints[local] != nil {
		return nil, fmt.Errorf("attach to simulated network: %v is taken", local)
	}
	e := newEndpoint(n, local, max(1, queues))
	n.endpoints[local] = e
	return e, nil
}

func (n *Network) detach(e *Endpoint) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.endpoints, e.local)
}

func (n *Network) faults(w way) Faults {
	f, ok := n.ways[w]
	if !ok {
		f = n.cfg.Faults
	}
	if f.MTU == 0 {
		f.MTU = defaultMTU
	}
	return f
}

// datagram is a frame on its way.
type datagram struct {
	data     []byte
	from, to netip.AddrPort
	tos      uint8
}

// carry takes one frame from an endpoint. It reports why the frame did not leave, if the sender can know.
func (n *Network) carry(e *Endpoint, f *dataplane.Frame) packet.Reason {
	n.mu.Lock()
	defer n.mu.Unlock()
	from, to := e.local, f.Path.Remote
	if n.cfg.Tap != nil {
		n.cfg.Tap(from, to, f.TOS, f.Data)
	}
	n.stats.Sent++
	w := way{from.Addr(), to.Addr()}
	faults := n.faults(w)
	if size := len(f.Data) + e.Encap().Len(); size > faults.MTU && f.DF {
		e.tooBig(to, faults.MTU, f.Data)
		return packet.UnderlayTooBig
	}
	if faults.Cut || n.rand.Float64() < faults.Loss {
		n.stats.Lost++
		return packet.None
	}
	d := &datagram{data: slices.Clone(f.Data), from: from, to: to, tos: f.TOS}
	if as, ok := n.seenAs[from]; ok {
		d.from = as
	}
	if n.rand.Float64() < faults.Corrupt && len(d.data) > 0 {
		n.stats.Corrupted++
		bit := n.rand.IntN(8 * len(d.data))
		d.data[bit/8] ^= 1 << (bit % 8)
	}
	if n.rand.Float64() < faults.Duplicate {
		n.stats.Duplicated++
		n.launch(&datagram{slices.Clone(d.data), d.from, d.to, d.tos}, faults)
	}
	before := n.held[w]
	if before == nil && n.rand.Float64() < faults.Reorder {
		n.stats.Reordered++
		n.held[w] = d
		return packet.None
	}
	n.launch(d, faults)
	if before != nil {
		delete(n.held, w)
		n.launch(before, faults)
	}
	return packet.None
}

// launch delivers a datagram, now or later. The caller holds n.mu.
func (n *Network) launch(d *datagram, f Faults) {
	delay := f.Delay
	if f.Jitter > 0 {
		delay += time.Duration(n.rand.Int64N(int64(f.Jitter)))
	}
	if delay == 0 {
		n.deliver(d)
		return
	}
	time.AfterFunc(delay, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.deliver(d)
	})
}

func (n *Network) deliver(d *datagram) {
	to := d.to
	if endpoint, ok := n.behind[to]; ok {
		to = endpoint
	} else if _, moved := n.seenAs[to]; moved {
		n.stats.NoEndpoint++ // its former appearance
		return
	}
	e := n.endpoints[to]
	switch {
	case e == nil:
		n.stats.NoEndpoint++
	case e.push(d):
		n.stats.Delivered++
	default:
		n.stats.Full++
	}
}
