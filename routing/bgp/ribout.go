package bgp

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"slices"

	"github.com/warrenvpn/warren/routing/bgp/message"
	"github.com/warrenvpn/warren/routing/route"
)

// ribOut is the Adj-RIB-Out of one family (RFC 4271 section 3.2): what the neighbour is to have, and what of it still has to be
// said. A prefix that changes often while the neighbour is slow is said once, as it is in the end; prefixes are said by groups
// of equal attributes. K is a prefix in few octets: with a million of them the map is what it costs.
type ribOut[K comparable] struct {
	family message.Family
	toKey  func(netip.Prefix) K
	prefix func(K) netip.Prefix

	entries map[K]outEntry
	count   int // entries that are announced, or to be

	// groups are the different attributes. groups[0] is none: its prefixes are withdrawn.
	groups []outGroup[K]
	free   []uint32
	byHash map[uint64]uint32
	seed   maphash.Seed
	key    []byte

	// order are the groups with something in their queue, in the order in which they got it. records is what is in all
	// queues together; of these some have become wrong, or stand twice.
	order   []uint32
	records int

	prefixes []netip.Prefix // scratch of append
	keys     []K
}

// outEntry is the number of the group, with two flags: sent, the neighbour was told something other than a withdrawal;
// pending, it has to be told the present group.
type outEntry uint32

const (
	outSent    outEntry = 1 << 31
	outPending outEntry = 1 << 30
	outGroups           = outPending - 1
)

func (e outEntry) group() uint32 { return uint32(e & outGroups) }

type outGroup[K comparable] struct {
	attrs  *route.Attrs
	hash   uint64
	chain  uint32 // the next group with the same hash, 0 for none
	refs   int    // entries
	queue  []K
	queued bool // in order
}

func newRIBOut[K comparable](f message.Family, key func(netip.Prefix) K, prefix func(K) netip.Prefix) *ribOut[K] {
	return &ribOut[K]{family: f, toKey: key, prefix: prefix, entries: make(map[K]outEntry), groups: make([]outGroup[K], 1),
		byHash: make(map[uint64]uint32), seed: maphash.MakeSeed()}
}

// intern returns the group of these attributes; it must be used at once.
func (r *ribOut[K]) intern(a *route.Attrs) uint32 {
	r.key = appendKey(r.key[:0], a)
	hash := maphash.Bytes(r.seed, r.key)
	for id := r.byHash[hash]; id != 0; id = r.groups[id].chain {
		if sameAttrs(r.groups[id].attrs, a) {
			return id
		}
	}
	var id uint32
	if n := len(r.free); n > 0 {
		id, r.free = r.free[n-1], r.free[:n-1]
	} else {
		id = uint32(len(r.groups))
		r.groups = append(r.groups, outGroup[K]{})
	}
	r.groups[id] = outGroup[K]{attrs: a, hash: hash, chain: r.byHash[hash]}
	r.byHash[hash] = id
	return id
}

// release gives up a group that nothing refers to.
func (r *ribOut[K]) release(id uint32) {
	g := &r.groups[id]
	if id == 0 || g.attrs == nil || g.refs > 0 || g.queued {
		return // in use, or given up already
	}
	if r.byHash[g.hash] == id {
		if g.chain != 0 {
			r.byHash[g.hash] = g.chain
		} else {
			delete(r.byHash, g.hash)
		}
	} else {
		before := r.byHash[g.hash]
		for r.groups[before].chain != id {
			before = r.groups[before].chain
		}
		r.groups[before].chain = g.chain
	}
	*g = outGroup[K]{}
	r.free = append(r.free, id)
}

// set says what the neighbour is to have of a prefix: the group's attributes, or with group 0 nothing.
func (r *ribOut[K]) set(k K, id uint32) {
	e, known := r.entries[k]
	old := e.group()
	switch {
	case known && old == id, !known && id == 0:
		r.release(id)
		return
	}
	if old != 0 {
		r.groups[old].refs--
		r.count--
	}
	if id != 0 {
		r.groups[id].refs++
		r.count++
	}
	if id == 0 && e&outSent == 0 {
		delete(r.entries, k) // never said
	} else {
		r.entries[k] = e&outSent | outPending | outEntry(id)
		r.enqueue(k, id)
	}
	r.release(old)
}

func (r *ribOut[K]) enqueue(k K, id uint32) {
	if r.records > 2*len(r.entries)+1024 {
		r.compact()
		return
	}
	g := &r.groups[id]
	if !g.queued {
		g.queued = true
		r.order = append(r.order, id)
	}
	g.queue = append(g.queue, k)
	r.records++
}

// compact makes the queues anew from what is pending, so that they stay as small as the table while a neighbour reads nothing.
func (r *ribOut[K]) compact() {
	for _, id := range r.order {
		r.groups[id].queue, r.groups[id].queued = nil, false
	}
	order := r.order
	r.order, r.records = nil, 0
	for k, e := range r.entries {
		if e&outPending != 0 {
			r.enqueue(k, e.group())
		}
	}
	for _, id := range order {
		r.release(id)
	}
}

// resend makes all pending that was said before (RFC 2918 section 4).
func (r *ribOut[K]) resend() {
	for k, e := range r.entries {
		if e&outPending == 0 {
			r.entries[k] = e | outPending
			r.enqueue(k, e.group())
		}
	}
}

// withdrawAll withdraws everything.
func (r *ribOut[K]) withdrawAll() {
	for k := range r.entries {
		r.set(k, 0)
	}
}

// batch is how many prefixes are looked at together: several messages, so that only the last one is short.
const batch = 4096

// append appends UPDATE messages with what is pending until dst has at least limit octets, or nothing is. refused is how many
// prefixes could not be announced, because no next hop suits or the attributes are larger than a message.
func (r *ribOut[K]) append(dst []byte, limit int, o *message.Options) (msg []byte, refused int) {
	for len(r.order) > 0 && len(dst) < limit {
		id := r.order[0]
		g := &r.groups[id]
		n := min(len(g.queue), batch)
		r.collect(id, g.queue[:n])
		r.records -= n
		if g.queue = g.queue[n:]; len(g.queue) == 0 {
			g.queue, g.queued = nil, false
			r.order = r.order[1:]
		}
		var left []netip.Prefix
		if id == 0 {
			for left = r.prefixes; len(left) > 0; {
				dst, left = message.AppendWithdraw(dst, r.family, left)
			}
			continue
		}
		for left = r.prefixes; len(left) > 0; {
			before := len(left)
			if dst, left = message.AppendUpdate(dst, r.family, g.attrs, left, o); len(left) == before {
				refused += before
				r.refuse(r.keys[len(r.keys)-before:])
				break
			}
		}
		r.release(id)
	}
	if len(r.order) == 0 {
		r.order = nil
	}
	return dst, refused
}

// collect takes of a queue what still is to be said, and takes it as said.
func (r *ribOut[K]) collect(id uint32, queue []K) {
	r.prefixes, r.keys = r.prefixes[:0], r.keys[:0]
	for _, k := range queue {
		e, ok := r.entries[k]
		if !ok || e.group() != id || e&outPending == 0 {
			continue
		}
		if id == 0 {
			delete(r.entries, k)
		} else {
			r.entries[k] = e&^outPending | outSent
		}
		r.prefixes, r.keys = append(r.prefixes, r.prefix(k)), append(r.keys, k)
	}
}

// refuse withdraws what cannot be announced with its present attributes. Whether the neighbour has an older announcement is not
// known any more; a withdrawal of nothing does no harm.
func (r *ribOut[K]) refuse(keys []K) {
	for _, k := range slices.Clone(keys) {
		r.set(k, 0)
	}
}

// key4 is an IPv4 prefix: its address, then eight bits of length.
type key4 uint64

func newKey4(p netip.Prefix) key4 {
	a := p.Addr().As4()
	return key4(binary.BigEndian.Uint32(a[:]))<<8 | key4(p.Bits())
}

func (k key4) prefix() netip.Prefix {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], uint32(k>>8))
	return netip.PrefixFrom(netip.AddrFrom4(a), int(k&0xff))
}

// key6 is an IPv6 prefix.
type key6 struct {
	high, low uint64
	bits      uint8
}

func newKey6(p netip.Prefix) key6 {
	a := p.Addr().As16()
	return key6{binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:]), uint8(p.Bits())}
}

func (k key6) prefix() netip.Prefix {
	var a [16]byte
	binary.BigEndian.PutUint64(a[:8], k.high)
	binary.BigEndian.PutUint64(a[8:], k.low)
	return netip.PrefixFrom(netip.AddrFrom16(a), int(k.bits))
}
