package bgp

import (
	"net/netip"
	"sync"
	"time"
)

// Status is a snapshot of a neighbour.
type Status struct {
	Name        string
	Address     netip.Addr
	AS, LocalAS uint32
	State       State
	// Since is when the state was entered.
	Since time.Time
	// Negotiated, Local and Remote are those of the session, nil and invalid without one.
	Negotiated    *Negotiated
	Local, Remote netip.Addr
	// In are the prefixes that the table has from the neighbour, Out those announced to it or about to be.
	In, Out Counts
	// LastError is why a session or an attempt ended, and when.
	LastError   string
	LastErrorAt time.Time
	Counters    Counters
}

// Counters of a neighbour since it was configured.
type Counters struct {
	// Sessions is how often it was Established.
	Sessions                int
	MessagesIn, MessagesOut uint64
	UpdatesIn, UpdatesOut   uint64
	OctetsIn, OctetsOut     uint64
	// TreatedAsWithdraw are malformed UPDATEs (RFC 7606), Looped those whose routes lead back to us.
	TreatedAsWithdraw, Looped uint64
	// Refused are announcements that could not be sent: no next hop for them, or attributes larger than a message.
	Refused int
}

// shown is what the peer's goroutine last wrote for Status.
type shown struct {
	mu     sync.Mutex
	status Status
	out    *adjOut
}

func (s *shown) change(c StateChange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.State, s.status.Since = c.To, time.Now()
	if c.Why != nil {
		s.status.LastError, s.status.LastErrorAt = c.Why.Error(), time.Now()
	}
}

func (s *shown) up(session *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Negotiated, s.status.Local, s.status.Remote = session.Negotiated, session.Local, session.Remote
	s.status.Counters.Sessions++
	s.out = session.out
}

func (s *shown) down() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out != nil {
		_, refused := s.out.counts()
		s.status.Counters.Refused += refused
	}
	s.status.Negotiated, s.status.Local, s.status.Remote, s.out = nil, netip.Addr{}, netip.Addr{}, nil
}

func (s *shown) in(c Counts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.In = c
}

// snapshot is the neighbour's Status now.
func (p *peer) snapshot() Status {
	p.shown.mu.Lock()
	defer p.shown.mu.Unlock()
	st := p.shown.status
	if o := p.shown.out; o != nil {
		var refused int
		st.Out, refused = o.counts()
		st.Counters.Refused += refused
	}
	n, c := &st.Counters, &p.counters
	n.MessagesIn, n.MessagesOut = c.messagesIn.Load(), c.messagesOut.Load()
	n.UpdatesIn, n.UpdatesOut = c.updatesIn.Load(), c.updatesOut.Load()
	n.OctetsIn, n.OctetsOut = c.octetsIn.Load(), c.octetsOut.Load()
	n.TreatedAsWithdraw, n.Looped = c.withdrawnAs.Load(), c.looped.Load()
	return st
}
