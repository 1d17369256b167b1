//go:build linux

package e2e

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/warrenvpn/warren/bench/lab"
)

// outcome is what an event cost the flows.
type outcome struct {
	event string
	// allowed is what it may cost flows that entered gateways which survived; others is what it cost the others, where the
	// event leaves a gateway.
	allowed time.Duration
	worst   lab.Loss
	flow    *lab.Flow
	others  lab.Loss
	// load is the machine's in the meantime, of all its processors, from 0 to 1.
	load float64
}

func (o outcome) String() string {
	s := fmt.Sprintf("%-28s worst flow %5.0f ms (allowed %v)", o.event, float64(o.worst.For)/1e6, o.allowed)
	if o.others.Sent > 0 {
		s += fmt.Sprintf(", of those that entered the gateway %5.0f ms", float64(o.others.For)/1e6)
	}
	return s + fmt.Sprintf(", load %.0f %%", 100*o.load)
}

// Flows in each direction and family, and how often each sends: 240 flows, 3,000 packets a second.
const (
	flowCount    = 20
	flowInterval = 80 * time.Millisecond
)

// spread starts flows between all sites, in both families.
func (s *sites) spread() *lab.Flows {
	s.t.Helper()
	var all []lab.Direction
	for from := 1; from <= siteCount; from++ {
		for to := 1; to <= siteCount; to++ {
			if from != to {
				a, b := s.routers[from].host, s.routers[to].host
				all = append(all, lab.Direction{From: a, To: b, Src: inside4(from), Dst: inside4(to), Count: flowCount},
					lab.Direction{From: a, To: b, Src: inside6(from), Dst: inside6(to), Count: flowCount})
			}
		}
	}
	flows, err := lab.StartFlows(all, flowInterval)
	s.must(err)
	return flows
}

// drill runs all that may happen to gateways while flows are running, and says what it cost in the order in which it happened.
func (s *sites) drill(ctx context.Context) (all []outcome) {
	s.t.Helper()
	flows := s.spread()
	defer flows.Close()
	s.settle(ctx, time.Second)
	s.usesEveryTunnel(ctx)
	v11, v21, v31 := gatewayID{1, 1}, gatewayID{2, 1}, gatewayID{3, 1}
	const short = time.Second
	failure := s.layout.allowance()
	run := func(event string, allowed, window time.Duration, leaving gatewayID, act func()) {
		o := s.measure(ctx, flows, window, leaving, act)
		o.event, o.allowed = event, allowed
		s.t.Log(o)
		all = append(all, o)
	}
	run("nothing happens", 0, short, nobody, func() {})
	run("a gateway is killed", failure, failure+short, v11, func() { s.end(v11, syscall.SIGKILL) })
	run("it comes back", 0, short, nobody, func() { s.start(v11); s.converged(ctx) })
	run("a path drops everything", failure, failure+short, nobody, func() { s.cut(v11, v21, true) })
	run("it is there again", 0, short, nobody, func() { s.cut(v11, v21, false); s.converged(ctx) })
	run("a gateway leaves politely", 0, short, v31, func() { s.leave(ctx, v31) })
	run("that comes back", 0, short, nobody, func() { s.comeBack(ctx, v31) })
	return all
}

// nobody is no gateway.
var nobody gatewayID

// leave ends a gateway's warren as politely as it can be done. Where BIRD speaks for it, BIRD must say so first.
func (s *sites) leave(ctx context.Context, id gatewayID) {
	s.t.Helper()
	if s.layout.perTunnel {
		_, err := s.gateways[id].bird.Ctl(ctx, "disable", `"T*"`)
		s.must(err)
		s.settle(ctx, time.Second)
	}
	s.end(id, syscall.SIGTERM)
}

// comeBack undoes leave.
func (s *sites) comeBack(ctx context.Context, id gatewayID) {
	s.t.Helper()
	s.start(id)
	if s.layout.perTunnel {
		_, err := s.gateways[id].bird.Ctl(ctx, "enable", `"T*"`)
		s.must(err)
	}
	s.converged(ctx)
}

// end ends a gateway's warren by a signal, and returns when it has ended.
func (s *sites) end(id gatewayID, sig syscall.Signal) {
	s.t.Helper()
	g := s.gateways[id]
	s.must(g.warren.Signal(sig))
	select {
	case <-g.warren.Done():
	case <-time.After(10 * time.Second):
		s.t.Fatalf("%v did not end", id)
	}
	if err := g.warren.Err(); sig == syscall.SIGTERM && err != nil {
		s.t.Errorf("%v: %v\n%s", id, err, g.warren.Log())
	}
}

// measure lets something happen and counts what it costs until a window after it has.
func (s *sites) measure(ctx context.Context, flows *lab.Flows, window time.Duration, leaving gatewayID, act func()) (o outcome) {
	s.t.Helper()
	entries, err := flows.Entries(ctx)
	s.must(err)
	entersIt := func(f *lab.Flow) bool {
		return leaving != nobody && f.From == s.routers[leaving.site].host && entries[f] == fmt.Sprintf("eth%d", leaving.number)
	}
	busy := s.busy()
	from := time.Now()
	act()
	s.settle(ctx, window)
	to := time.Now()
	o.load = s.busy().since(busy)
	s.settle(ctx, 200*time.Millisecond) // for what is on its way
	o.worst, o.flow = flows.Worst(from, to, func(f *lab.Flow) bool { return !entersIt(f) })
	if leaving != nobody {
		o.others, _ = flows.Worst(from, to, entersIt)
	}
	return o
}

// settle lets flows run for a while.
func (s *sites) settle(ctx context.Context, d time.Duration) {
	s.t.Helper()
	select {
	case <-ctx.Done():
		s.t.Fatal(ctx.Err())
	case <-time.After(d):
	}
}

// judge fails the test for outcomes that are not allowed.
func (s *sites) judge(all []outcome) {
	s.t.Helper()
	for _, o := range all {
		if o.worst.For <= o.allowed {
			continue
		}
		text := fmt.Sprintf("%v: %v to %v, %d of %d lost, from %v to %v", o, o.flow.Src, o.flow.Dst, o.worst.Lost, o.worst.Sent,
			o.worst.First.Format(time.StampMilli), o.worst.Last.Format(time.StampMilli))
		s.t.Error(text)
	}
	if s.t.Failed() {
		for _, g := range s.gateways {
			log := g.warren.Log()
			s.t.Logf("log of %v:\n%s", g.id, log[max(0, len(log)-3000):])
		}
	}
}

// usesEveryTunnel sees that flows are spread over all tunnels: of two gateways of a site, each gets its share.
func (s *sites) usesEveryTunnel(ctx context.Context) {
	s.t.Helper()
	counts := map[gatewayID]map[string]uint64{}
	count := func(sign uint64) {
		for id, g := range s.gateways {
			now, err := g.packets(ctx)
			s.must(err)
			if counts[id] == nil {
				counts[id] = map[string]uint64{}
			}
			for name, n := range now {
				counts[id][name] += sign * n
			}
		}
	}
	count(^uint64(0)) // minus one
	s.settle(ctx, 2*time.Second)
	count(1)
	for _, id := range allGateways() {
		for site := 1; site <= siteCount; site++ {
			a, b := counts[id][gatewayID{site, 1}.String()], counts[id][gatewayID{site, 2}.String()]
			if site != id.site && (a < (a+b)/10 || b < (a+b)/10 || a+b < 100) {
				s.t.Errorf("%v sends site %d %d packets by one tunnel, %d by the other", id, site, a, b)
			}
		}
	}
}

// busyTime is how long all processors worked, and how long they could have, in the kernel's ticks.
type busyTime struct{ worked, all float64 }

func (b busyTime) since(before busyTime) float64 {
	return (b.worked - before.worked) / max(1, b.all-before.all)
}

func (s *sites) busy() (b busyTime) {
	s.t.Helper()
	text, err := os.ReadFile("/proc/stat")
	s.must(err)
	line, _, _ := strings.Cut(string(text), "\n")
	for i, f := range strings.Fields(line)[1:] {
		v, err := strconv.ParseFloat(f, 64)
		s.must(err)
		if b.all += v; i != 3 && i != 4 { // idle, and waiting for a disk
			b.worked += v
		}
	}
	return b
}
