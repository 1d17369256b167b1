package bgp

import (
	"hash/maphash"

	"github.com/warrenvpn/warren/routing/route"
)

// interner gives equal attributes of one neighbour the same pointer: some neighbours announce a table almost prefix by
// prefix, and a million Attrs are several times a million routes. It is a cache with one place per hash, so that what it holds
// on to is bounded; two that meet in a place cost memory and nothing else.
type interner struct {
	slots []interned // as many as a power of two
	taken int
	seed  maphash.Seed
	key   []byte
}

// interned has the hash beside the attributes, so that those of others are not looked at: they are rarely in the cache.
type interned struct {
	hash  uint64
	attrs *route.Attrs
}

const minInterned, maxInterned = 1 << 8, 1 << 18

func newInterner() *interner {
	return &interner{slots: make([]interned, minInterned), seed: maphash.MakeSeed()}
}

func (in *interner) slot(hash uint64) *interned { return &in.slots[hash&uint64(len(in.slots)-1)] }

// intern returns attributes equal to a that were there before, if they are still known.
func (in *interner) intern(a *route.Attrs) *route.Attrs {
	in.key = appendKey(in.key[:0], a)
	hash := maphash.Bytes(in.seed, in.key)
	at := in.slot(hash)
	if at.attrs != nil && at.hash == hash && sameAttrs(at.attrs, a) {
		return at.attrs
	}
	in.put(interned{hash, a})
	if 2*in.taken > len(in.slots) && len(in.slots) < maxInterned {
		old := in.slots
		in.slots, in.taken = make([]interned, 2*len(old)), 0
		for _, each := range old {
			if each.attrs != nil {
				in.put(each)
			}
		}
	}
	return a
}

func (in *interner) put(e interned) {
	at := in.slot(e.hash)
	if at.attrs == nil {
		in.taken++
	}
	*at = e
}
