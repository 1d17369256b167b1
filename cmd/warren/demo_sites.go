package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/warrenvpn/warren"
)

// demoSite is one engine of the demo.
type demoSite struct {
	name     string
	as       int
	underlay netip.Addr
	// addr4 and addr6 are the engine's alone; service is the site's, at each of its gateways.
	addr4, addr6 netip.Addr
	service      netip.Addr
	net4         netip.Prefix
	// private is the WireGuard key.
	private string
	engine  *warren.Engine
	cancel  context.CancelFunc
	done    chan error
}

// demoLink is a tunnel between two sites, which is named after the other one at either end.
type demoLink struct {
	a, b      string
	wireguard bool
}

var demoLinks = []demoLink{{a: "a", b: "b1"}, {a: "a", b: "b2", wireguard: true}, {a: "a", b: "c"}, {a: "b1", b: "c"}, {a: "b2", b: "c", wireguard: true}}

// raise runs the engines, each with a configuration as one would write it.
func (d *demo) raise() error {
	var psk [16]byte
	rand.Read(psk[:])
	for i, name := range []string{"a", "b1", "b2", "c"} {
		as := int(name[0] - 'a' + 1)
		s := &demoSite{name: name, as: 65000 + as, underlay: netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), done: make(chan error, 1),
			addr4: netip.AddrFrom4([4]byte{10, 9, 0, byte(i + 1)}), addr6: netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(i + 1)}),
			service: netip.AddrFrom4([4]byte{10, 0, byte(as), 1})}
		s.net4, _ = s.service.Prefix(24)
		var err error
		if s.private, err = warren.GenKey(); err != nil {
			return err
		}
		d.sites = append(d.sites, s)
	}
	for _, s := range d.sites {
		cfg, err := warren.ParseConfig("site "+s.name, []byte(d.config(s, fmt.Sprintf("0x%x", psk))))
		if err != nil {
			return err
		}
		if s.engine, err = warren.New(cfg, warren.WithNetwork(d.network)); err != nil {
			return err
		}
	}
	for _, s := range d.sites {
		ctx, cancel := context.WithCancel(d.ctx)
		s.cancel = cancel
		go func() { s.done <- s.engine.Run(ctx) }()
	}
	_, err := d.wait("all tunnels are up", func() bool {
		for _, s := range d.sites {
			st := s.engine.Status()
			if st.State != "running" {
				return false
			}
			for _, t := range st.Tunnels {
				if t.State != "up" {
					return false
				}
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	for _, s := range d.sites {
		for _, t := range s.engine.Status().Tunnels {
			how := "WireGuard"
			if len(t.IKE) > 0 {
				how = "IKEv2 " + t.IKE[0].Suite + ", ESP " + t.Children[0].Suite
			}
			fmt.Fprintf(d.out, "  %-2s  tunnel %-2s to %v, inner MTU %d, %s\n", s.name, t.Name, t.Remote.Addr(), t.InnerMTU, how)
		}
	}
	return nil
}

// config is a site's configuration.
func (d *demo) config(s *demoSite, psk string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `underlay: {addresses: [%v]}
wireguard: {private_key: %q, listen_port: 51820}
vrfs:
  main:
    port: {netstack: {addresses: [%v/32, "%v/128", %v/24]}}
    bgp:
      local_as: %d
      router_id: %v
      hold_time: 3s
      multipath: 8
      bfd: {min_tx: 100ms, min_rx: 100ms, multiplier: 3}
      connect_retry: 1s
      import: all
      export: [{from: connected}, {from: bgp}]
tunnels:
`, s.underlay, s.private, s.addr4, s.addr6, s.service, s.as, s.underlay)
	for i, l := range demoLinks {
		end, peer := 0, l.b
		switch s.name {
		case l.a:
		case l.b:
			end, peer = 1, l.a
		default:
			continue
		}
		p := d.site(peer)
		fmt.Fprintf(&b, "  %s:\n", peer)
		if l.wireguard {
			public, _ := warren.PublicKey(p.private) // made by GenKey
			fmt.Fprintf(&b, "    wireguard: {public_key: %q, endpoint: \"%v:51820\"}\n", public, p.underlay)
		} else {
			fmt.Fprintf(&b, "    ipsec: {remote: %v, psk: %q, start_action: trap}\n", p.underlay, psk)
		}
		fmt.Fprintf(&b, "    addresses: [\"2001:db8:%x::%d/127\"]\n    bgp: {neighbor_as: %d}\n", i, end, p.as)
	}
	return b.String()
}

// move sends n bytes by TCP between two sites' stacks and returns bits per second.
func (d *demo) move(from, to *demoSite, n int64, port uint16) (bitsPerSecond float64, err error) {
	ln, err := to.engine.Listen("tcp", netip.AddrPortFrom(to.addr4, port).String())
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
	c, err := from.engine.DialContext(d.ctx, "tcp", ln.Addr().String())
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
		return 0, context.Cause(d.ctx)
	}
	return float64(n) * 8 / time.Since(begun).Seconds(), nil
}

// flowPort is where the server of the first flow listens; each has a port of its own.
const flowPort = 7000

// flow makes one connection to an address that several gateways have, whichever of them it comes to.
func (d *demo) flow(from *demoSite, to ...*demoSite) error {
	at := netip.AddrPortFrom(to[0].service, flowPort+d.flowed).String()
	d.flowed++
	for _, s := range to {
		ln, err := s.engine.Listen("tcp", at)
		if err != nil {
			return err
		}
		defer ln.Close()
		go serve(ln)
	}
	c, err := from.engine.DialContext(d.ctx, "tcp", at)
	if err != nil {
		return err
	}
	defer c.Close()
	if deadline, ok := d.ctx.Deadline(); ok {
		_ = c.SetDeadline(deadline)
	}
	buf := make([]byte, 10_000)
	if _, err := c.Write(buf); err != nil {
		return err
	}
	_, err = io.ReadFull(c, buf)
	return err
}

// serve answers one connection with what it says.
func serve(ln net.Listener) {
	if c, err := ln.Accept(); err == nil {
		defer c.Close()
		_, _ = io.Copy(c, c)
	}
}
