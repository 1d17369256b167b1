//go:build linux

package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warrenvpn/warren/bench/lab"
)

// natPatience is after which silence of a the NAT forgets it.
const natPatience = 4 * time.Second

// TestKeepalivesHoldTheNAT: a is behind a NAT that forgets who is silent. With keepalives b reaches it after a long silence, without
// it does not; b takes them for what they are.
func TestKeepalivesHoldTheNAT(t *testing.T) {
	for _, c := range []struct {
		every string
		holds bool
	}{{"1s", true}, {"0s", false}} {
		t.Run(c.every, func(t *testing.T) {
			t.Parallel()
			e, m := newBehindNAT(t, "nat_keepalive: "+c.every)
			ctx := limit(t)
			pa, pb := e.startA(t, ctx), e.startB(t, ctx)
			if err := e.insideA.WaitReachable(ctx, "10.2.0.1"); err != nil {
				t.Fatalf("%v\na: %s\nb: %s", err, pa.Log(), pb.Log())
			}
			capture, err := e.b.Capture(ctx, "eth0", "src", middleOutside, "and", "udp", "port", "4500")
			if err != nil {
				t.Fatal(err)
			}
			watched, stop := m.forgetful()
			until(t, ctx, "a long silence", func() bool { return watched() > natPatience+2*time.Second })
			want, patience := 0, "1"
			if c.holds {
				want, patience = 3, "10"
			}
			if r, err := e.insideB.Ping(ctx, "10.1.0.1", 3, "-W", patience); err != nil || r.Received != want {
				t.Errorf("b reaches a: %+v %v; want %d answers\na: %s\nb: %s", r, err, want, pa.Log(), pb.Log())
			}
			stop()
			if err := capture.Stop(); err != nil {
				t.Error(err)
			}
			out, err := exec.CommandContext(ctx, "tcpdump", "-n", "-r", capture.Path(), "udp[4:2] = 9").CombinedOutput()
			if n := strings.Count(string(out), "isakmp-nat-keep-alive"); err != nil || c.holds && n < 2 || !c.holds && n > 0 {
				t.Errorf("%d keepalives: %v\n%s", n, err, out)
			}
			var all []tally
			e.sockA = e.sockB
			e.ask(t, ctx, &all, "drops")
			for _, one := range all {
				for reason, n := range one.Drops {
					if n > 0 && reason != "not_forwardable" { // what the kernel says about its device
						t.Errorf("b dropped %d as %s: %+v", n, reason, one)
					}
				}
			}
			e.stop(t, pa, pb)
		})
	}
}

// newBehindNAT is two ends with keys by hand, of which b knows a as the NAT's address.
func newBehindNAT(t testing.TB, ipsec string) (*ends, *middle) {
	t.Helper()
	l := lab.ForTest(t, "ip", "ping", "tcpdump")
	e := &ends{lab: l, program: build(t), state: t.TempDir()}
	for name, h := range map[string]**lab.Host{"a": &e.a, "b": &e.b, "ia": &e.insideA, "ib": &e.insideB} {
		var err error
		if *h, err = l.Host(name); err != nil {
			t.Fatal(err)
		}
	}
	m, err := newMiddle(l, e.a, e.b, middleOptions{nat: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.close)
	e.confA, e.sockA = filepath.Join(e.state, "a.yaml"), filepath.Join(e.state, "a.sock")
	e.confB, e.sockB = filepath.Join(e.state, "b.yaml"), filepath.Join(e.state, "b.sock")
	e.write(t, e.confA, middleA, e.insideA.Namespace, "10.1.0.1/16", "fd01::1/64", middleB, "aes128gcm16",
		filepath.Join(e.state, "a.iv"), spi1, key1, spi2, key2, "10.2.0.0/16", "fd02::/64")
	e.write(t, e.confB, middleB, e.insideB.Namespace, "10.2.0.1/16", "fd02::1/64", middleOutside, "aes128gcm16",
		filepath.Join(e.state, "b.iv"), spi2, key2, spi1, key1, "10.1.0.0/16", "fd01::/64")
	edit(t, e.confA, "encap: always", fmt.Sprintf("encap: always\n      %s", ipsec))
	return e, m
}

// forgetful has the NAT forget a whenever it was silent for too long, until stop. How long it has watched is told by its own clock, which
// does not go on while the machine stands still: a could not have said anything then.
func (m *middle) forgetful() (watched func() time.Duration, stop func()) {
	const every = 50 * time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	var ticks atomic.Int64
	go func() {
		defer close(ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		heard, since := m.fromA.count.Load(), int64(0)
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			now := ticks.Add(1)
			if count := m.fromA.count.Load(); count != heard {
				heard, since = count, now
			} else if time.Duration(now-since)*every > natPatience {
				m.remap()
			}
		}
	}()
	return func() time.Duration { return time.Duration(ticks.Load()) * every }, func() { cancel(); <-ended }
}
