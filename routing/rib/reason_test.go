package rib

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/warrenvpn/warren/routing/route"
)

func seq(as ...uint32) []route.Segment { return []route.Segment{{Type: route.ASSequence, ASNs: as}} }

// What `warren routes` says of two paths that differ in one step only.
func TestReasons(t *testing.T) {
	up, down := &route.Via{Name: "up"}, &route.Via{Name: "down"}
	peer := func(change func(*route.Peer)) *route.Peer {
		p := &route.Peer{Source: route.BGP, Name: "n", Address: netip.MustParseAddr("192.0.2.1"), RouterID: 1, AS: 65001}
		change(p)
		return p
	}
	base := func() route.Path {
		return route.Path{Peer: peer(func(*route.Peer) {}), Via: up, Preference: 100, Attrs: &route.Attrs{ASPath: seq(65001)}}
	}
	from := func(s route.Source) func(*route.Path) {
		return func(r *route.Path) { r.Peer = peer(func(p *route.Peer) { p.Source = s }) }
	}
	both := func(a, b func(*route.Path)) func(*route.Path) { return func(r *route.Path) { a(r); b(r) } }
	as := func(change func(*route.Attrs)) func(*route.Path) { return func(r *route.Path) { change(r.Attrs) } }
	by := func(change func(*route.Peer)) func(*route.Path) { return func(r *route.Path) { r.Peer = peer(change) } }
	nothing := func(*route.Path) {}
	for _, c := range []struct {
		worse, better func(*route.Path)
		lost, won     string
	}{
		{func(r *route.Path) { r.Via = down }, nothing, "next hop is down", "others are down"},
		{both(func(r *route.Path) { r.Stale = true }, func(r *route.Path) { r.Preference = 200 }), nothing, "stale", "others are stale"},
		{nothing, func(r *route.Path) { r.Preference = 101 }, "lower preference", "higher preference"},
		{func(r *route.Path) { r.Metric = 1 }, from(route.Static), "higher metric", "lower metric"},
		{both(from(route.Static), func(r *route.Path) { r.Metric = 1 }), from(route.IPsec), "higher metric", "lower metric"},
		{nothing, from(route.Static), "less preferred source", "preferred source"},
		{from(route.Kernel), nothing, "less preferred source", "preferred source"},
		{as(func(a *route.Attrs) { a.LocalPref, a.HasLocalPref = 99, true }), nothing, "lower local preference", "higher local preference"},
		{as(func(a *route.Attrs) { a.ASPath = seq(65001, 65001) }), nothing, "longer AS path", "shorter AS path"},
		{as(func(a *route.Attrs) { a.Origin = route.OriginIncomplete }), nothing, "worse origin", "better origin"},
		{as(func(a *route.Attrs) { a.MED, a.HasMED = 1, true }), nothing, "higher MED", "lower MED"},
		{by(func(p *route.Peer) { p.IBGP = true }), nothing, "iBGP, and another is eBGP", "eBGP over iBGP"},
		{by(func(p *route.Peer) { p.RouterID = 2 }), nothing, "higher router ID", "lower router ID"},
		{as(func(a *route.Attrs) { a.OriginatorID = netip.MustParseAddr("0.0.0.2") }), nothing, "higher router ID", "lower router ID"},
		{as(func(a *route.Attrs) { a.ClusterList = make([]netip.Addr, 1) }), nothing, "longer cluster list", "shorter cluster list"},
		{by(func(p *route.Peer) { p.Address = netip.MustParseAddr("192.0.2.10") }), nothing, "higher address", "lower address"},
		{by(func(p *route.Peer) { p.Name = "o" }), nothing, "name sorts later", "name sorts first"},
	} {
		table := New(Options{})
		table.SetUp(down, false)
		worse, better := base(), base()
		c.worse(&worse)
		c.better(&better)
		p := netip.MustParsePrefix("10.0.0.0/8")
		table.Set(p, worse)
		table.Set(p, better)
		got := table.Get(p)
		if len(got) != 2 || got[0].Peer != better.Peer || !got[0].Won || got[1].Won || got[0].Why() != c.won || got[1].Why() != c.lost {
			t.Errorf("want %q and %q, got %q (won: %v) and %q (won: %v)", c.won, c.lost,
				got[0].Why(), got[0].Peer == better.Peer, got[1].Why(), got[1].Won)
		}
	}
}

// Pairs alone would say A over B by router ID, B over C by eBGP, C over A by MED: whoever came last would win.
func TestMEDDoesNotDependOnOrder(t *testing.T) {
	a := &route.Peer{Source: route.BGP, Name: "a", RouterID: 1}
	b := &route.Peer{Source: route.BGP, Name: "b", RouterID: 2}
	c := &route.Peer{Source: route.BGP, Name: "c", RouterID: 3, IBGP: true}
	p := netip.MustParsePrefix("10.0.0.0/8")
	for _, order := range [][]*route.Peer{{a, b, c}, {a, c, b}, {b, a, c}, {b, c, a}, {c, a, b}, {c, b, a}} {
		table := New(Options{})
		for _, peer := range order {
			as := &route.Attrs{ASPath: seq(65001), HasMED: true, MED: 10}
			if peer == b {
				as.ASPath = seq(65002)
			} else if peer == c {
				as.MED = 5
			}
			table.Set(p, route.Path{Peer: peer, Attrs: as})
		}
		got := table.Get(p)
		if got[0].Peer != b || got[1].Peer != c || got[1].Why() != "iBGP, and another is eBGP" ||
			got[2].Peer != a || got[2].Why() != "higher MED" {
			t.Errorf("after %s %s %s the order is %s %s %s", order[0].Name, order[1].Name, order[2].Name,
				got[0].Peer.Name, got[1].Peer.Name, got[2].Peer.Name)
		}
	}
}

func TestMultipath(t *testing.T) {
	p := netip.MustParsePrefix("10.0.0.0/8")
	peers := []*route.Peer{
		{Source: route.BGP, Name: "0", RouterID: 1}, {Source: route.BGP, Name: "1", RouterID: 2}, {Source: route.BGP, Name: "2", RouterID: 3}}
	as := []uint32{65001, 65002, 65001}
	for _, c := range []struct {
		o    Options
		want []int
		why  string
	}{
		{Options{}, []int{0}, "lower router ID"},
		{Options{MultipathMax: 2}, []int{0, 2}, "lower router ID"},
		{Options{MultipathMax: 2, MultipathAcrossAS: true}, []int{0, 1}, "lower router ID"},
		{Options{MultipathMax: 16, MultipathAcrossAS: true}, []int{0, 1, 2}, "equal to others"},
	} {
		table := New(c.o)
		for i := range peers {
			table.Set(p, route.Path{Peer: peers[i], Attrs: &route.Attrs{ASPath: seq(as[i])}})
		}
		var won []int
		for _, got := range table.Get(p) {
			if got.Won {
				won = append(won, slices.Index(peers, got.Peer))
				if got.Why() != c.why {
					t.Errorf("%+v: %s won by %q, want %q", c.o, got.Peer.Name, got.Why(), c.why)
				}
			}
		}
		if !slices.Equal(won, c.want) {
			t.Errorf("%+v: winners %v, want %v", c.o, won, c.want)
		}
	}
}

// What is announced again as it was, or becomes stale, costs those nothing who follow the table.
func TestNothingNewIsNotReported(t *testing.T) {
	table, p := New(Options{}), netip.MustParsePrefix("10.0.0.0/8")
	peer := &route.Peer{Source: route.BGP}
	offer := func() {
		table.Set(p, route.Path{Peer: peer, Attrs: &route.Attrs{ASPath: seq(65001), Communities: []uint32{1}}})
	}
	reported := func() (n int) {
		for range table.Flush() {
			n++
		}
		return n
	}
	offer()
	if n := reported(); n != 1 {
		t.Fatalf("a new prefix is reported %d times", n)
	}
	for what, f := range map[string]func(){
		"announced again":         offer,
		"withdrawn and announced": func() { table.Remove(p, peer); offer() },
		"stale":                   func() { table.MarkStale(peer, Both) },
		"refreshed":               func() { table.MarkStale(peer, Both); offer(); table.SweepStale(peer, Both) },
		"host bits, no peer":      func() { table.Set(netip.Prefix{}, route.Path{Peer: peer}); table.Set(p, route.Path{}) },
	} {
		if f(); reported() != 0 {
			t.Errorf("%s: reported", what)
		}
	}
	if table.Remove(p, peer); reported() != 1 {
		t.Error("withdrawn: not reported once")
	}
}
