package route

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Origin is the ORIGIN attribute (RFC 4271 section 4.3): less is preferred.
type Origin uint8

// The values of ORIGIN.
const (
	OriginIGP Origin = iota
	OriginEGP
	OriginIncomplete
)

// SegmentType is the kind of an AS_PATH segment (RFC 4271 section 4.3, RFC 5065).
type SegmentType uint8

// The kinds of segments.
const (
	ASSet            SegmentType = 1
	ASSequence       SegmentType = 2
	ASConfedSequence SegmentType = 3
	ASConfedSet      SegmentType = 4
)

// Segment is a part of an AS_PATH.
type Segment struct {
	Type SegmentType
	ASNs []uint32
}

// LargeCommunity is a community of RFC 8092.
type LargeCommunity struct{ Global, Local1, Local2 uint32 }

// Aggregator is the AGGREGATOR attribute.
type Aggregator struct {
	AS      uint32
	Address netip.Addr
}

// Unknown is an optional transitive attribute that is passed on as it came.
type Unknown struct {
	Flags, Type uint8
	Value       []byte
}

// Attrs are the path attributes that several prefixes share.
type Attrs struct {
	Origin Origin
	ASPath []Segment
	// NextHop is the next hop as announced; LinkLocal comes with it where the neighbour gave both (RFC 2545), and alone
	// where NextHop itself is link-local.
	NextHop, LinkLocal netip.Addr
	// MED and LocalPref say nothing unless HasMED and HasLocalPref.
	MED, LocalPref       uint32
	HasMED, HasLocalPref bool

	AtomicAggregate  bool
	Aggregator       *Aggregator
	Communities      []uint32
	ExtCommunities   []uint64
	LargeCommunities []LargeCommunity
	// OriginatorID and ClusterList are those of route reflectors.
	OriginatorID netip.Addr
	ClusterList  []netip.Addr
	// Unknown are in ascending order of their types.
	Unknown []Unknown
}

// PathLength is the length that best-path selection compares: a set counts as one, confederation segments as nothing
// (RFC 4271 section 9.1.2.2, RFC 5065 section 5.3).
func (a *Attrs) PathLength() int {
	n := 0
	for _, s := range a.ASPath {
		switch s.Type {
		case ASSequence:
			n += len(s.ASNs)
		case ASSet:
			n++
		}
	}
	return n
}

// NeighborAS is the AS from which the path came into ours, 0 for a path that is ours (RFC 4271 section 9.1.2.2 c).
func (a *Attrs) NeighborAS() uint32 {
	for _, s := range a.ASPath {
		switch {
		case s.Type == ASConfedSequence || s.Type == ASConfedSet:
			continue
		case s.Type == ASSequence && len(s.ASNs) > 0:
			return s.ASNs[0]
		}
		return 0
	}
	return 0
}

// Contains says whether the AS is anywhere in the path: a loop, where it is ours.
func (a *Attrs) Contains(as uint32) bool {
	return slices.ContainsFunc(a.ASPath, func(s Segment) bool { return slices.Contains(s.ASNs, as) })
}

// PathString writes the AS path as routers do: sequences plain, sets in braces, confederations in parentheses.
func (a *Attrs) PathString() string {
	var b strings.Builder
	for i, s := range a.ASPath {
		if i > 0 {
			b.WriteByte(' ')
		}
		around, between := "", " "
		switch s.Type {
		case ASSet:
			around, between = "{}", ","
		case ASConfedSequence:
			around = "()"
		case ASConfedSet:
			around, between = "[]", ","
		}
		if around != "" {
			b.WriteByte(around[0])
		}
		for j, as := range s.ASNs {
			if j > 0 {
				b.WriteString(between)
			}
			b.WriteString(strconv.FormatUint(uint64(as), 10))
		}
		if around != "" {
			b.WriteByte(around[1])
		}
	}
	return b.String()
}
