package ipsec

import (
	"bytes"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/esp"
)

const (
	// earlyAtMost is how many datagrams are kept for one SPI.
	earlyAtMost = 16
	// earlyRoom bounds the bytes of all that are kept.
	earlyRoom = 1 << 20
)

// Early keeps datagrams that come for an SPI which was allocated and whose SA is not installed yet: a peer that answers IKE_AUTH
// may send at once, and what it sends may come before the answer does, or be read sooner. When the SA is there they are received
// again, and those of an SPI that was given back are dropped then. Add it to the data plane as an underlay whose opener is the
// gateway.
//
// Datagrams are kept only for an SPI that is expected, which nobody but the peer can know; for each only so many, and so much for all.
type Early struct {
	// on says that somebody receives again.
	on   atomic.Bool
	size atomic.Int64
	of   esp.Table[*expected]

	mu     sync.Mutex
	ready  []earlyDatagram
	wake   chan struct{} // has room for one
	closed chan struct{}
	once   sync.Once
}

// expected is an SPI without an SA.
type expected struct {
	mu sync.Mutex
	// over says that it is not expected any more: what comes late is received again at once.
	over bool
	kept []earlyDatagram
}

type earlyDatagram struct {
	u     dataplane.Underlay
	train dataplane.Train
}

// Early returns where the gateway keeps datagrams that come before their SA. It does so from the first call on.
func (g *Gateway) Early() *Early {
	g.early.on.Store(true)
	return g.early
}

func newEarly() *Early {
	return &Early{wake: make(chan struct{}, 1), closed: make(chan struct{})}
}

// expect begins to keep datagrams for an SPI, arrived ends it; expects says whether it is so.
func (e *Early) expect(spi uint32) {
	if e.on.Load() {
		e.of.Insert(spi, new(expected))
	}
}

func (e *Early) expects(spi uint32) bool {
	_, ok := e.of.Lookup(spi)
	return ok
}

func (e *Early) arrived(spi uint32) {
	x, ok := e.of.Lookup(spi)
	if !ok {
		return
	}
	e.of.Delete(spi)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.over = true
	e.again(x.kept...)
	x.kept = nil
}

// keep copies a datagram for an SPI that is not known, and says whether that is expected and there is room.
func (e *Early) keep(u dataplane.Underlay, tr *dataplane.Train, spi uint32, d []byte) bool {
	x, ok := e.of.Lookup(spi)
	if !ok {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.kept) == earlyAtMost {
		return false
	}
	if n := int64(len(d)); e.size.Add(n) > earlyRoom {
		e.size.Add(-n)
		return false
	}
	one := earlyDatagram{u, dataplane.Train{Data: bytes.Clone(d), Size: len(d), Remote: tr.Remote, TOS: tr.TOS}}
	if x.over {
		e.again(one)
	} else {
		x.kept = append(x.kept, one)
	}
	return true
}

// again has datagrams received again.
func (e *Early) again(all ...earlyDatagram) {
	if len(all) == 0 {
		return
	}
	e.mu.Lock()
	e.ready = append(e.ready, all...)
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// Recv implements dataplane.Receiver: one datagram at a time, as if it arrived now where it did at first.
func (e *Early) Recv(rx *dataplane.Rx) error {
	rx.Reset()
	for {
		e.mu.Lock()
		if len(e.ready) > 0 {
			one := e.ready[0]
			e.ready = e.ready[1:]
			e.mu.Unlock()
			e.size.Add(-int64(len(one.train.Data)))
			rx.Trains, rx.Via = append(rx.Trains, one.train), one.u
			return nil
		}
		e.ready = nil
		e.mu.Unlock()
		select {
		case <-e.closed:
			return dataplane.ErrClosed
		case <-e.wake:
		}
	}
}

// Name implements dataplane.Underlay, as do the methods that follow. Nothing is sent through it.
func (e *Early) Name() string { return "early" }

// Local is nowhere.
func (e *Early) Local() netip.AddrPort { return netip.AddrPort{} }

// Encap is that of UDP.
func (e *Early) Encap() dataplane.Encap { return dataplane.Encap{UDP: true} }

// Receivers is itself.
func (e *Early) Receivers() []dataplane.Receiver { return []dataplane.Receiver{e} }

// NewSender drops what it is given.
func (e *Early) NewSender() dataplane.Sender { return nowhere{} }

// PathMTU fails: there is no path.
func (e *Early) PathMTU(netip.Addr) (int, error) { return 0, dataplane.ErrClosed }

// Close ends it.
func (e *Early) Close() error {
	e.once.Do(func() { close(e.closed) })
	return nil
}

type nowhere struct{}

func (nowhere) Send(frames []dataplane.Frame) {
	for i := range frames {
		frames[i].Drop = packet.UnderlayUnreachable
	}
}
