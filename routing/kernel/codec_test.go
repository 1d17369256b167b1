package kernel

import (
	"net/netip"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"
)

func examples() []kernelRoute {
	p, a := netip.MustParsePrefix, netip.MustParseAddr
	return []kernelRoute{
		{prefix: p("10.0.0.0/8"), table: 254, metric: 32, protocol: 201, kind: unix.RTN_UNICAST, hops: []hop{{index: 3, weight: 1}}},
		{prefix: p("0.0.0.0/0"), table: 70000, metric: 1, protocol: 201, kind: unix.RTN_UNICAST,
			hops: []hop{{index: 3, weight: 1, gateway: a("192.0.2.1"), onLink: true}}, flags: unix.RTNH_F_ONLINK},
		{prefix: p("10.0.0.0/8"), table: 254, metric: 32, protocol: 201, kind: unix.RTN_UNICAST,
			hops: []hop{{index: 3, weight: 256, gateway: a("2001:db8::1")}, {index: 4, weight: 7}}},
		{prefix: p("2001:db8::/33"), table: 254, metric: 32, protocol: 201, kind: unix.RTN_UNICAST,
			hops: []hop{{index: 3, weight: 2, gateway: a("fe80::1")}, {index: 4, weight: 7, gateway: a("2001:db8::1"), onLink: true}}},
		{prefix: p("::/0"), table: 254, metric: ProtectMetric, protocol: 201, kind: unix.RTN_UNREACHABLE},
	}
}

func TestRoutesAreReadAsWritten(t *testing.T) {
	for _, want := range examples() {
		m, rest, ok := next(appendRoute(nil, unix.RTM_NEWROUTE, unix.NLM_F_CREATE, 7, &want))
		if !ok || len(rest) != 0 || m.seq != 7 || m.kind != unix.RTM_NEWROUTE || m.flags != unix.NLM_F_CREATE|unix.NLM_F_REQUEST {
			t.Fatalf("message %+v, %v", m, ok)
		}
		if got, ok := parseRoute(m.body); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("read %+v\nwant %+v", got, want)
		}
	}
}

func TestWeights(t *testing.T) {
	l := newLinks()
	l.put(link{index: 3, flags: unix.IFF_UP | unix.IFF_RUNNING, name: "a"})
	l.put(link{index: 4, flags: unix.IFF_UP | unix.IFF_RUNNING, name: "b"})
	l.put(link{index: 5, flags: unix.IFF_UP, name: "c"})
	got := l.resolve([]Hop{{Device: "b", Weight: 1}, {Index: 3, Weight: 1000}, {Device: "a", Weight: 24}, {Device: "c", Weight: 9}}, false)
	if want := []hop{{index: 3, weight: 256}, {index: 4, weight: 1}}; !reflect.DeepEqual(got.hops, want) {
		t.Errorf("resolved %+v, want %+v", got.hops, want)
	}
	if got := l.resolve([]Hop{{Device: "c"}, {Device: "d"}}, false); got != nil {
		t.Errorf("resolved %+v of devices that are not live", got.hops)
	}
}

func FuzzMessages(f *testing.F) {
	for _, r := range examples() {
		f.Add(appendRoute(appendDump(nil, unix.RTM_GETLINK, 0, 1), unix.RTM_NEWROUTE, 0, 7, &r))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		left := len(b)
		for m, rest, ok := next(b); ok; m, rest, ok = next(rest) {
			if len(rest) >= left {
				t.Fatal("no progress")
			}
			left = len(rest)
			if r, ok := parseRoute(m.body); ok && !r.prefix.IsValid() {
				t.Errorf("route without prefix: %+v", r)
			}
			parseLink(m.body)
			parseError(m)
		}
	})
}
