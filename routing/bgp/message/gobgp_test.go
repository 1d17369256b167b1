package message

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"github.com/warrenvpn/warren/routing/route"
)

// The codec of GoBGP is the second opinion on the format: what one writes, the other must read.

func gobgpOptions(o *Options) *bgp.MarshallingOption {
	return &bgp.MarshallingOption{Use2ByteAS: !o.FourOctetAS}
}

func gobgpFamily(f Family) bgp.Family { return bgp.NewFamily(f.AFI(), f.SAFI()) }

func gobgpNLRI(t *testing.T, prefixes []netip.Prefix) []bgp.PathNLRI {
	list := make([]bgp.PathNLRI, len(prefixes))
	for i, p := range prefixes {
		n, err := bgp.NewIPAddrPrefix(p)
		must(t, err)
		list[i].NLRI = n
	}
	return list
}

func prefixesOf(list []bgp.PathNLRI) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, n := range list {
		out[i] = n.NLRI.(*bgp.IPAddrPrefix).Prefix
	}
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// gobgpWrites is the attributes as GoBGP would send them, without the next hop.
func gobgpWrites(t *testing.T, a *route.Attrs, o *Options) []bgp.PathAttributeInterface {
	list := []bgp.PathAttributeInterface{bgp.NewPathAttributeOrigin(uint8(a.Origin)), gobgpPath(a.ASPath, o.FourOctetAS)}
	add := func(p bgp.PathAttributeInterface, err error) {
		must(t, err)
		list = append(list, p)
	}
	if a.HasMED {
		add(bgp.NewPathAttributeMultiExitDisc(a.MED), nil)
	}
	if a.HasLocalPref {
		add(bgp.NewPathAttributeLocalPref(a.LocalPref), nil)
	}
	if a.AtomicAggregate {
		add(bgp.NewPathAttributeAtomicAggregate(), nil)
	}
	if g := a.Aggregator; g != nil && o.FourOctetAS {
		add(bgp.NewPathAttributeAggregator(g.AS, g.Address))
	} else if g != nil {
		add(bgp.NewPathAttributeAggregator(twoOctets(g.AS), g.Address))
		if g.AS > 0xffff {
			add(bgp.NewPathAttributeAs4Aggregator(g.AS, g.Address))
		}
	}
	if len(a.Communities) > 0 {
		add(bgp.NewPathAttributeCommunities(a.Communities), nil)
	}
	if a.OriginatorID.IsValid() {
		add(bgp.NewPathAttributeOriginatorId(a.OriginatorID))
		add(bgp.NewPathAttributeClusterList(a.ClusterList))
	}
	if len(a.ExtCommunities) > 0 {
		add(gobgpWide(t, a))
		large := make([]*bgp.LargeCommunity, 0)
		for _, c := range a.LargeCommunities {
			large = append(large, &bgp.LargeCommunity{ASN: c.Global, LocalData1: c.Local1, LocalData2: c.Local2})
		}
		add(bgp.NewPathAttributeLargeCommunities(large), nil)
	}
	if !o.FourOctetAS && len(a.ASPath) > 0 {
		as4 := make([]*bgp.As4PathParam, 0)
		for _, s := range a.ASPath {
			as4 = append(as4, bgp.NewAs4PathParam(uint8(s.Type), s.ASNs))
		}
		add(bgp.NewPathAttributeAs4Path(as4), nil)
	}
	for _, u := range a.Unknown {
		add(bgp.NewPathAttributeUnknown(bgp.BGPAttrFlag(u.Flags), bgp.BGPAttrType(u.Type), u.Value), nil)
	}
	return list
}

func gobgpWide(t *testing.T, a *route.Attrs) (bgp.PathAttributeInterface, error) {
	list := make([]bgp.ExtendedCommunityInterface, 0)
	for _, c := range a.ExtCommunities {
		e, err := bgp.ParseExtended(binary.BigEndian.AppendUint64(nil, c))
		must(t, err)
		list = append(list, e)
	}
	return bgp.NewPathAttributeExtendedCommunities(list), nil
}

func gobgpPath(path []route.Segment, four bool) *bgp.PathAttributeAsPath {
	list := make([]bgp.AsPathParamInterface, 0)
	for _, s := range path {
		if four {
			list = append(list, bgp.NewAs4PathParam(uint8(s.Type), s.ASNs))
			continue
		}
		two := make([]uint16, len(s.ASNs))
		for i, as := range s.ASNs {
			two[i] = twoOctets(as)
		}
		list = append(list, bgp.NewAsPathParam(uint8(s.Type), two))
	}
	return bgp.NewPathAttributeAsPath(list)
}

// read is what GoBGP makes of an UPDATE.
type read struct {
	attrs            route.Attrs
	reach, withdrawn []netip.Prefix
	as4Path          []route.Segment
	as4Aggregator    uint32
}

func gobgpReads(t *testing.T, msg []byte, o *Options) *read {
	t.Helper()
	m, err := bgp.ParseBGPMessage(msg, gobgpOptions(o))
	if err != nil {
		t.Fatalf("GoBGP does not read our message: %v\n%x", err, msg)
	}
	u := m.Body.(*bgp.BGPUpdate)
	r := &read{reach: prefixesOf(u.NLRI), withdrawn: prefixesOf(u.WithdrawnRoutes)}
	r.attrs.ASPath = []route.Segment{}
	for _, p := range u.PathAttributes {
		r.attribute(t, p)
	}
	return r
}

func (r *read) attribute(t *testing.T, p bgp.PathAttributeInterface) {
	a := &r.attrs
	switch p := p.(type) {
	case *bgp.PathAttributeOrigin:
		a.Origin = route.Origin(p.Value)
	case *bgp.PathAttributeAsPath:
		for _, s := range p.Value {
			a.ASPath = append(a.ASPath, route.Segment{Type: route.SegmentType(s.GetType()), ASNs: s.GetAS()})
		}
	case *bgp.PathAttributeNextHop:
		a.NextHop = p.Value
	case *bgp.PathAttributeMultiExitDisc:
		a.MED, a.HasMED = p.Value, true
	case *bgp.PathAttributeLocalPref:
		a.LocalPref, a.HasLocalPref = p.Value, true
	case *bgp.PathAttributeAtomicAggregate:
		a.AtomicAggregate = true
	case *bgp.PathAttributeAggregator:
		a.Aggregator = &route.Aggregator{AS: p.Value.AS, Address: p.Value.Address}
	case *bgp.PathAttributeCommunities:
		a.Communities = p.Value
	case *bgp.PathAttributeOriginatorId:
		a.OriginatorID = p.Value
	case *bgp.PathAttributeClusterList:
		a.ClusterList = p.Value
	case *bgp.PathAttributeExtendedCommunities:
		for _, c := range p.Value {
			b, err := c.Serialize()
			must(t, err)
			a.ExtCommunities = append(a.ExtCommunities, binary.BigEndian.Uint64(b))
		}
	case *bgp.PathAttributeLargeCommunities:
		for _, c := range p.Values {
			a.LargeCommunities = append(a.LargeCommunities, route.LargeCommunity{Global: c.ASN, Local1: c.LocalData1, Local2: c.LocalData2})
		}
	case *bgp.PathAttributeMpReachNLRI:
		a.NextHop, a.LinkLocal = p.Nexthop, p.LinkLocalNexthop
		r.reach = append(r.reach, prefixesOf(p.Value)...)
	case *bgp.PathAttributeMpUnreachNLRI:
		r.withdrawn = append(r.withdrawn, prefixesOf(p.Value)...)
	case *bgp.PathAttributeAs4Path:
		for _, s := range p.Value {
			r.as4Path = append(r.as4Path, route.Segment{Type: route.SegmentType(s.GetType()), ASNs: s.GetAS()})
		}
	case *bgp.PathAttributeAs4Aggregator:
		r.as4Aggregator = p.Value.AS
	case *bgp.PathAttributeUnknown:
		a.Unknown = append(a.Unknown, route.Unknown{Flags: uint8(p.Flags) &^ flagExtended, Type: uint8(p.Type), Value: p.Value})
	default:
		t.Fatalf("GoBGP sees an attribute that was not sent: %v", p)
	}
}

// onTwoOctets is what a speaker that does not know 4-octet AS numbers sees of attributes.
func onTwoOctets(a route.Attrs) route.Attrs {
	a.ASPath = slices.Clone(a.ASPath)
	for i, s := range a.ASPath {
		s.ASNs = slices.Clone(s.ASNs)
		for k, as := range s.ASNs {
			s.ASNs[k] = uint32(twoOctets(as))
		}
		a.ASPath[i] = s
	}
	if a.Aggregator != nil {
		a.Aggregator = &route.Aggregator{AS: uint32(twoOctets(a.Aggregator.AS)), Address: a.Aggregator.Address}
	}
	return a
}

func TestGoBGPReadsOurUpdates(t *testing.T) {
	r := seeded(t)
	for range 500 {
		o, f := randomOptions(r), Family(1+r.IntN(2))
		a, prefixes := randomAttrs(r, f, o), randomPrefixes(r, f, 1+r.IntN(1500))
		for rest := prefixes; len(rest) > 0; {
			msg, left := AppendUpdate(nil, f, a, rest, o)
			sent := rest[:len(rest)-len(left)]
			got, want := gobgpReads(t, msg, o), *a
			if !o.FourOctetAS {
				if wide := !reflect.DeepEqual(onTwoOctets(*a).ASPath, a.ASPath); wide != (got.as4Path != nil) ||
					wide && !reflect.DeepEqual(got.as4Path, a.ASPath) {
					t.Fatalf("GoBGP reads AS4_PATH %v of %v", got.as4Path, a.ASPath)
				}
				want = onTwoOctets(*a)
			}
			if !reflect.DeepEqual(got.attrs, want) || !slices.Equal(got.reach, sent) || len(got.withdrawn) != 0 {
				t.Fatalf("GoBGP reads\n%+v with %d prefixes, sent were\n%+v with %d", got.attrs, len(got.reach), want, len(sent))
			}
			rest = left
		}
	}
}

func TestGoBGPReadsOurWithdraws(t *testing.T) {
	r := seeded(t)
	o := &Options{Families: bothFamilies, FourOctetAS: true}
	for range 100 {
		f := Family(1 + r.IntN(2))
		prefixes := randomPrefixes(r, f, 1+r.IntN(3000))
		var got []netip.Prefix
		for rest := prefixes; len(rest) > 0; {
			var msg []byte
			msg, rest = AppendWithdraw(nil, f, rest)
			body(t, msg, TypeUpdate)
			got = append(got, gobgpReads(t, msg, o).withdrawn...)
		}
		if !slices.Equal(got, prefixes) {
			t.Fatalf("GoBGP reads %d withdrawn prefixes, sent were %d", len(got), len(prefixes))
		}
	}
	for _, f := range bothFamilies.List() {
		m, err := bgp.ParseBGPMessage(AppendEndOfRIB(nil, f))
		must(t, err)
		if eor, family := m.Body.(*bgp.BGPUpdate).IsEndOfRib(); !eor || family != gobgpFamily(f) {
			t.Errorf("GoBGP reads our End-of-RIB of %s as %v %v", f, eor, family)
		}
	}
}

func TestWeReadUpdatesOfGoBGP(t *testing.T) {
	r := seeded(t)
	var u Update
	for range 500 {
		o, f := randomOptions(r), Family(1+r.IntN(2))
		a, prefixes := randomAttrs(r, f, o), randomPrefixes(r, f, 1+r.IntN(60))
		attrs, nlri := gobgpWrites(t, a, o), gobgpNLRI(t, prefixes)
		if f == IPv4Unicast && a.NextHop.Is4() {
			hop, err := bgp.NewPathAttributeNextHop(a.NextHop)
			must(t, err)
			attrs = append(attrs, hop)
		} else {
			reach, err := bgp.NewPathAttributeMpReachNLRI(gobgpFamily(f), nlri, a.NextHop, a.LinkLocal)
			must(t, err)
			attrs, nlri = append([]bgp.PathAttributeInterface{reach}, attrs...), nil
		}
		gone := randomPrefixes(r, IPv4Unicast, r.IntN(20))
		msg, err := bgp.NewBGPUpdateMessage(gobgpNLRI(t, gone), attrs, nlri).Serialize(gobgpOptions(o))
		must(t, err)
		must(t, ParseUpdate(body(t, msg, TypeUpdate), o, &u))
		if u.Treatment != Accepted || len(u.Reach) != 1 || u.Reach[0].Family != f {
			t.Fatalf("%v %s: %+v", u.Treatment, u.Problem, u.Reach)
		}
		if !slices.Equal(u.Withdrawn, gone) || !slices.Equal(u.Reach[0].Prefixes, prefixes) || !reflect.DeepEqual(u.Reach[0].Attrs, a) {
			t.Fatalf("we read\n%+v, GoBGP sent\n%+v", u.Reach[0].Attrs, a)
		}
	}
}

func TestOpenAndGoBGP(t *testing.T) {
	r := seeded(t)
	for range 300 {
		want := randomOpen(r)
		m, err := bgp.ParseBGPMessage(want.Append(nil))
		must(t, err)
		if got := openOf(m.Body.(*bgp.BGPOpen)); !reflect.DeepEqual(got, want) {
			t.Fatalf("GoBGP reads\n%+v, sent was\n%+v", got, want)
		}
		// What it read it writes again, and we read that.
		msg, err := m.Serialize()
		must(t, err)
		got, err := ParseOpen(body(t, msg, TypeOpen))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("we read\n%+v, %v, GoBGP sent\n%+v", got, err, want)
		}
	}
}

func openOf(b *bgp.BGPOpen) *OpenMessage {
	id := b.ID.As4()
	m := &OpenMessage{AS: uint32(b.MyAS), HoldTime: b.HoldTime, RouterID: binary.BigEndian.Uint32(id[:])}
	for _, p := range b.OptParams {
		for _, c := range p.(*bgp.OptionParameterCapability).Capability {
			switch c := c.(type) {
			case *bgp.CapMultiProtocol:
				m.Families |= FamiliesOf(familyOf(c.CapValue.Afi(), c.CapValue.Safi()))
			case *bgp.CapRouteRefresh:
				m.RouteRefresh = true
			case *bgp.CapExtendedNexthop:
				m.ExtendedNextHop = len(c.Tuples) == 1 && *c.Tuples[0] == bgp.CapExtendedNexthopTuple{NLRIAFI: 1, NLRISAFI: 1, NexthopAFI: 2}
			case *bgp.CapFourOctetASNumber:
				m.FourOctetAS, m.AS = true, c.CapValue
			case *bgp.CapGracefulRestart:
				m.Graceful = &Graceful{RestartTime: c.Time, Restarting: c.Flags&8 != 0, Notification: c.Flags&4 != 0}
				for _, g := range c.Tuples {
					m.Graceful.Families = append(m.Graceful.Families,
						GracefulFamily{Family: familyOf(g.AFI, g.SAFI), Forwarding: g.Flags&0x80 != 0})
				}
			}
		}
	}
	return m
}

func TestSmallMessagesAndGoBGP(t *testing.T) {
	data := ShutdownData("back at noon")
	for _, c := range []struct {
		ours   []byte
		theirs *bgp.BGPMessage
	}{
		{AppendKeepalive(nil), bgp.NewBGPKeepAliveMessage()},
		{AppendRouteRefresh(nil, IPv6Unicast), bgp.NewBGPRouteRefreshMessage(2, 0, 1)},
		{AppendNotification(nil, CodeCease, CeaseAdminShutdown, data), bgp.NewBGPNotificationMessage(6, 2, data)},
		{AppendNotification(nil, CodeHoldTimerExpired, 0, nil), bgp.NewBGPNotificationMessage(4, 0, nil)},
	} {
		want, err := c.theirs.Serialize()
		must(t, err)
		if !bytes.Equal(c.ours, want) {
			t.Errorf("we write %x, GoBGP %x", c.ours, want)
		}
	}
}
