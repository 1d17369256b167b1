package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/warrenvpn/warren"
)

func newDemo() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Three sites in one process: tunnels, BGP, multipath, a failure; no privilege needed",
		Long: `Four engines in this process, on a simulated network: site a, site b with two gateways b1 and b2, and site c, each with a
TCP/IP stack of its own. The tunnels are ESP, keyed by IKEv2, and WireGuard; BGP inside them tells who is where, and BFD who
is no longer. The demo moves TCP through them, spreads flows over an ESP and a WireGuard tunnel, lets a gateway die without a
word, and shows how long that hurt. It succeeds only if all of it did.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), demoLimit)
			defer cancel()
			d := &demo{ctx: ctx, out: cmd.OutOrStdout(), begun: time.Now(), network: warren.NewSimulation()}
			defer d.stop()
			return d.tell()
		},
	}
}

const (
	// demoLimit is how long the demo may take in all.
	demoLimit = 20 * time.Second
	// demoBytes is how much each transfer moves.
	demoBytes = 64 << 20
)

// demo is the story: each step says what it does, does it, and shows what came of it.
type demo struct {
	ctx     context.Context
	out     io.Writer
	begun   time.Time
	network *warren.Simulation
	sites   []*demoSite
	flowed  uint16 // how many flows there were
}

func (d *demo) tell() error {
	for _, step := range []struct {
		title string
		run   func() error
	}{
		{"sites a, b and c come up; b has two gateways, b1 and b2", d.raise},
		{"BGP comes up inside the tunnels and tells who is where", d.learn},
		{"every site pings every other, IPv4 and IPv6", d.pingAll},
		{"64 MiB of TCP from a to c through ESP, then from c to b2 through WireGuard", d.transfers},
		{"32 flows from a to b spread over ESP to b1 and WireGuard to b2", d.spread},
		{"gateway b1 dies without a word", d.die},
		{"gateway b1 is back", d.rise},
		{"the sites leave", d.leave},
	} {
		fmt.Fprintf(d.out, "\n— %s\n", step.title)
		if err := step.run(); err != nil {
			return fmt.Errorf("demo: %s: %w", step.title, err)
		}
	}
	fmt.Fprintf(d.out, "\ndone in %.1f s; all of it worked\n", time.Since(d.begun).Seconds())
	return nil
}

// wait waits until a condition holds, and returns for how long.
func (d *demo) wait(what string, holds func() bool) (time.Duration, error) {
	begun := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-d.ctx.Done():
			return 0, fmt.Errorf("%s: %w", what, context.Cause(d.ctx))
		case <-tick.C:
		}
	}
	return time.Since(begun), nil
}

// learn waits until everybody knows the way to everybody.
func (d *demo) learn() error {
	took, err := d.wait("routes to all sites", func() bool {
		for _, from := range d.sites {
			for _, to := range d.sites {
				if from.as != to.as && (len(from.hops(to.net4)) == 0 || len(from.hops(host(to.addr4))) == 0 || len(from.hops(host(to.addr6))) == 0) {
					return false
				}
			}
		}
		return len(d.site("a").hops(d.site("b1").net4)) == 2 && d.watched()
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "  all routes are there, and BFD watches all ways, after %d ms\n", took.Milliseconds())
	for _, s := range d.sites {
		for _, n := range s.engine.Neighbors() {
			fmt.Fprintf(d.out, "  %-2s  neighbor %-3s AS %d  %s, %d prefixes in, BFD %s\n", s.name, n.Name, n.NeighborAS, n.State, n.PrefixesIn, n.BFD)
		}
	}
	a, b := d.site("a"), d.site("b1")
	fmt.Fprintf(d.out, "  a's way to %v: %s\n", b.net4, strings.Join(a.hops(b.net4), " and "))
	return nil
}

// watched says whether BFD watches all neighbours.
func (d *demo) watched() bool {
	for _, s := range d.sites {
		for _, n := range s.engine.Neighbors() {
			if n.BFD != "Up" {
				return false
			}
		}
	}
	return true
}

func (d *demo) pingAll() error {
	for _, from := range d.sites {
		for _, to := range d.sites {
			if from.as == to.as {
				continue
			}
			for _, addr := range []netip.Addr{to.addr4, to.addr6} {
				rtt, err := from.engine.Ping(d.ctx, addr)
				if err != nil {
					return fmt.Errorf("from %s: %w", from.name, err)
				}
				fmt.Fprintf(d.out, "  %-2s to %-2s  %-10v %v\n", from.name, to.name, addr, rtt.Round(time.Microsecond))
			}
		}
	}
	return nil
}

// transfers moves demoBytes by TCP and shows how fast.
func (d *demo) transfers() error {
	for _, way := range []struct{ from, to, tunnel string }{{"a", "c", "c"}, {"c", "b2", "b2"}} {
		from := d.site(way.from)
		rate, err := d.move(from, d.site(way.to), demoBytes, 5000)
		if err != nil {
			return err
		}
		fmt.Fprintf(d.out, "  %s to %s  %.2f Gbit/s\n", way.from, way.to, rate/1e9)
		t := from.tunnel(way.tunnel)
		fmt.Fprintf(d.out, "  site %s  tunnel %-2s (%s) out %s, in %s\n", from.name, t.Name, t.Kind, traffic(t.OutPackets, t.OutBytes),
			traffic(t.InPackets, t.InBytes))
	}
	return nil
}

// spread opens many flows to what both gateways of b serve, and sees that both tunnels carry some.
func (d *demo) spread() error {
	used, err := d.flows(32)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "  ESP to b1 carried %d packets, WireGuard to b2 %d\n", used["b1"], used["b2"])
	if used["b1"] == 0 || used["b2"] == 0 {
		return errors.New("all flows took one tunnel")
	}
	return nil
}

// flows opens so many connections from a to b, and returns how many packets each tunnel of a's carried for them.
func (d *demo) flows(n int) (map[string]uint64, error) {
	a := d.site("a")
	used := map[string]uint64{}
	for _, t := range a.engine.Status().Tunnels {
		used[t.Name] -= t.OutPackets
	}
	for i := range n {
		if err := d.flow(a, d.site("b1"), d.site("b2")); err != nil {
			return nil, fmt.Errorf("flow %d: %w", i+1, err)
		}
	}
	for _, t := range a.engine.Status().Tunnels {
		used[t.Name] += t.OutPackets
	}
	return used, nil
}

// die cuts b1 off and waits until a has left the tunnel to it.
func (d *demo) die() error {
	a, b1 := d.site("a"), d.site("b1")
	d.cutOff(b1, true)
	took, err := d.wait("another way to b", func() bool { return !slices.Contains(a.hops(b1.net4), "b1") })
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "  a has left it after %d ms; its way to %v: %s\n", took.Milliseconds(), b1.net4, strings.Join(a.hops(b1.net4), " and "))
	for _, n := range a.engine.Neighbors() {
		if n.Name == "b1" {
			fmt.Fprintf(d.out, "  a's neighbor b1: %s, %s\n", n.State, n.LastError)
		}
	}
	used, err := d.flows(8)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "  8 new flows from a to b: %d packets by b2, %d by b1\n", used["b2"], used["b1"])
	return nil
}

// rise lets b1 be reached again.
func (d *demo) rise() error {
	a, b1 := d.site("a"), d.site("b1")
	d.cutOff(b1, false)
	took, err := d.wait("both ways to b", func() bool { return len(a.hops(b1.net4)) == 2 })
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "  both ways are there again after %d ms: %s\n", took.Milliseconds(), strings.Join(a.hops(b1.net4), " and "))
	_, err = d.flows(8)
	return err
}

func (d *demo) cutOff(s *demoSite, cut bool) {
	for _, o := range d.sites {
		if o != s {
			d.network.Cut(s.underlay, o.underlay, cut)
		}
	}
}

// leave ends the engines and sees that they ended well.
func (d *demo) leave() error {
	for _, s := range d.sites {
		s.cancel()
	}
	var errs []error
	for _, s := range d.sites {
		if err := <-s.done; err != nil {
			errs = append(errs, fmt.Errorf("site %s: %w", s.name, err))
		}
	}
	d.sites = nil
	return errors.Join(errs...)
}

// stop ends what a failed step left running.
func (d *demo) stop() { _ = d.leave() }

// site returns the one of that name.
func (d *demo) site(name string) *demoSite {
	return d.sites[slices.IndexFunc(d.sites, func(s *demoSite) bool { return s.name == name })]
}

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// hops are the tunnels that a site's route to a prefix leads to.
func (s *demoSite) hops(p netip.Prefix) (all []string) {
	for _, r := range s.engine.Routes(p) {
		if r.Prefix != p {
			continue
		}
		for _, h := range r.Hops {
			if h.Kind == "tunnel" {
				all = append(all, h.Via)
			}
		}
	}
	slices.Sort(all)
	return all
}

// tunnel returns the one of that name.
func (s *demoSite) tunnel(name string) warren.TunnelStatus {
	all := s.engine.Status().Tunnels
	return all[slices.IndexFunc(all, func(t warren.TunnelStatus) bool { return t.Name == name })]
}
