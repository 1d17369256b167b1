package message

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/warrenvpn/warren/routing/route"
)

func TestMixedMessage(t *testing.T) {
	global := netip.MustParseAddr("2001:db8::1")
	attrs := slices.Concat(mpReach(slices.Concat(hop6, linkLocal), okNLRI6), mpUnreach(2, 1, 16, 0x20, 2), okOrigin, okPath, okNextHop,
		attr(0xd0, 8)[:2], []byte{0, 4, 0, 0, 0, 9}) // an extended length that need not be one
	var u Update
	must(t, ParseUpdate(raw([]byte{8, 11, 0}, attrs, okNLRI), &external, &u))
	if want := []netip.Prefix{netip.MustParsePrefix("11.0.0.0/8"), netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("2002::/16")}; !slices.Equal(u.Withdrawn, want) {
		t.Errorf("withdrawn %v, want %v", u.Withdrawn, want)
	}
	if u.Treatment != Accepted || len(u.Reach) != 2 {
		t.Fatalf("%v %q: %v", u.Treatment, u.Problem, u.Reach)
	}
	want := route.Attrs{ASPath: []route.Segment{{Type: route.ASSequence, ASNs: []uint32{65000}}}, Communities: []uint32{9}}
	for i, c := range []struct {
		f              Family
		p              netip.Prefix
		hop, linkLocal netip.Addr
	}{
		{IPv4Unicast, prefix4, netip.MustParseAddr("192.0.2.1"), netip.Addr{}},
		{IPv6Unicast, prefix6, global, netip.MustParseAddr("fe80::1")},
	} {
		r := u.Reach[i]
		want.NextHop, want.LinkLocal = c.hop, c.linkLocal
		if r.Family != c.f || !slices.Equal(r.Prefixes, []netip.Prefix{c.p}) || !reflect.DeepEqual(*r.Attrs, want) {
			t.Errorf("reachable %v with %+v, want %v with %+v", r.Prefixes, *r.Attrs, c.p, want)
		}
	}
}

func TestNextHopForms(t *testing.T) {
	global, local := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("fe80::1")
	for _, c := range []struct {
		name           string
		octets         []byte
		hop, linkLocal netip.Addr // none: treated as withdrawn
	}{
		{"global", hop6, global, netip.Addr{}},
		{"global and link-local", slices.Concat(hop6, linkLocal), global, local},
		{"link-local alone", linkLocal, local, local},
		{"link-local twice", slices.Concat(linkLocal, linkLocal), local, local},
		{"link-local behind ::", slices.Concat(zero6, linkLocal), local, local},
		{"link-local before ::", slices.Concat(linkLocal, zero6), local, local},
		{"global and ::", slices.Concat(hop6, zero6), global, netip.Addr{}},
		{"global twice", slices.Concat(hop6, hop6), global, netip.Addr{}},
		{"::", zero6, netip.Addr{}, netip.Addr{}},
		{":: twice", slices.Concat(zero6, zero6), netip.Addr{}, netip.Addr{}},
		{"multicast", netip.MustParseAddr("ff02::5").AsSlice(), netip.Addr{}, netip.Addr{}},
		{"loopback", netip.IPv6Loopback().AsSlice(), netip.Addr{}, netip.Addr{}},
	} {
		var u Update
		must(t, ParseUpdate(raw(nil, slices.Concat(mpReach(c.octets, okNLRI6), okOrigin, okPath), nil), &external, &u))
		if !c.hop.IsValid() {
			if u.Treatment != TreatAsWithdraw || !slices.Equal(u.Withdrawn, []netip.Prefix{prefix6}) {
				t.Errorf("%s: %v", c.name, u.Treatment)
			}
			continue
		}
		if u.Treatment != Accepted || u.Reach[0].Attrs.NextHop != c.hop || u.Reach[0].Attrs.LinkLocal != c.linkLocal {
			t.Errorf("%s: %v %q %+v", c.name, u.Treatment, u.Problem, u.Reach)
		}
	}
}

func TestExtendedNextHop(t *testing.T) {
	o := external
	reach := attr(0x80, 14, slices.Concat([]byte{0, 1, 1, 16}, hop6, []byte{0}, okNLRI)...)
	message := raw(nil, slices.Concat(reach, okOrigin, okPath), nil)
	var u Update
	if err := ParseUpdate(message, &o, &u); err == nil {
		t.Error("an IPv6 next hop of IPv4 was taken without agreement")
	}
	o.ExtendedNextHop = true
	must(t, ParseUpdate(message, &o, &u))
	if len(u.Reach) != 1 || u.Reach[0].Family != IPv4Unicast || u.Reach[0].Prefixes[0] != prefix4 || u.Reach[0].Attrs.NextHop.String() != "2001:db8::1" {
		t.Errorf("%+v", u)
	}
	// Both ways at once, into one Withdrawn.
	must(t, ParseUpdate(raw(nil, slices.Concat(reach, okOrigin, okPath, okNextHop), []byte{8, 9}), &o, &u))
	if len(u.Reach) != 2 || u.Reach[0].Attrs.NextHop.Is6() || u.Reach[1].Attrs.NextHop.Is4() || u.Reach[1].Prefixes[0] != prefix4 {
		t.Errorf("%+v", u.Reach)
	}
	// IPv4 may come in MP_REACH_NLRI over an IPv4 next hop too (RFC 4760 section 3).
	reach = attr(0x80, 14, slices.Concat([]byte{0, 1, 1, 4, 192, 0, 2, 1, 0}, okNLRI)...)
	must(t, ParseUpdate(raw(nil, slices.Concat(reach, okOrigin, okPath), nil), &external, &u))
	if len(u.Reach) != 1 || u.Reach[0].Attrs.NextHop.String() != "192.0.2.1" {
		t.Errorf("%+v", u.Reach)
	}
}

func TestWhatWasNotAgreedOnIsIgnored(t *testing.T) {
	four, six := external, external
	four.Families, six.Families = FamiliesOf(IPv4Unicast), FamiliesOf(IPv6Unicast)
	both := raw([]byte{8, 11}, slices.Concat(mpReach(hop6, okNLRI6), mpUnreach(2, 1, 8, 0x20), okOrigin, okPath, okNextHop), okNLRI)
	for _, c := range []struct {
		o               *Options
		reach, withdraw netip.Prefix
		problem         string
	}{
		{&four, prefix4, netip.MustParsePrefix("11.0.0.0/8"), "withdrawn prefixes of IPv6 unicast, which was not agreed on"},
		{&six, prefix6, netip.MustParsePrefix("2000::/8"), "withdrawn prefixes of IPv4 unicast, which was not agreed on"},
	} {
		var u Update
		must(t, ParseUpdate(both, c.o, &u))
		if u.Treatment != PartIgnored || u.Problem != c.problem || len(u.Reach) != 1 || len(u.Withdrawn) != 1 ||
			u.Withdrawn[0] != c.withdraw || !slices.Equal(u.Reach[0].Prefixes, []netip.Prefix{c.reach}) {
			t.Errorf("%v %q: withdrawn %v, reachable %v", u.Treatment, u.Problem, u.Withdrawn, u.Reach)
		}
	}
	var u Update
	vpn := attr(0x80, 14, 0, 1, 128, 12, 1, 2, 3) // ends early, which who does not know the family cannot see
	for _, unknown := range [][]byte{vpn, attr(0x80, 15, 0, 25, 70, 1, 2, 3)} {
		u = Update{}
		err := ParseUpdate(raw(nil, slices.Concat(unknown, okOrigin, okPath, okNextHop), okNLRI), &external, &u)
		if unknown[1] == attrMPReach {
			if err == nil {
				t.Error("a next hop that exceeds its attribute was accepted")
			}
			continue
		}
		if err != nil || u.Treatment != PartIgnored || !strings.Contains(u.Problem, "AFI 25 SAFI 70") || len(u.Reach) != 1 {
			t.Errorf("%v, %v %q", err, u.Treatment, u.Problem)
		}
	}
	must(t, ParseUpdate(raw(nil, slices.Concat(okOrigin, okPath, okNextHop), slices.Concat([]byte{8, 224, 8, 239}, okNLRI)), &external, &u))
	if u.Treatment != PartIgnored || !slices.Equal(u.Reach[0].Prefixes, []netip.Prefix{prefix4}) {
		t.Errorf("multicast prefixes: %v %q %v", u.Treatment, u.Problem, u.Reach)
	}
}

func TestEndOfRIB(t *testing.T) {
	var u Update
	for _, f := range bothFamilies.List() {
		must(t, ParseUpdate(body(t, AppendEndOfRIB(nil, f), TypeUpdate), &external, &u))
		if u.EndOfRIB != f || len(u.Withdrawn) != 0 || len(u.Reach) != 0 || u.Treatment != Accepted {
			t.Errorf("%s: %+v", f, u)
		}
	}
	must(t, ParseUpdate(raw(nil, mpUnreach(1, 1), nil), &external, &u))
	if u.EndOfRIB != IPv4Unicast {
		t.Errorf("End-of-RIB of IPv4 in MP_UNREACH_NLRI is %v", u.EndOfRIB)
	}
	o := external
	o.Families = FamiliesOf(IPv4Unicast)
	must(t, ParseUpdate(raw(nil, mpUnreach(2, 1), nil), &o, &u))
	if u.EndOfRIB != 0 || u.Treatment != PartIgnored {
		t.Errorf("End-of-RIB of a family that was not agreed on: %+v", u)
	}
	// An empty MP_UNREACH_NLRI beside something else marks nothing.
	must(t, ParseUpdate(raw([]byte{8, 11}, mpUnreach(2, 1), nil), &external, &u))
	if u.EndOfRIB != 0 || len(u.Withdrawn) != 1 {
		t.Errorf("%+v", u)
	}
}

func TestUnknownAttributesArePassedOn(t *testing.T) {
	message := raw(nil, slices.Concat(attr(0xc0, 250, 5), attr(0xc0, 35, 0, 0, 0, 1), attr(0x80, 251, 1), attr(0xc0, 40), okOrigin, okPath, okNextHop), okNLRI)
	var u Update
	must(t, ParseUpdate(message, &external, &u))
	want := []route.Unknown{{Flags: 0xc0, Type: 35, Value: []byte{0, 0, 0, 1}}, {Flags: 0xc0, Type: 40, Value: []byte{}}, {Flags: 0xc0, Type: 250, Value: []byte{5}}}
	attrs := u.Reach[0].Attrs
	clear(message)
	if !reflect.DeepEqual(attrs.Unknown, want) {
		t.Fatalf("unknown attributes %+v, want %+v", attrs.Unknown, want)
	}
	msg, _ := AppendUpdate(nil, IPv4Unicast, attrs, []netip.Prefix{prefix4}, &external)
	must(t, ParseUpdate(body(t, msg, TypeUpdate), &external, &u))
	for i := range want {
		want[i].Flags |= flagPartial
	}
	if !reflect.DeepEqual(u.Reach[0].Attrs.Unknown, want) {
		t.Errorf("passed on as %+v, want %+v", u.Reach[0].Attrs.Unknown, want)
	}
}

// TestTrailingBits: what an octet has beyond the prefix says nothing (RFC 4271 section 4.3).
func TestTrailingBits(t *testing.T) {
	attrs := slices.Concat(mpReach(hop6, []byte{33, 0x20, 1, 0x0d, 0xb8, 0xff}), mpUnreach(2, 1, 3, 0x3f), okOrigin, okPath, okNextHop)
	var u Update
	must(t, ParseUpdate(raw([]byte{7, 11, 1, 0xff}, attrs, []byte{17, 10, 1, 0xff, 9, 12, 0xff}), &external, &u))
	got := slices.Concat(u.Withdrawn, u.Reach[0].Prefixes, u.Reach[1].Prefixes)
	var want []netip.Prefix
	for _, p := range []string{"10.0.0.0/7", "128.0.0.0/1", "2000::/3", "10.1.128.0/17", "12.128.0.0/9", "2001:db8:8000::/33"} {
		want = append(want, netip.MustParsePrefix(p))
	}
	if !slices.Equal(got, want) {
		t.Errorf("read %v, want %v", got, want)
	}
}

func TestAttrsOutliveTheUpdate(t *testing.T) {
	r := seeded(t)
	o := &internal
	first, second := randomAttrs(r, IPv6Unicast, o), randomAttrs(r, IPv6Unicast, o)
	var u Update
	buf, _ := AppendUpdate(nil, IPv6Unicast, first, []netip.Prefix{prefix6}, o)
	must(t, ParseUpdate(body(t, buf, TypeUpdate), o, &u))
	kept := u.Reach[0].Attrs
	buf, _ = AppendUpdate(buf[:0], IPv6Unicast, second, []netip.Prefix{prefix6}, o)
	must(t, ParseUpdate(body(t, buf, TypeUpdate), o, &u))
	if !reflect.DeepEqual(kept, first) || !reflect.DeepEqual(u.Reach[0].Attrs, second) {
		t.Error("the attributes of one message changed with the next")
	}
}

func TestAS4Merging(t *testing.T) {
	seq := func(as ...uint32) route.Segment { return route.Segment{Type: route.ASSequence, ASNs: as} }
	set := func(as ...uint32) route.Segment { return route.Segment{Type: route.ASSet, ASNs: as} }
	confed := route.Segment{Type: route.ASConfedSequence, ASNs: []uint32{64512}}
	const big, bigger = 4200000001, 4200000002
	for _, c := range []struct{ path, as4, want []route.Segment }{
		{[]route.Segment{seq(1, ASTrans, 3)}, []route.Segment{seq(big, 3)}, []route.Segment{seq(1, big, 3)}},
		{[]route.Segment{seq(ASTrans, 3)}, []route.Segment{seq(big, 3)}, []route.Segment{seq(big, 3)}},
		{[]route.Segment{seq(3)}, []route.Segment{seq(big, 3)}, []route.Segment{seq(3)}},
		{[]route.Segment{seq(1), set(ASTrans, 4)}, []route.Segment{set(big, 4)}, []route.Segment{seq(1), set(big, 4)}},
		{[]route.Segment{set(5, 6), seq(ASTrans)}, []route.Segment{seq(big)}, []route.Segment{set(5, 6), seq(big)}},
		{[]route.Segment{confed, seq(1, ASTrans)}, []route.Segment{seq(big)}, []route.Segment{confed, seq(1, big)}},
		{[]route.Segment{confed, seq(ASTrans)}, []route.Segment{seq(big)}, []route.Segment{confed, seq(big)}},
		{[]route.Segment{seq(1), confed, seq(ASTrans)}, []route.Segment{seq(big)}, []route.Segment{seq(1), confed, seq(big)}},
		{[]route.Segment{seq(1, 2, ASTrans, ASTrans), set(7)}, []route.Segment{seq(big, bigger), set(7)}, []route.Segment{seq(1, 2, big, bigger), set(7)}},
	} {
		if got := mergeAS4(c.path, c.as4); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v with AS4_PATH %v is %v, want %v", c.path, c.as4, got, c.want)
		}
	}
}

// TestAS4AggregatorDecides is the paragraph of RFC 6793 section 4.2.3 on an AGGREGATOR that a speaker of 2-octet numbers set.
func TestAS4AggregatorDecides(t *testing.T) {
	path := attr(0x40, 2, 2, 2, 0xfd, 0xe8, 0x5b, 0xa0) // 65000, AS_TRANS
	as4 := attr(0xc0, 17, 2, 1, 0, 3, 0, 0)             // 196608
	for _, c := range []struct {
		aggregator, as4Aggregator []byte
		as, last                  uint32
	}{
		{attr(0xc0, 7, 0x5b, 0xa0, 1, 2, 3, 4), attr(0xc0, 18, 0, 3, 0, 0, 5, 6, 7, 8), 196608, 196608},
		{attr(0xc0, 7, 0xfd, 0xe9, 1, 2, 3, 4), attr(0xc0, 18, 0, 3, 0, 0, 5, 6, 7, 8), 65001, ASTrans},
		{attr(0xc0, 7, 0xfd, 0xe9, 1, 2, 3, 4), nil, 65001, 196608},
	} {
		var u Update
		must(t, ParseUpdate(raw(nil, slices.Concat(okOrigin, path, okNextHop, c.aggregator, as4, c.as4Aggregator), okNLRI), &narrow, &u))
		a := u.Reach[0].Attrs
		last := a.ASPath[len(a.ASPath)-1].ASNs
		if a.Aggregator.AS != c.as || last[len(last)-1] != c.last {
			t.Errorf("aggregator %+v, path %v; want AS %d, ending in %d", a.Aggregator, a.ASPath, c.as, c.last)
		}
	}
}

// TestUnused: attributes that somebody keeps stay as they are, whatever is done with others.
func TestUnused(t *testing.T) {
	r := seeded(t)
	type pair struct{ attrs, want *route.Attrs }
	var kept []pair
	var u Update
	for range 2000 {
		o := &Options{FourOctetAS: true, IBGP: true, Families: bothFamilies}
		f := bothFamilies.List()[r.IntN(2)]
		msg, _ := AppendUpdate(nil, f, randomAttrs(r, f, o), randomPrefixes(r, f, 1), o)
		if r.IntN(8) == 0 {
			msg, _ = AppendWithdraw(nil, f, randomPrefixes(r, f, 1))
		}
		var fresh Update
		must(t, ParseUpdate(body(t, msg, TypeUpdate), o, &fresh))
		must(t, ParseUpdate(body(t, msg, TypeUpdate), o, &u))
		for i := range u.Reach {
			if got, want := u.Reach[i].Attrs, fresh.Reach[i].Attrs; !reflect.DeepEqual(got, want) {
				t.Fatalf("parsed %+v, and at first %+v", got, want)
			}
		}
		if len(u.Reach) == 0 || coin(r) {
			u.Unused()
			continue
		}
		kept = append(kept, pair{u.Reach[0].Attrs, fresh.Reach[0].Attrs})
	}
	for _, k := range kept {
		if !reflect.DeepEqual(k.attrs, k.want) {
			t.Fatalf("%+v became %+v", k.want, k.attrs)
		}
	}
}
