package fib

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
)

// route is a prefix as the stages see it.
type route struct {
	stages *family
	key    Key6
	bits   int
	is4    bool
}

func (f *flat) route(p netip.Prefix) route {
	if p.Addr().Is4() {
		b := p.Addr().As4()
		return route{&f.v4, Key6{Hi: uint64(binary.BigEndian.Uint32(b[:])) << 32}, p.Bits(), true}
	}
	return route{&f.v6, key6(p.Addr()), p.Bits(), false}
}

func (r *route) addr4() addr4 { return addr4(r.key.Hi >> 32) }

func key6(a netip.Addr) Key6 {
	b := a.As16()
	return Key6{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// masked are the first so many bits.
func (k Key6) masked(bits int) Key6 {
	if bits <= 64 {
		return Key6{Hi: k.Hi &^ (^uint64(0) >> bits)}
	}
	return Key6{k.Hi, k.Lo &^ (^uint64(0) >> (bits - 64))}
}

// touch loads what changes will need first. Here one load does not wait for the other, as it would from change to change, and a
// full table is in no cache.
func (f *flat) touch(changes []Change) {
	for i := range changes {
		r := f.route(changes[i].Prefix)
		f.touched += f.routes.touch(&r) + r.stages.first(r.key.Hi)
	}
}

// insert enters a prefix, or changes its group where added is false, in a table of so many routes. It is false if there is no
// room for it; then nothing has changed.
func (f *flat) insert(r *route, g *group, added bool, routes int) bool {
	n := f.number(g)
	if n == 0 || !f.room(max(0, r.bits-blockBits+chunkBits-1)/chunkBits, routes) {
		return false
	}
	if r.bits > coverBits && r.stages.top[r.key.Hi>>56].Load() == r.stages.empty && f.narrow(f.blocks+1, routes) {
		return false
	}
	f.routes.put(r, n)
	if r.bits <= coverBits {
		r.stages.setCover(r, 0, uint32(r.bits), leaf(r.bits, 0, n))
		return true
	}
	s := f.descend(r)
	f.paint(s.own(), 0, uint32(s.bits), leaf(s.bits, 0, n))
	if added && s.chunk != 0 {
		f.chunks[s.chunk].uses++
	}
	return true
}

// narrow says whether so many routes may not have so many blocks.
func (f *flat) narrow(blocks, routes int) bool { return !f.wide && blocks*f.sizes.perBlock > routes }

// small says whether the routes are too few for these stages. It is asked after every change.
func (f *flat) small() bool {
	n := f.routes.len()
	f.wide = n >= f.sizes.wideFrom || f.wide && n >= f.sizes.wideFrom/2
	return n < f.sizes.trieBelow || f.narrow(f.blocks, 2*n)
}

// remove takes a prefix out that was taken out of routes before. Its addresses now belong to what covers it, if something does.
func (f *flat) remove(r *route) {
	if r.bits <= coverBits {
		above := uint32(0)
		for bits := r.bits - 1; bits >= 0 && above == 0; bits-- {
			above = leaf(bits, 0, f.routes.shorter(r, bits))
		}
		r.stages.setCover(r, uint32(r.bits), uint32(r.bits), above)
		return
	}
	s := f.descend(r)
	f.paint(s.own(), uint32(s.bits), uint32(s.bits), f.above(r, &s))
	if s.chunk != 0 {
		f.unuse(s.chunk)
	}
}

// siblings is how many entries beside a prefix are looked at before it is asked for what covers it. They are near; what routes
// has is not.
const siblings = 16

// above returns the leaf of what covers a prefix in the stage where it ends, without the prefix itself. Whatever covers the
// prefix and is shorter than by one bit covers what is beside it too: so an entry there that has no longer prefix of
// its own has the answer, and only prefixes of the lengths in between must be asked for.
func (f *flat) above(r *route, s *stage) uint32 {
	for bits, size := s.bits-1, s.size; bits > 0; bits, size = bits-1, 2*size {
		if size <= siblings {
			beside := (s.at &^ (size - 1)) ^ size
			for i := range s.entries[beside : beside+size] {
				if e := f.leafOf(&s.entries[beside+i]); e>>entryLen <= uint32(bits) {
					return e
				}
			}
		}
		if n := f.routes.shorter(r, s.start+bits); n != 0 {
			return leaf(bits, 0, n)
		}
	}
	if s.chunk == 0 {
		return 0
	}
	return f.chunks[s.chunk].base & entryGroup
}

// leafOf returns the leaf in an entry, or the one that would be there if no chunk were.
func (f *flat) leafOf(entry *atomic.Uint32) uint32 {
	e := entry.Load()
	if e&entryChunk != 0 {
		return f.chunks[e&^entryChunk].base
	}
	return e
}

// leaf makes the entry for a prefix in a stage that begins at bit start.
func leaf(bits, start int, number uint32) uint32 {
	if number == 0 {
		return 0
	}
	return uint32(max(0, bits-start))<<entryLen | number
}

// stage is where a prefix longer than /8 ends: the entries at to at+size.
type stage struct {
	entries  []atomic.Uint32 // all of the stage
	chunk    uint32          // 0 for a block
	start    int             // the bit where the stage begins
	bits     int             // of the prefix in this stage
	at, size int
}

func (s *stage) own() []atomic.Uint32 { return s.entries[s.at : s.at+s.size] }

// descend returns the stage where a prefix ends. What is missing on the way it adds, which changes the answer for no address.
func (f *flat) descend(r *route) stage {
	top := &r.stages.top[r.key.Hi>>56]
	b := top.Load()
	if b == r.stages.empty {
		b = new(block)
		top.Store(b)
		f.blocks++
	}
	mid := int(uint16(r.key.Hi >> 40))
	if r.bits <= blockBits {
		return stage{b[:], 0, coverBits, r.bits - coverBits, mid, 1 << (blockBits - r.bits)}
	}
	slot, c := &b[mid], uint32(0)
	for start := blockBits; ; start += chunkBits {
		if e := slot.Load(); e&entryChunk != 0 {
			c = e &^ entryChunk
		} else {
			c = f.grow(slot, c)
		}
		entries, at := f.entries(c), int(r.key.byteAt(start))
		if r.bits <= start+chunkBits {
			return stage{entries, c, start, r.bits - start, at, 1 << (start + chunkBits - r.bits)}
		}
		slot = &entries[at]
	}
}

// paint stores a leaf wherever there is one whose prefix has from least to most bits in this stage, and in the chunks below
// what they inherit.
func (f *flat) paint(entries []atomic.Uint32, least, most, with uint32) {
	for i := range entries {
		e := entries[i].Load()
		if e&entryChunk == 0 {
			if n := e >> entryLen; n >= least && n <= most {
				entries[i].Store(with)
			}
			continue
		}
		c := &f.chunks[e&^entryChunk]
		if n := c.base >> entryLen; n >= least && n <= most {
			c.base = with
			f.paint(f.entries(e&^entryChunk), 0, 0, with&entryGroup)
		}
	}
}

// setCover does for a prefix up to /8 what paint does for others.
func (s *family) setCover(r *route, least, most, with uint32) {
	cover := *s.cover.Load()
	at := int(r.key.Hi >> 56)
	for i := range cover[at : at+1<<(coverBits-r.bits)] {
		if n := cover[at+i] >> entryLen; n >= least && n <= most {
			cover[at+i] = with
		}
	}
	s.cover.Store(&cover)
}
