package warren_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/dataplane/underlay/sim"
	"github.com/warrenvpn/warren/internal/until"
)

// patience is how long a condition may take that does hold, on a machine that is busy or stands still for a while.
const patience = time.Minute

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, within time.Duration, holds func() bool) {
	t.Helper()
	until.True(t, what, within, holds)
}

// start makes an engine and runs it until stop, or the test's end. It logs to the test where no option says otherwise.
func start(t testing.TB, cfg *warren.Config, options ...warren.Option) (e *warren.Engine, stop func()) {
	t.Helper()
	log := warren.WithLogger(slog.New(slog.NewTextHandler(t.Output(), nil)))
	e, err := warren.New(cfg, append([]warren.Option{log}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	return e, keepRunning(t, e)
}

// keepRunning runs an engine until stop, or the test's end.
func keepRunning(t testing.TB, e *warren.Engine) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// siteConfig reads number i of the two sites that a template makes: it is given the own number and the other's, from 1 on, 19 bytes
// of a key in hexadecimal, and i.
func siteConfig(t testing.TB, template string, i int) *warren.Config {
	t.Helper()
	cfg, err := warren.ParseConfig("site.yaml", fmt.Appendf(nil, template, i+1, 2-i, "0102030405060708090a0b0c0d0e0f10111213", i))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// startSite starts number i of a template's sites.
func startSite(t *testing.T, network *sim.Network, template string, i int) (e *warren.Engine, stop func()) {
	t.Helper()
	return start(t, siteConfig(t, template, i), warren.WithNetwork(network))
}

// startSites starts both sites of a template, and returns when they run.
func startSites(t *testing.T, network *sim.Network, template string) (e [2]*warren.Engine) {
	t.Helper()
	for i := range e {
		e[i], _ = startSite(t, network, template, i)
	}
	bothRun(t, e)
	return e
}

// bothRun waits until both engines run: what is sent to one that is not there yet is sent again only seconds later.
func bothRun(t *testing.T, e [2]*warren.Engine) {
	t.Helper()
	eventually(t, "both engines run", patience, func() bool {
		return e[0].Status().State == "running" && e[1].Status().State == "running"
	})
}

func ping(t *testing.T, e *warren.Engine, dst string, within time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	_, err := e.Ping(ctx, netip.MustParseAddr(dst))
	return err
}

func tunnelStatus(t *testing.T, e *warren.Engine, name string) warren.TunnelStatus {
	t.Helper()
	for _, s := range e.Status().Tunnels {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("there is no tunnel %q", name)
	return warren.TunnelStatus{}
}

// namespace makes a network namespace for the test.
func namespace(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("warren-test-%d", os.Getpid())
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("ip", "netns", "del", name).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	return name
}

// loopback is an address of loopback that the tests of no other process have.
func loopback() netip.Addr {
	pid := os.Getpid()
	return netip.AddrFrom4([4]byte{127, byte(64 | pid>>16&0x3f), byte(pid >> 8), byte(pid)})
}

// freePort is a port of that address that is free, and stays so: it is none of those that the system gives to whoever asks for any.
func freePort(t testing.TB) uint16 {
	t.Helper()
	for range 1000 {
		at := netip.AddrPortFrom(loopback(), uint16(10_000+rand.IntN(20_000)))
		pc, err := net.ListenPacket("udp4", at.String())
		if err != nil {
			continue
		}
		_ = pc.Close()
		if ln, err := net.Listen("tcp4", at.String()); err == nil {
			_ = ln.Close()
			return at.Port()
		}
	}
	t.Fatal("no port is free")
	return 0
}

// freeListener listens at such a port.
func freeListener(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp4", netip.AddrPortFrom(loopback(), freePort(t)).String())
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// leavesNothing returns how to see that no goroutine is there that is not there now.
func leavesNothing(t testing.TB) func() {
	before := goleak.IgnoreCurrent()
	return func() {
		t.Helper()
		var err error
		if !until.Holds(patience, func() bool { err = goleak.Find(before); return err == nil }) {
			t.Error(err)
		}
	}
}

// noMore sees that there are no more descriptors than there were.
func noMore(t testing.TB, before int) {
	t.Helper()
	after := 0
	if !until.Holds(patience, func() bool { after = descriptors(t); return after <= before }) {
		t.Errorf("%d descriptors after the first life, %d after the last", before, after)
	}
}

func descriptors(t testing.TB) int {
	es, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal("descriptors are counted in /proc: ", err)
	}
	return len(es)
}
