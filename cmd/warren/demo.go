package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/warrenvpn/warren"
)

func newDemo() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Three sites in one process, joined by ESP tunnels; no privilege needed",
		Long: `Three engines in this process, sites a, b and c, each with a TCP/IP stack of its own, joined by ESP tunnels over UDP on
the loopback interface. Two tunnels lead from a to b. The demo moves TCP through them, spreads flows over both, takes one
away, and shows what happened. It succeeds only if all of it did.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), demoLimit)
			defer cancel()
			d := &demo{ctx: ctx, out: cmd.OutOrStdout(), begun: time.Now()}
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
	ctx   context.Context
	out   io.Writer
	begun time.Time
	sites map[string]*demoSite
	ports []uint16
}

// demoSite is one engine of the demo.
type demoSite struct {
	name   string
	engine *warren.Engine
	addr4  netip.Addr
	addr6  netip.Addr
	cancel context.CancelFunc
	done   chan error
}

func (d *demo) tell() error {
	for _, step := range []struct {
		title string
		run   func() error
	}{
		{"three sites come up, each joined to the others by ESP tunnels over UDP on loopback", d.raise},
		{"every site pings every other, IPv4 and IPv6", d.pingAll},
		{"64 MiB of TCP from a to b, through the tunnels", func() error { return d.transfer("a", "b") }},
		{"64 MiB of TCP from c to b, at the same time from b to a", d.transferBoth},
		{"32 flows from a to b spread over both tunnels", d.spread},
		{"one of the two tunnels to b is taken away; new flows take the other", d.takeAway},
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

// demoLink is one tunnel between two sites, keyed by hand.
type demoLink struct {
	a, b       string
	nameA      string // of the tunnel at a
	nameB      string
	spiA, spiB uint32 // by which a and b receive
	keyA, keyB warren.Secret
}

// raise makes the sites' configurations and runs the engines.
func (d *demo) raise() error {
	d.sites = map[string]*demoSite{}
	names := []string{"a", "b", "c"}
	if err := d.freePorts(2 * len(names)); err != nil {
		return err
	}
	links := []*demoLink{
		{a: "a", b: "b", nameA: "b1", nameB: "a1"}, {a: "a", b: "b", nameA: "b2", nameB: "a2"},
		{a: "a", b: "c", nameA: "c", nameB: "a"}, {a: "b", b: "c", nameA: "c", nameB: "b"},
	}
	for i, l := range links {
		l.spiA, l.spiB = uint32(0x1000+i), uint32(0x2000+i)
		l.keyA, l.keyB = make(warren.Secret, 20), make(warren.Secret, 20)
		rand.Read(l.keyA)
		rand.Read(l.keyB)
	}
	for i, name := range names {
		if err := d.start(i, name, links); err != nil {
			return err
		}
	}
	for _, name := range names {
		s := d.sites[name]
		if _, err := s.engine.Ping(d.ctx, s.addr4); err != nil { // waits until the engine is up
			return fmt.Errorf("site %s: %w", name, err)
		}
		for _, t := range s.engine.Status().Tunnels {
			fmt.Fprintf(d.out, "  site %s  tunnel %-3s %s to %v, inner MTU %d\n", name, t.Name, t.Children[0].Suite, t.Remote, t.InnerMTU)
		}
	}
	return nil
}

func (d *demo) start(i int, name string, links []*demoLink) error {
	s := &demoSite{name: name, done: make(chan error, 1),
		addr4: netip.AddrFrom4([4]byte{10, 0, byte(i + 1), 1}),
		addr6: netip.AddrFrom16([16]byte{0: 0xfd, 5: byte(i + 1), 15: 1})}
	cfg := &warren.Config{
		Underlay: warren.UnderlayConfig{Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, UDPPort: d.ports[i]},
		VRFs: []warren.VRFConfig{{Name: "main", Port: warren.PortConfig{Netstack: &warren.NetstackConfig{
			Addresses: []netip.Prefix{netip.PrefixFrom(s.addr4, 24), netip.PrefixFrom(s.addr6, 64)}, MTU: 1420}}}},
	}
	for _, l := range links {
		if l.a == name {
			cfg.Tunnels = append(cfg.Tunnels, d.tunnel(l.nameA, l.b, l.spiB, l.spiA, l.keyB, l.keyA))
		} else if l.b == name {
			cfg.Tunnels = append(cfg.Tunnels, d.tunnel(l.nameB, l.a, l.spiA, l.spiB, l.keyA, l.keyB))
		}
	}
	engine, err := warren.New(cfg)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(d.ctx)
	s.engine, s.cancel = engine, cancel
	d.sites[name] = s
	go func() { s.done <- engine.Run(ctx) }()
	return nil
}

// tunnel is one end of a link: to the site peer, whose networks it leads to.
func (d *demo) tunnel(name, peer string, out, in uint32, outKey, inKey warren.Secret) warren.TunnelConfig {
	i := int(peer[0] - 'a')
	return warren.TunnelConfig{
		Name: name,
		IPsec: &warren.IPsecConfig{Remote: netip.MustParseAddr("127.0.0.1"), RemotePort: d.ports[i], Encap: warren.EncapAlways,
			ReplayWindow: warren.DefaultReplayWindow,
			Static:       &warren.StaticConfig{Suite: "aes128gcm16", Out: warren.SAConfig{SPI: out, Key: outKey}, In: warren.SAConfig{SPI: in, Key: inKey}}},
		Routes: []warren.RouteConfig{
			{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i + 1), 0}), 24)},
			{Prefix: netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 5: byte(i + 1)}), 64)},
		},
	}
}

// freePorts finds UDP ports on loopback that nobody uses.
func (d *demo) freePorts(n int) error {
	for range n {
		pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("find a free port: %w", err)
		}
		defer pc.Close()
		d.ports = append(d.ports, pc.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	}
	return nil
}

func (d *demo) pingAll() error {
	for _, from := range []string{"a", "b", "c"} {
		for _, to := range []string{"a", "b", "c"} {
			if from == to {
				continue
			}
			for _, addr := range []netip.Addr{d.sites[to].addr4, d.sites[to].addr6} {
				rtt, err := d.sites[from].engine.Ping(d.ctx, addr)
				if err != nil {
					return fmt.Errorf("from %s: %w", from, err)
				}
				fmt.Fprintf(d.out, "  %s to %s  %-12v %v\n", from, to, addr, rtt.Round(time.Microsecond))
			}
		}
	}
	return nil
}

// transfer moves demoBytes by TCP and shows how fast.
func (d *demo) transfer(from, to string) error {
	rate, err := d.move(from, to, demoBytes, 0)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "  %s to %s  %.2f Gbit/s\n", from, to, rate/1e9)
	d.counters(from)
	return nil
}

func (d *demo) transferBoth() error {
	other := make(chan error, 1)
	go func() { other <- d.transfer("b", "a") }()
	return errors.Join(d.transfer("c", "b"), <-other)
}

// move sends n bytes by TCP between two sites' stacks, from local port (0 for any), and returns bits per second.
func (d *demo) move(from, to string, n int64, port uint16) (bitsPerSecond float64, err error) {
	ln, err := d.sites[to].engine.Listen("tcp", netip.AddrPortFrom(d.sites[to].addr4, port).String())
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	received := make(chan int64, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			received <- 0
			return
		}
		defer c.Close()
		got, _ := io.Copy(io.Discard, c)
		received <- got
	}()
	c, err := d.sites[from].engine.DialContext(d.ctx, "tcp", ln.Addr().String())
	if err != nil {
		return 0, err
	}
	if deadline, ok := d.ctx.Deadline(); ok {
		_ = c.SetDeadline(deadline)
	}
	begun := time.Now()
	buf := make([]byte, 256<<10)
	for left := n; left > 0 && err == nil; left -= int64(len(buf)) {
		_, err = c.Write(buf[:min(left, int64(len(buf)))])
	}
	if err = errors.Join(err, c.Close()); err != nil {
		return 0, err
	}
	select {
	case got := <-received:
		if got != n {
			return 0, fmt.Errorf("%d bytes of %d arrived", got, n)
		}
	case <-d.ctx.Done():
		return 0, d.ctx.Err()
	}
	return float64(n) * 8 / time.Since(begun).Seconds(), nil
}

// spread opens many flows and sees that both tunnels carry some.
func (d *demo) spread() error {
	before := d.out2()
	for i := range 32 {
		if _, err := d.move("a", "b", 10_000, uint16(7000+i)); err != nil {
			return err
		}
	}
	after := d.out2()
	one, two := after[0]-before[0], after[1]-before[1]
	fmt.Fprintf(d.out, "  b1 carried %d packets, b2 %d\n", one, two)
	if one == 0 || two == 0 {
		return errors.New("all flows took one tunnel")
	}
	return nil
}

// out2 returns how many packets a has sent into each of its tunnels to b.
func (d *demo) out2() (n [2]uint64) {
	for _, t := range d.sites["a"].engine.Status().Tunnels {
		switch t.Name {
		case "b1":
			n[0] = t.OutPackets
		case "b2":
			n[1] = t.OutPackets
		}
	}
	return n
}

func (d *demo) counters(site string) {
	for _, t := range d.sites[site].engine.Status().Tunnels {
		fmt.Fprintf(d.out, "  site %s  tunnel %-3s out %s, in %s\n", site, t.Name, traffic(t.OutPackets, t.OutBytes), traffic(t.InPackets, t.InBytes))
	}
}

// takeAway takes the second tunnel down at both its ends and shows that flows take the other one.
func (d *demo) takeAway() error {
	a := d.sites["a"].engine
	ctx := context.Background()
	if err := errors.Join(a.Down(ctx, "b2", ""), d.sites["b"].engine.Down(ctx, "a2", "")); err != nil {
		return err
	}
	for i := range 8 {
		if _, err := d.move("a", "b", 100_000, uint16(7100+i)); err != nil {
			return fmt.Errorf("flow %d after the failure: %w", i, err)
		}
	}
	for _, t := range a.Status().Tunnels {
		if t.Name == "b2" {
			fmt.Fprintf(d.out, "  site a  tunnel b2 is %s; 8 new flows took b1\n", t.State)
			if t.State != "down" {
				return errors.New("the tunnel is still up")
			}
		}
	}
	d.counters("a")
	return nil
}

// leave ends the engines and sees that they ended well.
func (d *demo) leave() error {
	var errs []error
	for name, s := range d.sites {
		s.cancel()
		if err := <-s.done; err != nil {
			errs = append(errs, fmt.Errorf("site %s: %w", name, err))
		}
	}
	d.sites = nil
	return errors.Join(errs...)
}

// stop ends what a failed step left running.
func (d *demo) stop() { _ = d.leave() }
