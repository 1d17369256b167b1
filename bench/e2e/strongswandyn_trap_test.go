//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/warrenvpn/warren/bench/lab"
)

// firstPackets starts a stream into a tunnel that is not up, from a or from both ends, and wants every packet of it. Where both
// begin, one that the answering end seals with the fresh SA may overtake its answer.
func firstPackets(ways int) func(ctx context.Context, p *keyedPair) error {
	return func(ctx context.Context, p *keyedPair) error {
		for _, e := range []*keyed{p.a, p.b}[:ways] {
			if err := p.routed(ctx, e); err != nil {
				return err
			}
		}
		begin := time.Now()
		both := []lab.Direction{{From: p.a.inside, To: p.b.inside, Src: p.a.inner, Dst: p.b.inner, Count: 1},
			{From: p.b.inside, To: p.a.inside, Src: p.b.inner, Dst: p.a.inner, Count: 1}}
		var err error
		// 32 packets are kept: at this pace, those of 1.6 seconds.
		if p.flows, err = lab.StartFlows(both[:ways], 50*time.Millisecond); err != nil {
			return err
		}
		if err := p.arrives(ctx, begin); err != nil {
			return err
		}
		if err := p.arrives(ctx, time.Now()); err != nil {
			return err
		}
		if lost, sent := p.lost(ctx, begin); lost > ways-1 {
			return fmt.Errorf("%d of %d lost\n%s%s", lost, sent, p.where(begin), p.logs())
		}
		return nil
	}
}

// routed waits until an end's kernel has the route into the tunnel, without which nothing is trapped.
func (p *keyedPair) routed(ctx context.Context, e *keyed) error {
	if !e.ours {
		return nil
	}
	return lab.WaitFor(ctx, "the kernel's route", func() error {
		out, err := e.inside.Run(ctx, "ip", "route", "get", p.other(e).inner.String())
		if err == nil && !strings.Contains(out, "warren0") {
			err = errors.New(out)
		}
		return err
	})
}

// becomeOne is the same over a line on which both begin before they hear of each other; what is too much goes by itself.
func becomeOne(ctx context.Context, p *keyedPair) error {
	if err := firstPackets(2)(ctx, p); err != nil {
		return err
	}
	return within(ctx, "one IKE SA", 45*time.Second, func(ctx context.Context) error {
		return errors.Join(p.awaitSAs(ctx, p.a, 1, 1), p.awaitSAs(ctx, p.b, 1, 1))
	})
}

// TestTrap: the first packets bring the tunnel up and arrive, also where those of both ends do so at once.
func TestTrap(t *testing.T) {
	trap := settings{start: "trap"}
	together(t, []run{
		{name: "trap", kinds: weCharon, a: trap, timed: true, do: firstPackets(1)},
		{name: "trap", kinds: weWe, a: trap, timed: true, do: firstPackets(1)},
		{name: "trap at both ends", kinds: weWe, a: trap, b: trap, timed: true, do: firstPackets(2)},
		{name: "trap at both ends at once", kinds: weWe, a: trap, b: trap, between: &middleOptions{slow: 60 * time.Millisecond}, timed: true, do: becomeOne},
	})
}
