package dataplane

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"unsafe"

	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/internal/prefetch"
	"github.com/warrenvpn/warren/routing/fib"
)

// nearTunnel keeps itself near and writes down when it seals.
type nearTunnel struct {
	fakeTunnel
	near  *prefetch.List
	order *[]uint32
}

func (t *nearTunnel) KeepNear(l *prefetch.List) {
	t.near = l
	l.Set(prefetch.Of(t))
}

func (t *nearTunnel) Seal(ctx *Ctx, pkts []packet.Packet) int {
	*t.order = append(*t.order, t.index)
	return t.fakeTunnel.Seal(ctx, pkts)
}

// manyTunnels gives the bench tunnels behind 20.0.0.0/24, 20.0.1.0/24 and so on.
func manyTunnels(t *testing.T, b *bench, n int, order *[]uint32) (hops []fib.HopID) {
	t.Helper()
	for i := range n {
		index, err := b.plane.AddTunnel(TunnelConfig{VRF: b.vrf}, func(index uint32) (Tunnel, error) {
			return &nearTunnel{fakeTunnel: fakeTunnel{name: fmt.Sprint("t", i), index: index, mtu: 1400}, order: order}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		hops = append(hops, TunnelHop(index))
		if err := b.vrf.Table().Insert(netip.MustParsePrefix(fmt.Sprintf("20.0.%d.0/24", i)), []fib.Hop{{ID: TunnelHop(index), Weight: 1}}); err != nil {
			t.Fatal(err)
		}
	}
	return hops
}

// TestUpcoming: each tunnel of a batch is asked for in both steps, in order and once, before it is in hand, and not at all where
// they are few.
func TestUpcoming(t *testing.T) {
	const most = 100
	b := newBench(t)
	var sealed []uint32
	hops := manyTunnels(t, b, most, &sealed)
	for _, n := range []int{0, 1, fewTunnels - 1, fewTunnels, apart + 1, lead - 1, lead, lead + 1, most} {
		var u upcoming
		entry, near := make(map[uint32]int), make(map[uint32]int)
		take := func() {
			e, l := u.next()
			if e != nil {
				entry[e.index]++
			}
			if l != nil {
				if near[l.index]++; entry[l.index] != 1 {
					t.Fatalf("%d tunnels: a list was asked for before its entry", n)
				}
			}
		}
		// As find and forward do it, but for what is asked.
		u.collect(&b.plane.tunnels, hops[:n])
		if n < fewTunnels {
			if u.n != 0 {
				t.Fatalf("%d tunnels: %d are asked for", n, u.n)
			}
			continue
		}
		for u.at = -lead; u.at < 0; {
			take()
		}
		for i, hop := range hops[:n] {
			take()
			index, _ := HopTunnel(hop)
			if entry[index] != 1 || near[index] != 1 {
				t.Fatalf("%d tunnels: number %d is in hand after its entry was asked for %d times and its list %d times", n, i, entry[index], near[index])
			}
		}
	}
}

// TestEntryOfCacheLines: what every packet reads is in one line, the list in the next, and nothing else with them.
func TestEntryOfCacheLines(t *testing.T) {
	var e tunnelEntry
	if whole, near := unsafe.Sizeof(e), unsafe.Offsetof(e.near); whole != 128 || near != 64 {
		t.Errorf("%d bytes, the list at %d", whole, near)
	}
	if n := unsafe.Sizeof([together]traffic{}); n%64 != 0 {
		t.Errorf("workers share cache lines: %d bytes", n)
	}
}

// TestUpcomingSeals: being asked for changes nothing of where packets go, and the lists are those of the tunnels.
func TestUpcomingSeals(t *testing.T) {
	const n = 100
	b := newBench(t)
	var sealed, want []uint32
	var pkts [][]byte
	for i, hop := range manyTunnels(t, b, n, &sealed) {
		index, _ := HopTunnel(hop)
		want = append(want, index)
		pkts = append(pkts, ip4(a4, fmt.Sprintf("20.0.%d.1", i), 100))
		e := b.plane.tunnels.get(index)
		if tunnel := e.tunnel.(*nearTunnel); tunnel.near != &e.near || !e.near.Has(unsafe.Pointer(tunnel)) {
			t.Fatalf("tunnel %d keeps another list", i)
		}
	}
	b.fromPort(pkts...)
	if !slices.Equal(sealed, want) {
		t.Errorf("sealed by %v, want %v", sealed, want)
	}
}
