package rib

import (
	"net/netip"
	"slices"

	"github.com/warrenvpn/warren/routing/route"
)

// path is what a peer offers for a prefix: what it has in common with other offers of that peer, and the rest.
type path struct {
	offer *offer
	attrs *route.Attrs
}

func (p *path) route() route.Path {
	r := p.offer.path
	r.Attrs = p.attrs
	return r
}

// offers says whether the path is the one given.
func (p *path) offers(r *route.Path) bool {
	common := *r
	common.Attrs = nil
	return p.offer.path == common && sameAttrs(p.attrs, r.Attrs)
}

// leadsAs says whether two winners are the same to those who are told of them.
func (p *path) leadsAs(o *path) bool {
	if p.offer != o.offer {
		a, b := p.offer.path, o.offer.path
		if a.Stale = b.Stale; a != b {
			return false
		}
	}
	return sameAttrs(p.attrs, o.attrs)
}

// entry is a prefix with its paths. It fits a cache line: a full table has a million.
type entry struct {
	addr [16]byte
	bits uint8
	is4  bool
	// dirty says that it is in the queue of changes; settled, that its winners are the first wins of its paths.
	dirty, settled bool
	wins           uint16
	first          path // offer is nil if there is none
	more           []path
}

func (e *entry) prefix() netip.Prefix {
	a := netip.AddrFrom16(e.addr)
	if e.is4 {
		a = a.Unmap()
	}
	return netip.PrefixFrom(a, int(e.bits))
}

func (e *entry) len() int {
	if e.first.offer == nil {
		return 0
	}
	return 1 + len(e.more)
}

func (e *entry) at(i int) *path {
	if i == 0 {
		return &e.first
	}
	return &e.more[i-1]
}

// find returns where the peer's path is, or -1.
func (e *entry) find(p *route.Peer) int {
	for i := range e.len() {
		if e.at(i).offer.path.Peer == p {
			return i
		}
	}
	return -1
}

func (e *entry) add(p path) {
	if e.first.offer == nil {
		e.first = p
		return
	}
	e.more = append(e.more, p)
}

func (e *entry) remove(i int) {
	switch {
	case len(e.more) == 0:
		e.first = path{}
		return
	case i == 0:
		e.first = e.more[0]
		e.more = slices.Delete(e.more, 0, 1)
	default:
		e.more = slices.Delete(e.more, i-1, i)
	}
	if len(e.more) == 0 {
		e.more = nil
	}
}

func (e *entry) appendTo(work []ranked) []ranked {
	for i := range e.len() {
		work = append(work, ranked{path: *e.at(i)})
	}
	return work
}

// slab keeps entries in pieces that stay where they are, by number.
type slab struct {
	chunks [][]entry
	used   uint32
	unused []uint32 // numbers to use again
}

const chunk = 512

func (s *slab) at(id uint32) *entry { return &s.chunks[id/chunk][id%chunk] }

func (s *slab) add(p netip.Prefix) uint32 {
	id := s.used
	if n := len(s.unused); n > 0 {
		id, s.unused = s.unused[n-1], s.unused[:n-1]
	} else {
		if s.used%chunk == 0 {
			s.chunks = append(s.chunks, make([]entry, chunk))
		}
		s.used++
	}
	*s.at(id) = entry{addr: p.Addr().As16(), bits: uint8(p.Bits()), is4: p.Addr().Is4()}
	return id
}

func (s *slab) free(id uint32) {
	*s.at(id) = entry{}
	s.unused = append(s.unused, id)
}

// reset gives the memory back. No entry may be in use.
func (s *slab) reset() { *s = slab{} }
