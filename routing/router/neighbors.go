package router

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/warrenvpn/warren/routing/bgp"
	"github.com/warrenvpn/warren/routing/bgp/message"
	"github.com/warrenvpn/warren/routing/rib"
	"github.com/warrenvpn/warren/routing/route"
)

// Neighbor is what a Router wants to know of a BGP neighbour.
type Neighbor struct {
	// Name is that of bgp.Neighbor.
	Name string
	// Via is where its routes lead: its tunnel, or the port that it is behind.
	Via *route.Via
	// Import decides what of its routes enters the rib, Export which winners it is told. Nil lets nothing through (RFC 8212).
	Import, Export Policy
}

// neighbor is a Neighbor and what of its routes was refused: needed to count all that it announces.
type neighbor struct {
	Neighbor
	peer    *route.Peer
	refused refused
}

// refused are prefixes, and how many they are of each family.
type refused struct {
	prefixes map[netip.Prefix]struct{}
	counts   bgp.Counts
}

// set says whether a prefix is among them.
func (r *refused) set(p netip.Prefix, in bool) {
	before := len(r.prefixes)
	if in {
		if r.prefixes == nil {
			r.prefixes = map[netip.Prefix]struct{}{}
		}
		r.prefixes[p] = struct{}{}
	} else if before > 0 {
		delete(r.prefixes, p)
	}
	count := &r.counts.IPv6
	if p.Addr().Is4() {
		count = &r.counts.IPv4
	}
	*count += len(r.prefixes) - before
}

// SetNeighbor enters a neighbour or changes its policies. A new import policy counts for what comes from now on: the caller asks
// for a route refresh. A new export policy is told at once.
func (r *Router) SetNeighbor(n Neighbor) error {
	if n.Name == "" || n.Via == nil {
		return fmt.Errorf("neighbor %q: wants a name and a way", n.Name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.neighbors[n.Name]
	if known == nil {
		known = new(neighbor)
		r.neighbors[n.Name] = known
	}
	known.Neighbor = n
	// Sessions come and go while scan lets others in.
	of := func(s *session) bool { return s.neighbor == known }
	if i := slices.IndexFunc(r.sessions, of); i >= 0 {
		r.scan(r.sessions[i])
	}
	return nil
}

// RemoveNeighbor forgets a neighbour. What a session that still ends says counts no more.
func (r *Router) RemoveNeighbor(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.neighbors[name]
	if n == nil {
		return
	}
	delete(r.neighbors, name)
	r.sessions = slices.DeleteFunc(r.sessions, func(s *session) bool { return s.neighbor == n })
	if n.peer != nil {
		r.rib.RemovePeer(n.peer)
		r.flush()
	}
}

// session is an established one, and what it is to be told next.
type session struct {
	*bgp.Session
	out      outlet
	neighbor *neighbor
	pending  []bgp.Change
}

// outlet takes what a neighbour is told: its session.
type outlet interface {
	Advertise([]bgp.Change)
	EndOfRIB()
}

// note puts a change among what the session will be told.
func (s *session) note(r *Router, c *rib.Change) {
	out := bgp.Change{Prefix: c.Prefix}
	if best := r.exportable(c); best != nil && !best.Peer.Local && s.neighbor.Export != nil && best.Peer != s.Peer {
		path := *best
		switch {
		case path.Attrs == nil:
			path.Attrs = originated(path.Peer.Source)
		case path.Attrs.HasMED && !s.Peer.IBGP:
			path.Attrs = r.withoutMED(path.Attrs)
		}
		if path, ok := s.neighbor.Export.Apply(c.Prefix, path); ok {
			out.Attrs = path.Attrs
			if path.Peer.Source == route.BGP {
				out.From = path.Peer
			}
		}
	}
	s.pending = append(s.pending, out)
}

// withoutMED returns the attributes without the MED, which a neighbouring AS gave us and no other (RFC 4271 section 5.1.4).
// The export policy may set another. Prefixes that share attributes go on sharing them.
func (r *Router) withoutMED(a *route.Attrs) *route.Attrs {
	if r.med.from != a {
		bare := *a
		bare.MED, bare.HasMED = 0, false
		r.med.from, r.med.to = a, &bare
	}
	return r.med.to
}

func (s *session) advertise() {
	if len(s.pending) > 0 {
		s.out.Advertise(s.pending)
		s.pending = s.pending[:0]
	}
}

// What routes carry that do not come from BGP: they begin here (RFC 4271 section 5.1.1). Shared, so that they are announced
// together.
var (
	ours    = &route.Attrs{Origin: route.OriginIGP}
	learned = &route.Attrs{Origin: route.OriginIncomplete}
)

func originated(s route.Source) *route.Attrs {
	if s == route.Kernel {
		return learned
	}
	return ours
}

// Established implements bgp.Table: the neighbour is told all that there is.
func (r *Router) Established(bs *bgp.Session) { r.begin(bs, bs) }

func (r *Router) begin(bs *bgp.Session, out outlet) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.neighbors[bs.Neighbor.Name]
	if n == nil {
		return
	}
	if n.peer != bs.Peer {
		if n.peer != nil {
			r.rib.RemovePeer(n.peer)
		}
		n.peer = bs.Peer
		n.refused = refused{}
	}
	s := &session{Session: bs, out: out, neighbor: n}
	r.sessions = append(r.sessions, s)
	r.flush()
	r.scan(s)
	out.EndOfRIB()
}

// scan tells a session everything. The rib may be large: others are let in now and then, and what they change the session hears
// like everybody else.
func (r *Router) scan(s *session) {
	var at rib.Cursor
	for more := true; more; {
		at, more = r.rib.Scan(at, atOnce, func(c rib.Change) { s.note(r, &c) })
		s.advertise()
		r.mu.Unlock()
		r.mu.Lock()
	}
}

// session returns the one of this bgp.Session, nil if it is over.
func (r *Router) session(bs *bgp.Session) *session {
	for _, s := range r.sessions {
		if s.Session == bs {
			return s
		}
	}
	return nil
}

// Update implements bgp.Table.
func (r *Router) Update(bs *bgp.Session, routes []bgp.Route) bgp.Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.session(bs)
	if s == nil {
		return bgp.Counts{}
	}
	for i := range routes {
		s.neighbor.learn(r, bs, &routes[i])
	}
	r.flush()
	return s.neighbor.counts(r)
}

// learn enters what a neighbour announced, as its import policy wants it.
func (n *neighbor) learn(r *Router, bs *bgp.Session, in *bgp.Route) {
	path := route.Path{Peer: n.peer, Via: n.Via, Attrs: in.Attrs, Preference: route.BGP.Preference()}
	// A next hop of our own is a loop (RFC 4271 section 5.1.3).
	accepted := in.Attrs != nil && n.Import != nil && in.Attrs.NextHop != bs.Local
	if accepted {
		path, accepted = n.Import.Apply(in.Prefix, path)
	}
	if accepted {
		r.rib.Set(in.Prefix, path)
	} else {
		r.rib.Remove(in.Prefix, n.peer)
	}
	n.refused.set(in.Prefix, in.Attrs != nil && !accepted)
}

// counts are the prefixes that the neighbour announces, whether the import policy let them in or not.
func (n *neighbor) counts(r *Router) bgp.Counts {
	in, refused := r.rib.Counts(n.peer), n.refused.counts
	return bgp.Counts{IPv4: in.IPv4 + refused.IPv4, IPv6: in.IPv6 + refused.IPv6}
}

// EndOfRIB implements bgp.Table. The Speaker calls Sweep itself where something was stale.
func (r *Router) EndOfRIB(bs *bgp.Session, f message.Family) {
	r.log.Debug("neighbor has announced all", "neighbor", bs.Neighbor.Name, "family", f)
}

// Sweep implements bgp.Table.
func (r *Router) Sweep(peer *route.Peer, f message.Family) bgp.Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rib.SweepStale(peer, families(f))
	r.flush()
	if n := r.neighbors[peer.Name]; n != nil && n.peer == peer {
		return n.counts(r)
	}
	return bgp.Counts{}
}

// Down implements bgp.Table.
func (r *Router) Down(bs *bgp.Session, stale message.Families, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions = slices.DeleteFunc(r.sessions, func(s *session) bool { return s.Session == bs })
	r.rib.SweepStale(bs.Peer, rib.Both) // of a restart before
	r.rib.MarkStale(bs.Peer, rib.Both)
	for _, f := range []message.Family{message.IPv4Unicast, message.IPv6Unicast} {
		if !stale.Has(f) {
			r.rib.SweepStale(bs.Peer, families(f))
		}
	}
	if n := r.neighbors[bs.Neighbor.Name]; n != nil {
		n.refused = refused{}
	}
	r.flush()
}

func families(f message.Family) rib.Families {
	if f == message.IPv4Unicast {
		return rib.IPv4
	}
	return rib.IPv6
}
