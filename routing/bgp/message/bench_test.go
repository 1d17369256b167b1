package message

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/warrenvpn/warren/routing/route"
)

// typical are the attributes of a route of the Internet.
func typical(f Family) *route.Attrs {
	a := &route.Attrs{ASPath: []route.Segment{{Type: route.ASSequence, ASNs: []uint32{64500, 3356, 1299, 396982}}},
		NextHop: netip.MustParseAddr("192.0.2.1"), Communities: []uint32{3356<<16 | 3, 3356<<16 | 86, 3356<<16 | 575}}
	if f == IPv6Unicast {
		a.NextHop, a.LinkLocal = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("fe80::1")
	}
	return a
}

// table are prefixes of the lengths that a full table mostly has.
func table(f Family, n int) []netip.Prefix {
	list := make([]netip.Prefix, n)
	for i := range list {
		if f == IPv4Unicast {
			list[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(1 + i>>16), byte(i >> 8), byte(i), 0}), 24-i%3).Masked()
		} else {
			list[i] = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, byte(i >> 8), byte(i)}), 48-i%5*4).Masked()
		}
	}
	return list
}

var benchOptions = &Options{FourOctetAS: true, Families: bothFamilies, FirstAS: 64500}

func forSizes(b *testing.B, run func(b *testing.B, f Family, n int)) {
	for _, f := range bothFamilies.List() {
		for _, n := range []int{1, 5, 500} {
			b.Run(fmt.Sprintf("ipv%d/%d", 2+2*f.AFI(), n), func(b *testing.B) {
				b.ReportAllocs()
				run(b, f, n)
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/prefix")
			})
		}
	}
}

func BenchmarkParseUpdate(b *testing.B) {
	forSizes(b, func(b *testing.B, f Family, n int) {
		msg, _ := AppendUpdate(nil, f, typical(f), table(f, n), benchOptions)
		var u Update
		for b.Loop() {
			if err := ParseUpdate(msg[HeaderLength:], benchOptions, &u); err != nil || len(u.Reach[0].Prefixes) != n {
				b.Fatal(err, len(u.Reach[0].Prefixes))
			}
		}
	})
}

func BenchmarkAppendUpdate(b *testing.B) {
	forSizes(b, func(b *testing.B, f Family, n int) {
		attrs, prefixes := typical(f), table(f, n)
		buf := make([]byte, 0, MaxLength)
		for b.Loop() {
			if _, rest := AppendUpdate(buf, f, attrs, prefixes, benchOptions); len(rest) > 0 {
				b.Fatal(len(rest))
			}
		}
	})
}
