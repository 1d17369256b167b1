package prefetch_test

import (
	"testing"
	"unsafe"

	"github.com/warrenvpn/warren/internal/prefetch"
)

// TestAsk: any memory may be asked for, also what is not there, and it is not changed.
func TestAsk(t *testing.T) {
	b := make([]byte, 4096)
	for i := range b {
		b[i] = byte(i)
	}
	var l prefetch.List
	l.Ask()
	for n := range uintptr(300) {
		for off := range 70 {
			p := prefetch.Bytes(unsafe.Pointer(&b[off]), n)
			p.Ask()
			l.Set(p, p, prefetch.Of((*[1000]byte)(nil)), p)
			l.Ask()
		}
	}
	l.Set(prefetch.Of((*[1 << 20]byte)(unsafe.Pointer(&b[0])))) // more than there is, and than a list can tell
	l.Ask()
	prefetch.Of((*[1000]byte)(nil)).Ask()
	for i := range b {
		if b[i] != byte(i) {
			t.Fatalf("byte %d changed", i)
		}
	}
	if n := testing.AllocsPerRun(100, func() { l.Ask(); prefetch.Of((*[4096]byte)(b)).Ask() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestList(t *testing.T) {
	if size := unsafe.Sizeof(prefetch.List{}); size != 64 {
		t.Errorf("a list has %d bytes: more than a cache line, or not what the assembly expects", size)
	}
	var l prefetch.List
	b := make([][64]byte, prefetch.MaxPieces+1)
	var pieces []prefetch.Piece
	for i := range b {
		pieces = append(pieces, prefetch.Of(&b[i]), prefetch.Of((*int)(nil)))
	}
	l.Set(pieces...)
	for i := range b {
		if got := l.Has(unsafe.Pointer(&b[i])); got != (i < prefetch.MaxPieces) {
			t.Errorf("piece %d: %v", i, got)
		}
	}
	l.Set(pieces[2])
	if !l.Has(unsafe.Pointer(&b[1])) || l.Has(unsafe.Pointer(&b[0])) || l.Has(unsafe.Pointer(&b[2])) {
		t.Error("a list made anew has what it had before, or not what it has now")
	}
	l.Set(prefetch.Behind(&b[3]).Last(1), prefetch.Behind(b), prefetch.Behind(nil), prefetch.Behind((*int)(nil)), prefetch.Behind(&b[4]).First(99))
	if !l.Has(unsafe.Pointer(&b[3][63])) || !l.Has(unsafe.Pointer(&b[4])) || l.Has(nil) {
		t.Error("what an interface points to is not on the list")
	}
	l.Set()
	if l.Has(unsafe.Pointer(&b[1])) || l.Has(nil) {
		t.Error("an empty list has something")
	}
}
