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
	v4, v6 family
	pool   // from its end on is what the writer alone uses, far from what readers load
	routes routes
	// blocks counts those of both families; wide says that there may be any number of them.
	blocks int
	wide   bool
	// touched is there so that what touch does is not for nothing.
	touched uint32
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
	f := &flat{pool: pool{id: id, sizes: s}, routes: newRoutes()}
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

// run is how many addresses are looked up together, stage by stage: while one waits for memory, so do the others.
const run = 64

// lookup4 and lookup6 look up a batch. The view is what keeps chunks and groups from being used again until the end.
func (v *view) lookup4(dst []uint32, out []Group) {
	for out = out[:len(dst)]; len(dst) > 0; {
		n := min(run, len(dst))
		v.flat.run4(dst[:n], out[:n])
		dst, out = dst[n:], out[n:]
	}
	runtime.KeepAlive(v)
}

func (v *view) lookup6(dst []Key6, out []Group) {
	for out = out[:len(dst)]; len(dst) > 0; {
		n := min(run, len(dst))
		v.flat.run6(dst[:n], out[:n])
		dst, out = dst[n:], out[n:]
	}
	runtime.KeepAlive(v)
}

func (f *flat) run4(dst []uint32, out []Group) {
	var found [run]uint32
	e := found[:len(dst)]
	for i, d := range dst {
		e[i] = f.v4.first(uint64(d) << 32)
	}
	for i, e := range e {
		if int32(e) > 0 {
			out[i] = f.group(e)
		} else {
			out[i] = f.deeper(&f.v4, e, Key6{Hi: uint64(dst[i]) << 32}, blockBits)
		}
	}
}

// run6 takes all addresses through the stages up to /48, where nearly all routes end, also those that are done before:
// branches that go now this way, now that, cost more.
func (f *flat) run6(dst []Key6, out []Group) {
	var found [run]uint32
	e := found[:len(dst)]
	for i := range dst {
		e[i] = f.v6.first(dst[i].Hi)
	}
	for i := range dst {
		e[i] = f.step(e[i], uint8(dst[i].Hi>>32))
	}
	for i := range dst {
		e[i] = f.step(e[i], uint8(dst[i].Hi>>24))
	}
	for i := range dst {
		e[i] = f.step(e[i], uint8(dst[i].Hi>>16))
	}
	for i, e := range e {
		if int32(e) > 0 {
			out[i] = f.group(e)
		} else {
			out[i] = f.deeper(&f.v6, e, dst[i], 48)
		}
	}
}

// first returns the entry in the first two stages.
func (s *family) first(hi uint64) uint32 { return s.top[hi>>56].Load()[uint16(hi>>40)].Load() }
