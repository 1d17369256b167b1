package prefetch

import "unsafe"

// Of asks for the whole of what p points to.
func Of[T any](p *T) { Span(unsafe.Pointer(p), unsafe.Sizeof(*p)) }
