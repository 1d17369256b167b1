package router

import (
	"testing"

	"github.com/warrenvpn/warren/routing/bgp/message"
)

// TestTakeOver: one router ends its sessions, and goes on forwarding all the same; another has what neighbours had announced to it,
// wins or not, until they have said what is still so. What is of no neighbour of its own it refuses.
func TestTakeOver(t *testing.T) {
	before := newWorld(t)
	h, other := before.join("n", 65001, before.a), before.join("other", 65002, before.b)
	h.announce(path(65001), "10.1.0.0/16", "10.2.0.0/16", "2001:db8::/32")
	other.announce(path(65002, 65002), "10.2.0.0/16")
	other.announce(path(65002), "10.3.0.0/16")
	left := map[string][]Announced{}
	err := before.Announced(func(routes []Announced) error {
		for _, r := range routes {
			left[r.Neighbor] = append(left[r.Neighbor], r)
		}
		return nil
	})
	if err != nil || len(left["n"]) != 3 || len(left["other"]) != 2 {
		t.Fatalf("left are %v, %v", left, err)
	}
	before.Freeze()
	h.down()
	other.down(message.IPv4Unicast)
	before.SetUp(before.a, false)
	before.forwards("10.1.0.0/16", "1")
	before.forwards("10.2.0.0/16", "1")
	before.forwards("2001:db8::/32", "1")

	w := newWorld(t)
	peer := left["n"][0].Path.Peer
	if w.Keep(left["n"]) {
		t.Error("routes of a neighbour that is none are kept")
	}
	if err := w.SetNeighbor(Neighbor{Name: "n", Via: w.a, Import: all, Export: all}); err != nil {
		t.Fatal(err)
	}
	if !w.Keep(left["n"]) || !w.Keep(nil) {
		t.Error("routes of a neighbour are not kept")
	}
	w.forwards("10.1.0.0/16", "1")
	w.forwards("10.2.0.0/16", "1")
	w.forwards("2001:db8::/32", "1")
	w.forwards("10.3.0.0/16", "")
	again := w.up(peer)
	again.announce(path(65001), "10.1.0.0/16")
	w.Sweep(peer, message.IPv4Unicast)
	w.forwards("10.1.0.0/16", "1")
	w.forwards("10.2.0.0/16", "")
	w.forwards("2001:db8::/32", "1")
}
