//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/warrenvpn/warren"
)

// How to give a peer up after four seconds, in place of minutes, in both programs' words.
var quickCharon = []string{"retransmit_timeout = 0.5", "retransmit_base = 1.5", "retransmit_tries = 3"}

const quickWarren = "retransmit_timeout: 500ms, retransmit_base: 1.5, retransmit_tries: 3"

// kill ends an end's program without warning.
func (e *keyed) kill() error {
	if err := e.daemon.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-e.daemon.Done()
	return nil
}

// within fails if something takes longer.
func within(ctx context.Context, what string, d time.Duration, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	if err := f(ctx); err != nil {
		return fmt.Errorf("%s within %v: %w", what, d, err)
	}
	return nil
}

// sas counts the IKE SAs and child SAs of an end.
func (p *keyedPair) sas(ctx context.Context, e *keyed) (ikes, children int, err error) {
	if e.ours {
		s, err := warren.NewClient(e.sock).Status(ctx)
		if err != nil {
			return 0, 0, err
		}
		return len(s.Tunnels[0].IKE), len(s.Tunnels[0].Children), nil
	}
	out, err := e.charon.Ctl(ctx, "--list-sas")
	return strings.Count(out, "ESTABLISHED"), strings.Count(out, "INSTALLED"), err
}

// awaitSAs waits until an end has so many IKE SAs and child SAs.
func (p *keyedPair) awaitSAs(ctx context.Context, e *keyed, ikes, children int) error {
	every := time.NewTicker(200 * time.Millisecond) // charon's answer takes a process
	defer every.Stop()
	for {
		i, c, err := p.sas(ctx, e)
		if err == nil && i == ikes && c == children {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s has %d IKE SAs and %d children, want %d and %d: %w\n%s", e.host.Name, i, c, ikes, children, errors.Join(ctx.Err(), err), p.logs())
		case <-every.C:
		}
	}
}

// dies kills the program at b, starts it again, and goes on with what a is to do.
func dies(after func(ctx context.Context, p *keyedPair) error) func(ctx context.Context, p *keyedPair) error {
	return func(ctx context.Context, p *keyedPair) error {
		if err := p.initiate(ctx, p.a); err != nil {
			return err
		}
		if err := errors.Join(p.b.kill(), p.startEnd(ctx, p.b)); err != nil {
			return err
		}
		return after(ctx, p)
	}
}

// comesBack: a notices by itself, and brings the tunnel up without a packet.
func comesBack(limit time.Duration) func(ctx context.Context, p *keyedPair) error {
	return dies(func(ctx context.Context, p *keyedPair) error {
		return within(ctx, "up again", limit, func(ctx context.Context) error {
			if err := p.awaitSAs(ctx, p.b, 1, 1); err != nil {
				return err
			}
			return errors.Join(p.awaitSAs(ctx, p.a, 1, 1), p.reach(ctx, p.a))
		})
	})
}

// comesBackByPacket: a notices, and then a packet brings the tunnel up.
func comesBackByPacket(limit time.Duration) func(ctx context.Context, p *keyedPair) error {
	return dies(func(ctx context.Context, p *keyedPair) error {
		err := within(ctx, "the dead peer noticed", limit, func(ctx context.Context) error { return p.awaitSAs(ctx, p.a, 0, 0) })
		if err != nil {
			return err
		}
		r, err := p.a.inside.Ping(ctx, p.b.inner.String(), 1, "-W", "15")
		if err != nil || r.Received != 1 {
			return fmt.Errorf("the first packet: %v: %s\n%s", err, r.Output, p.logs())
		}
		return nil
	})
}

// staysAway: a notices and lets go; it is there when it is asked.
func staysAway(limit time.Duration) func(ctx context.Context, p *keyedPair) error {
	return dies(func(ctx context.Context, p *keyedPair) error {
		err := within(ctx, "the dead peer noticed", limit, func(ctx context.Context) error { return p.awaitSAs(ctx, p.a, 0, 0) })
		if err != nil {
			return err
		}
		if i, c, err := p.sas(ctx, p.b); err != nil || i+c > 0 {
			return fmt.Errorf("%d IKE SAs, %d children, %v", i, c, err)
		}
		return p.initiate(ctx, p.a)
	})
}

// returns: b itself begins after its restart, and a takes that for what it is, at once.
func returns(ctx context.Context, p *keyedPair) error {
	return dies(func(ctx context.Context, p *keyedPair) error {
		return within(ctx, "up again", 20*time.Second, func(ctx context.Context) error {
			if err := p.initiate(ctx, p.b); err != nil {
				return err
			}
			return errors.Join(p.awaitSAs(ctx, p.a, 1, 1), p.awaitSAs(ctx, p.b, 1, 1))
		})
	})(ctx, p)
}

// TestDeadPeers: a peer is killed, and started again without a memory. The other one notices as dpd_delay says and does what
// dpd_action says, or hears of it by the peer's INITIAL_CONTACT.
func TestDeadPeers(t *testing.T) {
	const limit = 25 * time.Second // less than what dpd_delay is by default
	ours := func(action string) settings {
		start := "none"
		if action == "trap" {
			start = "trap"
		}
		return settings{ipsec: "dpd_delay: 1s\ndpd_action: " + action, start: start, engine: quickWarren}
	}
	theirs := func(action string) settings {
		return settings{conn: "dpd_delay = 1s", charChild: "dpd_action = " + action, options: quickCharon}
	}
	together(t, []run{
		{name: "restart", kinds: weCharon, a: ours("restart"), do: comesBack(limit)},
		{name: "trap", kinds: weCharon, a: ours("trap"), do: comesBackByPacket(limit)},
		{name: "clear", kinds: weCharon, a: ours("clear"), do: staysAway(limit)},
		{name: "restart", kinds: weWe, a: ours("restart"), do: comesBack(limit)},
		{name: "restart", kinds: charonWe, a: theirs("restart"), do: comesBack(limit)},
		{name: "clear", kinds: charonWe, a: theirs("clear"), do: staysAway(limit)},
		{name: "initial contact", kinds: weCharon, do: returns},
		{name: "initial contact", kinds: charonWe, do: returns},
		{name: "initial contact", kinds: weWe, do: returns},
	})
}
