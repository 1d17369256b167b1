package message

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/warrenvpn/warren/routing/route"
)

// attr is an attribute on the wire.
func attr(flags, typ byte, value ...byte) []byte {
	return append([]byte{flags, typ, byte(len(value))}, value...)
}

// raw is the body of an UPDATE.
func raw(withdrawn, attrs, nlri []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(withdrawn)))
	b = append(b, withdrawn...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(attrs)))
	return append(append(b, attrs...), nlri...)
}

// Attributes and prefixes that are right.
var (
	okOrigin  = attr(0x40, 1, 0)
	okPath    = attr(0x40, 2, 2, 1, 0, 0, 0xfd, 0xe8) // AS 65000
	okNextHop = attr(0x40, 3, 192, 0, 2, 1)
	okNLRI    = []byte{24, 10, 0, 1}
	okNLRI6   = []byte{32, 0x20, 1, 0x0d, 0xb8}
	hop6      = netip.MustParseAddr("2001:db8::1").AsSlice()
	linkLocal = netip.MustParseAddr("fe80::1").AsSlice()
	zero6     = make([]byte, 16)

	prefix4 = netip.MustParsePrefix("10.0.1.0/24")
	prefix6 = netip.MustParsePrefix("2001:db8::/32")
)

// mpReach is MP_REACH_NLRI of IPv6 with a next hop of these octets.
func mpReach(hop, nlri []byte) []byte {
	return attr(0x80, 14, slices.Concat([]byte{0, 2, 1, byte(len(hop))}, hop, []byte{0}, nlri)...)
}

func mpUnreach(afi, safi byte, nlri ...byte) []byte {
	return attr(0x80, 15, append([]byte{0, afi, safi}, nlri...)...)
}

var (
	external = Options{FourOctetAS: true, Families: bothFamilies, FirstAS: 65000}
	internal = Options{FourOctetAS: true, Families: bothFamilies, IBGP: true}
	narrow   = Options{Families: bothFamilies, FirstAS: 65000} // 2-octet AS numbers
)

// A malformation is an attribute that is sent beside or, being of the same type, instead of the right ones.
type malformation struct {
	name  string
	o     *Options
	attr  []byte
	want  Treatment
	where string // part of the problem
}

var malformations = []malformation{
	// Section 3 c: flags.
	{"ORIGIN optional", &external, attr(0xc0, 1, 0), TreatAsWithdraw, "ORIGIN with flags 0xc0"},
	{"ORIGIN not transitive", &external, attr(0x00, 1, 0), TreatAsWithdraw, "ORIGIN with flags"},
	{"MED transitive", &external, attr(0xc0, 4, 0, 0, 0, 1), TreatAsWithdraw, "MULTI_EXIT_DISC with flags"},
	{"COMMUNITIES well-known", &external, attr(0x40, 8, 0, 0, 0, 1), TreatAsWithdraw, "COMMUNITIES with flags"},
	{"AGGREGATOR not transitive", &external, attr(0x80, 7, 0, 0, 0, 1, 1, 2, 3, 4), TreatAsWithdraw, "AGGREGATOR with flags"},
	{"partial and unused flags", &external, attr(0xef, 8, 0, 0, 0, 1), Accepted, ""},
	// 7.1
	{"ORIGIN empty", &external, attr(0x40, 1), TreatAsWithdraw, "ORIGIN has 0 octets"},
	{"ORIGIN of 2", &external, attr(0x40, 1, 0, 0), TreatAsWithdraw, "ORIGIN has 2 octets"},
	{"ORIGIN undefined", &external, attr(0x40, 1, 3), TreatAsWithdraw, "undefined value 3"},
	// 7.2
	{"AS_PATH segment type", &external, attr(0x40, 2, 5, 1, 0, 0, 0xfd, 0xe8), TreatAsWithdraw, "unknown type 5"},
	{"AS_PATH overrun", &external, attr(0x40, 2, 2, 2, 0, 0, 0xfd, 0xe8), TreatAsWithdraw, "which exceeds it"},
	{"AS_PATH underrun", &external, attr(0x40, 2, 2, 1, 0, 0, 0xfd, 0xe8, 2), TreatAsWithdraw, "within a segment's header"},
	{"AS_PATH empty segment", &external, attr(0x40, 2, 2, 0), TreatAsWithdraw, "empty segment"},
	{"AS_PATH first AS", &external, attr(0x40, 2, 2, 1, 0, 0, 0xfd, 0xe9), TreatAsWithdraw, "does not begin with AS 65000"},
	{"AS_PATH empty, external", &external, attr(0x40, 2), TreatAsWithdraw, "does not begin"},
	{"AS_PATH empty, internal", &internal, attr(0x40, 2), Accepted, ""},
	{"AS_PATH confederation, external", &external, attr(0x40, 2, 3, 1, 0, 0, 0xfd, 0xe8), TreatAsWithdraw, "confederation"},
	{"AS_PATH confederation, internal", &internal, attr(0x40, 2, 3, 1, 0, 0, 0xfd, 0xe8), Accepted, ""},
	{"AS_PATH AS 0 (RFC 7607)", &internal, attr(0x40, 2, 2, 1, 0, 0, 0, 0), TreatAsWithdraw, "AS number 0"},
	// 7.3, and RFC 4271 section 6.3
	{"NEXT_HOP of 5", &external, attr(0x40, 3, 1, 2, 3, 4, 5), TreatAsWithdraw, "NEXT_HOP has 5 octets"},
	{"NEXT_HOP empty", &external, attr(0x40, 3), TreatAsWithdraw, "NEXT_HOP has 0 octets"},
	{"NEXT_HOP unspecified", &external, attr(0x40, 3, 0, 0, 0, 0), TreatAsWithdraw, "not the address of a host"},
	{"NEXT_HOP multicast", &external, attr(0x40, 3, 224, 0, 0, 5), TreatAsWithdraw, "not the address of a host"},
	{"NEXT_HOP loopback", &external, attr(0x40, 3, 127, 0, 0, 1), TreatAsWithdraw, "not the address of a host"},
	// 7.4 to 7.10
	{"MED of 3", &external, attr(0x80, 4, 0, 0, 1), TreatAsWithdraw, "MULTI_EXIT_DISC has 3 octets"},
	{"LOCAL_PREF of 3", &internal, attr(0x40, 5, 0, 0, 1), TreatAsWithdraw, "LOCAL_PREF has 3 octets"},
	{"LOCAL_PREF external", &external, attr(0x40, 5, 0, 0, 0, 1), AttributeDiscard, "LOCAL_PREF from an external"},
	{"LOCAL_PREF of 3 external", &external, attr(0x40, 5, 0, 0, 1), AttributeDiscard, "LOCAL_PREF from an external"},
	{"ATOMIC_AGGREGATE of 1", &external, attr(0x40, 6, 0), AttributeDiscard, "ATOMIC_AGGREGATE has 1 octets"},
	{"AGGREGATOR of 6", &external, attr(0xc0, 7, 1, 2, 3, 4, 5, 6), AttributeDiscard, "AGGREGATOR has 6 octets, must have 8"},
	{"AGGREGATOR of AS 0 (RFC 7607)", &external, attr(0xc0, 7, 0, 0, 0, 0, 1, 2, 3, 4), AttributeDiscard, "AS number 0"},
	{"COMMUNITIES empty", &external, attr(0xc0, 8), TreatAsWithdraw, "COMMUNITIES has 0 octets"},
	{"COMMUNITIES of 6", &external, attr(0xc0, 8, 1, 2, 3, 4, 5, 6), TreatAsWithdraw, "COMMUNITIES has 6 octets"},
	{"ORIGINATOR_ID of 3", &internal, attr(0x80, 9, 1, 2, 3), TreatAsWithdraw, "ORIGINATOR_ID has 3 octets"},
	{"ORIGINATOR_ID external", &external, attr(0x80, 9, 1, 2, 3), AttributeDiscard, "ORIGINATOR_ID from an external"},
	{"CLUSTER_LIST of 6", &internal, attr(0x80, 10, 1, 2, 3, 4, 5, 6), TreatAsWithdraw, "CLUSTER_LIST has 6 octets"},
	{"CLUSTER_LIST empty", &internal, attr(0x80, 10), TreatAsWithdraw, "CLUSTER_LIST has 0 octets"},
	{"CLUSTER_LIST external", &external, attr(0x80, 10, 1), AttributeDiscard, "CLUSTER_LIST from an external"},
	// 7.14 and RFC 8092 section 6
	{"EXTENDED COMMUNITIES of 7", &external, attr(0xc0, 16, 1, 2, 3, 4, 5, 6, 7), TreatAsWithdraw, "must have a multiple of 8"},
	{"EXTENDED COMMUNITIES empty", &external, attr(0xc0, 16), TreatAsWithdraw, "must have a multiple of 8"},
	{"LARGE_COMMUNITY of 8", &external, attr(0xc0, 32, 1, 2, 3, 4, 5, 6, 7, 8), TreatAsWithdraw, "must have a multiple of 12"},
	{"LARGE_COMMUNITY empty", &external, attr(0xc0, 32), TreatAsWithdraw, "must have a multiple of 12"},
	// RFC 6793 section 6
	{"AS4_PATH not needed", &external, attr(0xc0, 17, 2, 1, 0, 0, 0, 1), AttributeDiscard, "AS4_PATH from a neighbour with 4-octet"},
	{"AS4_AGGREGATOR not needed", &external, attr(0xc0, 18, 1), AttributeDiscard, "AS4_AGGREGATOR from"},
	{"AS4_PATH overrun", &narrow, attr(0xc0, 17, 2, 2, 0, 0, 0, 1), AttributeDiscard, "AS4_PATH has a segment of 2"},
	{"AS4_PATH segment type", &narrow, attr(0xc0, 17, 9, 1, 0, 0, 0, 1), AttributeDiscard, "unknown type 9"},
	{"AS4_AGGREGATOR of 6", &narrow, attr(0xc0, 18, 1, 2, 3, 4, 5, 6), AttributeDiscard, "AS4_AGGREGATOR has 6 octets"},
	{"AGGREGATOR of 8 on 2 octets", &narrow, attr(0xc0, 7, 1, 2, 3, 4, 5, 6, 7, 8), AttributeDiscard, "must have 6"},
	// Section 3 g: more than once.
	{"MED twice", &external, slices.Concat(attr(0x80, 4, 0, 0, 0, 7), attr(0x80, 4, 1)), AttributeDiscard, "more than once"},
	{"unknown twice", &external, slices.Concat(attr(0xc0, 99, 7), attr(0xc0, 99, 8)), AttributeDiscard, "attribute 99 more than once"},
	// Section 4: lengths against the field.
	{"attribute overrun", &external, []byte{0xc0, 8, 200, 1, 2, 3, 4}, TreatAsWithdraw, "COMMUNITIES of 200 octets exceeds"},
	{"extended overrun", &external, []byte{0xd0, 8, 0, 5, 1, 2, 3, 4}, TreatAsWithdraw, "COMMUNITIES of 5 octets exceeds"},
	{"two octets left", &external, []byte{0xc0, 8}, TreatAsWithdraw, "too few for another"},
	{"three of an extended left", &external, []byte{0xd0, 8, 0}, TreatAsWithdraw, "too few for another"},
	{"unknown, not transitive", &external, attr(0x80, 77, 1), Accepted, ""},
	// Section 3 h: the gravest wins.
	{"discard and withdraw", &external, slices.Concat(attr(0x40, 6, 0), attr(0x80, 4, 1)), TreatAsWithdraw, "MULTI_EXIT_DISC"},
}

func TestMalformedAttributes(t *testing.T) {
	for _, c := range malformations {
		t.Run(c.name, func(t *testing.T) {
			var attrs []byte
			path := okPath
			if !c.o.FourOctetAS {
				path = attr(0x40, 2, 2, 1, 0xfd, 0xe8)
			}
			for _, ok := range [][]byte{okOrigin, path, okNextHop} {
				if ok[1] != c.attr[1] {
					attrs = append(attrs, ok...)
				}
			}
			var u Update
			err := ParseUpdate(raw(nil, append(attrs, c.attr...), okNLRI), c.o, &u)
			if err != nil || u.Treatment != c.want || !strings.Contains(u.Problem, c.where) || (u.Problem == "") != (c.want == Accepted) {
				t.Fatalf("%v (%q), %v; want %v (%q)", u.Treatment, u.Problem, err, c.want, c.where)
			}
			if c.want == TreatAsWithdraw {
				if len(u.Reach) != 0 || !slices.Equal(u.Withdrawn, []netip.Prefix{prefix4}) {
					t.Errorf("withdrawn %v, reachable %v", u.Withdrawn, u.Reach)
				}
				return
			}
			if len(u.Withdrawn) != 0 || len(u.Reach) != 1 || !slices.Equal(u.Reach[0].Prefixes, []netip.Prefix{prefix4}) {
				t.Fatalf("withdrawn %v, reachable %v", u.Withdrawn, u.Reach)
			}
			checkKept(t, c, u.Reach[0].Attrs)
		})
	}
}

// checkKept says whether what was discarded is gone, and of two the first has stayed.
func checkKept(t *testing.T, c malformation, a *route.Attrs) {
	discarded := *a
	discarded.Origin, discarded.ASPath, discarded.NextHop = 0, nil, netip.Addr{}
	want := route.Attrs{}
	switch c.name {
	case "MED twice":
		want.MED, want.HasMED = 7, true
	case "unknown twice":
		want.Unknown = []route.Unknown{{Flags: 0xc0, Type: 99, Value: []byte{7}}}
	case "partial and unused flags":
		want.Communities = []uint32{1}
	}
	if !reflect.DeepEqual(discarded, want) {
		t.Errorf("kept %+v, want %+v", discarded, want)
	}
}

func TestMissingAttributes(t *testing.T) {
	hop := mpReach(hop6, okNLRI6)
	for _, c := range []struct {
		name        string
		attrs, nlri []byte
		withdrawn   []netip.Prefix
	}{
		{"ORIGIN is missing", slices.Concat(okPath, okNextHop), okNLRI, []netip.Prefix{prefix4}},
		{"AS_PATH is missing", slices.Concat(okOrigin, okNextHop), okNLRI, []netip.Prefix{prefix4}},
		{"NEXT_HOP is missing", slices.Concat(okOrigin, okPath), okNLRI, []netip.Prefix{prefix4}},
		{"ORIGIN is missing", nil, okNLRI, []netip.Prefix{prefix4}},
		{"ORIGIN is missing", slices.Concat(hop, okPath), nil, []netip.Prefix{prefix6}},
		{"NEXT_HOP is missing", slices.Concat(hop, okPath, okOrigin), okNLRI, []netip.Prefix{prefix4, prefix6}},
		{"", slices.Concat(hop, okPath, okOrigin), nil, nil},
		{"", slices.Concat(okPath, okOrigin), nil, nil}, // attributes of nothing
	} {
		var u Update
		if err := ParseUpdate(raw(nil, c.attrs, c.nlri), &external, &u); err != nil || u.Problem != c.name || !slices.Equal(u.Withdrawn, c.withdrawn) {
			t.Errorf("%v, %q, withdrawn %v; want %q, %v", err, u.Problem, u.Withdrawn, c.name, c.withdrawn)
		}
	}
}

// TestSessionReset has what RFC 7606 leaves to end a session.
func TestSessionReset(t *testing.T) {
	right := slices.Concat(okOrigin, okPath, okNextHop)
	right6 := slices.Concat(okOrigin, okPath)
	for _, c := range []struct {
		name    string
		body    []byte
		subcode uint8
	}{
		{"no fields", nil, UpdateMalformedAttributes},
		{"three octets", []byte{0, 0, 0}, UpdateMalformedAttributes},
		{"withdrawn exceed", []byte{0, 1, 0, 0}, UpdateMalformedAttributes},
		{"attributes exceed", []byte{0, 0, 0, 1}, UpdateMalformedAttributes},
		{"withdrawn of /33", raw([]byte{33, 1, 2, 3, 4, 5}, nil, nil), UpdateInvalidNetwork},
		{"withdrawn cut", raw([]byte{24, 1, 2}, nil, nil), UpdateInvalidNetwork},
		{"prefix of /33", raw(nil, right, []byte{33, 1, 2, 3, 4, 5}), UpdateInvalidNetwork},
		{"prefix cut", raw(nil, right, []byte{24, 1, 2}), UpdateInvalidNetwork},
		{"MP_REACH twice", raw(nil, slices.Concat(mpReach(hop6, okNLRI6), mpReach(hop6, okNLRI6), right6), nil), UpdateMalformedAttributes},
		{"MP_UNREACH twice", raw(nil, slices.Concat(mpUnreach(2, 1), mpUnreach(2, 1)), nil), UpdateMalformedAttributes},
		{"MP_REACH short", raw(nil, slices.Concat(attr(0x80, 14, 0, 2, 1, 0), right6), nil), UpdateOptionalAttribute},
		{"MP_REACH next hop exceeds", raw(nil, slices.Concat(attr(0x80, 14, 0, 2, 1, 255, 0, 0), right6), nil), UpdateOptionalAttribute},
		{"MP_REACH next hop of 4", raw(nil, slices.Concat(mpReach([]byte{1, 2, 3, 4}, okNLRI6), right6), nil), UpdateOptionalAttribute},
		{"MP_REACH next hop of 0", raw(nil, slices.Concat(mpReach(nil, okNLRI6), right6), nil), UpdateOptionalAttribute},
		{"MP_REACH next hop of 24", raw(nil, slices.Concat(mpReach(make([]byte, 24), okNLRI6), right6), nil), UpdateOptionalAttribute},
		{"MP_REACH prefix of /129", raw(nil, slices.Concat(mpReach(hop6, append([]byte{129}, make([]byte, 17)...)), right6), nil), UpdateOptionalAttribute},
		{"MP_UNREACH short", raw(nil, attr(0x80, 15, 0, 2), nil), UpdateOptionalAttribute},
		{"MP_UNREACH prefix cut", raw(nil, mpUnreach(2, 1, 32, 1), nil), UpdateOptionalAttribute},
		{"well-known but unknown", raw(nil, append(attr(0x40, 88, 1), right...), okNLRI), UpdateUnrecognizedWellKnown},
		// Section 5.2: something else was sent than what the message now seems to be.
		{"withdraw nothing", raw(nil, attr(0x40, 1, 9), nil), UpdateMalformedAttributes},
		{"overrun, no prefixes", raw(nil, []byte{0x80, 14, 99, 0}, nil), UpdateMalformedAttributes},
	} {
		var u Update
		err := ParseUpdate(c.body, &external, &u)
		var n *NotificationError
		if !errors.As(err, &n) || n.Code != CodeUpdate || n.Subcode != c.subcode || u.Problem == "" {
			t.Errorf("%s: %v, problem %q; want subcode %d", c.name, err, u.Problem, c.subcode)
		}
		if c.subcode == UpdateUnrecognizedWellKnown && !bytes.Equal(n.Data, attr(0x40, 88, 1)) {
			t.Errorf("%s: data %x", c.name, n.Data)
		}
	}
}

func TestNothingElseIsLostWithTheAttributes(t *testing.T) {
	// Flags of MP_REACH_NLRI are wrong: its prefixes are still found, and what is withdrawn stays so.
	bad := mpReach(hop6, okNLRI6)
	bad[0] = 0xc0
	var u Update
	must(t, ParseUpdate(raw([]byte{8, 11}, slices.Concat(bad, okOrigin, okPath, okNextHop), okNLRI), &external, &u))
	want := []netip.Prefix{netip.MustParsePrefix("11.0.0.0/8"), prefix4, prefix6}
	if u.Treatment != TreatAsWithdraw || !slices.Equal(u.Withdrawn, want) {
		t.Errorf("%v, withdrawn %v, want %v", u.Treatment, u.Withdrawn, want)
	}
	// The flags of MP_UNREACH_NLRI alone do not end the session.
	bad = mpUnreach(2, 1, okNLRI6...)
	bad[0] = 0xc0
	must(t, ParseUpdate(raw(nil, bad, nil), &external, &u))
	if !slices.Equal(u.Withdrawn, []netip.Prefix{prefix6}) {
		t.Errorf("withdrawn %v", u.Withdrawn)
	}
}
