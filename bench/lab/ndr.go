//go:build linux

package lab

import (
	"context"
	"fmt"
)

// NDR asks for the highest rate of datagrams that crosses with little loss.
type NDR struct {
	Size    int     // octets of UDP payload
	MaxLoss float64 // share that may be missing, 0 to 1
	MaxRate float64 // datagrams per second, where the search starts halving
	Steps   int     // trials; the result is exact to MaxRate / 2^Steps
}

// NoDropRate bisects for the highest rate, in datagrams that arrived per second, at which a trial loses at most MaxLoss: the
// throughput of RFC 2544 section 26.1 with a tolerance. A trial whose generator stays below nine tenths of the rate it was
// asked for does not raise the floor beyond what it really sent. A trial that breaks (its control connection shares the
// tunnel and may starve) counts as lost; if every trial breaks that is the error.
func (h *Host) NoDropRate(ctx context.Context, tr Traffic, q NDR) (float64, error) {
	var best float64
	var lastErr error
	broken := 0
	lo, hi := 0.0, q.MaxRate
	for range q.Steps {
		rate := (lo + hi) / 2
		trial, err := h.UDPTrial(ctx, tr, q.Size, rate)
		if ctx.Err() != nil {
			return 0, fmt.Errorf("search for the no-drop rate: %w", ctx.Err())
		}
		if err != nil {
			broken, lastErr = broken+1, err
			hi = rate
			continue
		}
		if trial.Loss > q.MaxLoss {
			hi = rate
			continue
		}
		best = max(best, trial.Rate*(1-trial.Loss))
		if trial.Rate > 0.9*rate {
			lo = rate
		} else {
			hi = rate
		}
	}
	if broken == q.Steps {
		return 0, fmt.Errorf("search for the no-drop rate: every trial failed: %w", lastErr)
	}
	return best, nil
}
