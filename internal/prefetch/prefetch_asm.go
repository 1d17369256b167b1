//go:build amd64 || arm64

package prefetch

import "unsafe"

// Span asks for the cache lines that hold n bytes from p on, at least one. p need not be valid.
//
//go:noescape
func Span(p unsafe.Pointer, n uintptr)
