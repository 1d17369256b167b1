// Package netns runs a function in a network namespace, so that what it opens is born there.
//
// Reading order: Do is all there is. Any number of goroutines may call it.
package netns
