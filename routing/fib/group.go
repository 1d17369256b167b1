package fib

import "slices"

// maxBuckets bounds a group's table of buckets; each hop has some sixteen of them where there are few hops, and leastBuckets where its
// weight is small beside the others'.
const (
	bucketsPerHop = 16
	leastBuckets  = 4
	maxBuckets    = 4096
)

// group is what a prefix leads to: one next hop, or several with a table of buckets from which a flow's hash chooses. What
// readers see of it is immutable, and they may hold it as long as they like.
//
// Most groups have one hop, and readers see no more of them than these 16 bytes, so that four share a cache line: with a route
// for each of 10,000 tunnels that is 160 KB, which a core keeps near, instead of 1 MB.
type group struct {
	first HopID
	// several says that members has buckets.
	several bool
	*members
}

// members is what else there is of a group.
type members struct {
	// buckets is nil for a single hop; its length is a power of two.
	buckets []HopID
	hops    []Hop

	// What follows is the writer's, and readers do not look at it.

	routes int // that lead here
	// next is what a route that led here last led to afterwards.
	next *group
	// fresh says that buckets do not come from another group's.
	fresh bool
	// number is the group's in the stages called in.
	number uint32
	in     uint64
}

// newGroup makes a group. Where before is what the prefix led to until now, hops that stay keep their flows: only as many
// buckets change hands as must.
func newGroup(hops []Hop, before *group) *group {
	g := &group{first: hops[0].ID, several: len(hops) > 1, members: &members{hops: hops, fresh: before == nil}}
	if !g.several {
		return g
	}
	n := buckets(hops)
	share := shares(hops, n)
	g.buckets = make([]HopID, n)
	taken := 0
	if before != nil {
		for i := range g.buckets {
			if id := before.bucket(uint32(i)); share[id] > 0 {
				g.buckets[i] = id
				share[id]--
				taken++
			}
		}
	}
	// The buckets that are left go round the hops that are owed some, so that neighbours differ.
	for i := 0; taken < n; {
		for _, h := range hops {
			if share[h.ID] == 0 {
				continue
			}
			for g.buckets[i] != 0 {
				i++
			}
			g.buckets[i] = h.ID
			share[h.ID]--
			taken++
		}
	}
	return g
}

// buckets returns how many buckets a group of several hops has.
func buckets(hops []Hop) int {
	least, total := hops[0].Weight, uint64(0)
	for _, h := range hops {
		least = min(least, h.Weight)
		total += uint64(h.Weight)
	}
	n := bucketsPerHop
	for n < maxBuckets && (n < bucketsPerHop*len(hops) || uint64(n)*uint64(least) < leastBuckets*total) {
		n *= 2
	}
	return n
}

// shares divides n buckets by weight, the remainders to the largest fractions in the order of hops.
func shares(hops []Hop, n int) map[HopID]int {
	var total uint64
	for _, h := range hops {
		total += uint64(h.Weight)
	}
	share := make(map[HopID]int, len(hops))
	left := n
	var done uint64
	for _, h := range hops {
		done += uint64(h.Weight)
		// What all hops so far should have, less what they have: rounding errors do not add up.
		want := int(done*uint64(n)/total) - (n - left)
		share[h.ID] += want
		left -= want
	}
	return share
}

// clone returns the hops, for others to keep.
func (g *group) clone() []Hop {
	if g == nil {
		return nil
	}
	return slices.Clone(g.hops)
}

func (g *group) bucket(i uint32) HopID {
	if !g.several {
		return g.first
	}
	return g.buckets[i&uint32(len(g.buckets)-1)]
}

// Single returns the group's hop where there is no choice; 0 where there is no route.
func (t *Table) Single(g Group) (HopID, bool) {
	if g == nil {
		return 0, true
	}
	return g.first, !g.several
}

// Pick chooses the hop for a flow by its hash.
func (t *Table) Pick(g Group, hash uint32) HopID {
	if g == nil {
		return 0
	}
	return g.bucket(hash)
}

// Has says whether a group leads to a hop, for one flow or another.
func (t *Table) Has(g Group, hop HopID) bool {
	if g == nil {
		return false
	}
	for i := range g.hops {
		if g.hops[i].ID == hop {
			return true
		}
	}
	return false
}
