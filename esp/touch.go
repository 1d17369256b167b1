package esp

import (
	"reflect"
	"unsafe"
)

// cacheLine is the distance of the bytes that Touch reads.
const cacheLine = 64

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

// Touch reads what the next Seal will read of the SA. A worker that has packets for many SAs in hand touches all of them
// first: their cache misses overlap then, and the seals find everything near. The result means nothing; it is there so that
// the reads are.
func (sa *Outbound) Touch() byte {
	return byte(sa.last.Load()) + byte(sa.ivBase) + touch(sa.memory)
}

func touch(m []byte) (sum byte) {
	if len(m) < gcmHead+gcmTail {
		return 0
	}
	for i := 0; i < gcmHead; i += cacheLine {
		sum += m[i]
	}
	for i := len(m) - 1; i > len(m)-gcmTail; i -= cacheLine {
		sum += m[i]
	}
	return sum
}
