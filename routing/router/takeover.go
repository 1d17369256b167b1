package router

import (
	"net/netip"

	"github.com/warrenvpn/warren/routing/rib"
	"github.com/warrenvpn/warren/routing/route"
)

// Announced is a route of a neighbour that its import policy let in.
type Announced struct {
	// Neighbor is its name.
	Neighbor string
	Prefix   netip.Prefix
	Path     route.Path
}

// Announced calls yield for what neighbours have announced, in pieces that are borrowed until it returns, for a process that takes
// over. Between the pieces routes may come and go: a session, when there is one again, says what was missed. It ends with yield's
// first error.
func (r *Router) Announced(yield func([]Announced) error) error {
	var piece []Announced
	var at rib.Cursor
	for more := true; more; {
		piece = piece[:0]
		r.mu.Lock()
		names := map[*route.Peer]string{}
		for name, n := range r.neighbors {
			if n.peer != nil {
				names[n.peer] = name
			}
		}
		at, more = r.rib.Paths(at, atOnce, func(p netip.Prefix, path route.Path) {
			if name, ok := names[path.Peer]; ok {
				piece = append(piece, Announced{name, p, path})
			}
		})
		r.mu.Unlock()
		if len(piece) == 0 {
			continue
		}
		if err := yield(piece); err != nil {
			return err
		}
	}
	return nil
}

// Keep enters, as stale, what a neighbour had announced to the process that was here before. Each path has the same peer. It says
// whether there is such a neighbour.
func (r *Router) Keep(routes []Announced) bool {
	if len(routes) == 0 {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.neighbors[routes[0].Neighbor]
	if n == nil {
		return false
	}
	n.peer = routes[0].Path.Peer
	for i := range routes {
		path := routes[i].Path
		path.Via, path.Stale = n.Via, true
		r.rib.Set(routes[i].Prefix, path)
	}
	r.flush()
	return true
}

// Freeze has the fib, the kernel and all neighbours go on with what they were told, whatever happens: another process takes over.
func (r *Router) Freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frozen = true
}
