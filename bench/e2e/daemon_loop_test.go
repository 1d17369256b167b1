//go:build linux

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/warrenvpn/warren/bench/lab"
)

// TestDefaultRouteIntoOurOwnPort: a host whose default route leads into the device, and nothing else to the peer. Sealed packets come
// back, whole or as the fragments that the host makes of them, and none is sealed again.
func TestDefaultRouteIntoOurOwnPort(t *testing.T) {
	for _, c := range []struct {
		encap string
		v6    bool
	}{{"always", false}, {"always", true}, {"never", false}, {"never", true}} {
		t.Run(fmt.Sprintf("encap %s, IPv6 outside %v", c.encap, c.v6), func(t *testing.T) {
			e := newEnds(t)
			ctx := limit(t)
			edit(t, e.confA, fmt.Sprintf(", netns: %q", e.insideA.Namespace), "")
			edit(t, e.confA, `routes: [10.2.0.0/16, "fd02::/64"]`, `routes: [0.0.0.0/0, "::/0"]`)
			edit(t, e.confA, "{tun: warren0,", "{tun: warren0, queues: 2,")
			edit(t, e.confA, "underlay:", "workers: 2\nunderlay:")
			e.outside(t, c.encap, c.v6)
			p := e.start(t, ctx, e.a, e.a, e.confA, e.sockA, "default", "::/0")
			for _, command := range []string{"route del 192.0.2.0/24 dev eth0", "-6 route del 2001:db8::/64 dev eth0"} {
				if err := e.a.IP(strings.Fields(command)...); err != nil {
					t.Fatal(err)
				}
			}
			const pings = 10
			mtu := e.ownMTU(t, ctx)
			e.comesBack(t, ctx, p, pings, 1, "-s", "100")
			// The device takes no frame of that length: the host cuts it in two.
			e.comesBack(t, ctx, p, pings, 2, "-M", "dont", "-s", fmt.Sprint(mtu-28))
			e.stop(t, p)
		})
	}
}

// ownMTU is what fits the tunnel of a, in bytes.
func (e *ends) ownMTU(t testing.TB, ctx context.Context) int {
	t.Helper()
	var ts []struct {
		InnerMTU int `json:"inner_mtu"`
	}
	if e.ask(t, ctx, &ts, "tunnels"); len(ts) != 1 {
		t.Fatalf("%+v", ts)
	}
	return ts[0].InnerMTU
}

// comesBack sends pings that nobody can answer. Each is sealed once, and each piece of its frame is dropped once.
func (e *ends) comesBack(t testing.TB, ctx context.Context, p *lab.Process, pings, pieces int, args ...string) {
	t.Helper()
	count := func() (sealed, loops uint64) {
		var ts []struct {
			Out uint64 `json:"out_packets"`
		}
		var all []tally
		if e.ask(t, ctx, &ts, "tunnels"); len(ts) != 1 {
			t.Fatalf("%+v", ts)
		}
		e.ask(t, ctx, &all, "drops")
		return ts[0].Out, dropped(all, "worker", "loop")
	}
	sealed, loops := count()
	for n := range pings { // one after the other: several at once may come back as one
		if r, err := e.a.Ping(ctx, "10.2.0.1", 1, append(args, "-W", "0.05")...); err != nil || r.Received > 0 {
			t.Fatalf("%+v %v\n%s", r, err, p.Log())
		}
		err := lab.WaitFor(ctx, "the drops to be counted", func() error {
			s, l := count()
			if s-sealed < uint64(n+1) || l-loops < uint64((n+1)*pieces) {
				return fmt.Errorf("%d sealed, %d dropped", s-sealed, l-loops)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if s, l := count(); s-sealed != uint64(pings) || l-loops != uint64(pings*pieces) {
		t.Errorf("ping %v: %d were sealed as %d packets, %d pieces dropped; want %d", args, pings, s-sealed, l-loops, pings*pieces)
	}
}
