package router

import (
	"github.com/warrenvpn/warren/routing/fib"
	"github.com/warrenvpn/warren/routing/rib"
	"github.com/warrenvpn/warren/routing/route"
)

// atOnce is how many changes are made in the fib, and handed to a session, together.
const atOnce = 1024

// flush tells everybody what won: first the fib, which must forward what others are told. The caller holds mu. It may be long:
// others are let in now and then, and may go on with what is left; when it returns all was told that the caller has changed.
func (r *Router) flush() {
	if r.frozen {
		return
	}
	for c := range r.rib.Flush() {
		r.forward(&c)
		for _, s := range r.sessions {
			s.note(r, &c)
		}
		if r.kernel != nil {
			r.kernel.install(r, &c)
		}
		if len(r.changes) == atOnce {
			r.commit()
			r.mu.Unlock()
			r.mu.Lock()
			if r.frozen {
				return
			}
		}
	}
	r.commit()
}

// commit makes the changes that forward noted, and tells the sessions what they are to hear.
func (r *Router) commit() {
	if err := r.fib.Apply(r.changes); err != nil {
		// None was made: one by one it shows which are wrong.
		for i := range r.changes {
			r.commitOne(&r.changes[i])
		}
	} else if len(r.problems) > 0 {
		for i := range r.changes {
			delete(r.problems, r.changes[i].Prefix)
		}
	}
	r.changes, r.hops = r.changes[:0], r.hops[:0]
	for _, s := range r.sessions {
		s.advertise()
	}
}

func (r *Router) commitOne(c *fib.Change) {
	err := r.fib.Apply([]fib.Change{*c})
	if err == nil {
		delete(r.problems, c.Prefix)
		return
	}
	r.problems[c.Prefix] = err
	r.log.Error("route cannot be entered", "prefix", c.Prefix, "error", err)
}

// forward notes what the fib is to have of a prefix.
func (r *Router) forward(c *rib.Change) {
	first := len(r.hops)
	for i := range c.Winners {
		r.addHop(first, &c.Winners[i])
	}
	r.changes = append(r.changes, fib.Change{Prefix: c.Prefix, Hops: r.hops[first:len(r.hops):len(r.hops)]})
}

// addHop adds where a path leads to the hops from first on, once however many paths lead there.
func (r *Router) addHop(first int, p *route.Path) {
	weight := uint32(max(1, p.Weight))
	for i := first; i < len(r.hops); i++ {
		if r.hops[i].ID == p.Via.Hop {
			r.hops[i].Weight = max(r.hops[i].Weight, weight)
			return
		}
	}
	r.hops = append(r.hops, fib.Hop{ID: p.Via.Hop, Weight: weight})
}

// exportable is what may be told of a prefix: its best path, nil for none and for mere protection.
func (r *Router) exportable(c *rib.Change) *route.Path {
	if c.Best == nil || c.Best.Via == r.nowhere {
		return nil
	}
	return c.Best
}
