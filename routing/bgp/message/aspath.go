package message

import (
	"encoding/binary"
	"fmt"

	"github.com/warrenvpn/warren/routing/route"
)

// sizeOfAS is the size of an AS number in AS_PATH and AGGREGATOR.
func (p *parser) sizeOfAS() int {
	if p.o.FourOctetAS {
		return 4
	}
	return 2
}

func (p *parser) asPath(v []byte) (problem string) {
	p.attrs.ASPath, problem = p.segments(p.attrs.ASPath, v, p.sizeOfAS())
	return problem
}

// segments decodes a path (RFC 4271 section 4.3); errors are those of RFC 7606 section 7.2, RFC 5065 section 5 and RFC 7607.
func (p *parser) segments(dst []route.Segment, v []byte, size int) ([]route.Segment, string) {
	for len(v) > 0 {
		if len(v) < 2 {
			return dst, "ends within a segment's header"
		}
		typ, n := route.SegmentType(v[0]), int(v[1])
		v = v[2:]
		switch {
		case typ < route.ASSet || typ > route.ASConfedSet:
			return dst, fmt.Sprintf("has a segment of the unknown type %d", typ)
		case typ >= route.ASConfedSequence && !p.o.IBGP:
			return dst, "has a confederation's segment, from outside of it"
		case n == 0:
			return dst, "has an empty segment"
		case n*size > len(v):
			return dst, fmt.Sprintf("has a segment of %d numbers, which exceeds it", n)
		}
		start := len(p.words)
		for range n {
			as := uint32(0)
			if size == 4 {
				as = binary.BigEndian.Uint32(v)
			} else {
				as = uint32(binary.BigEndian.Uint16(v))
			}
			if as == 0 {
				return dst, "has the AS number 0"
			}
			p.words, v = append(p.words, as), v[size:]
		}
		dst = append(dst, route.Segment{Type: typ, ASNs: p.words[start:len(p.words):len(p.words)]})
	}
	return dst, ""
}

// as4Path merges AS4_PATH into the path. AGGREGATOR, being of a lower type, was decoded before (RFC 6793 section 4.2.3).
func (p *parser) as4Path(v []byte) string {
	if a := p.attrs.Aggregator; a != nil && a.AS != ASTrans && p.value(attrAS4Aggregator) != nil {
		return ""
	}
	as4 := make([]route.Segment, 0, 1)
	as4, problem := p.segments(as4, v, 4)
	if problem != "" {
		return problem
	}
	kept := as4[:0]
	for _, s := range as4 {
		if s.Type == route.ASSequence || s.Type == route.ASSet {
			kept = append(kept, s)
		}
	}
	if len(kept) > 0 {
		p.attrs.ASPath = mergeAS4(p.attrs.ASPath, kept)
	}
	return ""
}

// mergeAS4 puts in front of as4 what path has more, which is what speakers of 2-octet AS numbers have added. A path that is
// shorter was changed by one of them in a way that makes as4 worthless.
func mergeAS4(path, as4 []route.Segment) []route.Segment {
	more := pathLength(path) - pathLength(as4)
	if more < 0 {
		return path
	}
	merged := make([]route.Segment, 0, len(path)+len(as4))
	for _, s := range path {
		confed := s.Type == route.ASConfedSequence || s.Type == route.ASConfedSet
		if more == 0 && !confed {
			break
		}
		switch {
		case s.Type == route.ASSet:
			more--
		case s.Type == route.ASSequence && len(s.ASNs) > more:
			s.ASNs = s.ASNs[:more]
			fallthrough
		case s.Type == route.ASSequence:
			more -= len(s.ASNs)
		}
		merged = append(merged, s)
	}
	return joinSequences(merged, as4)
}

// joinSequences appends, and makes one segment of two sequences that meet.
func joinSequences(head, tail []route.Segment) []route.Segment {
	if n := len(head) - 1; n >= 0 && head[n].Type == route.ASSequence && tail[0].Type == route.ASSequence &&
		len(head[n].ASNs)+len(tail[0].ASNs) <= maxSegment {
		head[n].ASNs = append(head[n].ASNs[:len(head[n].ASNs):len(head[n].ASNs)], tail[0].ASNs...)
		tail = tail[1:]
	}
	return append(head, tail...)
}

func pathLength(path []route.Segment) int { return (&route.Attrs{ASPath: path}).PathLength() }

// aggregator decodes AGGREGATOR; RFC 7606 section 7.7 and RFC 7607 say what is wrong.
func (p *parser) aggregator(v []byte) string {
	size := p.sizeOfAS()
	if len(v) != size+4 {
		return octets(v, fmt.Sprint(size+4))
	}
	a := &route.Aggregator{Address: addr4(v[size:])}
	if size == 4 {
		a.AS = binary.BigEndian.Uint32(v)
	} else {
		a.AS = uint32(binary.BigEndian.Uint16(v))
	}
	if a.AS == 0 {
		return "has the AS number 0"
	}
	p.attrs.Aggregator = a
	return ""
}

// as4Aggregator replaces AGGREGATOR where that stands for a number that has no room in it (RFC 6793 section 4.2.3).
func (p *parser) as4Aggregator(v []byte) string {
	if len(v) != 8 {
		return octets(v, "8")
	}
	as := binary.BigEndian.Uint32(v)
	if as == 0 {
		return "has the AS number 0"
	}
	if a := p.attrs.Aggregator; a != nil && a.AS == ASTrans {
		p.attrs.Aggregator = &route.Aggregator{AS: as, Address: addr4(v[4:])}
	}
	return ""
}
