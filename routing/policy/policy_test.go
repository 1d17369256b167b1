package policy

import (
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/warrenvpn/warren/routing/route"
)

func num(n uint32) *uint32 { return &n }

func mustCompile(t testing.TB, o Options, rules ...Rule) *Policy {
	t.Helper()
	p, mistakes := Compile(rules, o)
	for _, m := range mistakes {
		t.Error(m)
	}
	if p == nil {
		t.FailNow()
	}
	return p
}

var (
	exportBGP = Options{Direction: Export, With: route.BGP, LocalAS: 65009}
	importBGP = Options{Direction: Import, With: route.BGP, LocalAS: 65009}
)

func seq(as ...uint32) []route.Segment { return []route.Segment{{Type: route.ASSequence, ASNs: as}} }

// bgpPath is as a neighbour announced it, with some of everything.
func bgpPath() route.Path {
	return route.Path{
		Peer:       &route.Peer{Source: route.BGP, Name: "V2-1", Address: netip.MustParseAddr("2001:db8:ff::1"), AS: 65001},
		Via:        &route.Via{Name: "V2-1"},
		Preference: 100,
		Attrs: &route.Attrs{ASPath: seq(65001, 65002), NextHop: netip.MustParseAddr("2001:db8:ff::1"),
			LinkLocal: netip.MustParseAddr("fe80::1"), Communities: []uint32{65001<<16 | 100, NoExport},
			LargeCommunities: []route.LargeCommunity{{Global: 65001, Local1: 1, Local2: 2}}},
	}
}

func kernelPath(device string) route.Path {
	return route.Path{Peer: &route.Peer{Source: route.Kernel, Name: "private"}, Via: &route.Via{Name: "private", Device: "warren0"},
		Device: device, Protocol: 188, Preference: 10}
}

func TestConditions(t *testing.T) {
	static := route.Path{Peer: &route.Peer{Source: route.Static, Name: "V2-1"}, Via: &route.Via{Name: "private", Device: "warren0"}}
	for _, c := range []struct {
		rule   Rule
		prefix string
		path   route.Path
		want   bool
	}{
		{Rule{}, "10.0.0.0/8", bgpPath(), true},
		{Rule{From: "bgp"}, "10.0.0.0/8", bgpPath(), true},
		{Rule{From: "kernel"}, "10.0.0.0/8", bgpPath(), false},
		{Rule{From: "kernel", Device: "eth*"}, "10.0.0.0/8", kernelPath("eth0"), true},
		{Rule{From: "kernel", Device: "eth*"}, "10.0.0.0/8", kernelPath("veth0"), false},
		{Rule{Protocol: "ospf"}, "10.0.0.0/8", kernelPath("eth0"), true},
		{Rule{Protocol: "188"}, "10.0.0.0/8", kernelPath("eth0"), true},
		{Rule{From: "kernel", Protocol: "static"}, "10.0.0.0/8", kernelPath("eth0"), false},
		{Rule{Protocol: "ospf"}, "10.0.0.0/8", bgpPath(), false},
		{Rule{Device: "warren0"}, "10.0.0.0/8", kernelPath("eth0"), false},
		{Rule{Device: "warren0"}, "10.0.0.0/8", static, true},
		{Rule{Device: "*"}, "10.0.0.0/8", bgpPath(), false},
		{Rule{Prefixes: []string{"192.0.2.0/24", "10.0.0.0/8 le 24"}}, "10.1.0.0/24", bgpPath(), true},
		{Rule{Prefixes: []string{"192.0.2.0/24", "10.0.0.0/8 le 24"}}, "10.1.0.0/25", bgpPath(), false},
		{Rule{Community: "65001:100"}, "::/0", bgpPath(), true},
		{Rule{Community: "65001:101"}, "::/0", bgpPath(), false},
		{Rule{Community: "65001:*"}, "::/0", bgpPath(), true},
		{Rule{Community: "*:101"}, "::/0", bgpPath(), false},
		{Rule{Community: "no-export"}, "::/0", bgpPath(), true},
		{Rule{Community: "NO_EXPORT"}, "::/0", bgpPath(), true},
		{Rule{Community: "blackhole"}, "::/0", bgpPath(), false},
		{Rule{Community: "65001:1:2"}, "::/0", bgpPath(), true},
		{Rule{Community: "65001:*:*"}, "::/0", bgpPath(), true},
		{Rule{Community: "65001:1:3"}, "::/0", bgpPath(), false},
		{Rule{Community: "*:*"}, "::/0", kernelPath("eth0"), false},
		{Rule{ASPathLength: "<=2"}, "::/0", bgpPath(), true},
		{Rule{ASPathLength: "<2"}, "::/0", bgpPath(), false},
		{Rule{ASPathLength: "0"}, "::/0", kernelPath("eth0"), true},
		{Rule{Neighbor: "V2-*"}, "::/0", bgpPath(), true},
		{Rule{Neighbor: "V3-*"}, "::/0", bgpPath(), false},
		{Rule{Neighbor: "2001:db8:FF:0::1"}, "::/0", bgpPath(), true},
		{Rule{Neighbor: "2001:db8:ff::2"}, "::/0", bgpPath(), false},
		{Rule{Neighbor: "V2-*"}, "::/0", static, false},
		{Rule{From: "bgp", Prefixes: []string{"::/0"}, Community: "65001:100", ASPathLength: "2", Neighbor: "V2-1"}, "::/0", bgpPath(), true},
		{Rule{From: "bgp", Prefixes: []string{"::/0"}, Community: "65001:100", ASPathLength: "3", Neighbor: "V2-1"}, "::/0", bgpPath(), false},
		{Rule{From: "bgp", Reject: true}, "::/0", bgpPath(), false},
	} {
		before := c.path
		got, ok := mustCompile(t, exportBGP, c.rule).Apply(netip.MustParsePrefix(c.prefix), c.path)
		if ok != c.want {
			t.Errorf("%+v takes %s: %v, want %v", c.rule, c.prefix, ok, c.want)
		}
		if ok && got != before {
			t.Errorf("%+v changes %+v to %+v", c.rule, before, got)
		}
	}
}

func TestFirstRuleDecides(t *testing.T) {
	p := mustCompile(t, exportBGP,
		Rule{Prefixes: []string{"10.1.0.0/16+"}, Reject: true},
		Rule{Prefixes: []string{"10.0.0.0/8+"}, Set: Set{MED: num(1)}},
		Rule{From: "bgp", ASPathLength: "2", Set: Set{MED: num(2)}})
	for prefix, want := range map[string]int{"10.1.2.0/24": 0, "10.2.0.0/16": 1, "192.0.2.0/24": 2} {
		path := bgpPath()
		if n := p.Match(netip.MustParsePrefix(prefix), &path); n != want {
			t.Errorf("rule %d decides on %s, want %d", n, prefix, want)
		}
		got, ok := p.Apply(netip.MustParsePrefix(prefix), path)
		if ok != (want > 0) || ok && got.Attrs.MED != uint32(want) {
			t.Errorf("%s: %v with %+v, want the result of rule %d", prefix, ok, got.Attrs, want)
		}
	}
	if path := kernelPath("eth0"); p.Match(netip.MustParsePrefix("::/0"), &path) != -1 {
		t.Error("a rule takes what none has a condition for")
	} else if _, ok := p.Apply(netip.MustParsePrefix("::/0"), path); ok {
		t.Error("what no rule takes is accepted")
	}
}

func TestWordsAndDefaults(t *testing.T) {
	all, err := Parse("all")
	none, err2 := Parse("none")
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	if _, err := Parse("any"); err == nil {
		t.Error("the word any is a policy")
	}
	for _, c := range []struct {
		name        string
		p           *Policy
		bgp, kernel bool
	}{
		{"all", all, true, true},
		{"none", none, false, false},
		{"nil", nil, false, false},
		{"zero", new(Policy), false, false},
		{"eBGP import (RFC 8212)", Default(Import, false), false, false},
		{"eBGP export (RFC 8212)", Default(Export, false), false, false},
		{"iBGP import", Default(Import, true), true, true},
		{"iBGP export", Default(Export, true), true, false},
	} {
		_, bgp := c.p.Apply(netip.MustParsePrefix("10.0.0.0/8"), bgpPath())
		_, kernel := c.p.Apply(netip.MustParsePrefix("10.0.0.0/8"), kernelPath("eth0"))
		if bgp != c.bgp || kernel != c.kernel {
			t.Errorf("%s: accepts a BGP path %v, a kernel path %v, want %v and %v", c.name, bgp, kernel, c.bgp, c.kernel)
		}
	}
}

func TestSet(t *testing.T) {
	long := make([]uint32, maxSegment-1)
	for _, c := range []struct {
		name  string
		o     Options
		set   Set
		start func(*route.Path) // what is different before
		want  func(*route.Path) // what is different after
	}{
		{"preference and metric", importBGP, Set{Preference: num(150), Metric: num(0)}, func(p *route.Path) { p.Metric = 7 },
			func(p *route.Path) { p.Preference, p.Metric = 150, 0 }},
		{"MED", exportBGP, Set{MED: num(0)}, nil, func(p *route.Path) { p.Attrs.HasMED = true }},
		{"local preference", importBGP, Set{LocalPref: num(200)}, nil, func(p *route.Path) { p.Attrs.LocalPref, p.Attrs.HasLocalPref = 200, true }},
		{"next hop self", exportBGP, Set{NextHopSelf: true}, nil,
			func(p *route.Path) { p.Attrs.NextHop, p.Attrs.LinkLocal = netip.Addr{}, netip.Addr{} }},
		{"add a community", exportBGP, Set{AddCommunities: []string{"65009:1", "no-export", "65009:1:1", "65001:1:2"}}, nil,
			func(p *route.Path) {
				p.Attrs.Communities = append(p.Attrs.Communities, 65009<<16|1)
				p.Attrs.LargeCommunities = append(p.Attrs.LargeCommunities, route.LargeCommunity{Global: 65009, Local1: 1, Local2: 1})
			}},
		{"remove communities", exportBGP, Set{RemoveCommunities: []string{"65001:*", "65001:1:*"}}, nil,
			func(p *route.Path) {
				p.Attrs.Communities, p.Attrs.LargeCommunities = []uint32{NoExport}, []route.LargeCommunity{}
			}},
		{"remove large communities only", exportBGP, Set{RemoveCommunities: []string{"65001:100:*"}}, nil, func(*route.Path) {}},
		{"replace all", exportBGP, Set{RemoveCommunities: []string{"*:*"}, AddCommunities: []string{"1:1"}}, nil,
			func(p *route.Path) { p.Attrs.Communities = []uint32{1<<16 | 1} }},
		{"prepend", exportBGP, Set{Prepend: 2}, nil, func(p *route.Path) { p.Attrs.ASPath = seq(65009, 65009, 65001, 65002) }},
		{"prepend to a set", exportBGP, Set{Prepend: 1}, func(p *route.Path) { p.Attrs.ASPath[0].Type = route.ASSet },
			func(p *route.Path) { p.Attrs.ASPath = append(seq(65009), p.Attrs.ASPath...) }},
		{"prepend to a full segment", exportBGP, Set{Prepend: 2}, func(p *route.Path) { p.Attrs.ASPath = seq(long...) },
			func(p *route.Path) { p.Attrs.ASPath = append(seq(65009, 65009), p.Attrs.ASPath...) }},
		{"of a path without attributes", exportBGP, Set{MED: num(3), Prepend: 1}, func(p *route.Path) { p.Attrs = nil },
			func(p *route.Path) { p.Attrs = &route.Attrs{MED: 3, HasMED: true, ASPath: seq(65009)} }},
	} {
		// Pointers inside stay the same: peers and tunnels are compared by them.
		in := bgpPath()
		start := func() route.Path {
			p := bgpPath()
			p.Peer, p.Via = in.Peer, in.Via
			if c.start != nil {
				c.start(&p)
			}
			return p
		}
		given, want := start(), start()
		c.want(&want)
		got, ok := mustCompile(t, c.o, Rule{Set: c.set}).Apply(netip.MustParsePrefix("::/0"), given)
		if !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\n got %+v %+v\nwant %+v %+v", c.name, ok, got, got.Attrs, want, want.Attrs)
		}
		if !reflect.DeepEqual(given, start()) {
			t.Errorf("%s: changed what it was given to %+v", c.name, given.Attrs)
		}
	}
}

// A neighbour's table has few different attributes, and so it stays after a policy.
func TestAttrsStayShared(t *testing.T) {
	p := mustCompile(t, exportBGP, Rule{Set: Set{MED: num(1), Prepend: 1}})
	a, b := bgpPath(), bgpPath()
	prefix := netip.MustParsePrefix("10.0.0.0/8")
	a1, _ := p.Apply(prefix, a)
	a2, _ := p.Apply(netip.MustParsePrefix("::/0"), a)
	b1, _ := p.Apply(prefix, b)
	if a1.Attrs != a2.Attrs || a1.Attrs == b1.Attrs {
		t.Error("two prefixes with the same attributes do not share them after, or two without do")
	}
	if n := testing.AllocsPerRun(100, func() { p.Apply(prefix, b) }); n != 0 {
		t.Errorf("%v allocations for each prefix of a message, want none", n)
	}
}

func TestConcurrentUse(t *testing.T) {
	p := mustCompile(t, exportBGP, Rule{Set: Set{AddCommunities: []string{"1:1"}}})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 500 {
				in := bgpPath()
				in.Attrs.MED = uint32(i)
				if got, ok := p.Apply(netip.MustParsePrefix("::/0"), in); !ok || got.Attrs.MED != uint32(i) || len(got.Attrs.Communities) != 3 {
					t.Errorf("got %+v", got.Attrs)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestMistakes(t *testing.T) {
	importKernel := Options{Direction: Import, With: route.Kernel}
	exportKernel := Options{Direction: Export, With: route.Kernel}
	for _, c := range []struct {
		o     Options
		rules []Rule
		want  []string // the beginning, and what else stands in it after "…"
	}{
		{exportBGP, []Rule{{From: "ospf"}}, []string{`rule 1, from: source "ospf"…connected, static, ipsec, bgp, kernel`}},
		{exportBGP, []Rule{{From: "bgp", Prefixes: []string{"::/0", "10.0.0.1/8", "10/8"}, Community: "65001", ASPathLength: "short",
			Device: "eth[", Neighbor: "a b"}},
			[]string{"rule 1, device: ", "rule 1, community: ", "rule 1, as_path_length: ", "rule 1, neighbor: ",
				`rule 1, prefixes: "10.0.0.1/8" has host bits: want 10.0.0.0/8`, `rule 1, prefixes: "10/8"`}},
		{exportBGP, []Rule{{Set: Set{AddCommunities: []string{"1:*", "1:1:1:1"}, RemoveCommunities: []string{"1:*", "65536:0"}, Prepend: -1}}},
			[]string{"rule 1, set.community.remove: …65535", "rule 1, set.community.add: …pattern", "rule 1, set.community.add: ",
				"rule 1, set.prepend: -1 times"}},
		{exportBGP, []Rule{{Prefixes: []string{}}}, []string{"rule 1, prefixes: "}},
		{exportBGP, []Rule{{}, {From: "bgp"}}, []string{"rule 2: never reached: rule 1"}},
		{exportBGP, []Rule{{Reject: true, Set: Set{MED: num(1)}}}, []string{"rule 1, set: a rule that rejects"}},
		{exportBGP, []Rule{{From: "static", Neighbor: "x"}}, []string{"rule 1, neighbor: routes from static"}},
		{exportBGP, []Rule{{Set: Set{Preference: num(1), Metric: num(1)}}}, []string{"rule 1, set.preference: ", "rule 1, set.metric: …med"}},
		{Options{Direction: Export, With: route.BGP}, []Rule{{Set: Set{Prepend: 1}}}, []string{"rule 1, set.prepend: there is no local AS"}},
		{exportBGP, []Rule{{Set: Set{Prepend: 33}}}, []string{"rule 1, set.prepend: 33 times"}},
		{importBGP, []Rule{{From: "kernel"}}, []string{"rule 1, from: all routes…bgp"}},
		{importBGP, []Rule{{Device: "eth0", Set: Set{NextHopSelf: true}}}, []string{"rule 1, device: ", "rule 1, set.next_hop_self: "}},
		{importKernel, []Rule{{Community: "1:1", ASPathLength: "1", Neighbor: "x"}},
			[]string{"rule 1, neighbor: ", "rule 1, community: ", "rule 1, as_path_length: "}},
		{exportKernel, []Rule{{Set: Set{LocalPref: num(1)}}}, []string{"rule 1, set: "}},
		{exportKernel, []Rule{{From: "bgp"}, {From: "connected", Set: Set{Metric: num(1)}}}, []string{"rule 2, set.metric: …kernel.metric"}},
		{importBGP, []Rule{{Protocol: "ospf"}}, []string{"rule 1, protocol: routes from bgp"}},
		{exportBGP, []Rule{{From: "static", Protocol: "ospf"}}, []string{"rule 1, protocol: routes from static"}},
		{exportBGP, []Rule{{Protocol: "256"}, {Protocol: "0"}, {Protocol: "rip2"}},
			[]string{`rule 1, protocol: protocol "256"…ospf`, "rule 2, protocol: ", "rule 3, protocol: "}},
		{exportBGP, []Rule{{Protocol: "bird"}, {From: "kernel", Protocol: "201"}}, nil},
		{importKernel, []Rule{{Device: "eth*", Set: Set{Preference: num(1)}}}, nil},
	} {
		p, got := Compile(c.rules, c.o)
		if len(got) != len(c.want) || (p == nil) != (len(c.want) > 0) {
			t.Errorf("%v %+v: policy %v, mistakes %q, want %q", c.o, c.rules, p != nil, got, c.want)
			continue
		}
		for i, m := range got {
			begin, rest, _ := strings.Cut(c.want[i], "…")
			if s := m.Error(); !strings.HasPrefix(s, begin) || !strings.Contains(s, rest) {
				t.Errorf("%+v: mistake %q, want %q", c.rules, s, c.want[i])
			}
		}
	}
	_, got := Compile([]Rule{{From: "bgp"}, {Prefixes: []string{"::/0", "x"}}}, exportBGP)
	if len(got) != 1 || got[0].Rule != 1 || got[0].Key != "prefixes" || got[0].Index != 1 {
		t.Errorf("mistakes %+v, want one at rule 1, prefixes, 1", got)
	}
}

func TestWithheld(t *testing.T) {
	internal, other := &route.Peer{Source: route.BGP, IBGP: true}, &route.Peer{Source: route.BGP, IBGP: true}
	external, static := &route.Peer{Source: route.BGP}, &route.Peer{Source: route.Static}
	for _, c := range []struct {
		from, to    *route.Peer
		communities []uint32
		want        string
	}{
		{external, internal, nil, ""},
		{internal, external, nil, ""},
		{static, external, nil, ""},
		{nil, external, nil, ""},
		{external, external, nil, "it came from there"},
		{internal, other, nil, "it came from another internal neighbor"},
		{external, internal, []uint32{NoExport}, ""},
		{static, external, []uint32{1, NoExport}, "community no-export"},
		{static, internal, []uint32{NoAdvertise}, "community no-advertise"},
		{static, external, []uint32{NoAdvertise}, "community no-advertise"},
		{static, external, []uint32{NoExportSubconfed}, "community no-export-subconfed"},
		{static, internal, []uint32{NoExportSubconfed}, ""},
	} {
		p := &route.Path{Peer: c.from, Attrs: &route.Attrs{Communities: c.communities}}
		if got := Withheld(p, c.to); got != c.want {
			t.Errorf("%+v to %+v with %x: %q, want %q", c.from, c.to, c.communities, got, c.want)
		}
	}
	if got := Withheld(&route.Path{Peer: static}, external); got != "" {
		t.Errorf("without attributes: %q", got)
	}
}

func BenchmarkApply(b *testing.B) {
	list := Rule{Reject: true}
	for i := range 1000 {
		list.Prefixes = append(list.Prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 2), byte(i << 6)}), 26).String()+"+")
	}
	p := mustCompile(b, importBGP, list, Rule{Community: "65009:666", Reject: true}, Rule{ASPathLength: "<=5", Set: Set{LocalPref: num(200)}})
	path, prefix := bgpPath(), netip.MustParsePrefix("192.0.2.0/24")
	b.ReportAllocs()
	for b.Loop() {
		p.Apply(prefix, path)
	}
}
