package esp

import (
	"reflect"
	"unsafe"

	"github.com/warrenvpn/warren/internal/prefetch"
)

// What sealing reads of the standard library's AES-GCM on amd64: the encryption keys at the front, of AES-128 here, and the
// powers of H at the end. Between them are decryption keys that GCM never uses. Elsewhere this is a guess that costs nothing
// but itself.
const gcmHead, gcmTail = 8 + 11*16, 16 * 16

// Keys are where an AEAD has its keys. The zero Keys are nowhere.
type Keys struct {
	head *[gcmHead]byte
	tail *[gcmTail]byte
}

// Keys returns where the SA's keys are, for whoever wants them near before it seals. A cipher.AEAD does not say, so it is
// looked up what its interface points to.
func (sa *Outbound) Keys() (k Keys) {
	p := reflect.ValueOf(sa.aead)
	if p.Kind() != reflect.Pointer || p.IsNil() || p.Elem().Kind() != reflect.Struct {
		return k
	}
	if n := p.Elem().Type().Size(); n >= gcmHead+gcmTail {
		k.head = (*[gcmHead]byte)(p.UnsafePointer())
		k.tail = (*[gcmTail]byte)(unsafe.Add(p.UnsafePointer(), n-gcmTail))
	}
	return k
}

// Prefetch asks for the keys.
func (k Keys) Prefetch() {
	if k.head != nil {
		prefetch.Of(k.head)
		prefetch.Of(k.tail)
	}
}
