//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warrenvpn/warren/bench/lab"
)

// Rekeying every two seconds without randomness, in both programs' words.
var (
	rekeysChild = settings{child: "rekey_time: 2s\nlife_time: 20s\nrand_time: 0s", charChild: "rekey_time = 2s\nlife_time = 20s\nrand_time = 0s"}
	rekeysIKE   = settings{ipsec: "rekey_time: 2s\nover_time: 20s\nrand_time: 0s", conn: "rekey_time = 2s\nover_time = 20s\nrand_time = 0s"}
)

// underTraffic brings the tunnel up from a and streams for a time both ways, and longer until an end's count of new keys is enough.
func (p *keyedPair) underTraffic(ctx context.Context, d time.Duration, enough func() bool) (lost, sent int, since time.Time, err error) {
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
	more, cancel := context.WithTimeout(ctx, 2*d)
	defer cancel()
	_ = lab.WaitFor(more, "new keys", func() error { // their number is the result
		if !enough() {
			return errors.New("not enough")
		}
		return nil
	})
	lost, sent = p.lost(ctx, since)
	return
}

// rekeyed counts an end's log lines about new keys.
func (e *keyed) rekeyed(ike bool) int {
	switch {
	case e.ours && ike:
		return strings.Count(e.log(), "IKE SA was rekeyed")
	case e.ours:
		return strings.Count(e.log(), "child SA was rekeyed")
	case ike:
		return strings.Count(e.log(), "rekeyed between")
	}
	return strings.Count(e.log(), "outbound CHILD_SA")
}

// nothingLost is the experiment whose stream has no gap while one end or both make new keys.
func nothingLost(ike bool) func(ctx context.Context, p *keyedPair) error {
	return func(ctx context.Context, p *keyedPair) error {
		count := func() int { return min(p.a.rekeyed(ike), p.b.rekeyed(ike)) }
		lost, sent, since, err := p.underTraffic(ctx, 7*time.Second, func() bool { return count() >= 3 })
		if err != nil {
			return err
		}
		if n := count(); n < 3 || lost > 0 || sent < 2000 {
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
			runs = append(runs, run{name: what.name + ", initiator rekeys", kinds: k, a: what.does, timed: true, do: nothingLost(what.ike)},
				run{name: what.name + ", responder rekeys", kinds: k, b: what.does, timed: true, do: nothingLost(what.ike)})
		}
	}
	together(t, runs)
}

// hasty has charon repeat itself soon: it ignores answers that come before it has put its own IKE SA away.
const hasty = "retransmit_timeout = 1"

// Both ends rekey every three seconds, which collides every time since both began at the same moment.
var (
	collidesChild = settings{child: "rekey_time: 3s\nlife_time: 30s\nrand_time: 0s", charChild: "rekey_time = 3s\nlife_time = 30s\nrand_time = 0s",
		options: []string{hasty}}
	collidesIKE = settings{ipsec: "rekey_time: 3s\nover_time: 30s\nrand_time: 0s", conn: "rekey_time = 3s\nover_time = 30s\nrand_time = 0s",
		options: []string{hasty}}
	reauthentic = settings{ipsec: "reauth_time: 3s\nrekey_time: 0s", conn: "reauth_time = 3s\nrekey_time = 0s\nover_time = 30s\nrand_time = 0s",
		options: []string{"make_before_break = yes", hasty}}
)

// collision is what both ends do, or one of them, every three seconds.
type collision struct {
	name    string
	a, b    settings
	between *middleOptions
	new     func(e *keyed) int // counts new keys in an end's log
	allowed int                // packets at each
}

// The line's delay wanders in the first two, so that requests cross. One packet at each reauthentication is what charon loses when
// it makes before it breaks: its new SA carries packets as soon as it has answered, and may overtake the answer.
var collisions = []collision{
	{"child", collidesChild, collidesChild, &middleOptions{slow: 60 * time.Millisecond}, func(e *keyed) int { return e.rekeyed(false) }, 0},
	{"IKE", collidesIKE, collidesIKE, &middleOptions{slow: 60 * time.Millisecond}, func(e *keyed) int { return e.rekeyed(true) }, 0},
	{"reauthentication", reauthentic, settings{}, nil, (*keyed).established, 1},
}

// byChance is a share of packets that one experiment loses and another does not: those of a few milliseconds.
const byChance = 0.002

// TestCollisions: both ends rekey at the same time, or one authenticates anew. Between two of ours no packet is lost, and facing
// charon no greater share than between two charons at the same time.
func TestCollisions(t *testing.T) { fairly(t, collide) }

func collide(t testing.TB) {
	var mu sync.Mutex
	share, crossed := map[string]float64{}, map[string]int{}
	var runs []run
	for _, c := range collisions {
		for _, k := range []kinds{weWe, weCharon, charonWe, charonCharon} {
			runs = append(runs, run{name: c.name, kinds: k, a: c.a, b: c.b, between: c.between, timed: true, do: func(ctx context.Context, p *keyedPair) error {
				count := func() int { return min(c.new(p.a), c.new(p.b)) }
				lost, sent, since, err := p.underTraffic(ctx, 14*time.Second, func() bool { return count() >= 3 })
				if err != nil {
					return err
				}
				n := count()
				mu.Lock()
				share[fmt.Sprint(c.name, k)] = float64(max(0, lost-c.allowed*n)) / float64(sent)
				crossed[c.name] += strings.Count(p.a.log()+p.b.log(), "REKEY collision with")
				mu.Unlock()
				if lost > 0 {
					t.Logf("%s, %v: %d of %d lost at %d new keys\n%s", c.name, k, lost, sent, n, p.where(since))
				}
				if often := 10 + int(time.Since(since)/(3*time.Second)); n < 3 || n > often || k == weWe && lost > 0 {
					return fmt.Errorf("new keys %d times, %d of %d lost\n%s%s", n, lost, sent, p.where(since), p.logs())
				}
				return nil
			}})
		}
	}
	together(t, runs)
	for _, c := range collisions {
		theirs := share[fmt.Sprint(c.name, charonCharon)]
		for _, k := range []kinds{weCharon, charonWe} {
			if ours := share[fmt.Sprint(c.name, k)]; ours > theirs+byChance {
				t.Errorf("%s, %v: %.2f %% are lost, between two charons %.2f %%", c.name, k, 100*ours, 100*theirs)
			}
		}
		if c.between != nil && crossed[c.name] == 0 {
			t.Errorf("%s: charon saw no collision", c.name)
		}
	}
}

// established counts an end's log lines about authenticated peers.
func (e *keyed) established() int {
	if e.ours {
		return strings.Count(e.log(), "peer is authenticated")
	}
	return strings.Count(e.log(), "established between")
}
