package bgp

import (
	"hash/maphash"

	"github.com/warrenvpn/warren/routing/route"
)

// interner gives equal attributes of one neighbour the same pointer: some neighbours announce a table almost prefix by
// prefix, and a million Attrs are several times a million routes. It is a cache with one place per hash, so that what it holds
// on to is bounded; two that meet in a place cost memory and nothing else.
type interner struct {
	slots []*route.Attrs // as many as a power of two
	taken int
	seed  maphash.Seed
	key   []byte
}

const minInterned, maxInterned = 1 << 8, 1 << 18

func newInterner() *interner {
	return &interner{slots: make([]*route.Attrs, minInterned), seed: maphash.MakeSeed()}
}

func (in *interner) slot(a *route.Attrs) **route.Attrs {
	in.key = appendKey(in.key[:0], a)
	return &in.slots[maphash.Bytes(in.seed, in.key)&uint64(len(in.slots)-1)]
}

// intern returns attributes equal to a that were there before, if they are still known.
func (in *interner) intern(a *route.Attrs) *route.Attrs {
	at := in.slot(a)
	if *at != nil && sameAttrs(*at, a) {
		return *at
	}
	if *at == nil {
		in.taken++
	}
	*at = a
	if 2*in.taken > len(in.slots) && len(in.slots) < maxInterned {
		in.grow()
	}
	return a
}

func (in *interner) grow() {
	old := in.slots
	in.slots, in.taken = make([]*route.Attrs, 2*len(old)), 0
	for _, a := range old {
		if a == nil {
			continue
		}
		at := in.slot(a)
		if *at == nil {
			in.taken++
		}
		*at = a
	}
}
