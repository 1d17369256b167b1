package bgp

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/warrenvpn/warren/routing/route"
)

// sameAttrs says whether two sets of attributes are equal, so that prefixes with either go into the same UPDATE.
func sameAttrs(a, b *route.Attrs) bool {
	if a == b {
		return true
	}
	return a.Origin == b.Origin && a.NextHop == b.NextHop && a.LinkLocal == b.LinkLocal && a.MED == b.MED && a.HasMED == b.HasMED &&
		a.LocalPref == b.LocalPref && a.HasLocalPref == b.HasLocalPref && a.AtomicAggregate == b.AtomicAggregate &&
		a.OriginatorID == b.OriginatorID &&
		(a.Aggregator == b.Aggregator || a.Aggregator != nil && b.Aggregator != nil && *a.Aggregator == *b.Aggregator) &&
		slices.EqualFunc(a.ASPath, b.ASPath, func(s, t route.Segment) bool { return s.Type == t.Type && slices.Equal(s.ASNs, t.ASNs) }) &&
		slices.Equal(a.Communities, b.Communities) && slices.Equal(a.ExtCommunities, b.ExtCommunities) &&
		slices.Equal(a.LargeCommunities, b.LargeCommunities) && slices.Equal(a.ClusterList, b.ClusterList) &&
		slices.EqualFunc(a.Unknown, b.Unknown, func(u, v route.Unknown) bool {
			return u.Flags == v.Flags && u.Type == v.Type && slices.Equal(u.Value, v.Value)
		})
}

// appendKey appends what of the attributes usually differs, to be hashed; sameAttrs decides.
func appendKey(dst []byte, a *route.Attrs) []byte {
	dst = append(dst, byte(a.Origin))
	dst = appendAddr(dst, a.NextHop)
	dst = binary.LittleEndian.AppendUint32(dst, a.MED)
	dst = binary.LittleEndian.AppendUint32(dst, a.LocalPref)
	for _, s := range a.ASPath {
		dst = append(dst, byte(s.Type), byte(len(s.ASNs)))
		for _, as := range s.ASNs {
			dst = binary.LittleEndian.AppendUint32(dst, as)
		}
	}
	if g := a.Aggregator; g != nil {
		dst = appendAddr(binary.LittleEndian.AppendUint32(dst, g.AS), g.Address)
	}
	for _, c := range a.Communities {
		dst = binary.LittleEndian.AppendUint32(dst, c)
	}
	for _, c := range a.ExtCommunities {
		dst = binary.LittleEndian.AppendUint64(dst, c)
	}
	for _, c := range a.LargeCommunities {
		dst = binary.LittleEndian.AppendUint32(dst, c.Global)
		dst = binary.LittleEndian.AppendUint32(dst, c.Local1)
		dst = binary.LittleEndian.AppendUint32(dst, c.Local2)
	}
	for _, u := range a.Unknown {
		dst = append(append(dst, u.Type), u.Value...)
	}
	return dst
}

func appendAddr(dst []byte, a netip.Addr) []byte {
	b := a.As16()
	return append(dst, b[:]...)
}
