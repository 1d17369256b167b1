//go:build linux

package lab

import (
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// TestStandstills: that this process stood still is seen, by itself and by the flows, which do not make up for it.
func TestStandstills(t *testing.T) {
	_, a, b := PairForTest(t)
	watch, err := WatchStandstills()
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	const interval = 5 * time.Millisecond
	flows, err := StartFlows([]Direction{{From: a, To: b, Src: netip.MustParseAddr(PairA4), Dst: netip.MustParseAddr(PairB4), Count: 1}}, interval)
	if err != nil {
		t.Fatal(err)
	}
	defer flows.Close()
	from := time.Now()
	// Another process has to wake us up again.
	if err := exec.Command("sh", "-c", "kill -STOP $1; sleep 1; kill -CONT $1", "sh", strconv.Itoa(os.Getpid())).Run(); err != nil {
		t.Fatal(err)
	}
	stood := time.Now()
	if d := watch.Longest(from, stood); d < 900*time.Millisecond || d > stood.Sub(from)+time.Second {
		t.Errorf("stood still for %v, seen %v", stood.Sub(from), d)
	}
	if d := watch.Longest(from.Add(-time.Hour), from.Add(-time.Minute)); d != 0 {
		t.Errorf("stood still for %v before there was anybody", d)
	}
	if err := flows.Close(); err != nil {
		t.Fatal(err)
	}
	if sent := time.Duration(flows.Loss(flows.All[0], from, time.Now()).Sent) * interval; sent > time.Since(from)-600*time.Millisecond {
		t.Errorf("%v after it stood still, probes for %v were sent", time.Since(from), sent)
	}
}
