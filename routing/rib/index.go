package rib

import (
	"encoding/binary"
	"iter"
	"net/netip"
)

// index finds the number of a prefix's entry. It is a hash and no trie, since nearly all that is asked of it is about exact
// prefixes, which neighbours announce in no order: a full table then enters in two thirds of the time that it took with bart's
// tables, leaves in half of it, and the garbage collector has nothing to look at. What covers an address is looked for length
// by length; only people ask for that.
type index struct {
	v4 map[uint64]uint32
	v6 map[key6]uint32
	// lengths count the prefixes of each, IPv4 ones from 0 to 32 and IPv6 ones from 33 on.
	lengths [33 + 129]uint32
}

// key6 is an IPv6 prefix.
type key6 struct {
	high, low uint64
	bits      uint8
}

func newIndex() index { return index{v4: make(map[uint64]uint32), v6: make(map[key6]uint32)} }

// newKey4 is an IPv4 prefix: its address, then eight bits of length.
func newKey4(p netip.Prefix) uint64 {
	a := p.Addr().As4()
	return uint64(binary.BigEndian.Uint32(a[:]))<<8 | uint64(p.Bits())
}

func newKey6(p netip.Prefix) key6 {
	a := p.Addr().As16()
	return key6{binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:]), uint8(p.Bits())}
}

func lengthOf(p netip.Prefix) int {
	if p.Addr().Is4() {
		return p.Bits()
	}
	return 33 + p.Bits()
}

// get finds a valid prefix without host bits.
func (x *index) get(p netip.Prefix) (id uint32, ok bool) {
	if p.Addr().Is4() {
		id, ok = x.v4[newKey4(p)]
	} else {
		id, ok = x.v6[newKey6(p)]
	}
	return id, ok
}

// insert enters a prefix that is not there.
func (x *index) insert(p netip.Prefix, id uint32) {
	if p.Addr().Is4() {
		x.v4[newKey4(p)] = id
	} else {
		x.v6[newKey6(p)] = id
	}
	x.lengths[lengthOf(p)]++
}

// remove takes out a prefix that is there.
func (x *index) remove(p netip.Prefix) {
	if p.Addr().Is4() {
		delete(x.v4, newKey4(p))
	} else {
		delete(x.v6, newKey6(p))
	}
	x.lengths[lengthOf(p)]--
}

// covering are the prefixes that cover an address, longest first.
func (x *index) covering(a netip.Addr) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for bits := a.BitLen(); bits >= 0; bits-- {
			p := netip.PrefixFrom(a, bits).Masked()
			if x.lengths[lengthOf(p)] == 0 {
				continue
			}
			if id, ok := x.get(p); ok && !yield(id) {
				return
			}
		}
	}
}

func (x *index) len() int { return len(x.v4) + len(x.v6) }
