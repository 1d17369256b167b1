package message

import (
	"encoding/binary"
	"net/netip"

	"github.com/warrenvpn/warren/routing/route"
)

// maxSegment is how many numbers a segment of a path can have.
const maxSegment = 255

// AppendUpdate appends one UPDATE message that announces as many of the prefixes as it can hold, all of the family f, and
// returns those that are left for another call. Where not even one can be sent (no next hop that the family can go over, attributes
// that fill a message), dst comes back as it was and rest is prefixes: the caller must withdraw what it announced of them before.
//
// IPv4 goes into the NLRI field, or over an IPv6 next hop into MP_REACH_NLRI if o has ExtendedNextHop; the next hop is sent as it is
// in attrs, link-local behind global. Of attributes LOCAL_PREF, ORIGINATOR_ID and CLUSTER_LIST go to internal neighbours only; attrs
// must otherwise be as the neighbour is to see them, with AS_PATH and, for internal neighbours, LOCAL_PREF set.
func AppendUpdate(dst []byte, f Family, attrs *route.Attrs, prefixes []netip.Prefix, o *Options) (msg []byte, rest []netip.Prefix) {
	if len(prefixes) == 0 {
		return dst, nil
	}
	start := len(dst)
	msg = append(begin(dst, TypeUpdate), 0, 0, 0, 0)
	at := len(msg)
	ok := true
	if f == IPv4Unicast && attrs.NextHop.Is4() {
		msg = appendAttrs(msg, attrs, o, true)
		putAttrsLength(msg, at)
		msg, rest = packPrefixes(msg, f, prefixes, start+MaxLength)
	} else {
		msg, rest, ok = appendReach(msg, start+MaxLength, f, attrs, prefixes, o)
		putAttrsLength(msg, at)
	}
	if !ok || len(rest) == len(prefixes) {
		return msg[:start], prefixes
	}
	return finish(msg, start), rest
}

// putAttrsLength writes the length of the attributes that begin at the offset at.
func putAttrsLength(msg []byte, at int) {
	binary.BigEndian.PutUint16(msg[at-2:], uint16(len(msg)-at))
}

// appendReach appends MP_REACH_NLRI and then all other attributes: RFC 7606 section 5.1 wants it first.
func appendReach(msg []byte, limit int, f Family, attrs *route.Attrs, prefixes []netip.Prefix, o *Options) (
	out []byte, rest []netip.Prefix, ok bool) {
	var room [512]byte
	others := appendAttrs(room[:0], attrs, o, false)
	msg = append(msg, flagOptional|flagExtended, attrMPReach, 0, 0)
	at := len(msg)
	msg = append(binary.BigEndian.AppendUint16(msg, f.AFI()), f.SAFI())
	if msg, ok = appendNextHop(msg, f, attrs, o); !ok {
		return msg, prefixes, false
	}
	msg = append(msg, 0)
	msg, rest = packPrefixes(msg, f, prefixes, limit-len(others))
	binary.BigEndian.PutUint16(msg[at-2:], uint16(len(msg)-at))
	return append(msg, others...), rest, true
}

// AppendWithdraw appends one UPDATE message that withdraws as many of the prefixes as it can hold, all of the family f, and
// returns those that are left for another call.
func AppendWithdraw(dst []byte, f Family, prefixes []netip.Prefix) (msg []byte, rest []netip.Prefix) {
	if len(prefixes) == 0 {
		return dst, nil
	}
	start := len(dst)
	msg = append(begin(dst, TypeUpdate), 0, 0)
	if f == IPv4Unicast {
		at := len(msg)
		msg, rest = packPrefixes(msg, f, prefixes, start+MaxLength-2)
		putAttrsLength(msg, at) // of the withdrawn routes, which have the same form
		return finish(append(msg, 0, 0), start), rest
	}
	msg = append(msg, 0, 0)
	at := len(msg)
	msg = appendUnreach(msg, f)
	value := len(msg) - 3
	msg, rest = packPrefixes(msg, f, prefixes, start+MaxLength)
	binary.BigEndian.PutUint16(msg[value-2:], uint16(len(msg)-value))
	putAttrsLength(msg, at)
	return finish(msg, start), rest
}

// appendUnreach appends an MP_UNREACH_NLRI without prefixes.
func appendUnreach(dst []byte, f Family) []byte {
	dst = append(dst, flagOptional|flagExtended, attrMPUnreach, 0, 3)
	return append(binary.BigEndian.AppendUint16(dst, f.AFI()), f.SAFI())
}

// AppendEndOfRIB appends the End-of-RIB marker of a family (RFC 4724 section 2).
func AppendEndOfRIB(dst []byte, f Family) []byte {
	start := len(dst)
	dst = append(begin(dst, TypeUpdate), 0, 0, 0, 0)
	if f == IPv4Unicast {
		return finish(dst, start)
	}
	at := len(dst)
	dst = appendUnreach(dst, f)
	putAttrsLength(dst, at)
	return finish(dst, start)
}

// appendHeader appends the flags, type and length of an attribute.
func appendHeader(dst []byte, flags, typ uint8, n int) []byte {
	if n > 255 {
		return append(dst, flags|flagExtended, typ, byte(n>>8), byte(n))
	}
	return append(dst, flags&^flagExtended, typ, byte(n))
}

// appendAttrs appends all attributes but MP_REACH_NLRI, in ascending order of their types as far as they are known here.
func appendAttrs(dst []byte, a *route.Attrs, o *Options, nextHop bool) []byte {
	dst = append(dst, flagTransitive, attrOrigin, 1, byte(a.Origin))
	dst = appendASPath(dst, a.ASPath, o)
	if nextHop {
		dst = appendAddr4(appendHeader(dst, flagTransitive, attrNextHop, 4), a.NextHop)
	}
	if a.HasMED {
		dst = binary.BigEndian.AppendUint32(appendHeader(dst, flagOptional, attrMED, 4), a.MED)
	}
	if a.HasLocalPref && o.IBGP {
		dst = binary.BigEndian.AppendUint32(appendHeader(dst, flagTransitive, attrLocalPref, 4), a.LocalPref)
	}
	if a.AtomicAggregate {
		dst = appendHeader(dst, flagTransitive, attrAtomicAggregate, 0)
	}
	if a.Aggregator != nil {
		dst = appendAggregator(dst, a.Aggregator, o)
	}
	if len(a.Communities) > 0 {
		dst = appendHeader(dst, flagOptional|flagTransitive, attrCommunities, 4*len(a.Communities))
		for _, c := range a.Communities {
			dst = binary.BigEndian.AppendUint32(dst, c)
		}
	}
	if o.IBGP {
		dst = appendReflection(dst, a)
	}
	dst = appendWideCommunities(dst, a)
	if !o.FourOctetAS {
		dst = appendAS4(dst, a)
	}
	for _, u := range a.Unknown {
		dst = append(appendHeader(dst, u.Flags|flagPartial, u.Type, len(u.Value)), u.Value...)
	}
	return dst
}

// appendReflection appends ORIGINATOR_ID and CLUSTER_LIST (RFC 4456 section 8).
func appendReflection(dst []byte, a *route.Attrs) []byte {
	if a.OriginatorID.IsValid() {
		dst = appendAddr4(appendHeader(dst, flagOptional, attrOriginatorID, 4), a.OriginatorID)
	}
	if len(a.ClusterList) > 0 {
		dst = appendHeader(dst, flagOptional, attrClusterList, 4*len(a.ClusterList))
		for _, id := range a.ClusterList {
			dst = appendAddr4(dst, id)
		}
	}
	return dst
}

// appendWideCommunities appends extended and large communities.
func appendWideCommunities(dst []byte, a *route.Attrs) []byte {
	if len(a.ExtCommunities) > 0 {
		dst = appendHeader(dst, flagOptional|flagTransitive, attrExtCommunities, 8*len(a.ExtCommunities))
		for _, c := range a.ExtCommunities {
			dst = binary.BigEndian.AppendUint64(dst, c)
		}
	}
	if len(a.LargeCommunities) > 0 {
		dst = appendHeader(dst, flagOptional|flagTransitive, attrLargeCommunities, 12*len(a.LargeCommunities))
		for _, c := range a.LargeCommunities {
			dst = binary.BigEndian.AppendUint32(dst, c.Global)
			dst = binary.BigEndian.AppendUint32(dst, c.Local1)
			dst = binary.BigEndian.AppendUint32(dst, c.Local2)
		}
	}
	return dst
}

func appendAddr4(dst []byte, a netip.Addr) []byte {
	b := a.As4()
	return append(dst, b[:]...)
}

// appendASPath appends AS_PATH, with AS_TRANS where a number has no room.
func appendASPath(dst []byte, path []route.Segment, o *Options) []byte {
	size := 2
	if o.FourOctetAS {
		size = 4
	}
	dst = appendHeader(dst, flagTransitive, attrASPath, pathSize(path, size))
	return appendSegments(dst, path, size)
}

// pathSize is the length of the encoded segments in octets.
func pathSize(path []route.Segment, size int) int {
	n := 0
	for _, s := range path {
		n += (len(s.ASNs)+maxSegment-1)/maxSegment*2 + len(s.ASNs)*size
	}
	return n
}

// appendSegments appends segments. What has no room in one is continued in another, and an empty one, which would be malformed, is
// left out.
func appendSegments(dst []byte, path []route.Segment, size int) []byte {
	for _, s := range path {
		for as := s.ASNs; len(as) > 0; {
			n := min(len(as), maxSegment)
			dst = append(dst, byte(s.Type), byte(n))
			for _, a := range as[:n] {
				if size == 4 {
					dst = binary.BigEndian.AppendUint32(dst, a)
				} else {
					dst = binary.BigEndian.AppendUint16(dst, twoOctets(a))
				}
			}
			as = as[n:]
		}
	}
	return dst
}

func appendAggregator(dst []byte, a *route.Aggregator, o *Options) []byte {
	if o.FourOctetAS {
		dst = binary.BigEndian.AppendUint32(appendHeader(dst, flagOptional|flagTransitive, attrAggregator, 8), a.AS)
	} else {
		dst = binary.BigEndian.AppendUint16(appendHeader(dst, flagOptional|flagTransitive, attrAggregator, 6), twoOctets(a.AS))
	}
	return appendAddr4(dst, a.Address)
}

// appendAS4 appends AS4_PATH and AS4_AGGREGATOR where 2-octet fields do not say all (RFC 6793 section 4.2.2).
func appendAS4(dst []byte, a *route.Attrs) []byte {
	wide := false
	path := make([]route.Segment, 0, 4)
	for _, s := range a.ASPath {
		if s.Type == route.ASSequence || s.Type == route.ASSet {
			path = append(path, s)
		}
		for _, as := range s.ASNs {
			wide = wide || as > 0xffff
		}
	}
	if wide && len(path) > 0 {
		dst = appendHeader(dst, flagOptional|flagTransitive, attrAS4Path, pathSize(path, 4))
		dst = appendSegments(dst, path, 4)
	}
	if a.Aggregator != nil && a.Aggregator.AS > 0xffff {
		dst = appendHeader(dst, flagOptional|flagTransitive, attrAS4Aggregator, 8)
		dst = appendAddr4(binary.BigEndian.AppendUint32(dst, a.Aggregator.AS), a.Aggregator.Address)
	}
	return dst
}

// twoOctets is the number as a 2-octet field has it.
func twoOctets(as uint32) uint16 {
	if as > 0xffff {
		return ASTrans
	}
	return uint16(as)
}
