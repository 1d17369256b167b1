package rib

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/warrenvpn/warren/internal/race"
	"github.com/warrenvpn/warren/routing/fib/fibtest"
	"github.com/warrenvpn/warren/routing/route"
)

func internet(t testing.TB) []netip.Prefix {
	t.Helper()
	table, err := fibtest.Internet()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d prefixes, %s", len(table.Prefixes), table.Origin)
	return table.Prefixes
}

// updates are paths of a neighbour, some prefixes to each set of attributes, as UPDATE messages bring them.
func updates(n, as int, via *route.Via) []route.Path {
	peer := &route.Peer{Source: route.BGP, Name: fmt.Sprint(as), AS: uint32(as), RouterID: uint32(as)}
	paths := make([]route.Path, n)
	var a *route.Attrs
	for i := range paths {
		if i%5 == 0 {
			a = &route.Attrs{ASPath: seq(uint32(as), 65000+uint32(i%7))}
		}
		paths[i] = route.Path{Peer: peer, Via: via, Attrs: a, Preference: 100}
	}
	return paths
}

func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

func drain(t *Table) (n int) {
	for range t.Flush() {
		n++
	}
	return n
}

// TestFullTable reports what an Internet table from four neighbours takes, and what it takes to lose one of them.
func TestFullTable(t *testing.T) {
	if testing.Short() || race.Enabled {
		t.Skip("a full table wants neither -short nor -race")
	}
	prefixes := internet(t)
	table := New(Options{MultipathMax: 4, MultipathAcrossAS: true})
	vias := make([]*route.Via, 4)
	var all [4][]route.Path
	for i := range all {
		vias[i] = &route.Via{Name: fmt.Sprint("tunnel", i)}
		all[i] = updates(len(prefixes), 65001+i, vias[i])
	}
	step := func(what string, want int, f func()) {
		start := time.Now()
		f()
		set := time.Since(start)
		if n := drain(table); n != want {
			t.Errorf("%s: %d changes, want %d", what, n, want)
		}
		took := time.Since(start)
		t.Logf("%-24s %8.0f ms, of which Flush %5.0f ms, %9.0f changes/s", what, took.Seconds()*1e3, (took-set).Seconds()*1e3,
			float64(len(prefixes))/took.Seconds())
	}
	load := func(i int) func() {
		return func() {
			for j, p := range prefixes {
				table.Set(p, all[i][j])
			}
		}
	}
	n := len(prefixes)
	empty := heap()
	for i := range all {
		step(fmt.Sprintf("path %d to each", i+1), n, load(i))
		size := heap() - empty
		t.Logf("%-24s %d MB, %d B a prefix", "", size>>20, size/n)
		if i == 0 && size > 150<<20 {
			t.Errorf("with one path each %d MB, want less than 150", size>>20)
		}
	}
	step("announced again", 0, load(2))
	step("tunnel down", n, func() { table.SetUp(vias[1], false) })
	step("tunnel up", n, func() { table.SetUp(vias[1], true) })
	step("neighbour stale", n, func() { table.MarkStale(all[1][0].Peer, Both) })
	step("refreshed", n, load(1))
	for i := range all {
		step("neighbour gone", n, func() { table.RemovePeer(all[i][0].Peer) })
	}
	if left := heap() - empty; table.Len() != 0 || left > 4<<20 {
		t.Errorf("%d prefixes and %d MB are left of an empty table", table.Len(), left>>20)
	}
	runtime.KeepAlive(all)
}

// BenchmarkChange is a full table whose second neighbour's paths come and go, reported after each 64.
func BenchmarkChange(b *testing.B) {
	prefixes := internet(b)
	table := New(Options{})
	first, second := updates(len(prefixes), 65002, nil), updates(len(prefixes), 65001, nil)
	for i, p := range prefixes {
		table.Set(p, first[i])
	}
	drain(table)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		// A stride that visits all, in an order that no cache foresees.
		j := i * 104729 % len(prefixes)
		if i/len(prefixes)%2 == 0 {
			table.Set(prefixes[j], second[j])
		} else {
			table.Remove(prefixes[j], second[j].Peer)
		}
		if i%64 == 0 {
			drain(table)
		}
	}
	b.ReportMetric(1e9/(float64(b.Elapsed().Nanoseconds())/float64(b.N)), "changes/s")
}
