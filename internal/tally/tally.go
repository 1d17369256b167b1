package tally

import "sync/atomic"

// Pair is two counters that grow together, such as packets and their bytes.
type Pair struct{ a, b atomic.Uint64 }

// Load returns both. They need not be of one moment.
func (p *Pair) Load() (a, b uint64) { return p.a.Load(), p.b.Load() }
