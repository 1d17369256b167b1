package dataplane

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/routing/fib"
)

// stepTunnel writes down in which order it is asked for and used.
type stepTunnel struct {
	fakeTunnel
	diary *[]string
}

func (t *stepTunnel) Prefetch(step int) { *t.diary = append(*t.diary, fmt.Sprint(t.name, ".", step)) }
func (t *stepTunnel) Seal(ctx *Ctx, pkts []packet.Packet) int {
	*t.diary = append(*t.diary, t.name)
	return t.fakeTunnel.Seal(ctx, pkts)
}

// TestUpcoming: each tunnel of a batch is asked for in all steps, in order and once, before it seals, and not at all where they
// are few.
func TestUpcoming(t *testing.T) {
	const most = 100
	b := newBench(t)
	var diary []string
	for i := range most {
		index, err := b.plane.AddTunnel(TunnelConfig{VRF: b.vrf}, func(index uint32) (Tunnel, error) {
			return &stepTunnel{fakeTunnel{name: fmt.Sprint("t", i), index: index, mtu: 1400}, &diary}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.vrf.Table().Insert(netip.MustParsePrefix(fmt.Sprintf("20.0.%d.0/24", i)), []fib.Hop{{ID: TunnelHop(index), Weight: 1}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []int{1, fewTunnels - 1, fewTunnels, lead - 1, lead, lead + 1, most} {
		diary = nil
		var pkts [][]byte
		for i := range n {
			pkts = append(pkts, ip4(a4, fmt.Sprintf("20.0.%d.1", i), 100))
		}
		b.fromPort(pkts...)
		place := make(map[string]int)
		for i, what := range diary {
			if _, ok := place[what]; ok {
				t.Fatalf("%d tunnels: %s twice", n, what)
			}
			place[what] = i + 1
		}
		for i := range n {
			name := fmt.Sprint("t", i)
			if place[name] == 0 {
				t.Fatalf("%d tunnels: %s did not seal", n, name)
			}
			before := 0
			for step := range PrefetchSteps {
				at := place[fmt.Sprint(name, ".", step)]
				switch {
				case n < fewTunnels && at != 0:
					t.Fatalf("%d tunnels: %s was asked for", n, name)
				case n >= fewTunnels && (at <= before || at > place[name]):
					t.Fatalf("%d tunnels: %s was asked for step %d as number %d, after %d, and sealed as number %d", n, name, step, at, before, place[name])
				}
				before = at
			}
		}
	}
}
