//go:build (!amd64 && !arm64) || race

package tally

// Add adds to it. Only one goroutine may add at a time.
func (c *Count) Add(n uint64) { c.n.Add(n) }

// Add adds to both. Only one goroutine may add at a time.
func (p *Pair) Add(a, b uint64) {
	p.a.Add(a)
	p.b.Add(b)
}
