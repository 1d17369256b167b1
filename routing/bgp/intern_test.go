package bgp

import (
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"

	"github.com/warrenvpn/warren/routing/bgp/message"
	"github.com/warrenvpn/warren/routing/route"
)

func TestInternerKeepsOneOfEach(t *testing.T) {
	in := newInterner()
	rnd := rand.New(rand.NewPCG(1, 1))
	pointers := map[*route.Attrs]bool{}
	for range 100000 {
		med := uint32(rnd.IntN(2000))
		a := in.intern(&route.Attrs{MED: med, HasMED: true})
		if a.MED != med {
			t.Fatalf("MED %d became %d", med, a.MED)
		}
		pointers[a] = true
	}
	if len(pointers) > 40000 || len(in.slots) < 2000 {
		t.Errorf("2000 different attributes have %d pointers in %d places", len(pointers), len(in.slots))
	}
	for i := range 2 * maxInterned {
		in.intern(&route.Attrs{MED: uint32(i), HasMED: true})
	}
	if len(in.slots) > maxInterned {
		t.Errorf("%d places, want %d at most", len(in.slots), maxInterned)
	}
}

// Every field of Attrs, changed alone, makes attributes that are not the same.
func TestSameAttrsLooksAtEveryField(t *testing.T) {
	full := func() *route.Attrs {
		a := netip.MustParseAddr("192.0.2.1")
		return &route.Attrs{Origin: 1, ASPath: []route.Segment{{Type: route.ASSequence, ASNs: []uint32{1, 2}}}, NextHop: a, LinkLocal: a,
			MED: 1, LocalPref: 1, Aggregator: &route.Aggregator{AS: 1, Address: a}, Communities: []uint32{1}, ExtCommunities: []uint64{1},
			LargeCommunities: []route.LargeCommunity{{Global: 1}}, OriginatorID: a, ClusterList: []netip.Addr{a},
			Unknown: []route.Unknown{{Flags: 1, Type: 2, Value: []byte{3}}}}
	}
	if !sameAttrs(full(), full()) {
		t.Fatal("equal attributes are not the same")
	}
	typ := reflect.TypeFor[route.Attrs]()
	for i := range typ.NumField() {
		changed := full()
		field := reflect.ValueOf(changed).Elem().Field(i)
		if field.IsZero() {
			field.SetBool(true)
		} else {
			field.SetZero()
		}
		if sameAttrs(full(), changed) || sameAttrs(changed, full()) {
			t.Errorf("%s makes no difference", typ.Field(i).Name)
		}
	}
	for name, change := range map[string]func(*route.Attrs){
		"segment type": func(a *route.Attrs) { a.ASPath[0].Type = route.ASSet },
		"number":       func(a *route.Attrs) { a.ASPath[0].ASNs[1]++ },
		"aggregator":   func(a *route.Attrs) { a.Aggregator.AS++ },
		"value":        func(a *route.Attrs) { a.Unknown[0].Value[0]++ },
		"flags":        func(a *route.Attrs) { a.Unknown[0].Flags++ },
	} {
		changed := full()
		if change(changed); sameAttrs(full(), changed) {
			t.Errorf("%s makes no difference", name)
		}
	}
}

// TestLearnedAttrsStay: of messages that are read one after the other into the same place, those with attributes not seen
// before must not lend them to the next.
func TestLearnedAttrsStay(t *testing.T) {
	p := newPeer(&Config{Local: Local{AS: 65001}}, &Neighbor{AS: 65002}, slog.New(slog.DiscardHandler), newPools())
	p.interned = newInterner()
	o := &message.Options{FourOctetAS: true, Families: message.FamiliesOf(message.IPv4Unicast)}
	prefix := netip.MustParsePrefix("192.0.2.0/24")
	rnd := rand.New(rand.NewPCG(2, 2))
	var u message.Update
	var meds []uint32
	for range 300 {
		med := 1 + uint32(rnd.IntN(40))
		meds = append(meds, med)
		msg, _ := message.AppendUpdate(nil, message.IPv4Unicast, &route.Attrs{MED: med, HasMED: true,
			ASPath:  []route.Segment{{Type: route.ASSequence, ASNs: []uint32{65002, med}}},
			NextHop: netip.MustParseAddr("192.0.2.1")}, []netip.Prefix{prefix}, o)
		if err := message.ParseUpdate(msg[message.HeaderLength:], o, &u); err != nil {
			t.Fatal(err)
		}
		p.learned(&u)
	}
	seen := map[*route.Attrs]bool{}
	for i, r := range p.batch {
		if seen[r.Attrs] = true; r.Attrs.MED != meds[i] || r.Attrs.ASPath[0].ASNs[1] != meds[i] {
			t.Fatalf("route %d has MED %d and path %v, want %d", i, r.Attrs.MED, r.Attrs.ASPath, meds[i])
		}
	}
	// Two of the 40 that have one place cost 7 of the 300 each time, and with a seed that is anybody's 22 such pairs are once in 1e11.
	if len(p.batch) != len(meds) || len(seen) > 225 {
		t.Errorf("%d routes with %d attributes, want %d with far fewer attributes: the cache forgets some of the 40", len(p.batch), len(seen), len(meds))
	}
}
