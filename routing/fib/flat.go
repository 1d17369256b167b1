package fib

import (
	"runtime"
	"sync/atomic"
)

// The stages of the flat form, by the bits of the address that choose the entry:
//
//	bits   0 to 8    cover: an array of 256 for the prefixes up to /8, which are nowhere else
//	bits   8 to 24   a block of 65,536 entries below each of top's 256 slots
//	bits  24 to 32   a chunk of 256 entries; and so on, 8 bits a chunk, down to bit 128
//
// An entry is 0 (nothing longer than /8 covers this), a group, or a chunk with more. IPv4 addresses are the first 32 bits of a key.
const (
	coverBits = 8
	blockBits = 24 // where a block's stage ends
	chunkBits = 8

	// entryChunk marks a chunk's number. A leaf has the group's number, and above it how many bits of its prefix lie in
	// this stage: 0 for what was inherited from the stages before.
	entryChunk = 1 << 31
	entryLen   = 26
	entryGroup = 1<<entryLen - 1

	// chunksPerSlab is such that a slab is as large as a block: 256 KiB.
	chunksPerSlab = 256
	maxSlabs      = 1024
	groupsPerSeg  = 4096
	maxSegs       = 4096
)

// block is a stage of 65,536 entries, or a slab of 256 chunks.
type block [1 << 16]atomic.Uint32

// flat is the form for large tables. Readers load entries; the one writer stores them, each after all it leads to.
type flat struct {
	pool
	v4, v6 family
}

// family is the first two stages of IPv4 or IPv6.
type family struct {
	// cover is replaced as a whole, so that its address says whether it changed.
	cover atomic.Pointer[[256]uint32]
	// top's slots without a block share one that stays empty.
	top [256]atomic.Pointer[block]
	// empty is that block.
	empty *block
}

func newFlat(id uint64, s sizes) *flat {
	f := &flat{pool: pool{id: id, sizes: s}}
	f.addSlab()
	f.addSeg()
	empty := new(block)
	for _, family := range []*family{&f.v4, &f.v6} {
		family.empty = empty
		family.cover.Store(new([256]uint32))
		for i := range family.top {
			family.top[i].Store(empty)
		}
	}
	return f
}

// group returns what a leaf's number stands for; nil for 0.
func (p *pool) group(e uint32) *group {
	return p.segs[e/groupsPerSeg%maxSegs].Load()[e%groupsPerSeg].Load()
}

// step goes from an entry into its chunk by the next byte of the address, without a branch: a leaf stays, and what is
// loaded in vain comes from chunk 0, which is near.
func (p *pool) step(e uint32, b uint8) uint32 {
	m := uint32(int32(e) >> 31)
	at := e & m
	x := p.slabs[at>>8&(maxSlabs-1)].Load()[uint16(at<<8)|uint16(b)].Load()
	return e ^ (e^x)&m
}

// find goes from an entry to its leaf; bit is where the next byte of the address begins.
func (p *pool) find(e uint32, k Key6, bit int) uint32 {
	for ; e&entryChunk != 0; bit += chunkBits {
		e = p.step(e, k.byteAt(bit))
	}
	return e
}

func (k Key6) byteAt(bit int) uint8 {
	if bit < 64 {
		return uint8(k.Hi >> (56 - bit))
	}
	return uint8(k.Lo >> (120 - bit))
}

// covered looks up an address for which no prefix longer than /8 was found.
func (f *flat) covered(s *family, k Key6) *group {
	for {
		if g, ok := f.coveredBy(s.cover.Load(), s, k); ok {
			return g
		}
	}
}

// coveredBy does it with the cover from before. A route may have come below while one above went: only if cover is still the
// same after there was nothing below did the address lead there at one moment.
func (f *flat) coveredBy(cover *[256]uint32, s *family, k Key6) (g *group, ok bool) {
	if e := f.find(s.first(k.Hi), k, blockBits); e != 0 {
		return f.group(e), true
	}
	return f.group(cover[k.Hi>>56]), s.cover.Load() == cover
}

// deeper ends a lookup that is not over after the first stages; bit is where the next byte of the address begins.
func (f *flat) deeper(s *family, e uint32, k Key6, bit int) *group {
	if e = f.find(e, k, bit); e != 0 {
		return f.group(e)
	}
	return f.covered(s, k)
}

// lookup4 relies on the processor to overlap the iterations, which do not depend on each other.
func (v *view) lookup4(dst []uint32, out []Group) {
	f := v.flat
	out = out[:len(dst)]
	for i, d := range dst {
		e := f.v4.top[d>>24].Load()[uint16(d>>8)].Load()
		if int32(e) > 0 {
			out[i] = f.group(e)
		} else {
			out[i] = f.deeper(&f.v4, e, Key6{Hi: uint64(d) << 32}, blockBits)
		}
	}
	runtime.KeepAlive(v)
}

// lookup6 takes four addresses at a time, in registers, through the stages up to /48, where nearly all routes end. Going
// stage by stage through memory instead costs as much as one address at a time.
func (v *view) lookup6(dst []Key6, out []Group) {
	f := v.flat
	out = out[:len(dst)]
	i := 0
	for ; i+4 <= len(dst); i += 4 {
		d, o := (*[4]Key6)(dst[i:]), (*[4]Group)(out[i:])
		k0, k1, k2, k3 := d[0].Hi, d[1].Hi, d[2].Hi, d[3].Hi
		e0, e1, e2, e3 := f.v6.first(k0), f.v6.first(k1), f.v6.first(k2), f.v6.first(k3)
		e0, e1, e2, e3 = f.step(e0, uint8(k0>>32)), f.step(e1, uint8(k1>>32)), f.step(e2, uint8(k2>>32)), f.step(e3, uint8(k3>>32))
		e0, e1, e2, e3 = f.step(e0, uint8(k0>>24)), f.step(e1, uint8(k1>>24)), f.step(e2, uint8(k2>>24)), f.step(e3, uint8(k3>>24))
		e0, e1, e2, e3 = f.step(e0, uint8(k0>>16)), f.step(e1, uint8(k1>>16)), f.step(e2, uint8(k2>>16)), f.step(e3, uint8(k3>>16))
		o[0], o[1], o[2], o[3] = f.group(ended(e0)), f.group(ended(e1)), f.group(ended(e2)), f.group(ended(e3))
		for j, e := range [4]uint32{e0, e1, e2, e3} {
			if int32(e) <= 0 {
				o[j] = f.deeper(&f.v6, e, d[j], 48)
			}
		}
	}
	for ; i < len(dst); i++ {
		out[i] = f.deeper(&f.v6, f.v6.first(dst[i].Hi), dst[i], blockBits)
	}
	runtime.KeepAlive(v)
}

// first returns the entry in the first two stages.
func (s *family) first(hi uint64) uint32 { return s.top[hi>>56].Load()[uint16(hi>>40)].Load() }

// ended is 0 for a chunk, whose number may be no group's.
func ended(e uint32) uint32 { return e &^ uint32(int32(e)>>31) }
