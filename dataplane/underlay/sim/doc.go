// Package sim is a network in memory that carries sealed packets between engines of one process, with faults: loss,
// duplication, reordering, corruption and delay, all drawn from a seed.
//
// Reading order: network.go (the network and its faults), endpoint.go (an underlay attached to it).
//
// # Concurrency
//
// Everything may be used by any goroutine. A Send runs through to the receivers' queues, or starts a timer for each frame
// that is delayed; there is no goroutine of the network's own, so that it lives in a testing/synctest bubble and leaves
// nothing behind. With one sender and no delay the same seed does the same.
//
// Frames are copied. A queue holds a bounded number of datagrams and drops what comes then, as a socket's buffer does.
package sim
