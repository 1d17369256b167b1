package router

import (
	"net/netip"

	"github.com/warrenvpn/warren/routing/rib"
	"github.com/warrenvpn/warren/routing/route"
)

// Entry is a prefix and its paths, best first, as they fared.
type Entry struct {
	Prefix     netip.Prefix
	Candidates []rib.Candidate
}

// Entries returns the prefixes that keep lets through, sorted. Nil lets all through.
func (r *Router) Entries(keep func(netip.Prefix) bool) []Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Entry
	for p, cs := range r.rib.All(keep) {
		all = append(all, Entry{p, cs})
	}
	return all
}

// Lookup returns the most specific entry with a winner that covers an address.
func (r *Router) Lookup(a netip.Addr) (Entry, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, _, ok := r.rib.Lookup(a)
	if !ok {
		return Entry{}, false
	}
	return Entry{p, r.rib.Get(p)}, true
}

// Len returns to how many prefixes there are paths.
func (r *Router) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rib.Len()
}

// Counts returns how many paths a peer has, and how many of them win.
func (r *Router) Counts(p *route.Peer) rib.Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rib.Counts(p)
}

// Used is how many of a neighbour's routes win.
func (r *Router) Used(neighbor string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.neighbors[neighbor]; n != nil && n.peer != nil {
		return r.rib.Counts(n.peer).Winners
	}
	return 0
}

// WayTo is the name of the tunnel or port that a neighbour's routes lead to.
func (r *Router) WayTo(neighbor string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.neighbors[neighbor]; n != nil {
		return n.Via.Name
	}
	return ""
}
