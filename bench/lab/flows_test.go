//go:build linux

package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// TestFlowsSeeLoss: what passes is not lost, what is cut off is lost for about as long as it was, by flows that send often and by
// such that do not; each flow sends as often as it should. That is to be seen on a machine that does not stand still meanwhile, which
// one of some tries will meet.
func TestFlowsSeeLoss(t *testing.T) {
	_, a, b := PairForTest(t)
	for try := 1; ; try++ {
		wrong := flowsSeeLoss(t, a, b)
		if wrong == nil {
			return
		}
		if try == 8 {
			t.Fatal(wrong)
		}
		t.Logf("try %d: %v", try, wrong)
		if err := a.IP("link", "set", "eth0", "up"); err != nil {
			t.Fatal(err)
		}
		// IPv6 addresses have gone with the link.
		if err := a.IP("addr", "replace", PairA6+"/64", "dev", "eth0", "nodad"); err != nil {
			t.Fatal(err)
		}
		for _, dst := range []string{PairB4, PairB6} {
			if err := a.WaitReachable(deadline(t), dst); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// flowsSeeLoss says what was wrong.
func flowsSeeLoss(t *testing.T, a, b *Host) (wrong error) {
	t.Helper()
	bad := func(format string, args ...any) { wrong = errors.Join(wrong, fmt.Errorf(format, args...)) }
	a4, b4, a6, b6 := netip.MustParseAddr(PairA4), netip.MustParseAddr(PairB4), netip.MustParseAddr(PairA6), netip.MustParseAddr(PairB6)
	flows, err := StartFlows([]Direction{{From: a, To: b, Src: a4, Dst: b4, Count: 20}, {From: b, To: a, Src: b4, Dst: a4, Count: 3},
		{From: a, To: b, Src: a6, Dst: b6, Count: 2, Interval: 10 * time.Millisecond}}, 100*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer flows.Close()
	const cut = 400 * time.Millisecond
	from := time.Now()
	time.Sleep(cut)
	until := time.Now()
	if err := a.IP("link", "set", "eth0", "down"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(cut)
	end := time.Now()
	if err := flows.Close(); err != nil {
		t.Fatal(err)
	}
	for i, flow := range flows.All {
		slack := 2*flow.Interval + 150*time.Millisecond // others may use the machine
		if l := flows.Loss(flow, from, until); l.Lost != 0 || time.Duration(l.Sent)*flow.Interval < until.Sub(from)-slack {
			bad("flow %d every %v in %v: %+v", i, flow.Interval, until.Sub(from), l)
		}
		if l := flows.Loss(flow, until, end); l.For > end.Sub(until)+slack || l.For < cut-slack || l.For != time.Duration(l.Lost)*flow.Interval {
			bad("flow %d every %v, cut off for %v: %+v", i, flow.Interval, end.Sub(until), l)
		}
	}
	all := func(*Flow) bool { return true }
	if span := flows.Span(until, end, all); span < cut-100*time.Millisecond || span > end.Sub(until) || flows.Span(from, until, all) != 0 {
		bad("cut off for %v, but probes were lost over %v, and %v before", end.Sub(until), span, flows.Span(from, until, all))
	}
	if worst, of := flows.Worst(until, end, func(f *Flow) bool { return f.Interval == 10*time.Millisecond }); of == nil || of.Dst.Addr() != b6 || worst.Lost < 20 {
		bad("the worst of the fine flows lost %+v", worst)
	}
	return wrong
}

// TestWays: the most specific route counts, with all its next hops, and no other.
func TestWays(t *testing.T) {
	_, a, _ := PairForTest(t)
	for _, route := range [][]string{
		{"route", "add", "10.0.0.0/8", "via", PairB4},
		{"route", "add", "10.1.0.0/16", "nexthop", "via", PairB4, "nexthop", "dev", "lo"},
		{"-6", "route", "add", "fd00::/16", "via", PairB6},
		{"-6", "route", "add", "fd00:1::/32", "dev", "lo"},
		{"-6", "route", "append", "fd00:1::/32", "via", PairB6, "dev", "eth0"},
	} {
		if err := a.IP(route...); err != nil {
			t.Fatal(err)
		}
	}
	for to, want := range map[string][]string{"10.1.2.3": {"eth0", "lo"}, "10.2.2.3": {"eth0"}, "fd00::1": {"eth0"}, "fd00:1::1": {"lo", "eth0"}, "192.168.1.1": nil, "2001:db9::1": nil} {
		got, err := a.Ways(netip.MustParseAddr(to))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("to %s %q, %v; want %q", to, got, err, want)
		}
	}
}
