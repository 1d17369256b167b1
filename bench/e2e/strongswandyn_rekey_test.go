//go:build linux

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// Rekeying every two seconds without randomness, in both programs' words.
var (
	rekeysChild = settings{child: "rekey_time: 2s\nlife_time: 20s\nrand_time: 0s", charChild: "rekey_time = 2s\nlife_time = 20s\nrand_time = 0s"}
	rekeysIKE   = settings{ipsec: "rekey_time: 2s\nover_time: 20s\nrand_time: 0s", conn: "rekey_time = 2s\nover_time = 20s\nrand_time = 0s"}
	rekeysNone  = settings{}
)

// underTraffic brings the tunnel up from a and streams for a time both ways.
func (p *keyedPair) underTraffic(ctx context.Context, d time.Duration) (lost, sent int, since time.Time, err error) {
	if err = p.initiate(ctx, p.a); err != nil {
		return
	}
	since = time.Now()
	if err = p.stream(4 * time.Millisecond); err != nil {
		return
	}
	select {
	case <-ctx.Done():
		err = ctx.Err()
		return
	case <-time.After(d): // the experiment's length
	}
	lost, sent = p.lost(ctx, since)
	return
}

// rekeyed counts an end's log lines about new keys.
func (e *keyed) rekeyed(ike bool) int {
	switch {
	case e.warren && ike:
		return strings.Count(e.log(), "IKE SA was rekeyed")
	case e.warren:
		return strings.Count(e.log(), "child SA was rekeyed")
	case ike:
		return strings.Count(e.log(), "rekeyed between")
	}
	return strings.Count(e.log(), "outbound CHILD_SA")
}

// nothingLost is the experiment whose stream has no gap while one end or both make new keys.
func nothingLost(ike bool) func(ctx context.Context, p *keyedPair) error {
	return func(ctx context.Context, p *keyedPair) error {
		lost, sent, since, err := p.underTraffic(ctx, 7*time.Second)
		if err != nil {
			return err
		}
		if n := min(p.a.rekeyed(ike), p.b.rekeyed(ike)); n < 3 || lost > 0 || sent < 3000 {
			return fmt.Errorf("%d times rekeyed, %d of %d lost\n%s%s", n, lost, sent, p.where(since), p.logs())
		}
		return nil
	}
}

// TestRekeyingUnderTraffic: one end makes new keys every two seconds, and nobody else notices.
func TestRekeyingUnderTraffic(t *testing.T) {
	var runs []run
	for _, what := range []struct {
		name string
		ike  bool
		does settings
	}{{"child", false, rekeysChild}, {"IKE", true, rekeysIKE}} {
		for _, k := range []kinds{weCharon, charonWe} {
			runs = append(runs, run{what.name + ", initiator rekeys", k, what.does, rekeysNone, nothingLost(what.ike)},
				run{what.name + ", responder rekeys", k, rekeysNone, what.does, nothingLost(what.ike)})
		}
	}
	together(t, runs)
}
