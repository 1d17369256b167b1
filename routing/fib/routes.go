package fib

import (
	"encoding/binary"
	"iter"
	"math/bits"
	"math/rand/v2"
	"net/netip"
)

// routes is every route of a flat table, which by its stages alone cannot say what it holds: a shorter prefix is not seen where
// longer ones cover all of it. They are found by a hash, since what the writer asks for is exact prefixes; one that covers an
// address is looked for length by length.
type routes struct {
	v4 hashed[addr4]
	v6 hashed[Key6]
	// lengths4 and lengths6 count the prefixes of each length.
	lengths4 [33]int
	lengths6 [129]int
}

func newRoutes() routes {
	s := seeds{rand.Uint64(), rand.Uint64() | 1}
	return routes{v4: newHashed[addr4](s), v6: newHashed[Key6](s)}
}

// find returns the number of the group of exactly this prefix, or 0.
func (x *routes) find(r *route) uint32 {
	if r.is4 {
		return x.v4.slots[x.v4.find(r.addr4(), r.bits)].number()
	}
	return x.v6.slots[x.v6.find(r.key, r.bits)].number()
}

// touch loads the slot where find would begin.
func (x *routes) touch(r *route) uint32 {
	if r.is4 {
		return x.v4.slots[x.v4.home(r.addr4(), r.bits)].what
	}
	return x.v6.slots[x.v6.home(r.key, r.bits)].what
}

// put enters a prefix or replaces its group.
func (x *routes) put(r *route, number uint32) {
	if r.is4 {
		if x.v4.put(r.addr4(), r.bits, number) {
			x.lengths4[r.bits]++
		}
	} else if x.v6.put(r.key, r.bits, number) {
		x.lengths6[r.bits]++
	}
}

// take removes a prefix and returns the number of its group, or 0 if it was not there.
func (x *routes) take(r *route) (number uint32) {
	if r.is4 {
		if number = x.v4.take(r.addr4(), r.bits); number != 0 {
			x.lengths4[r.bits]--
		}
	} else if number = x.v6.take(r.key, r.bits); number != 0 {
		x.lengths6[r.bits]--
	}
	return number
}

// shorter returns the number of the group of the prefix with the first so many bits of another, or 0.
func (x *routes) shorter(r *route, bits int) uint32 {
	if r.is4 && x.lengths4[bits] == 0 || !r.is4 && x.lengths6[bits] == 0 {
		return 0
	}
	up := *r
	up.key, up.bits = r.key.masked(bits), bits
	return x.find(&up)
}

func (x *routes) len() int { return x.v4.used + x.v6.used }

// all are the prefixes with their groups' numbers, in no order.
func (x *routes) all() iter.Seq2[netip.Prefix, uint32] {
	return func(yield func(netip.Prefix, uint32) bool) {
		for _, s := range x.v4.slots {
			var b [4]byte
			binary.BigEndian.PutUint32(b[:], uint32(s.addr))
			if s.what != 0 && !yield(netip.PrefixFrom(netip.AddrFrom4(b), s.bits()), s.number()) {
				return
			}
		}
		for _, s := range x.v6.slots {
			var b [16]byte
			binary.BigEndian.PutUint64(b[:8], s.addr.Hi)
			binary.BigEndian.PutUint64(b[8:], s.addr.Lo)
			if s.what != 0 && !yield(netip.PrefixFrom(netip.AddrFrom16(b), s.bits()), s.number()) {
				return
			}
		}
	}
}

// hashed is the routes of a family, each in the first free slot from where its hash says. A neighbour cannot know the
// seeds, and so cannot choose routes that collide.
type hashed[A address] struct {
	slots []slot[A] // as many as a power of two
	shift uint8     // a hash without its lowest so many bits is where near of them begin
	used  int
	seeds seeds
}

// slot is a route: 8 bytes for IPv4, 24 for IPv6.
type slot[A any] struct {
	addr A
	// what is the length of the prefix above the number of its group, and 0 in a slot that is free.
	what uint32
}

const (
	slotBits   = 24 // of the group's number
	minHashed  = 1 << 8
	slotNumber = 1<<slotBits - 1
)

func (s slot[A]) bits() int      { return int(s.what >> slotBits) }
func (s slot[A]) number() uint32 { return s.what & slotNumber }

type seeds [2]uint64

// mix makes a hash of two words: the 128 bits of their product, folded (as wyhash does).
func mix(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return high ^ low
}

// address is one as hashed wants it. Neighbours have the same hash and differ by their places, which are fewer than near: so
// what is next to each other, and what covers it, is mostly in one cache line. There are never many with one hash, at most the
// prefixes within near /24 or /48 and a chain of shorter ones; longer prefixes all have hashes of their own.
type address interface {
	comparable
	hash(s *seeds, bits int) (hash uint64, place int)
}

// near is how many places follow each other.
const near = 8

// addr4 is an IPv4 address in host order.
type addr4 uint32

func (a addr4) hash(s *seeds, bits int) (uint64, int) {
	if bits <= 24 {
		return mix(uint64(a>>11)^s[0], s[1]), int(a >> 8 & 7)
	}
	return mix((uint64(a)<<8|uint64(bits))^s[0], s[1]), 0
}

func (k Key6) hash(s *seeds, bits int) (uint64, int) {
	if bits <= 48 {
		return mix(k.Hi>>19^s[0], s[1]), int(k.Hi >> 16 & 7)
	}
	return mix(mix(k.Hi^s[0], s[1])^k.Lo^uint64(bits)<<32, s[1]), 0
}

func newHashed[A address](s seeds) hashed[A] {
	h := hashed[A]{seeds: s}
	h.resize(minHashed)
	return h
}

func (h *hashed[A]) home(a A, bits int) int {
	hash, place := a.hash(&h.seeds, bits)
	return int(hash>>h.shift)*near + place
}

// find returns the slot of a prefix, or the free one where it would be.
func (h *hashed[A]) find(a A, bits int) int {
	for i := h.home(a, bits); ; i = (i + 1) & (len(h.slots) - 1) {
		if s := &h.slots[i]; s.what == 0 || s.addr == a && s.bits() == bits {
			return i
		}
	}
}

// put reports whether the prefix was not there.
func (h *hashed[A]) put(a A, bits int, number uint32) (added bool) {
	s := &h.slots[h.find(a, bits)]
	added = s.what == 0
	*s = slot[A]{a, uint32(bits)<<slotBits | number}
	if added {
		if h.used++; 2*h.used > len(h.slots) {
			h.resize(2 * len(h.slots))
		}
	}
	return added
}

// take frees a slot, and brings back what stands further on for its sake.
func (h *hashed[A]) take(a A, bits int) (number uint32) {
	free := h.find(a, bits)
	if number = h.slots[free].number(); number == 0 {
		return 0
	}
	last := len(h.slots) - 1
	for i := (free + 1) & last; h.slots[i].what != 0; i = (i + 1) & last {
		s := h.slots[i]
		if away := i - h.home(s.addr, s.bits()); away&last >= (i-free)&last {
			h.slots[free] = s
			free = i
		}
	}
	h.slots[free] = slot[A]{}
	if h.used--; 8*h.used < len(h.slots) && len(h.slots) > minHashed {
		h.resize(len(h.slots) / 2)
	}
	return number
}

func (h *hashed[A]) resize(n int) {
	old := h.slots
	h.slots, h.shift = make([]slot[A], n), uint8(64-bits.Len(uint(n/near-1)))
	for _, s := range old {
		if s.what != 0 {
			h.slots[h.find(s.addr, s.bits())] = s
		}
	}
}
