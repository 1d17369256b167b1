//go:build amd64 || arm64

package prefetch

import "unsafe"

// Ask asks for all that is on the list.
func (l *List) Ask() { ask(l) }

// Ask asks for the piece, one line at least.
func (p Piece) Ask() { span(p.at, p.size) }

//go:noescape
func ask(l *List)

//go:noescape
func span(p unsafe.Pointer, n uintptr)
