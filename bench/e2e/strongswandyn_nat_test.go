//go:build linux

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/warrenvpn/warren/bench/lab"
)

// natDPD is dpd_delay behind the NAT, in seconds.
const natDPD = 2

// moves brings the tunnel up through a NAT, has the NAT forget its mappings while packets go one way or both ways, and wants
// them to arrive again in good time.
func moves(ways int) func(ctx context.Context, p *keyedPair) error {
	return func(ctx context.Context, p *keyedPair) error {
		if err := p.initiate(ctx, p.a); err != nil {
			return err
		}
		both := []lab.Direction{{From: p.b.inside, To: p.a.inside, Src: p.b.inner, Dst: p.a.inner, Count: 1},
			{From: p.a.inside, To: p.b.inside, Src: p.a.inner, Dst: p.b.inner, Count: 1}}
		var err error
		if p.flows, err = lab.StartFlows(both[:ways], 4*time.Millisecond); err != nil {
			return err
		}
		begin := time.Now()
		if err := p.arrives(ctx, begin); err != nil {
			return err
		}
		for range 2 {
			moved := time.Now()
			p.middle.remap()
			err := within(ctx, "traffic again after the NAT forgot", (natDPD+2)*time.Second, func(ctx context.Context) error { return p.arrives(ctx, moved) })
			if err != nil {
				return err
			}
			// It is to go on for a while, and not by chance.
			well := time.Now()
			if err := p.arrives(ctx, well.Add(500*time.Millisecond)); err != nil {
				return err
			}
			if lost, sent := p.lost(ctx, well); lost > sent/10 {
				return fmt.Errorf("%d of %d lost once the way was found again\n%s", lost, sent, p.logs())
			}
		}
		return nil
	}
}

// arrives waits until in each direction something arrives that was sent after a time.
func (p *keyedPair) arrives(ctx context.Context, after time.Time) error {
	err := lab.WaitFor(ctx, "packets each way", func() error {
		for i, f := range p.flows.All {
			if l := p.flows.Loss(f, after, time.Now()); l.Sent-l.Lost < 5 {
				return fmt.Errorf("flow %d: %d of %d arrived", i, l.Sent-l.Lost, l.Sent)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%w\n%s", err, p.logs())
	}
	return nil
}

// TestNAT: one end is behind a NAT. Key exchange floats to port 4500, ESP is in UDP, and when the NAT forgets its mappings both
// find each other again within dpd_delay and two seconds, also where the one outside is the only one that sends.
func TestNAT(t *testing.T) {
	// charon moves its userspace ESP by rekeying, which waits for the answer to its own question: that is to be repeated soon.
	auto := settings{encap: "auto", ipsec: fmt.Sprintf("dpd_delay: %ds", natDPD), conn: fmt.Sprintf("dpd_delay = %ds", natDPD), options: quickCharon}
	var runs []run
	for _, k := range []kinds{weCharon, charonWe, weWe} {
		runs = append(runs, run{name: "both ways", kinds: k, a: auto, b: auto, between: &middleOptions{nat: true}, timed: true, do: moves(2)},
			run{name: "one way", kinds: k, a: auto, b: auto, between: &middleOptions{nat: true}, timed: true, do: moves(1)})
	}
	together(t, runs)
}
