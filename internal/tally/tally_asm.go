//go:build (amd64 || arm64) && !race

package tally

// Add adds to it. Only one goroutine may add at a time.
func (c *Count) Add(n uint64) { count(c, n) }

//go:noescape
func count(c *Count, n uint64)

// Add adds to both. Only one goroutine may add at a time.
func (p *Pair) Add(a, b uint64) { add(p, a, b) }

//go:noescape
func add(p *Pair, a, b uint64)
