package bgp

import (
	"sync"

	"github.com/warrenvpn/warren/routing/bgp/message"
	"github.com/warrenvpn/warren/routing/route"
)

// Table is whoever keeps the routes. Of one neighbour its methods are called one after the other, of different ones at the same
// time. They may take their time: meanwhile less is read from the neighbour.
type Table interface {
	// Established begins a session. All that the neighbour is to have is advertised, now or later, and then EndOfRIB is called.
	Established(s *Session)
	// Update is given routes that were learned, in order; a prefix may come more than once. The slice is borrowed until it returns.
	// It returns how many prefixes the neighbour has in the table, before any import policy, for the limits.
	Update(s *Session, routes []Route) Counts
	// EndOfRIB says that the neighbour has announced all it has of a family.
	EndOfRIB(s *Session, f message.Family)
	// Sweep removes what is still stale of the peer and family. It returns what Update does.
	Sweep(peer *route.Peer, f message.Family) Counts
	// Down ends a session: what the peer announced of the families in stale becomes stale, all else is removed.
	Down(s *Session, stale message.Families, why error)
}

// delivery is a call of the Table.
type delivery struct {
	kind    deliveryKind
	session *Session
	peer    *route.Peer
	routes  []Route
	family  message.Family
	stale   message.Families
	why     error
}

type deliveryKind uint8

const (
	deliverUp deliveryKind = iota
	deliverRoutes
	deliverEndOfRIB
	deliverSweep
	deliverDown
)

// pools are what the peers of a Speaker use again and again.
type pools struct {
	buffers sync.Pool // *[readSize]byte, from the readers of links to peers and back
	batches sync.Pool // *[]Route, from peers to their deliverers and back
}

func newPools() *pools {
	return &pools{
		buffers: sync.Pool{New: func() any { return new([readSize]byte) }},
		batches: sync.Pool{New: func() any { return new([]Route) }},
	}
}

// tell puts a call into the outbox.
func (p *peer) tell(d delivery) {
	d.session, d.peer = p.session, p.peer
	p.outbox = append(p.outbox, d)
}

// flush puts the batch into the outbox.
func (p *peer) flush() {
	if len(p.batch) > 0 && p.session != nil {
		p.tell(delivery{kind: deliverRoutes, routes: p.batch})
		p.batch = nil
	}
}

// deliverer calls the Table.
func (p *peer) deliverer() {
	defer close(p.quiet)
	t := p.config.Table
	for d := range p.deliver {
		switch d.kind {
		case deliverUp:
			t.Established(d.session)
		case deliverRoutes:
			held := t.Update(d.session, d.routes)
			clear(d.routes)
			p.pools.batches.Put(&d.routes)
			p.tellHeld(held)
		case deliverEndOfRIB:
			t.EndOfRIB(d.session, d.family)
		case deliverSweep:
			p.tellHeld(t.Sweep(d.peer, d.family))
		case deliverDown:
			t.Down(d.session, d.stale, d.why)
			p.tellHeld(Counts{})
		}
	}
}

func (p *peer) tellHeld(c Counts) {
	p.held.Store(&c)
	select {
	case p.poke <- struct{}{}:
	default:
	}
}
