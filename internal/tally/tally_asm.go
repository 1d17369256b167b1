//go:build (amd64 || arm64) && !race

package tally

// Add adds to both. Only one goroutine may add at a time.
func (p *Pair) Add(a, b uint64) { add(p, a, b) }

//go:noescape
func add(p *Pair, a, b uint64)
