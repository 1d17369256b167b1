package fib

import (
	"runtime"
	"sync/atomic"
	"weak"
)

// maxChunks bounds the memory of chunks in use, 1 KiB each.
const maxChunks = 1 << 17

// pool holds the chunks and the numbers of groups. Both are named by entries, so one that was given up may be used again
// only when no reader can still hold its name. Readers hold names no longer than they hold the view from which they
// started; so what was given up waits until the views of before are garbage, and it is the garbage collector that says so.
// That costs readers nothing.
type pool struct {
	slabs [maxSlabs]atomic.Pointer[block]
	segs  [maxSegs]atomic.Pointer[[groupsPerSeg]atomic.Pointer[group]]

	// What follows is the writer's.

	// id tells the stages of a table apart, of which there is one after the other; not 0.
	id    uint64
	sizes sizes

	chunks     []chunk // by number; 0 is never used
	freeChunks []uint32
	live       int // chunks in use
	idle       []uint32
	groups     uint32 // numbers given out so far, with 0
	freeGroups []uint32
	open       retired   // given up under the present view
	queue      []retired // oldest first
}

// chunk is what the writer knows about a chunk.
type chunk struct {
	// slot is the entry that leads here, in the chunk parent, or in a block where that is 0.
	slot   *atomic.Uint32
	parent uint32
	// base is the leaf that would be in slot if this chunk were not.
	base uint32
	// uses counts the prefixes that end here and the chunks below.
	uses int32
	idle bool
}

// retired is what was given up while view was the present one, or before.
type retired struct {
	view   weak.Pointer[view]
	chunks []uint32
	groups []uint32
}

func (p *pool) addSlab() bool {
	n := len(p.chunks) / chunksPerSlab
	if n == maxSlabs {
		return false
	}
	p.slabs[n].Store(new(block))
	p.chunks = append(p.chunks, make([]chunk, chunksPerSlab)...)
	for i := chunksPerSlab - 1; i >= 0; i-- {
		if c := uint32(n*chunksPerSlab + i); c != 0 {
			p.freeChunks = append(p.freeChunks, c)
		}
	}
	return true
}

func (p *pool) addSeg() bool {
	n := p.groups / groupsPerSeg
	if n == maxSegs {
		return false
	}
	p.segs[n].Store(new([groupsPerSeg]atomic.Pointer[group]))
	p.groups = max(p.groups, 1)
	return true
}

// room makes sure that n chunks are free, and says whether that is within what a table of so many routes may have.
func (p *pool) room(n, routes int) bool {
	if p.live+n > min(p.sizes.chunks+routes, maxChunks) {
		return false
	}
	for tried := false; len(p.freeChunks) < n; {
		if p.reclaim(); len(p.freeChunks) >= n || p.addSlab() {
			continue
		}
		if tried {
			return false
		}
		// All that is left waits for the collector. This takes more than 100,000 chunks given up since it last ran.
		runtime.GC()
		tried = true
	}
	return true
}

// entries are the 256 of a chunk.
func (p *pool) entries(c uint32) []atomic.Uint32 {
	at := c % chunksPerSlab * 256
	return p.slabs[c/chunksPerSlab].Load()[at : at+256]
}

// grow replaces the leaf in a slot by a chunk that says the same. There must be room.
func (p *pool) grow(slot *atomic.Uint32, parent uint32) uint32 {
	c := p.freeChunks[len(p.freeChunks)-1]
	p.freeChunks = p.freeChunks[:len(p.freeChunks)-1]
	base := slot.Load()
	p.chunks[c] = chunk{slot: slot, parent: parent, base: base}
	e := p.entries(c)
	for i := range e {
		e[i].Store(base & entryGroup)
	}
	slot.Store(entryChunk | c)
	p.live++
	if parent != 0 {
		p.chunks[parent].uses++
	}
	return c
}

// unuse takes one use off a chunk. Those that are idle for long are given up.
func (p *pool) unuse(c uint32) {
	for next := c; next != 0; {
		m := &p.chunks[next]
		if m.uses--; m.uses == 0 && !m.idle {
			m.idle = true
			p.idle = append(p.idle, next)
		}
		next = 0
		if len(p.idle) > p.sizes.idle {
			next = p.shrink(p.idle[0])
			p.idle = p.idle[1:]
		}
	}
}

// shrink puts the leaf back in place of an idle chunk, if it still is idle, and returns the chunk above that lost a use.
func (p *pool) shrink(c uint32) uint32 {
	m := &p.chunks[c]
	m.idle = false
	if m.uses != 0 {
		return 0
	}
	m.slot.Store(m.base)
	p.live--
	p.open.chunks = append(p.open.chunks, c)
	return m.parent
}

// number returns the number of a group, which it gets when it is first used here. It is 0 when there are none left.
func (p *pool) number(g *group) uint32 {
	if g.in == p.id {
		return g.number
	}
	if len(p.freeGroups) == 0 {
		p.reclaim()
	}
	if n := len(p.freeGroups); n > 0 {
		g.number = p.freeGroups[n-1]
		p.freeGroups = p.freeGroups[:n-1]
	} else {
		if p.groups%groupsPerSeg == 0 && !p.addSeg() {
			return 0
		}
		g.number = p.groups
		p.groups++
	}
	g.in = p.id
	p.segs[g.number/groupsPerSeg].Load()[g.number%groupsPerSeg].Store(g)
	return g.number
}

// forget gives up the number of a group that no route has any more.
func (p *pool) forget(g *group) {
	if g.in == p.id {
		p.open.groups = append(p.open.groups, g.number)
	}
}

// full says that it is time for turn.
func (p *pool) full() bool { return len(p.open.chunks)+len(p.open.groups) >= p.sizes.generation }

// turn closes the present generation. The view must be replaced right after.
func (p *pool) turn(v *view) {
	p.open.view = weak.Make(v)
	p.queue = append(p.queue, p.open)
	p.open = retired{}
}

// reclaim takes back what no reader can hold any more.
func (p *pool) reclaim() {
	for len(p.queue) > 0 && p.queue[0].view.Value() == nil {
		r := &p.queue[0]
		p.freeChunks = append(p.freeChunks, r.chunks...)
		p.freeGroups = append(p.freeGroups, r.groups...)
		for _, n := range r.groups {
			p.segs[n/groupsPerSeg].Load()[n%groupsPerSeg].Store(nil)
		}
		p.queue[0] = retired{}
		p.queue = p.queue[1:]
	}
}
