//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// deadline bounds every test here; a lab that works needs a few seconds, on a machine that others use a few more.
func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestPairPings(t *testing.T) {
	ctx := deadline(t)
	_, a, _ := PairForTest(t, "ping")
	for _, dst := range []string{PairB4, PairB6} {
		got, err := a.Ping(ctx, dst, 3)
		if err != nil || got.Sent != 3 || got.Received != 3 || got.RTT <= 0 {
			t.Errorf("ping %s: %+v, %v; want 3 of 3 and a round-trip time", dst, got, err)
		}
	}
	got, err := a.Ping(ctx, "192.0.2.99", 1, "-W", "1")
	if err != nil || got.Received != 0 || got.Sent != 1 {
		t.Errorf("ping of an address that nobody has: %+v, %v; want 0 of 1 without an error", got, err)
	}
}

// TestPingWaitsForTheLast, although the first answer came at once.
func TestPingWaitsForTheLast(t *testing.T) {
	ctx := deadline(t)
	_, a, _ := PairForTest(t, "ping", "tc")
	if err := a.WaitReachable(ctx, PairB4); err != nil { // so that all has a way
		t.Fatal(err)
	}
	// One packet passes at once, each other takes a third of a second.
	if _, err := a.Run(ctx, "tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "2kbit", "burst", "120", "limit", "10000"); err != nil {
		t.Fatal(err)
	}
	if got, err := a.Ping(ctx, PairB4, 3); err != nil || got.Received != 3 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestLinkMTU(t *testing.T) {
	ctx := deadline(t)
	l := ForTest(t, "ping")
	a, errA := l.Host("a")
	b, errB := l.Host("b")
	err := errors.Join(errA, errB)
	if err == nil {
		err = l.Connect(Link{A: a, B: b, AddrsA: []string{"10.9.0.1/24"}, AddrsB: []string{"10.9.0.2/24"}, MTU: 1300})
	}
	if err != nil {
		t.Fatal(err)
	}
	const headers = 20 + 8 // IPv4 and ICMP echo
	for payload, want := range map[string]int{"1272": 1, "1273": 0} {
		got, err := a.Ping(ctx, "10.9.0.2", 1, "-M", "do", "-s", payload)
		if got.Received != want {
			t.Errorf("payload %s and %d octets of headers over MTU 1300: %d answers (%v), want %d", payload, headers, got.Received, err, want)
		}
	}
}

func TestHostNameIsUnique(t *testing.T) {
	l := ForTest(t)
	if _, err := l.Host("a"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Host("a"); err == nil {
		t.Error("a second host of the same name was made")
	}
	if got, err := l.Host("b"); err != nil || got == nil {
		t.Errorf("another host after that: %v", err)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	ForTest(t) // skips and fails as it should
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	a, err := l.Host("a")
	if err != nil {
		t.Fatal(err)
	}
	p, err := a.Start("sleep", "600")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
	select {
	case <-p.Done():
	default:
		t.Error("a process outlived the lab")
	}
	for _, path := range []string{l.Dir(), "/run/netns/" + a.Namespace} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there (%v)", filepath.Base(path), err)
		}
	}
	if _, err := l.Host("late"); err == nil {
		t.Error("a closed lab made a host")
	}
	if _, err := os.Stat("/run/netns/" + hostNamespace(l.id, "late")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a closed lab left a namespace (%v)", err)
	}
}

func TestSweepRemovesWhatTheDeadLeft(t *testing.T) {
	ForTest(t)
	zombie := exec.Command("true") // not waited for until the end: dead, and its id still taken
	if err := zombie.Start(); err != nil {
		t.Fatal(err)
	}
	defer zombie.Wait()
	if err := WaitFor(deadline(t), "the end of true", func() error {
		if !ended(zombie.Process.Pid) {
			return errors.New("it runs")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	const nobody = 4194304 // one more than the kernel's highest process id
	left := []string{hostNamespace(fmt.Sprintf("%d-1", nobody), "a"), hostNamespace(fmt.Sprintf("%d-1", zombie.Process.Pid), "a")}
	living := hostNamespace(fmt.Sprintf("%d-999", os.Getpid()), "a")
	for _, name := range append(left, living) {
		if err := ip("netns", "add", name); err != nil {
			t.Fatal(err)
		}
	}
	defer ip("netns", "del", living)
	sweep()
	for _, name := range left {
		if _, err := os.Stat("/run/netns/" + name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there (%v)", name, err)
		}
	}
	if _, err := os.Stat("/run/netns/" + living); err != nil {
		t.Errorf("the namespace of a living process: %v", err)
	}
}

func TestRunReportsWhatWentWrong(t *testing.T) {
	ctx := deadline(t)
	l := ForTest(t)
	a, err := l.Host("a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Run(ctx, "sh", "-c", "echo the reason >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "the reason") {
		t.Errorf("error %v, want one with what the program said", err)
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := a.Run(short, "sleep", "600"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want the deadline", err)
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("the deadline of 50 ms was noticed after %v", took)
	}
}

func TestWaitLogFailsWhenTheProcessEnds(t *testing.T) {
	ctx := deadline(t)
	l := ForTest(t)
	a, err := l.Host("a")
	if err != nil {
		t.Fatal(err)
	}
	p, err := a.Start("sh", "-c", "echo last words; exit 1")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.WaitLog(ctx, "never written"); err == nil || !strings.Contains(err.Error(), "last words") || ctx.Err() != nil {
		t.Errorf("error %v, want one with the log, at once", err)
	}
	if p.Err() == nil {
		t.Error("exit status 1 was no error")
	}
}

// TestWaitLogOfTheLastWords: what a process has done before it ended is done.
func TestWaitLogOfTheLastWords(t *testing.T) {
	ctx := deadline(t)
	l := ForTest(t)
	a, err := l.Host("a")
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		p, err := a.Start("sh", "-c", "echo last words")
		if err != nil {
			t.Fatal(err)
		}
		if err := p.WaitLog(ctx, "last words"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTCPAndUDPRates(t *testing.T) {
	ctx := deadline(t)
	_, a, b := PairForTest(t, "iperf3")
	tr := Traffic{Server: b, Addr: PairB4, Time: time.Second}
	tcp := func() error {
		rate, err := a.TCPRate(ctx, tr)
		if err != nil || rate < 1e6 {
			return fmt.Errorf("TCP to %s: %.0f bit/s, %v", tr.Addr, rate, err)
		}
		return nil
	}
	oneOfSome(t, tcp)
	oneOfSome(t, func() error {
		trial, err := a.UDPTrial(ctx, tr, 300, 1000)
		if err != nil || trial.Rate < 900 || trial.Rate > 1100 || trial.Loss > 0.5 {
			return fmt.Errorf("UDP at 1000 datagrams a second: %+v, %v", trial, err)
		}
		return nil
	})
	tr.Addr = PairB6
	oneOfSome(t, tcp)
}

// oneOfSome wants one of some tries to succeed: rates of a second are nothing on a machine that stands still for as long.
func oneOfSome(t *testing.T, try func() error) {
	t.Helper()
	for n := 1; ; n++ {
		err := try()
		if err == nil {
			return
		}
		if n == 8 {
			t.Error(err)
			return
		}
		t.Logf("try %d: %v", n, err)
	}
}

// The link drops what exceeds a token bucket, so the search has a known answer.
func TestNoDropRateFindsTheLimit(t *testing.T) {
	ctx := deadline(t)
	_, a, b := PairForTest(t, "iperf3", "tc")
	// 1000 octets of payload are 1042 with UDP, IPv4 and Ethernet headers: 2000 a second are 16.7 Mbit/s.
	_, err := a.Run(ctx, "tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "16672kbit", "burst", "20kb", "limit", "20kb")
	if err != nil {
		t.Fatal(err)
	}
	oneOfSome(t, func() error {
		got, err := a.NoDropRate(ctx, Traffic{Server: b, Addr: PairB4, Time: time.Second},
			NDR{Size: 1000, MaxLoss: 0.01, MaxRate: 5000, Steps: 6})
		// A busy machine loses datagrams of its own, so that only the upper bound is sharp.
		if err != nil || got < 200 || got > 2200 {
			return fmt.Errorf("no-drop rate %.0f, %v; want no more than 2000, and on an idle machine close to it", got, err)
		}
		return nil
	})
}

// TestCaptureSeesPackets: all of them, also those that tcpdump has not read yet when it is to end.
func TestCaptureSeesPackets(t *testing.T) {
	ctx := deadline(t)
	_, a, b := PairForTest(t, "tcpdump", "ping")
	c, err := b.Capture(ctx, "eth0", "icmp")
	if err != nil {
		t.Fatal(err)
	}
	asleep := c.process.Signal(syscall.SIGSTOP)
	if got, err := a.Ping(ctx, PairB4, 3); err != nil || got.Received != 3 {
		t.Fatal(got, err)
	}
	stopped := make(chan error)
	go func() { stopped <- c.Stop() }()
	time.Sleep(50 * time.Millisecond) // for which tcpdump is late
	if err := errors.Join(asleep, c.process.Signal(syscall.SIGCONT), <-stopped); err != nil {
		t.Error(err)
	}
	if err := c.Stop(); err != nil {
		t.Errorf("stopping twice: %v", err)
	}
	text, err := b.Run(ctx, "tcpdump", "-n", "-r", c.Path())
	if n := strings.Count(text, "ICMP echo"); err != nil || n != 6 {
		t.Errorf("%d packets, want six: %v\n%s", n, err, text)
	}
}

// TestWireGuardOwner: numbers of processes have all digits of their base, an x too.
func TestWireGuardOwner(t *testing.T) {
	for name, want := range map[string]int{"wgrsx1.sock": 1000, "wgchxx12.sock": 16197, "wgxxxx3.sock": 43989, "wgx.sock": 0, "other": 0} {
		if got := wireGuardOwner(name); got != want {
			t.Errorf("%s is of process %d, want %d", name, got, want)
		}
	}
}
