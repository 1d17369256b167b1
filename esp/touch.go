package esp

import (
	"reflect"
	"unsafe"
)

// What sealing reads of the standard library's AES-GCM on amd64: the encryption keys at the front, of AES-128 here, and the
// powers of H at the end. Between them are decryption keys that GCM never uses. Elsewhere this is a guess that costs nothing
// but itself.
const gcmHead, gcmTail = 8 + 11*16, 16 * 16

// memoryOf returns the memory of the struct that an interface points to, to be read and never written; nil where the
// interface holds no pointer to a struct. The slice keeps the struct alive.
//
// There is no other way to have an AEAD's key schedule and tables come into the cache before they are used: Go has no
// prefetch, and a cipher.AEAD does not say where it keeps its key.
func memoryOf(v any) []byte {
	p := reflect.ValueOf(v)
	if p.Kind() != reflect.Pointer || p.IsNil() || p.Elem().Kind() != reflect.Struct {
		return nil
	}
	return unsafe.Slice((*byte)(p.UnsafePointer()), p.Elem().Type().Size())
}

// Keys are where an AEAD has its keys. The zero Keys are nowhere.
type Keys struct {
	head *[gcmHead]byte
	tail *[gcmTail]byte
}

// Keys returns where the SA's keys are, for whoever wants them near before it seals.
func (sa *Outbound) Keys() (k Keys) {
	if m := memoryOf(sa.aead); len(m) >= gcmHead+gcmTail {
		k.head, k.tail = (*[gcmHead]byte)(m), (*[gcmTail]byte)(m[len(m)-gcmTail:])
	}
	return k
}

// Touch reads a byte of each cache line. What comes back means nothing; it is there so that the reads are.
func (k Keys) Touch() byte {
	if h, t := k.head, k.tail; h != nil {
		return h[0] + h[64] + h[128] + t[0] + t[63] + t[127] + t[191] + t[255]
	}
	return 0
}

// Touch reads what the next Seal will read of the SA itself, its two cache lines.
func (sa *Outbound) Touch() byte { return byte(sa.last.Load()) + byte(sa.ivBase) }
