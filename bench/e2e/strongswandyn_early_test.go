//go:build linux

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/bench/lab"
)

// A doorman keeps the answers to IKE_AUTH until it is opened, and lets everything else pass.
type doorman struct {
	mu   sync.Mutex
	open bool
	held []func()
	esp  int // datagrams of ESP that passed meanwhile
}

// Where an IKE message behind the non-ESP marker has what tells an answer to IKE_AUTH (RFC 7296 section 3.1).
const (
	exchangeAt, flagsAt = 4 + 18, 4 + 19
	exchangeAuth        = 35
	flagResponse        = 0x20
)

// keeps says whether a datagram of port 4500 is kept.
func (g *doorman) keeps(d []byte, send func([]byte)) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.open || len(d) <= flagsAt:
	case !bytes.Equal(d[:4], make([]byte, 4)):
		g.esp++
	case d[exchangeAt] == exchangeAuth && d[flagsAt]&flagResponse != 0:
		d = bytes.Clone(d)
		g.held = append(g.held, func() { send(d) })
		return true
	}
	return false
}

// counts are how many answers are kept, and how much ESP passed meanwhile.
func (g *doorman) counts() (held, esp int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.held), g.esp
}

// release keeps nothing more: what was kept goes on.
func (g *doorman) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = true
	for _, send := range g.held {
		send()
	}
}

// promised is how many datagrams are kept for an SPI that is expected (package ipsec, type Early).
const promised = 16

// espFirst has the peer send as much as is promised to be kept, before its answer to IKE_AUTH arrives. All of it is wanted, once.
func espFirst(ctx context.Context, p *keyedPair) error {
	g := new(doorman)
	p.middle.doorman.Store(g)
	sink, err := p.udp(p.a, netip.AddrPortFrom(p.a.inner, 0))
	if err != nil {
		return err
	}
	defer sink.Close()
	if err := warren.NewClient(p.a.sock).Tunnel(ctx, "up", "peer", ""); err != nil {
		return err
	}
	err = within(ctx, "an answer to IKE_AUTH", time.Minute, func(ctx context.Context) error {
		return lab.WaitFor(ctx, "it", func() error {
			out, err := p.b.host.Run(ctx, "ip", "route", "get", p.a.inner.String())
			if held, _ := g.counts(); err == nil && (held == 0 || !strings.Contains(out, "ipsec0")) {
				err = fmt.Errorf("%d answers are kept; %s", held, out)
			}
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("%w\n%s", err, p.logs())
	}
	source, err := p.udp(p.b, netip.AddrPortFrom(p.b.inner, 0))
	if err != nil {
		return err
	}
	defer source.Close()
	to := sink.LocalAddr().(*net.UDPAddr).AddrPort()
	for i := range promised {
		if _, err := source.WriteToUDPAddrPort(fmt.Appendf(nil, "packet %d", i), to); err != nil {
			return err
		}
		// The next one when this one is under way: charon drops what it has no time for.
		err := lab.WaitFor(ctx, "ESP", func() error {
			if _, esp := g.counts(); esp <= i {
				return fmt.Errorf("%d datagrams of ESP, want %d", esp, i+1)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("%w\n%s", err, p.logs())
		}
	}
	if i, c, err := p.sas(ctx, p.a); err != nil || c > 0 {
		return fmt.Errorf("the answer has arrived: %d IKE SAs, %d children, %v", i, c, err)
	}
	g.release()
	return errors.Join(allOnce(ctx, sink), p.reach(ctx, p.a))
}

// udp opens a socket on the clear side of an end.
func (p *keyedPair) udp(e *keyed, at netip.AddrPort) (c *net.UDPConn, err error) {
	err = e.inside.Inside(func() error {
		c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
		return err
	})
	return c, err
}

// allOnce reads what espFirst sent.
func allOnce(ctx context.Context, c *net.UDPConn) error {
	deadline, ok := ctx.Deadline()
	if !ok || time.Until(deadline) > time.Minute {
		deadline = time.Now().Add(time.Minute)
	}
	if err := c.SetReadDeadline(deadline); err != nil {
		return err
	}
	seen := map[string]int{}
	buf := make([]byte, 100)
	for len(seen) < promised {
		n, err := c.Read(buf)
		if err != nil {
			return fmt.Errorf("%d packets of %d arrived: %w", len(seen), promised, err)
		}
		if seen[string(buf[:n])]++; seen[string(buf[:n])] > 1 {
			return fmt.Errorf("%s arrived twice", buf[:n])
		}
	}
	return nil
}

// TestESPBeforeTheAnswer: charon's first packets come before its answer to IKE_AUTH, from which their keys follow. None is lost.
func TestESPBeforeTheAnswer(t *testing.T) {
	together(t, []run{
		{name: "ESP first", kinds: weCharon, between: &middleOptions{}, do: espFirst},
		{name: "ESP first, behind a NAT", kinds: weCharon, between: &middleOptions{nat: true}, do: espFirst},
	})
}
