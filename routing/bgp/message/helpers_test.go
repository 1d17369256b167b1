package message

import (
	"encoding/binary"
	"flag"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/warrenvpn/warren/routing/route"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the random tests; 0 chooses one")

// seeded is a source of random numbers whose seed is printed if the test fails.
func seeded(t testing.TB) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("again with -seed %d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

var bothFamilies = FamiliesOf(IPv4Unicast, IPv6Unicast)

func coin(r *rand.Rand) bool { return r.IntN(2) == 0 }

// numbers are n random AS numbers, or whatever else is not 0.
func numbers(r *rand.Rand, n int) []uint32 {
	list := make([]uint32, n)
	for i := range list {
		list[i] = 1 + r.Uint32N(1<<(8+r.Uint32N(24)))
	}
	return list
}

func randomAddr4(r *rand.Rand) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(1 + r.IntN(126)), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())})
}

// randomAddr6 begins with first, or with 2000::/3.
func randomAddr6(r *rand.Rand, first ...byte) netip.Addr {
	var a [16]byte
	binary.BigEndian.PutUint64(a[:], r.Uint64())
	binary.BigEndian.PutUint64(a[8:], r.Uint64())
	a[0] = a[0]&0x1f | 0x20
	copy(a[:], first)
	return netip.AddrFrom16(a)
}

func randomPrefixes(r *rand.Rand, f Family, n int) []netip.Prefix {
	list := make([]netip.Prefix, n)
	for i := range list {
		a := randomAddr6(r)
		if f == IPv4Unicast {
			a = randomAddr4(r)
		}
		list[i] = netip.PrefixFrom(a, r.IntN(a.BitLen()+1)).Masked()
	}
	return list
}

// randomAttrs are attributes that survive a round trip between neighbours of these options.
func randomAttrs(r *rand.Rand, f Family, o *Options) *route.Attrs {
	a := &route.Attrs{Origin: route.Origin(r.IntN(3)), ASPath: []route.Segment{}}
	for range r.IntN(4) {
		typ := route.SegmentType(1 + r.IntN(2))
		if n := len(a.ASPath); n > 0 && a.ASPath[n-1].Type == route.ASSequence {
			typ = route.ASSet
		}
		a.ASPath = append(a.ASPath, route.Segment{Type: typ, ASNs: numbers(r, 1+r.IntN(8))})
	}
	randomNextHop(r, a, f, o)
	if coin(r) {
		a.MED, a.HasMED = r.Uint32(), true
	}
	if a.AtomicAggregate = coin(r); a.AtomicAggregate {
		a.Aggregator = &route.Aggregator{AS: numbers(r, 1)[0], Address: randomAddr4(r)}
	}
	if coin(r) {
		a.Communities = numbers(r, 1+r.IntN(100))
	}
	for range r.IntN(3) {
		types := [...]uint64{0x0002, 0x0003, 0x0102, 0x0202}
		a.ExtCommunities = append(a.ExtCommunities, types[r.IntN(4)]<<48|r.Uint64()>>16)
		a.LargeCommunities = append(a.LargeCommunities, route.LargeCommunity{Global: r.Uint32(), Local1: r.Uint32(), Local2: r.Uint32()})
	}
	if o.IBGP {
		a.LocalPref, a.HasLocalPref = r.Uint32(), true
		if coin(r) {
			a.OriginatorID, a.ClusterList = randomAddr4(r), []netip.Addr{randomAddr4(r), randomAddr4(r)}
		}
	}
	for typ := uint8(200); typ < 203 && coin(r); typ++ {
		a.Unknown = append(a.Unknown, route.Unknown{Flags: flagOptional | flagTransitive | flagPartial, Type: typ,
			Value: make([]byte, r.IntN(400))})
	}
	return a
}

func randomNextHop(r *rand.Rand, a *route.Attrs, f Family, o *Options) {
	if f == IPv4Unicast && (!o.ExtendedNextHop || coin(r)) {
		a.NextHop = randomAddr4(r)
		return
	}
	linkLocal := randomAddr6(r, 0xfe, 0x80, 0, 0, 0, 0, 0, 0)
	switch r.IntN(3) {
	case 0:
		a.NextHop = randomAddr6(r)
	case 1:
		a.NextHop, a.LinkLocal = randomAddr6(r), linkLocal
	case 2:
		a.NextHop, a.LinkLocal = linkLocal, linkLocal
	}
}

func randomOptions(r *rand.Rand) *Options {
	return &Options{FourOctetAS: coin(r), ExtendedNextHop: coin(r), IBGP: coin(r), Families: bothFamilies}
}

func randomOpen(r *rand.Rand) *OpenMessage {
	m := &OpenMessage{AS: numbers(r, 1)[0], HoldTime: uint16(3 + r.IntN(65000)), RouterID: numbers(r, 1)[0],
		Families: FamiliesOf(Family(1 + r.IntN(2))), RouteRefresh: coin(r), FourOctetAS: coin(r), ExtendedNextHop: coin(r)}
	if coin(r) {
		m.Families = bothFamilies
	}
	if !m.FourOctetAS {
		m.AS = m.AS&0xffff | 1
	}
	if coin(r) {
		m.Graceful = &Graceful{RestartTime: uint16(r.IntN(4096)), Restarting: coin(r), Notification: coin(r)}
		for _, f := range m.Families.List() {
			m.Graceful.Families = append(m.Graceful.Families, GracefulFamily{Family: f, Forwarding: coin(r)})
		}
	}
	return m
}

// body checks the header of exactly one message and returns what is behind it.
func body(t testing.TB, msg []byte, want Type) []byte {
	t.Helper()
	n, typ, err := Length(msg)
	if err != nil || typ != want || n != len(msg) {
		t.Fatalf("Length = %d, %v, %v; want %d, %v", n, typ, err, len(msg), want)
	}
	return msg[HeaderLength:]
}
