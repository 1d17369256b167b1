package warren_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/dataplane/underlay/sim"
)

// line are three sites in a row: what the first and the last know of each other they have from the one between. Sequence numbers of
// keys given by hand begin anew, so that nobody looks for replays.
const line = `
underlay: {addresses: [192.0.2.%[1]d]}
vrfs:
  main:
    port: {netstack: {addresses: [10.%[1]d.0.1/16, "fd0%[1]d::1/64"]}}
    bgp: {local_as: 6500%[1]d, router_id: 10.0.0.%[1]d, hold_time: 60s, import: all, export: [{from: connected}, {from: bgp}]%[2]s}
tunnels:
`

const lineTunnel = `  to%[2]d:
    ipsec:
      remote: 192.0.2.%[2]d
      replay_window: 0
      static: {esp: aes128gcm16, out: {spi: 0x1%[1]d%[2]d, key: "0x0102030405060708090a0b0c0d0e0f1011121%[1]d%[2]d0"}, in: {spi: 0x1%[2]d%[1]d, key: "0x0102030405060708090a0b0c0d0e0f1011121%[2]d%[1]d0"}}
    addresses: ["169.254.%[3]d.%[4]d/31", "2001:db8:%[3]d::%[4]d/127"]
    bgp: {neighbor_as: 6500%[2]d}
`

func lineSite(self int, more string, peers ...int) string {
	text := fmt.Sprintf(line, self, more)
	for _, peer := range peers {
		net, at := min(self, peer), 0
		if self > peer {
			at = 1
		}
		text += fmt.Sprintf(lineTunnel, self, peer, net, at)
	}
	return text
}

// lineEngine runs a site of the line until it ends by itself or with the test.
func lineEngine(t *testing.T, network *sim.Network, text string, legacy *warren.Legacy) (e *warren.Engine, ended <-chan error) {
	t.Helper()
	cfg, err := warren.ParseConfig("line.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	if e, err = warren.New(cfg, warren.WithNetwork(network), warren.WithLogger(log)); err != nil {
		t.Fatal(err)
	}
	if legacy != nil {
		e.Inherit(legacy)
	}
	ctx, cancel := context.WithCancel(context.Background())
	end := make(chan error, 1)
	done := make(chan struct{})
	go func() { defer close(done); end <- e.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return e, end
}

// handOver has an engine leave for another.
func handOver(t *testing.T, e *warren.Engine, ended <-chan error) *warren.Legacy {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	legacy, err := e.HandOver(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	return legacy
}

var lineRoutes = []struct {
	at     int
	prefix string
	via    string
}{
	{0, "10.2.0.0/16", "to2"}, {0, "10.3.0.0/16", "to2"}, {0, "fd03::/64", "to2"},
	{1, "10.1.0.0/16", "to1"}, {1, "10.3.0.0/16", "to3"}, {1, "fd01::/64", "to1"},
	{2, "10.2.0.0/16", "to2"}, {2, "10.1.0.0/16", "to2"}, {2, "fd01::/64", "to2"},
}

// TestTakeOver: an engine takes the place of another. Its neighbours never lose a route, neither those that it has nor those that it
// has from the other neighbour, and it knows at once what the one before knew.
func TestTakeOver(t *testing.T) {
	network := sim.New(sim.Config{})
	var e [3]*warren.Engine
	e[0], _ = lineEngine(t, network, lineSite(1, "", 2), nil)
	before, ended := lineEngine(t, network, lineSite(2, "", 1, 3), nil)
	e[1] = before
	e[2], _ = lineEngine(t, network, lineSite(3, "", 2), nil)
	missing := func(at int) string {
		for _, r := range lineRoutes {
			if at >= 0 && at != r.at {
				continue
			}
			if via, _ := leadsTo(e[r.at], r.prefix); via != r.via {
				return fmt.Sprintf("%s at %d leads to %q, want %q", r.prefix, r.at+1, via, r.via)
			}
		}
		return ""
	}
	eventually(t, "all know all", patience, func() bool { return missing(-1) == "" })

	stop, lost := make(chan struct{}), make(chan string, 1)
	go func() {
		for first := ""; ; {
			for _, at := range []int{0, 2} {
				if first == "" {
					first = missing(at)
				}
			}
			select {
			case <-stop:
				lost <- first
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	legacy := handOver(t, before, ended)
	if _, err := before.HandOver(t.Context()); err == nil {
		t.Error("an engine hands over that does not run")
	}
	e[1], _ = lineEngine(t, network, lineSite(2, "", 1, 3), legacy)
	eventually(t, "the engine is up", patience, func() bool { return e[1].Status().State == "running" })
	if m := missing(1); m != "" {
		t.Errorf("the engine does not know what the one before knew: %s", m)
	}
	eventually(t, "neighbours are back", patience, func() bool {
		for _, n := range e[1].Neighbors() {
			if n.State != "Established" {
				return false
			}
		}
		return len(e[1].Neighbors()) == 4
	})
	eventually(t, "nothing is stale", patience, func() bool { return stale(e[0])+stale(e[1])+stale(e[2]) == 0 })
	if m := missing(-1); m != "" {
		t.Error(m)
	}
	close(stop)
	if first := <-lost; first != "" {
		t.Errorf("meanwhile: %s", first)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, dst := range []string{"10.2.0.1", "10.3.0.1", "fd03::1"} {
		if _, err := e[0].Ping(ctx, netip.MustParseAddr(dst)); err != nil {
			t.Errorf("ping %s: %v", dst, err)
		}
	}
}

// stale is how many of an engine's paths are kept.
func stale(e *warren.Engine) (n int) {
	for _, r := range e.Routes(netip.Prefix{}) {
		for _, p := range r.Paths {
			if p.Stale {
				n++
			}
		}
	}
	return n
}

// TestTakeOverByOthers: what an engine leaves is of no use to one whose neighbours are others, which starts all the same; and what a
// neighbour has withdrawn meanwhile goes when it has said all.
func TestTakeOverByOthers(t *testing.T) {
	network := sim.New(sim.Config{})
	first, ended1 := lineEngine(t, network, lineSite(1, "", 2), nil)
	second, ended2 := lineEngine(t, network, lineSite(2, "", 1), nil)
	knows := func(e *warren.Engine, prefix string) bool { via, _ := leadsTo(e, prefix); return via != "" }
	eventually(t, "both know the other", patience, func() bool { return knows(first, "10.2.0.0/16") && knows(second, "10.1.0.0/16") })

	legacy := handOver(t, first, ended1)
	other := handOver(t, second, ended2)
	// The neighbour forgot all, and has nothing to say.
	lineEngine(t, network, strings.Replace(lineSite(2, "", 1), "export: [{from: connected}, {from: bgp}]", "export: none", 1), nil)
	first, _ = lineEngine(t, network, lineSite(1, "", 2), legacy)
	eventually(t, "what was withdrawn is gone", patience, func() bool {
		n := session(t, first, "to2 ipv4")
		return n.State == "Established" && !knows(first, "10.2.0.0/16")
	})
	last, _ := lineEngine(t, network, strings.Replace(lineSite(3, "", 2), "to2:", "elsewhere:", 1), other)
	eventually(t, "another engine is up", patience, func() bool { return last.Status().State == "running" })
	if knows(last, "10.1.0.0/16") {
		t.Error("a route of a neighbour that is none is kept")
	}
}
