// Package wait lets workers sleep on descriptors, and be woken to end.
//
// A busy worker sleeps in poll(2) itself: the kernel wakes it at once, and it keeps the processor (Go's P) that it has. That has a
// price when there is little to do: Go's monitor looks after such a processor every 20 µs, for up to 10 ms, until it takes it back.
// At a hundred packets a second the monitor never rests, and costs more than all that is done with the packets. So a worker that
// was woken only after a while sleeps in Go's own poller from then on, until it is woken often again.
//
// Where much comes, a few packets at a time, a worker should not be woken for each: it pauses, and then looks.
//
// Reading order: Waker, Sleeper, Pause. Any number of Sleepers may share a Waker; each is one goroutine's.
package wait
