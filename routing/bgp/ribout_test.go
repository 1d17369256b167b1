package bgp

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/warrenvpn/warren/routing/bgp/message"
	"github.com/warrenvpn/warren/routing/route"
)

var bothFamilies = message.FamiliesOf(message.IPv4Unicast, message.IPv6Unicast)

// testOut is an Adj-RIB-Out towards an external neighbour.
func testOut() (*adjOut, *Negotiated) {
	deal := &Negotiated{Open: &message.OpenMessage{}, Families: bothFamilies, EndOfRIB: true,
		Options: message.Options{FourOctetAS: true, Families: bothFamilies}}
	n := testNeighbor("x", 65002)
	n.NextHop6 = netip.MustParseAddr("2001:db8::1")
	x := newExporter(Local{AS: 65001, RouterID: 1}, n, &route.Peer{AS: 65002}, deal, netip.MustParseAddr("192.0.2.1"))
	return newAdjOut(x, deal, true), deal
}

// testPrefix is one of a family of prefixes.
func testPrefix(i int, v6 bool) netip.Prefix {
	if v6 {
		a := [16]byte{0x20, 0x01, 0x0d, 0xb8}
		binary.BigEndian.PutUint32(a[4:], uint32(i))
		return netip.PrefixFrom(netip.AddrFrom16(a), 64)
	}
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], 10<<24|uint32(i)<<6)
	return netip.PrefixFrom(netip.AddrFrom4(a), 26)
}

// neighborModel is what a neighbour knows after UPDATEs.
type neighborModel struct {
	t       *testing.T
	deal    *Negotiated
	routes  map[netip.Prefix]*route.Attrs
	updates int
	markers message.Families
}

func (n *neighborModel) read(b []byte) {
	var u message.Update
	for len(b) > 0 {
		var msg []byte
		msg, b = split(b)
		if err := message.ParseUpdate(msg[message.HeaderLength:], &n.deal.Options, &u); err != nil || u.Treatment != message.Accepted {
			n.t.Fatalf("what we send cannot be read: %v, %s", err, u.Problem)
		}
		n.updates++
		n.markers |= message.FamiliesOf(u.EndOfRIB)
		for _, p := range u.Withdrawn {
			delete(n.routes, p)
		}
		for _, r := range u.Reach {
			for _, p := range r.Prefixes {
				n.routes[p] = r.Attrs
			}
		}
	}
}

// After any changes, read at any speed, the neighbour has what was set last, as external neighbours see it.
func TestRIBOutAgainstModel(t *testing.T) {
	for seed := range uint64(10) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		out, deal := testOut()
		if seed%2 == 0 {
			out.uncork()
		}
		model := map[netip.Prefix]*route.Attrs{}
		n := &neighborModel{t: t, deal: deal, routes: map[netip.Prefix]*route.Attrs{}}
		var attrs []*route.Attrs
		for i := range 12 { // every other one equals the one before
			attrs = append(attrs, &route.Attrs{MED: uint32(i / 2), HasMED: true, NextHop: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}),
				ASPath: []route.Segment{{Type: route.ASSequence, ASNs: []uint32{64999, uint32(i/4 + 1)}}}})
		}
		for range 300 {
			var changes []Change
			for range rnd.IntN(200) {
				c := Change{Prefix: testPrefix(rnd.IntN(500), rnd.IntN(2) == 0)}
				if rnd.IntN(3) > 0 {
					c.Attrs = attrs[rnd.IntN(len(attrs))]
				}
				model[c.Prefix] = c.Attrs
				changes = append(changes, c)
			}
			out.advertise(changes)
			switch rnd.IntN(8) {
			case 0:
				n.read(out.take(nil, 1+rnd.IntN(20000)))
			case 1:
				out.refresh(message.Family(1 + rnd.IntN(2)))
			}
		}
		if most := out.v4.records; most > 2*1000+2048 {
			t.Errorf("%d records are queued for 500 prefixes", most)
		}
		out.uncork()
		for {
			b := out.take(nil, writeSize)
			if len(b) == 0 {
				break
			}
			n.read(b)
		}
		checkModel(t, seed, model, n, out)
	}
}

func checkModel(t *testing.T, seed uint64, model map[netip.Prefix]*route.Attrs, n *neighborModel, out *adjOut) {
	t.Helper()
	want := 0
	for p, a := range model {
		got := n.routes[p]
		if a == nil {
			if got != nil {
				t.Fatalf("seed %d: %v is not withdrawn", seed, p)
			}
			continue
		}
		want++
		if got == nil {
			t.Fatalf("seed %d: %v is missing", seed, p)
		}
		hop := "192.0.2.1"
		if p.Addr().Is6() {
			hop = "2001:db8::1"
		}
		if got.MED != a.MED || got.NextHop != netip.MustParseAddr(hop) || got.PathLength() != 3 || got.NeighborAS() != 65001 {
			t.Fatalf("seed %d: %v has %+v, set %+v", seed, p, got, a)
		}
	}
	c, refused := out.counts()
	if c.IPv4+c.IPv6 != want || len(n.routes) != want || refused != 0 {
		t.Fatalf("seed %d: counts %+v, neighbour %d, refused %d, want %d", seed, c, len(n.routes), refused, want)
	}
	if n.markers != bothFamilies {
		t.Fatalf("seed %d: End-of-RIB of %v", seed, n.markers)
	}
	// Nothing is left of attributes that no prefix has.
	if used := len(out.v4.groups) - 1 - len(out.v4.free); used > 6 {
		t.Fatalf("seed %d: %d groups for 6 different attributes", seed, used)
	}
	done := out.leave()
	for len(n.routes) > 0 {
		b := out.take(nil, writeSize)
		if len(b) == 0 {
			t.Fatalf("seed %d: leaving leaves %d routes", seed, len(n.routes))
		}
		n.read(b)
	}
	out.take(nil, writeSize)
	<-done
	if used := len(out.v4.groups) - 1 - len(out.v4.free); used != 0 || len(out.v4.byHash) != 0 || len(out.v4.entries) != 0 {
		t.Fatalf("seed %d: leaving leaves %d groups, %d hashes, %d entries", seed, used, len(out.v4.byHash), len(out.v4.entries))
	}
}

// Attributes that were given up may come again, and others in their place.
func TestAttributesComeAgain(t *testing.T) {
	out, deal := testOut()
	out.uncork()
	n := &neighborModel{t: t, deal: deal, routes: map[netip.Prefix]*route.Attrs{}}
	a, b := &route.Attrs{MED: 1, HasMED: true}, &route.Attrs{MED: 2, HasMED: true}
	for i := range 6 {
		p, q := testPrefix(i, false), testPrefix(100+i, false)
		out.advertise([]Change{{Prefix: p, Attrs: a}})
		n.read(out.take(nil, writeSize))
		out.advertise([]Change{{Prefix: p}})
		n.read(out.take(nil, writeSize))
		out.advertise([]Change{{Prefix: q, Attrs: a}, {Prefix: p, Attrs: b}})
		n.read(out.take(nil, writeSize))
		if n.routes[p].MED != 2 || n.routes[q].MED != 1 {
			t.Fatalf("round %d: %+v and %+v", i, n.routes[p], n.routes[q])
		}
		out.advertise([]Change{{Prefix: q}, {Prefix: p}})
		n.read(out.take(nil, writeSize))
	}
}

// What cannot be announced is withdrawn, counted, and gone.
func TestRefusedAnnouncements(t *testing.T) {
	out, deal := testOut()
	out.uncork()
	n := &neighborModel{t: t, deal: deal, routes: map[netip.Prefix]*route.Attrs{}}
	p := testPrefix(1, false)
	long := &route.Attrs{Communities: make([]uint32, 3000)}
	for round := range 3 {
		out.advertise([]Change{{Prefix: p, Attrs: &route.Attrs{}}, {Prefix: testPrefix(2, false), Attrs: &route.Attrs{}}})
		n.read(out.take(nil, writeSize))
		out.advertise([]Change{{Prefix: p, Attrs: long}})
		for b := out.take(nil, writeSize); len(b) > 0; b = out.take(nil, writeSize) {
			n.read(b)
		}
		if c, refused := out.counts(); len(n.routes) != 1 || c.IPv4 != 1 || refused != round+1 {
			t.Fatalf("the neighbour has %d, counts %+v, %d refused", len(n.routes), c, refused)
		}
		if slices.Index(out.v4.free, 0) >= 0 || len(slices.Compact(slices.Sorted(slices.Values(out.v4.free)))) != len(out.v4.free) {
			t.Fatalf("free groups %v", out.v4.free)
		}
	}
}

// A table that comes prefix by prefix with changing attributes is packed all the same.
func TestUpdatesArePacked(t *testing.T) {
	out, deal := testOut()
	var changes []Change
	for i := range 100000 {
		changes = append(changes, Change{Prefix: testPrefix(i, false), Attrs: &route.Attrs{MED: uint32(i % 50), HasMED: true}})
	}
	out.advertise(changes)
	out.uncork()
	n := &neighborModel{t: t, deal: deal, routes: map[netip.Prefix]*route.Attrs{}}
	for b := out.take(nil, writeSize); len(b) > 0; b = out.take(b[:0], writeSize) {
		n.read(b)
	}
	// 2000 prefixes of 5 octets each fit 3 messages.
	if len(n.routes) != 100000 || n.updates > 50*3+2 {
		t.Errorf("%d routes in %d UPDATEs, want 100000 in 152", len(n.routes), n.updates)
	}
}

func TestExportRules(t *testing.T) {
	path := []route.Segment{{Type: route.ASSequence, ASNs: []uint32{64999}}}
	hop := netip.MustParseAddr("203.0.113.9")
	ibgpFrom, ebgpFrom := &route.Peer{Name: "i", IBGP: true}, &route.Peer{Name: "e"}
	learned := &route.Attrs{ASPath: path, NextHop: hop, LocalPref: 300, HasLocalPref: true}
	for _, c := range []struct {
		name        string
		ibgp        bool
		change      Change
		nextHopSelf bool
		want        func(*route.Attrs) bool
	}{
		{"eBGP", false, Change{Attrs: learned, From: ibgpFrom}, false, func(a *route.Attrs) bool {
			return a.PathLength() == 2 && a.NextHop == netip.MustParseAddr("192.0.2.1") && !a.HasLocalPref
		}},
		{"iBGP keeps", true, Change{Attrs: learned, From: ebgpFrom}, false, func(a *route.Attrs) bool {
			return a.PathLength() == 1 && a.NextHop == hop && a.LocalPref == 300
		}},
		{"iBGP next hop self", true, Change{Attrs: learned, From: ebgpFrom}, true, func(a *route.Attrs) bool {
			return a.PathLength() == 1 && a.NextHop == netip.MustParseAddr("192.0.2.1")
		}},
		{"iBGP of our own", true, Change{Attrs: &route.Attrs{}}, false, func(a *route.Attrs) bool {
			return a.PathLength() == 0 && a.NextHop == netip.MustParseAddr("192.0.2.1") && a.LocalPref == defaultLocalPref
		}},
		{"no reflection", true, Change{Attrs: learned, From: ibgpFrom}, false, nil},
		{"NO_EXPORT", false, Change{Attrs: &route.Attrs{Communities: []uint32{noExport}}}, false, nil},
		{"NO_EXPORT inside", true, Change{Attrs: &route.Attrs{Communities: []uint32{noExport}}}, false, func(*route.Attrs) bool { return true }},
		{"NO_ADVERTISE", true, Change{Attrs: &route.Attrs{Communities: []uint32{1, noAdvertise}}}, false, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := testNeighbor("x", 65002)
			n.NextHopSelf = c.nextHopSelf
			peer := &route.Peer{AS: 65002, IBGP: c.ibgp}
			x := newExporter(Local{AS: 65001, RouterID: 1}, n, peer, &Negotiated{}, netip.MustParseAddr("192.0.2.1"))
			if allowed := x.allowed(&c.change); allowed != (c.want != nil) {
				t.Fatalf("allowed: %v", allowed)
			}
			before := *c.change.Attrs
			if got := x.attrs(message.IPv4Unicast, c.change.Attrs); c.want != nil && !c.want(got) {
				t.Errorf("announces %+v", got)
			}
			if !sameAttrs(&before, c.change.Attrs) || path[0].ASNs[0] != 64999 {
				t.Error("the table's attributes were changed")
			}
		})
	}
}
