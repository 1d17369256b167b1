// Package tally counts what one goroutine does, for others to look at.
//
// An atomic addition locks the cache line and waits until all that was stored before is in the cache, which is a packet that was
// just sealed: two of them took 13 ns of the 490 that a packet of 1400 bytes takes to one of 64 tunnels. A counter with one writer
// needs none of this. The language has no word for a plain store that others may read, so the addition is two instructions of
// assembly on amd64 and arm64; elsewhere, and under the race detector, it is an atomic one.
//
// Where one goroutine mostly adds, and others must be able to, a Shared counter gives the first of them a counter of its own.
//
// Reading order: tally.go, tally_asm.go.
//
// # Concurrency
//
// One goroutine at a time adds to a Count or a Pair, or to a Shared with the same number, and it hands over to the next one by what
// orders memory, as a mutex does. Any number may look at any time: they see each number somewhat late, never torn.
package tally
