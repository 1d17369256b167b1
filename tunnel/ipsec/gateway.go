package ipsec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/esp"
	"github.com/warrenvpn/warren/tunnel/outer"
)

// Gateway is the inbound half of all ESP tunnels of an engine: the SPI table, and what workers need to open with it. It is
// the data plane's Opener for ESP's underlays, UDP and raw.
type Gateway struct {
	log     *slog.Logger
	now     func() time.Time
	peers   *dataplane.Peers
	control func(dataplane.Underlay, netip.AddrPort, []byte) bool
	stray   func(netip.AddrPort, uint32)
	inbound esp.Table[*inChild]
	early   *Early
	// scratch is indexed by worker; each makes its own when it first needs it.
	scratch [dataplane.MaxWorkers]*scratch

	// outbound finds tunnels by outbound SPI.
	outbound outer.Senders[*Tunnel]

	mu      sync.Mutex
	tunnels map[*Tunnel]struct{}
}

// Options for a gateway.
type Options struct {
	// Logger for what operators should know; nil discards.
	Logger *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Peers is told where peers are; nil for none.
	Peers *dataplane.Peers
	// Control is given the messages of key exchange that arrive among ESP in UDP, without the non-ESP marker in front (RFC 3948
	// section 2.2). Workers call it: it must not wait, must copy what it keeps, and reports false where it has no room, which is
	// counted as underlay_full. Nil counts them as not_control.
	Control func(u dataplane.Underlay, from netip.AddrPort, message []byte) bool
	// Stray is told of ESP by an SPI that no child SA has and for which Early keeps nothing. Workers call it for each such datagram, of
	// which anybody can send as many as he likes: it must not wait, nor take long. Nil for nobody.
	Stray func(from netip.AddrPort, spi uint32)
}

// NewGateway returns a gateway without tunnels.
func NewGateway(o Options) *Gateway {
	g := &Gateway{log: o.Logger, now: o.Now, peers: o.Peers, control: o.Control, stray: o.Stray, tunnels: map[*Tunnel]struct{}{}}
	g.early = newEarly()
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	if g.now == nil {
		g.now = time.Now
	}
	if g.peers == nil {
		g.peers = new(dataplane.Peers)
	}
	return g
}

// ErrSPITaken says that another SA has this inbound SPI.
var ErrSPITaken = errors.New("inbound SPI is taken")

// worker returns the worker's scratch.
func (g *Gateway) worker(i int) *scratch {
	if s := g.scratch[i]; s != nil {
		return s
	}
	s := newScratch()
	g.scratch[i] = s
	return s
}

// PathError lowers the path MTU of the tunnel whose frame an ICMP error quotes, within the floors. An error that quotes none of our
// SPIs does not prove that it is about a frame of ours, and is ignored (RFC 4301 section 8.2.1). What the system itself says about
// its device holds for all tunnels whose frames go the same way.
func (g *Gateway) PathError(u dataplane.Underlay, e *dataplane.PathError) {
	var tunnels []*Tunnel
	switch {
	case e.MTU == 0:
	case e.Local:
		tunnels = g.outbound.Towards(u, e.Remote.Addr())
	case len(e.Quote) >= 4:
		tunnels = g.outbound.Quoted(binary.BigEndian.Uint32(e.Quote), u, e)
	}
	for _, t := range tunnels {
		t.lowerMTU(e.MTU)
	}
}

// Tick does what is due by the clock for all tunnels: keepalives, and path MTUs that have decayed. Call it about once a
// second.
func (g *Gateway) Tick(send func(dataplane.Frame)) {
	now := g.now()
	g.mu.Lock()
	tunnels := make([]*Tunnel, 0, len(g.tunnels))
	for t := range g.tunnels {
		tunnels = append(tunnels, t)
	}
	g.mu.Unlock()
	for _, t := range tunnels {
		t.tick(now, send)
	}
}

// AllocateSPI reserves an inbound SPI of the given residue modulo shards, which decides the worker that opens its packets.
// AddChild uses it up, ReleaseSPI gives it back.
func (g *Gateway) AllocateSPI(shards, shard int) (uint32, error) {
	spi, err := g.inbound.Allocate(shards, shard)
	if err == nil {
		g.early.expect(spi)
	}
	return spi, err
}

// ReleaseSPI gives back an SPI that no child SA got.
func (g *Gateway) ReleaseSPI(spi uint32) {
	g.inbound.Delete(spi)
	g.early.arrived(spi)
}

func (g *Gateway) insert(c *inChild) error {
	if !g.inbound.Publish(c.sa.SPI(), c) && !g.inbound.Insert(c.sa.SPI(), c) {
		return fmt.Errorf("%w: %#08x", ErrSPITaken, c.sa.SPI())
	}
	g.early.arrived(c.sa.SPI())
	return nil
}
