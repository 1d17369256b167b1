package bgp

import (
	"net/netip"
	"sync"

	"github.com/warrenvpn/warren/routing/bgp/message"
	"github.com/warrenvpn/warren/routing/route"
)

// Route is what a neighbour announces of a prefix, or with nil attributes that it withdraws it.
type Route struct {
	Prefix netip.Prefix
	Attrs  *route.Attrs
}

// Change is what a neighbour is to be told of a prefix: that it has these attributes, or with nil that it is gone. They are
// those of the route after the export policy; next hop, AS path and local preference become the session's own here, MED
// is sent as it is. From is the neighbour that the route was learned from, nil if none.
type Change struct {
	Prefix netip.Prefix
	Attrs  *route.Attrs
	From   *route.Peer
}

// Counts are numbers of prefixes.
type Counts struct{ IPv4, IPv6 int }

// Of is the number of a family.
func (c Counts) Of(f message.Family) int {
	if f == message.IPv4Unicast {
		return c.IPv4
	}
	return c.IPv6
}

// Session is an established session as the Table sees it. It works from Established until Down, and does nothing after that.
type Session struct {
	Neighbor   *Neighbor
	Peer       *route.Peer
	Negotiated *Negotiated
	// Local and Remote are the addresses of the connection.
	Local, Remote netip.Addr

	out *adjOut
}

// Advertise says what changed for the neighbour. It takes what it needs from changes and never waits: while the neighbour
// is slow, only the last change of a prefix is kept.
func (s *Session) Advertise(changes []Change) {
	s.out.advertise(changes)
}

// EndOfRIB says that all there was when the session came up has been advertised. UPDATEs are sent only from then on, so that they
// are as few as can be, and the End-of-RIB markers after them.
func (s *Session) EndOfRIB() {
	s.out.uncork()
}

// adjOut is the Adj-RIB-Out of a session: two families, and what has to be sent besides them. Table goroutines write it, the
// connection's writer takes from it.
type adjOut struct {
	wake func()

	mu      sync.Mutex
	export  *exporter
	options message.Options
	v4      *ribOut[key4]
	v6      *ribOut[key6]
	seen    [2]exported
	corked  bool
	markers message.Families // End-of-RIB to be sent
	leaving bool
	refused int
	drained []chan struct{} // closed when the writer has nothing left
}

// exported remembers the group of the attributes that came last: neighbours in a list of changes usually share them.
type exported struct {
	in, out *route.Attrs
	group   uint32
}

// newAdjOut is an Adj-RIB-Out; where nothing is exported it has only End-of-RIB markers to send.
func newAdjOut(x *exporter, deal *Negotiated, exports bool) *adjOut {
	o := &adjOut{export: x, options: deal.Options, corked: true, wake: func() {}}
	if deal.EndOfRIB {
		o.markers = deal.Families
	}
	if !exports {
		o.corked = false
		return o
	}
	if deal.Families.Has(message.IPv4Unicast) {
		o.v4 = newRIBOut(message.IPv4Unicast, newKey4, key4.prefix)
	}
	if deal.Families.Has(message.IPv6Unicast) {
		o.v6 = newRIBOut(message.IPv6Unicast, newKey6, key6.prefix)
	}
	return o
}

func (o *adjOut) advertise(changes []Change) {
	o.mu.Lock()
	if !o.leaving {
		for i := range changes {
			c := &changes[i]
			switch is4 := c.Prefix.Addr().Is4(); {
			case is4 && o.v4 != nil:
				setChange(o, o.v4, &o.seen[0], c)
			case !is4 && o.v6 != nil:
				setChange(o, o.v6, &o.seen[1], c)
			}
		}
	}
	corked := o.corked
	o.mu.Unlock()
	if !corked {
		o.wake()
	}
}

func setChange[K comparable](o *adjOut, r *ribOut[K], seen *exported, c *Change) {
	k := r.toKey(c.Prefix.Masked())
	if c.Attrs == nil || !o.export.allowed(c) {
		r.set(k, 0)
		return
	}
	if seen.in != c.Attrs || r.groups[seen.group].attrs != seen.out {
		id := r.intern(o.export.attrs(r.family, c.Attrs))
		*seen = exported{c.Attrs, r.groups[id].attrs, id}
	}
	r.set(k, seen.group)
}

func (o *adjOut) uncork() {
	o.mu.Lock()
	o.corked = false
	o.mu.Unlock()
	o.wake()
}

// refresh sends a family again (RFC 2918).
func (o *adjOut) refresh(f message.Family) {
	o.mu.Lock()
	switch {
	case f == message.IPv4Unicast && o.v4 != nil:
		o.v4.resend()
	case f == message.IPv6Unicast && o.v6 != nil:
		o.v6.resend()
	}
	o.mu.Unlock()
	o.wake()
}

// leave withdraws everything and takes nothing more. The channel is closed when all is written.
func (o *adjOut) leave() <-chan struct{} {
	done := make(chan struct{})
	o.mu.Lock()
	o.leaving, o.corked, o.markers = true, false, 0
	if o.v4 != nil {
		o.v4.withdrawAll()
	}
	if o.v6 != nil {
		o.v6.withdrawAll()
	}
	o.drained = append(o.drained, done)
	o.mu.Unlock()
	o.wake()
	return done
}

// take appends messages until dst has at least limit octets or there is nothing more to say; who calls has written all that
// it took before.
func (o *adjOut) take(dst []byte, limit int) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.corked {
		return dst
	}
	before := len(dst)
	var refused4, refused6 int
	if o.v4 != nil {
		dst, refused4 = o.v4.append(dst, limit, &o.options)
	}
	if o.v6 != nil {
		dst, refused6 = o.v6.append(dst, limit, &o.options)
	}
	o.refused += refused4 + refused6
	if len(dst) < limit {
		for _, f := range o.markers.List() {
			dst = message.AppendEndOfRIB(dst, f)
		}
		o.markers = 0
	}
	if len(dst) == before {
		for _, done := range o.drained {
			close(done)
		}
		o.drained = nil
	}
	return dst
}

// counts says how many prefixes are announced, or about to be, and how many could not be.
func (o *adjOut) counts() (c Counts, refused int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.v4 != nil {
		c.IPv4 = o.v4.count
	}
	if o.v6 != nil {
		c.IPv6 = o.v6.count
	}
	return c, o.refused
}
