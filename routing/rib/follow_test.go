package rib

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/warrenvpn/warren/routing/route"
)

// follower knows a table by what it was told of it.
type follower map[netip.Prefix]string

func (f follower) take(c Change) {
	if c.Best == nil {
		delete(f, c.Prefix)
	} else {
		f[c.Prefix] = fmt.Sprint(c.Best.Peer.Name, c.Best.Metric, len(c.Winners))
	}
}

// TestSmallChangesComeFirst: what one tunnel's end changes is reported before what is left to report of a long table.
func TestSmallChangesComeFirst(t *testing.T) {
	table := New(Options{})
	full, few := &route.Peer{Source: route.BGP, Name: "full"}, &route.Peer{Source: route.BGP, Name: "few"}
	tunnel := &route.Via{Name: "tunnel"}
	prefix := func(i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i)}), 24)
	}
	const n = 1000
	for i := range n {
		table.Set(prefix(i), route.Path{Peer: full})
	}
	table.Set(prefix(n), route.Path{Peer: few, Via: tunnel})
	drain(table)
	table.RemovePeer(full)
	reported := 0
	for c := range table.Flush() {
		reported++
		switch reported {
		case 10:
			table.SetUp(tunnel, false)
		case 11:
			if c.Prefix != prefix(n) || c.Best != nil {
				t.Errorf("reported next: %+v", c)
			}
		}
	}
	if reported != n+1 || table.Len() != 1 {
		t.Errorf("%d changes, %d prefixes left", reported, table.Len())
	}
}

// One follower is there from the beginning and reads Flush in pieces. Another comes later and catches up with Scan, in pieces
// too, while the table changes, also in the midst of a Flush. In the end both know what is in the table.
func TestFollowersCatchUp(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	table := New(Options{MultipathMax: 2})
	peers := []*route.Peer{{Source: route.Static, Name: "a"}, {Source: route.IPsec, Name: "b"}}
	change := func() {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(r.IntN(8)), byte(r.IntN(250))}), 24)
		if peer := peers[r.IntN(2)]; r.IntN(2) == 0 {
			table.Remove(p, peer)
		} else {
			table.Set(p, route.Path{Peer: peer, Metric: uint32(r.IntN(2))})
		}
	}
	first, second := make(follower), make(follower)
	var cursor Cursor
	joined, more := false, true
	flush := func(n int) {
		for c := range table.Flush() {
			first.take(c)
			if joined {
				second.take(c)
			}
			if n--; n == 0 {
				return
			}
			if r.IntN(10) == 0 {
				change()
			}
		}
	}
	for round := range 200 {
		for range 1 + r.IntN(800) {
			change()
		}
		flush(1 + r.IntN(800))
		if joined = round > 100; joined && more {
			cursor, more = table.Scan(cursor, 50, second.take)
		}
	}
	flush(0)
	if more {
		t.Fatal("the scan found no end")
	}
	want := make(follower)
	for c, more := Cursor(0), true; more; {
		c, more = table.Scan(c, 100, want.take)
	}
	if len(want) < 500 || !maps.Equal(first, want) || !maps.Equal(second, want) {
		t.Errorf("of %d prefixes the followers know %d and %d, or other winners", len(want), len(first), len(second))
	}
	for p, all := range table.All(nil) {
		if best := all[0]; want[p][:2] != fmt.Sprint(best.Peer.Name, best.Metric) {
			t.Errorf("%v: scan says %s, All says %s%d", p, want[p], best.Peer.Name, best.Metric)
		}
	}
}
