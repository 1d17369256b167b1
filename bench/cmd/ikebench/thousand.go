//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/bench/lab"
	"github.com/warrenvpn/warren/dataplane/underlay/sim"
)

// manyTunnels is one end's configuration: so many tunnels, each with identities and networks of its own.
func manyTunnels(end, tunnels int, port, start string) string {
	var b strings.Builder
	own, peer := []string{lab.PairA4, lab.PairB4}[end], []string{lab.PairB4, lab.PairA4}[end]
	fmt.Fprintf(&b, "underlay: {addresses: [%s]}\nlog: {level: error}\nvrfs:\n  main: {port: {%s}}\n", own, port)
	fmt.Fprintf(&b, "defaults:\n  ipsec: {remote: %s, psk: %q, proposals: %s, esp_proposals: %s, start_action: %s}\ntunnels:\n", peer, secret, proposalOf("curve25519"), espProposal, start)
	nets := func(end, n int) string { return fmt.Sprintf("10.%d.%d.%d/32", 64+end*64+n>>16, n>>8&0xff, n&0xff) }
	for n := range tunnels {
		fmt.Fprintf(&b, "  t%d: {ipsec: {local_id: n%d.%s.example, remote_id: n%d.%s.example, child: {local_ts: [%s], remote_ts: [%s]}}}\n",
			n, n, []string{"a", "b"}[end], n, []string{"b", "a"}[end], nets(end, n), nets(1-end, n))
	}
	return b.String()
}

// thousand starts two warrens, the second one with so many tunnels that it initiates, and returns when all are up at both.
func thousand(ctx context.Context, program string, tunnels int) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	l, err := lab.New()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	a, b, err := l.Pair()
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	for end, h := range []*lab.Host{a, b} {
		config, socket := filepath.Join(l.Dir(), h.Name+".yaml"), filepath.Join(l.Dir(), h.Name+".sock")
		text := manyTunnels(end, tunnels, "tun: warren0", []string{"none", "start"}[end])
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			return 0, err
		}
		begin = time.Now() // the first one waits, the second one begins
		p, err := h.Start(program, "run", "--socket", socket, config)
		if err != nil {
			return 0, err
		}
		if end == 0 {
			if err := running(ctx, p, socket); err != nil {
				return 0, err
			}
		}
	}
	for _, h := range []*lab.Host{b, a} {
		client := warren.NewClient(filepath.Join(l.Dir(), h.Name+".sock"))
		if err := allUp(ctx, tunnels, func() (*warren.Status, error) { return client.Status(ctx) }); err != nil {
			return 0, err
		}
	}
	return time.Since(begin), nil
}

// allUp waits until so many tunnels have a child SA. It asks seldom: the answer is long.
func allUp(ctx context.Context, tunnels int, status func() (*warren.Status, error)) error {
	every := time.NewTicker(100 * time.Millisecond)
	defer every.Stop()
	for {
		s, err := status()
		up := 0
		if err == nil {
			for i := range s.Tunnels {
				up += min(1, len(s.Tunnels[i].Children))
			}
		}
		if up == tunnels {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%d of %d are up: %w", up, tunnels, ctx.Err()), err)
		case <-every.C:
		}
	}
}

// memory brings so many tunnels up between two engines in this process, and returns the bytes of heap and stacks that each end
// of each takes, configuration and all.
func memory(ctx context.Context, tunnels int) (each float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	network := sim.New(sim.Config{})
	var engines []*warren.Engine
	ended := make(chan error, 2)
	running, stop := context.WithCancel(ctx)
	defer func() {
		stop()
		for range engines {
			err = errors.Join(err, <-ended)
		}
	}()
	for end, start := range []string{"none", "start"} {
		text := manyTunnels(end, tunnels, fmt.Sprintf("netstack: {addresses: [10.%d.255.254/32]}", end+1), start)
		cfg, err := warren.ParseConfig("many.yaml", []byte(text))
		if err != nil {
			return 0, err
		}
		e, err := warren.New(cfg, warren.WithNetwork(network))
		if err != nil {
			return 0, err
		}
		engines = append(engines, e)
		go func() { ended <- e.Run(running) }()
	}
	for _, e := range engines {
		if err := allUp(ctx, tunnels, func() (*warren.Status, error) { return e.Status(), nil }); err != nil {
			return 0, err
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	used := func(m *runtime.MemStats) float64 { return float64(m.HeapAlloc + m.StackInuse) }
	return (used(&after) - used(&before)) / float64(2*tunnels), nil
}
