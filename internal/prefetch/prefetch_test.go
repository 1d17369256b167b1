package prefetch_test

import (
	"testing"
	"unsafe"

	"github.com/warrenvpn/warren/internal/prefetch"
)

// TestSpan: any memory may be asked for, also what is not there, and it is not changed.
func TestSpan(t *testing.T) {
	b := make([]byte, 4096)
	for i := range b {
		b[i] = byte(i)
	}
	for n := range uintptr(300) {
		for off := range 70 {
			prefetch.Span(unsafe.Pointer(&b[off]), n)
		}
	}
	prefetch.Span(nil, 1)
	prefetch.Of((*[1000]byte)(nil))
	for i := range b {
		if b[i] != byte(i) {
			t.Fatalf("byte %d changed", i)
		}
	}
	if n := testing.AllocsPerRun(100, func() { prefetch.Of((*[4096]byte)(b)) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
