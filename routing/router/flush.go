package router

import (
	"github.com/warrenvpn/warren/routing/fib"
	"github.com/warrenvpn/warren/routing/rib"
	"github.com/warrenvpn/warren/routing/route"
)

// flush tells everybody what won. The caller holds mu.
func (r *Router) flush() {
	for c := range r.rib.Flush() {
		r.forward(&c)
		for _, s := range r.sessions {
			s.note(r, &c)
		}
		if r.kernel != nil {
			r.kernel.install(r, &c)
		}
	}
	for _, s := range r.sessions {
		s.advertise()
	}
}

// forward brings a prefix's winners into the fib.
func (r *Router) forward(c *rib.Change) {
	if c.Best == nil {
		r.fib.Delete(c.Prefix)
		delete(r.problems, c.Prefix)
		return
	}
	r.hops = r.hops[:0]
	for i := range c.Winners {
		r.addHop(&c.Winners[i])
	}
	if err := r.fib.Insert(c.Prefix, r.hops); err != nil {
		r.problems[c.Prefix] = err
		r.log.Error("route cannot be entered", "prefix", c.Prefix, "error", err)
	} else if len(r.problems) > 0 {
		delete(r.problems, c.Prefix)
	}
}

// addHop adds where a path leads, once however many paths lead there.
func (r *Router) addHop(p *route.Path) {
	weight := uint32(max(1, p.Weight))
	for i := range r.hops {
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
