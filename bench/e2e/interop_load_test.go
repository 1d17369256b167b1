//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/bench/lab"
)

// loadedEnd is one of two engines with a tunnel between them, through which they speak BGP.
type loadedEnd struct {
	inside *lab.Host
	proc   *lab.Process
	client *warren.Client
}

const loadedConfig = `underlay: {addresses: [%q]}
vrfs:
  main:
    port: {tun: warren0, netns: %q, addresses: [10.%d.0.1/16]}
    bgp:
      local_as: %d
      router_id: 10.0.0.%d
      hold_time: 3s
      connect_retry: 1s
      import: all
      export: [{from: connected, prefixes: ["10.0.0.0/8 le 16"]}]
tunnels:
  peer:
    ipsec:
      remote: %q
      static: {esp: aes128gcm16, out: {spi: %s, key: "%s"}, in: {spi: %s, key: "%s"}}
    addresses: [10.255.0.%d/31]
    bgp: {neighbor_as: %d}
`

// newLoadedEnds starts two engines; a route to the network of the other comes over BGP.
func newLoadedEnds(ctx context.Context, t testing.TB) (both [2]*loadedEnd) {
	t.Helper()
	l, program := lab.ForTest(t, "ip", "iperf3"), build(t)
	fail := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	a, b, err := l.Pair()
	fail(err)
	outside, addrs := [2]*lab.Host{a, b}, [2]string{"192.0.2.1", "192.0.2.2"}
	spis, keys := [2]string{"0x1001", "0x1002"}, [2]string{"0x000102030405060708090a0b0c0d0e0f10111213", "0x202122232425262728292a2b2c2d2e2f30313233"}
	for i := range both {
		g := new(loadedEnd)
		g.inside, err = l.Host(fmt.Sprint("i", i))
		fail(err)
		conf, socket := filepath.Join(l.Dir(), fmt.Sprint(i, ".yaml")), filepath.Join(l.Dir(), fmt.Sprint(i, ".sock"))
		far := 1 - i
		text := fmt.Sprintf(loadedConfig, addrs[i], g.inside.Namespace, 1+i, 65001+i, 1+i, addrs[far], spis[i], keys[i], spis[far], keys[far], i, 65001+far)
		fail(os.WriteFile(conf, []byte(text), 0o600))
		g.proc, err = outside[i].Start(program, "run", "--socket", socket, conf)
		fail(err)
		g.client = warren.NewClient(socket)
		both[i] = g
	}
	for _, g := range both {
		fail(g.proc.Wait(ctx, "BGP through the tunnel", func() error {
			n, err := g.neighbor(ctx)
			if err == nil && n.Used != 1 {
				err = fmt.Errorf("%s, %d routes", n.State, n.Used)
			}
			return err
		}))
		fail(g.inside.IP("route", "add", "10.0.0.0/8", "dev", "warren0"))
	}
	return both
}

func (g *loadedEnd) neighbor(ctx context.Context) (warren.NeighborStatus, error) {
	all, err := g.client.Neighbors(ctx)
	if err == nil && len(all) != 1 {
		err = errors.New("no neighbor")
	}
	if err != nil {
		return warren.NeighborStatus{}, err
	}
	return all[0], nil
}

// TestHeavyTraffic: while more goes through a tunnel than fits, both ways, the session in it lives on with the least hold time that
// there is.
func TestHeavyTraffic(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	fairly(t, heavyTraffic)
}

func heavyTraffic(t testing.TB) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	both := newLoadedEnds(ctx, t)
	var before [2]warren.NeighborStatus
	for i, g := range both {
		var err error
		if before[i], err = g.neighbor(ctx); err != nil {
			t.Fatal(err)
		}
	}
	var flows sync.WaitGroup
	var lost, rate [2]float64
	for i, g := range both {
		flows.Go(func() {
			traffic := lab.Traffic{Server: both[1-i].inside, Addr: fmt.Sprintf("10.%d.0.1", 2-i), Time: 9 * time.Second}
			trial, err := g.inside.UDPTrial(ctx, traffic, 1200, 1e6)
			if err != nil {
				t.Error(err)
			}
			t.Logf("%.0f datagrams/s, %.1f %% lost", trial.Rate, 100*trial.Loss)
			lost[i], rate[i] = trial.Loss, trial.Rate
		})
	}
	const heavy = 10_000 // datagrams a second: on a slow machine they may be all that it can make
	if flows.Wait(); lost[0]+lost[1] == 0 && rate[0]+rate[1] < heavy {
		t.Error("nothing was lost: that was no heavy traffic")
	}
	for i, g := range both {
		n, err := g.neighbor(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if n.State != "Established" || !n.Since.Equal(before[i].Since) || n.HoldTime != 3*time.Second {
			t.Errorf("the session went down: %+v, was %+v\n%s", n, before[i], end(g.proc.Log()))
		}
	}
}
