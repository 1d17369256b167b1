// Package deadline is a queue of things to be done, ordered by when they are due: a heap in which each item knows its place, so that
// it can be moved and removed. A deadline that is the zero time is never.
//
// Reading order: deadline.go.
//
// # Concurrency
//
// A Queue belongs to one goroutine, or to whoever holds its owner's lock.
package deadline
