package router

import (
	"errors"
	"log/slog"
	"net/netip"
	"sync"

	"github.com/warrenvpn/warren/routing/bgp"
	"github.com/warrenvpn/warren/routing/fib"
	"github.com/warrenvpn/warren/routing/rib"
	"github.com/warrenvpn/warren/routing/route"
)

// Policy decides on one route and may change it. It never changes what it is given: it copies.
type Policy interface {
	Apply(netip.Prefix, route.Path) (route.Path, bool)
}

// Config of a Router.
type Config struct {
	// FIB forwards what wins.
	FIB *fib.Table
	// MultipathMax is how many equal paths may win together; 0 counts as 1. MultipathAcrossAS lets paths from different
	// neighbouring ASes be equal.
	MultipathMax      int
	MultipathAcrossAS bool
	// Unreachable is where protected prefixes lead that have no other way.
	Unreachable fib.HopID
	// Logger may be nil.
	Logger *slog.Logger
}

// Router is the routing of one vrf.
type Router struct {
	log *slog.Logger
	fib *fib.Table

	mu        sync.Mutex
	rib       *rib.Table
	neighbors map[string]*neighbor
	sessions  []*session
	frozen    bool
	kernel    *kernelSide
	// protection offers the paths of protected prefixes.
	protection *route.Peer
	nowhere    *route.Via
	// changes wait for commit, and hops are theirs.
	changes  []fib.Change
	hops     []fib.Hop
	problems map[netip.Prefix]error
	// med remembers the last attributes that lost their MED.
	med struct{ from, to *route.Attrs }
}

// New returns a router without routes.
func New(c Config) *Router {
	r := &Router{log: c.Logger, fib: c.FIB, neighbors: map[string]*neighbor{}, problems: map[netip.Prefix]error{}}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.rib = rib.New(rib.Options{MultipathMax: c.MultipathMax, MultipathAcrossAS: c.MultipathAcrossAS})
	r.protection = &route.Peer{Source: route.Static, Name: "protection"}
	r.nowhere = &route.Via{Name: "unreachable", Hop: c.Unreachable}
	return r
}

// Change is one route that a source other than BGP and the kernel offers, or with Withdraw no longer offers.
type Change struct {
	Prefix   netip.Prefix
	Path     route.Path
	Withdraw bool
}

// Offer enters changes together. A path without a preference gets its source's.
func (r *Router) Offer(changes ...Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range changes {
		if c.Withdraw {
			r.rib.Remove(c.Prefix, c.Path.Peer)
			continue
		}
		if c.Path.Preference == 0 {
			c.Path.Preference = c.Path.Peer.Source.Preference()
		}
		r.rib.Set(c.Prefix, c.Path)
	}
	r.flush()
}

// RemovePeer takes out all that a source offered.
func (r *Router) RemovePeer(p *route.Peer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rib.RemovePeer(p)
	r.flush()
}

// SetUp says whether a way leads anywhere: a path is up only while its tunnel is. What is kept for a neighbour that restarts
// goes for good with the tunnel to it.
func (r *Router) SetUp(v *route.Via, up bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.neighbors {
		if !up && n.Via == v && n.peer != nil {
			r.rib.SweepStale(n.peer, rib.Both)
		}
	}
	r.rib.SetUp(v, up)
	r.flush()
}

// Protect sees that a prefix is refused where nothing leads to it, and never routed by what covers it.
func (r *Router) Protect(prefixes ...netip.Prefix) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range prefixes {
		r.rib.Set(p, route.Path{Peer: r.protection, Via: r.nowhere})
	}
	r.flush()
}

// Unprotect undoes Protect.
func (r *Router) Unprotect(prefixes ...netip.Prefix) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range prefixes {
		r.rib.Remove(p, r.protection)
	}
	r.flush()
}

// Err says which routes the fib could not take, nil if there are none.
func (r *Router) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, err := range r.problems {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

var _ bgp.Table = (*Router)(nil)
