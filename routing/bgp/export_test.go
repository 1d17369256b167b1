package bgp

import (
	"net/netip"
	"testing"

	"github.com/warrenvpn/warren/routing/route"
)

// TestWhereRoutesMayGo: not back to who announced them, and from internal neighbours to external ones only (RFC 4271 section 9.2).
func TestWhereRoutesMayGo(t *testing.T) {
	peers := map[string]*route.Peer{
		"internal": {AS: 65001, IBGP: true}, "other internal": {AS: 65001, IBGP: true},
		"external": {AS: 65002}, "other external": {AS: 65003},
	}
	for to, peer := range peers {
		n := testNeighbor(to, peer.AS)
		x := newExporter(Local{AS: 65001, RouterID: 1}, n, peer, &Negotiated{}, netip.MustParseAddr("192.0.2.1"))
		if !x.allowed(&Change{Attrs: new(route.Attrs)}) {
			t.Errorf("a route of our own is not told to the %s neighbour", to)
		}
		for from, source := range peers {
			want := from != to && !(source.IBGP && peer.IBGP)
			if got := x.allowed(&Change{Attrs: new(route.Attrs), From: source}); got != want {
				t.Errorf("a route of the %s neighbour to the %s one: %v, want %v", from, to, got, want)
			}
		}
	}
}
