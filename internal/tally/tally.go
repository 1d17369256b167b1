package tally

import "sync/atomic"

// Count is a counter.
type Count struct{ n atomic.Uint64 }

// Load returns how much was added.
func (c *Count) Load() uint64 { return c.n.Load() }

// Shared is a counter to which many workers may add. Whoever adds first does so without a lock from then on.
type Shared struct {
	own    Count
	others atomic.Uint64
	// owner is the number of who was first, plus one.
	owner atomic.Int32
}

// Add adds for a worker, of which there is only one at a time with this number.
func (s *Shared) Add(worker int, n uint64) {
	me := int32(worker) + 1
	if owner := s.owner.Load(); owner == me || owner == 0 && s.owner.CompareAndSwap(0, me) {
		s.own.Add(n)
		return
	}
	s.others.Add(n)
}

// Load returns how much was added.
func (s *Shared) Load() uint64 { return s.own.Load() + s.others.Load() }

// Pair is two counters that grow together, such as packets and their bytes.
type Pair struct{ a, b atomic.Uint64 }

// Load returns both. They need not be of one moment.
func (p *Pair) Load() (a, b uint64) { return p.a.Load(), p.b.Load() }
