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
}

func (f *flat) route(p netip.Prefix) route {
	if p.Addr().Is4() {
		b := p.Addr().As4()
		return route{&f.v4, Key6{Hi: uint64(binary.BigEndian.Uint32(b[:])) << 32}, p.Bits()}
	}
	return route{&f.v6, key6(p.Addr()), p.Bits()}
}

func key6(a netip.Addr) Key6 {
	b := a.As16()
	return Key6{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// insert enters a prefix, or changes its group where added is false, in a table of so many routes. It is false if there is no
// room for it; then nothing has changed.
func (f *flat) insert(p netip.Prefix, g *group, added bool, routes int) bool {
	r, n := f.route(p), f.number(g)
	if n == 0 || !f.room(max(0, r.bits-blockBits+chunkBits-1)/chunkBits, routes) {
		return false
	}
	if r.bits <= coverBits {
		r.stages.setCover(r, 0, uint32(r.bits), leaf(r.bits, 0, n))
		return true
	}
	entries, start, c := f.descend(r)
	own := uint32(r.bits - start)
	f.paint(entries, 0, own, leaf(r.bits, start, n))
	if added && c != 0 {
		f.chunks[c].uses++
	}
	return true
}

// remove takes a prefix out. Its addresses now belong to above and its group, if there is one.
func (f *flat) remove(p netip.Prefix, above netip.Prefix, g *group) {
	r, n := f.route(p), uint32(0)
	if g != nil {
		n = f.number(g)
	}
	if r.bits <= coverBits {
		r.stages.setCover(r, uint32(r.bits), uint32(r.bits), leaf(above.Bits(), 0, n))
		return
	}
	if above.Bits() <= coverBits {
		n = 0
	}
	entries, start, c := f.descend(r)
	own := uint32(r.bits - start)
	f.paint(entries, own, own, leaf(above.Bits(), start, n))
	if c != 0 {
		f.unuse(c)
	}
}

// leaf makes the entry for a prefix in a stage that begins at bit start.
func leaf(bits, start int, number uint32) uint32 {
	if number == 0 {
		return 0
	}
	return uint32(max(0, bits-start))<<entryLen | number
}

// descend returns the entries that a prefix longer than /8 has in the stage where it ends, the bit where that stage begins,
// and the chunk, or 0 in a block. What is missing on the way it adds, which changes the answer for no address.
func (f *flat) descend(r route) (entries []atomic.Uint32, start int, c uint32) {
	top := &r.stages.top[r.key.Hi>>56]
	if top.Load() == r.stages.empty {
		top.Store(new(block))
	}
	b := top.Load()
	mid := int(uint16(r.key.Hi >> 40))
	if r.bits <= blockBits {
		return b[mid : mid+1<<(blockBits-r.bits)], coverBits, 0
	}
	slot := &b[mid]
	for start = blockBits; ; start += chunkBits {
		if e := slot.Load(); e&entryChunk != 0 {
			c = e &^ entryChunk
		} else {
			c = f.grow(slot, c)
		}
		entries = f.entries(c)
		at := int(r.key.byteAt(start))
		if r.bits <= start+chunkBits {
			return entries[at : at+1<<(start+chunkBits-r.bits)], start, c
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
func (s *family) setCover(r route, least, most, with uint32) {
	cover := *s.cover.Load()
	at := int(r.key.Hi >> 56)
	for i := range cover[at : at+1<<(coverBits-r.bits)] {
		if n := cover[at+i] >> entryLen; n >= least && n <= most {
			cover[at+i] = with
		}
	}
	s.cover.Store(&cover)
}
