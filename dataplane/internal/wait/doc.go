// Package wait lets workers sleep on descriptors that Go's poller does not know, and be woken to end.
//
// Go's poller hands a ready descriptor to a scheduler that then finds a thread; a worker that sleeps in poll(2) itself is
// woken by the kernel at once, and its reads need no more than a raw system call.
//
// Reading order: Waker is all there is. Any number of goroutines may sleep on it.
package wait
