package prefetch

import (
	"reflect"
	"unsafe"
)

// lineSize is what caches move at once, in bytes, on nearly all processors.
const lineSize = 64

// Piece is a piece of memory.
type Piece struct {
	at   unsafe.Pointer
	size uintptr
}

// Of is the whole of what p points to; nothing where p is nil.
func Of[T any](p *T) Piece { return Piece{unsafe.Pointer(p), unsafe.Sizeof(*p)} }

// Bytes are n bytes from p on.
func Bytes(p unsafe.Pointer, n uintptr) Piece { return Piece{p, n} }

// Behind is what an interface's value points to, as far as its type tells; nothing where it is no pointer.
func Behind(x any) Piece {
	v := reflect.ValueOf(x)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return Piece{}
	}
	return Piece{v.UnsafePointer(), v.Type().Elem().Size()}
}

// First are the first n bytes of it, or as many as there are.
func (p Piece) First(n uintptr) Piece { return Piece{p.at, min(n, p.size)} }

// Last are the last n bytes of it, or as many as there are.
func (p Piece) Last(n uintptr) Piece {
	n = min(n, p.size)
	return Piece{unsafe.Add(p.at, p.size-n), n}
}

// lines is how many cache lines hold it, as far as a list can tell.
func (p Piece) lines() uint8 {
	if p.at == nil || p.size == 0 {
		return 0
	}
	return uint8(min(255, (uintptr(p.at)%lineSize+p.size+lineSize-1)/lineSize))
}

// MaxPieces is how many pieces a list holds.
const MaxPieces = 7

// List says what to ask for together, in the size of a cache line. The zero List is empty.
type List struct {
	at [MaxPieces]unsafe.Pointer
	// lines are how many of each piece; 0 ends the list.
	lines [MaxPieces + 1]uint8
}

// Set makes the list anew. Pieces that are nothing are left out, as are those for which there is no room.
//
// While it is called others may Ask: a piece's place and its length may then be of different pieces, which does no harm. But only
// one may set at a time.
func (l *List) Set(pieces ...Piece) {
	n := 0
	for _, p := range pieces {
		if lines := p.lines(); lines > 0 && n < MaxPieces {
			l.at[n], l.lines[n] = p.at, lines
			n++
		}
	}
	clear(l.at[n:])
	clear(l.lines[n:])
}

// Has says whether the list has a piece that begins at p.
func (l *List) Has(p unsafe.Pointer) bool {
	for i, at := range l.at {
		if at == p && l.lines[i] > 0 {
			return true
		}
	}
	return false
}
