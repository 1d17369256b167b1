package message

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/warrenvpn/warren/internal/race"
	"github.com/warrenvpn/warren/routing/route"
)

func TestMessagesAreFull(t *testing.T) {
	for _, f := range bothFamilies.List() {
		prefixes := table(f, 5000)
		size := func(p netip.Prefix) int { return 1 + (p.Bits()+7)/8 }
		next := func(rest []netip.Prefix) ([]byte, []netip.Prefix) { return AppendWithdraw(nil, f, rest) }
		for range 2 {
			for rest := prefixes; len(rest) > 0; {
				msg, left := next(rest)
				body(t, msg, TypeUpdate)
				if len(left) > 0 && len(msg)+size(left[0]) <= MaxLength {
					t.Errorf("%s: a message of %d octets, and %v would fit", f, len(msg), left[0])
				}
				rest = left
			}
			next = func(rest []netip.Prefix) ([]byte, []netip.Prefix) {
				return AppendUpdate(nil, f, typical(f), rest, benchOptions)
			}
		}
	}
}

func TestAppendKeepsWhatIsThere(t *testing.T) {
	buf := AppendKeepalive(nil)
	buf, _ = AppendUpdate(buf, IPv6Unicast, typical(IPv6Unicast), table(IPv6Unicast, 3), benchOptions)
	buf, _ = AppendWithdraw(buf, IPv6Unicast, table(IPv6Unicast, 3))
	buf = AppendRouteRefresh(AppendEndOfRIB(buf, IPv6Unicast), IPv4Unicast)
	buf = AppendNotification(randomOpen(seeded(t)).Append(buf), CodeCease, CeaseAdminReset, nil)
	var types []Type
	for len(buf) > 0 {
		n, typ, err := Length(buf)
		must(t, err)
		types, buf = append(types, typ), buf[n:]
	}
	if want := []Type{TypeKeepalive, TypeUpdate, TypeUpdate, TypeUpdate, TypeRouteRefresh, TypeOpen, TypeNotification}; !slices.Equal(types, want) {
		t.Errorf("%v, want %v", types, want)
	}
}

func TestWhatCannotBeSent(t *testing.T) {
	big := typical(IPv4Unicast)
	big.Communities = make([]uint32, 1100)
	for name, c := range map[string]struct {
		f Family
		a *route.Attrs
	}{
		"attributes fill the message": {IPv4Unicast, big},
		"IPv6 over IPv4":              {IPv6Unicast, typical(IPv4Unicast)},
		"IPv4 over IPv6":              {IPv4Unicast, typical(IPv6Unicast)},
		"no next hop":                 {IPv6Unicast, &route.Attrs{}},
		"no next hop of IPv4":         {IPv4Unicast, &route.Attrs{}},
	} {
		prefixes, before := table(c.f, 3), []byte("before")
		if msg, rest := AppendUpdate(before, c.f, c.a, prefixes, benchOptions); string(msg) != "before" || len(rest) != 3 {
			t.Errorf("%s: %d octets, %d prefixes are left", name, len(msg), len(rest))
		}
	}
	if msg, rest := AppendUpdate(nil, IPv4Unicast, big, nil, benchOptions); msg != nil || rest != nil {
		t.Error("no prefixes gave a message")
	}
}

func TestWhatExternalNeighboursDoNotGet(t *testing.T) {
	a := typical(IPv4Unicast)
	a.LocalPref, a.HasLocalPref = 7, true
	a.OriginatorID, a.ClusterList = a.NextHop, []netip.Addr{a.NextHop}
	msg, _ := AppendUpdate(nil, IPv4Unicast, a, []netip.Prefix{prefix4}, benchOptions)
	got, want := gobgpReads(t, msg, benchOptions).attrs, *typical(IPv4Unicast)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("sent %+v, want %+v", got, want)
	}
}

// TestNoConfederationInAS4Path is RFC 6793 section 3.
func TestNoConfederationInAS4Path(t *testing.T) {
	a := typical(IPv4Unicast)
	wide := route.Segment{Type: route.ASSequence, ASNs: []uint32{64500, 4200000000}}
	a.ASPath = []route.Segment{{Type: route.ASConfedSequence, ASNs: []uint32{64512}}, wide}
	o := &Options{IBGP: true, Families: bothFamilies}
	msg, _ := AppendUpdate(nil, IPv4Unicast, a, []netip.Prefix{prefix4}, o)
	if got := gobgpReads(t, msg, o).as4Path; !reflect.DeepEqual(got, []route.Segment{wide}) {
		t.Errorf("AS4_PATH is %v, want %v", got, wide)
	}
	var u Update
	must(t, ParseUpdate(body(t, msg, TypeUpdate), o, &u))
	if !reflect.DeepEqual(u.Reach[0].Attrs, a) {
		t.Errorf("read %+v, sent %+v", u.Reach[0].Attrs, a)
	}
}

// TestLongPath: a segment has 255 numbers; what is more goes into another, and the length of the path stays.
func TestLongPath(t *testing.T) {
	a := typical(IPv4Unicast)
	a.ASPath = []route.Segment{{Type: route.ASSequence}, {Type: route.ASSequence, ASNs: slices.Repeat([]uint32{64500}, 600)}}
	for _, four := range []bool{true, false} {
		o := &Options{FourOctetAS: four, Families: bothFamilies}
		msg, _ := AppendUpdate(nil, IPv4Unicast, a, []netip.Prefix{prefix4}, o)
		var u Update
		must(t, ParseUpdate(body(t, msg, TypeUpdate), o, &u))
		if got := u.Reach[0].Attrs; got.PathLength() != 600 || len(got.ASPath) != 3 || u.Treatment != Accepted {
			t.Errorf("%d numbers in %d segments, %q", got.PathLength(), len(got.ASPath), u.Problem)
		}
	}
}

func TestAllocations(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector's runtime allocates itself")
	}
	for _, f := range bothFamilies.List() {
		prefixes, attrs := table(f, 500), typical(f)
		buf := make([]byte, 0, 2*MaxLength)
		msg, _ := AppendUpdate(nil, f, attrs, prefixes, benchOptions)
		gone, _ := AppendWithdraw(nil, f, prefixes)
		var u Update
		for name, c := range map[string]struct {
			want float64
			run  func()
		}{
			"parse": {2, func() { must(t, ParseUpdate(msg[HeaderLength:], benchOptions, &u)) }},
			"parse again": {0, func() {
				u.Unused()
				must(t, ParseUpdate(msg[HeaderLength:], benchOptions, &u))
			}},
			"parse withdraw": {0, func() { must(t, ParseUpdate(gone[HeaderLength:], benchOptions, &u)) }},
			"append":         {0, func() { AppendUpdate(buf, f, attrs, prefixes, benchOptions) }},
			"withdraw":       {0, func() { AppendWithdraw(buf, f, prefixes) }},
			"keepalive":      {0, func() { AppendKeepalive(buf) }},
			"length": {0, func() {
				_, _, err := Length(msg)
				must(t, err)
			}},
		} {
			if got := testing.AllocsPerRun(50, c.run); got > c.want {
				t.Errorf("%s %s: %v allocations, want %v", f, name, got, c.want)
			}
		}
	}
}
