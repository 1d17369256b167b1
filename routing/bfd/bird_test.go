//go:build linux

package bfd_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/warrenvpn/warren/bench/lab"
	"github.com/warrenvpn/warren/routing/bfd"
)

var peer4, peer6 = netip.MustParseAddr(lab.PairB4), netip.MustParseAddr(lab.PairB6)

// both sends each family over its socket.
type both struct{ v4, v6 *bfd.UDP }

func (b both) Send(to netip.Addr, packet []byte) error {
	if to.Is4() {
		return b.v4.Send(to, packet)
	}
	return b.v6.Send(to, packet)
}

// bird is BIRD as the neighbour of a Manager.
type bird struct {
	t       *testing.T
	host    *lab.Host
	process *lab.Process
	config  string
	socket  string
	manager *bfd.Manager

	mu     sync.Mutex
	events []bfd.Event
	heard  map[netip.Addr][]heard // what was accepted
}

// heard is a packet, handed to the Manager between two times.
type heard struct{ from, until time.Time }

func startBird(t *testing.T) *bird {
	l, a, b := lab.PairForTest(t, "bird", "birdc")
	x := &bird{t: t, host: b, config: filepath.Join(l.Dir(), "bird.conf"), socket: filepath.Join(l.Dir(), "bird.ctl"),
		heard: map[netip.Addr][]heard{}}
	x.write(100, 3)
	var transport both
	inside(t, a.Namespace, func() (err error) {
		if transport.v4, err = bfd.ListenUDP(netip.MustParseAddr(lab.PairA4)); err != nil {
			return err
		}
		transport.v6, err = bfd.ListenUDP(netip.MustParseAddr(lab.PairA6))
		return err
	})
	x.manager = bfd.NewManager(bfd.ManagerConfig{Transport: transport, Event: x.event})
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	t.Cleanup(func() { cancel(); group.Wait() })
	for _, run := range []func() error{
		func() error { return x.manager.Run(ctx) },
		func() error { return transport.v4.Run(ctx, x.receive) },
		func() error { return transport.v6.Run(ctx, x.receive) },
	} {
		group.Go(func() {
			if err := run(); err != nil {
				t.Error(err)
			}
		})
	}
	var err error
	if x.process, err = b.Start("bird", "-f", "-c", x.config, "-s", x.socket, "-P", filepath.Join(l.Dir(), "bird.pid")); err != nil {
		t.Fatal(err)
	}
	return x
}

func inside(t *testing.T, namespace string, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends in the other namespace
		h, err := netns.GetFromName(namespace)
		if err == nil {
			defer h.Close()
			err = netns.Set(h)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func (x *bird) write(interval, mult int) {
	x.t.Helper()
	text := fmt.Sprintf(`router id 192.0.2.2;
protocol device {}
protocol bfd {
	interface "*" { min rx interval %d ms; min tx interval %d ms; idle tx interval 1 s; multiplier %d; };
	neighbor %s;
	neighbor %s;
}
`, interval, interval, mult, lab.PairA4, lab.PairA6)
	if err := os.WriteFile(x.config, []byte(text), 0o600); err != nil {
		x.t.Fatal(err)
	}
}

func (x *bird) event(e bfd.Event) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.events = append(x.events, e)
}

func (x *bird) receive(from netip.Addr, packet []byte, ttl uint8) bfd.Drop {
	began := time.Now()
	drop := x.manager.Receive(from, packet, ttl)
	if drop == bfd.Accepted {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.heard[from] = append(x.heard[from], heard{began, time.Now()})
	}
	return drop
}

func (x *bird) changes(peer netip.Addr) (list []bfd.Event) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.events {
		if e.Peer == peer {
			list = append(list, e)
		}
	}
	return list
}

// waitChange waits until the last event of a neighbour says that its session is in a state, and returns that event: Sessions
// shows a state before its event is told.
func (x *bird) waitChange(peer netip.Addr, to bfd.State) (last bfd.Event) {
	x.t.Helper()
	x.wait(fmt.Sprintf("the event that %v is %v", peer, to), func() error {
		changes := x.changes(peer)
		if len(changes) == 0 || changes[len(changes)-1].To != to {
			return fmt.Errorf("changes %+v", changes)
		}
		last = changes[len(changes)-1]
		return nil
	})
	return last
}

// lastHeard is when a packet of a neighbour was handed over that was surely taken up before a time.
func (x *bird) lastHeard(peer netip.Addr, before time.Time) (at time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, h := range x.heard[peer] {
		if h.until.Before(before) {
			at = h.from
		}
	}
	return at
}

func (x *bird) birdc(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	out, err := x.host.Run(ctx, "birdc", append([]string{"-s", x.socket}, args...)...)
	if err != nil {
		return "", fmt.Errorf("birdc %v: %w", args, err)
	}
	return out, nil
}

func (x *bird) wait(what string, cond func() error) {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if err := x.process.Wait(ctx, what, cond); err != nil {
		x.t.Fatal(err)
	}
}

// waitSessions waits until both sessions are as wanted, here and, if there is a line for it, as BIRD shows them.
func (x *bird) waitSessions(what string, state bfd.State, transmit, detection time.Duration, line string) {
	x.t.Helper()
	x.wait(what, func() error {
		sessions := x.manager.Sessions()
		for _, s := range sessions {
			if s.State != state || s.Polling || transmit != 0 && (s.Transmit != transmit || s.Detection != detection) {
				return fmt.Errorf("session %+v", s)
			}
		}
		if line == "" {
			return nil
		}
		n := 0
		shown, err := x.birdc("show", "bfd", "sessions")
		if err != nil {
			return err
		}
		for l := range strings.Lines(shown) {
			n += strings.Count(strings.Join(strings.Fields(l), " ")+" ", line)
		}
		if n != len(sessions) {
			return fmt.Errorf("BIRD shows\n%swant %q; we have %+v", shown, line, sessions)
		}
		return nil
	})
}

func config(ms int, mult uint8) bfd.Config {
	d := time.Duration(ms) * time.Millisecond
	return bfd.Config{DesiredMinTx: d, RequiredMinRx: d, DetectMult: mult}
}

func TestBIRD(t *testing.T) {
	x := startBird(t)
	for _, peer := range []netip.Addr{peer4, peer6} {
		if err := x.manager.Add(peer, config(100, 3)); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	x.waitSessions("Up", bfd.Up, 100*time.Millisecond, 300*time.Millisecond, "Up ")
	t.Logf("up after %v", time.Since(began).Round(time.Millisecond))

	// Intervals change on either side, and nothing flaps. A machine that stands still for longer than the detection time makes
	// it: then once more.
	flaps := changeIntervals(x)
	for round := 1; flaps != 0 && round < rounds; round++ {
		t.Logf("round %d: %d changes of state", round, flaps)
		flaps = changeIntervals(x)
	}
	if flaps != 0 {
		t.Errorf("%d changes of state while the intervals changed, and not fewer in %d rounds", flaps, rounds)
	}

	// Administratively down, here and there.
	for _, peer := range []netip.Addr{peer4, peer6} {
		if err := x.manager.Disable(peer); err != nil {
			t.Fatal(err)
		}
	}
	x.waitSessions("AdminDown", bfd.AdminDown, 0, 0, "Down ")
	for _, peer := range []netip.Addr{peer4, peer6} {
		if err := x.manager.Enable(peer); err != nil {
			t.Fatal(err)
		}
	}
	x.waitSessions("Up again", bfd.Up, 50*time.Millisecond, 150*time.Millisecond, "Up ")
	drops, unsent := x.manager.Dropped()
	for reason, n := range drops {
		if d := bfd.Drop(reason); n != 0 && d != bfd.Accepted && d != bfd.DropAdminDown {
			t.Errorf("%d packets of BIRD dropped as %v", n, d)
		}
	}
	t.Logf("%d packets accepted, %d could not be sent", drops[bfd.Accepted], unsent)
}

// rounds is how often something is tried that is good unless the machine stands still.
const rounds = 10

// changeIntervals has both sides change theirs, to slower and faster ones, and returns how many changes of state came of it.
func changeIntervals(x *bird) int {
	x.t.Helper()
	set := func(ms int, mult uint8) {
		for _, peer := range []netip.Addr{peer4, peer6} {
			if err := x.manager.Set(peer, config(ms, mult)); err != nil {
				x.t.Fatal(err)
			}
		}
	}
	write := func(ms, mult int) {
		x.write(ms, mult)
		if _, err := x.birdc("configure"); err != nil {
			x.t.Fatal(err)
		}
	}
	write(100, 3)
	set(100, 3)
	x.waitSessions("the first intervals", bfd.Up, 100*time.Millisecond, 300*time.Millisecond, "Up ")
	x.waitChange(peer4, bfd.Up)
	x.waitChange(peer6, bfd.Up)
	before := len(x.changes(peer4)) + len(x.changes(peer6))
	set(250, 4)
	x.waitSessions("our intervals", bfd.Up, 250*time.Millisecond, 750*time.Millisecond, " 0.250 1.000 ")
	write(400, 2)
	x.waitSessions("BIRD's intervals", bfd.Up, 400*time.Millisecond, 800*time.Millisecond, " 0.400 1.600 ")
	write(50, 3)
	set(50, 3)
	x.waitSessions("faster ones", bfd.Up, 50*time.Millisecond, 150*time.Millisecond, " 0.050 0.150 ")
	x.waitChange(peer4, bfd.Up)
	x.waitChange(peer6, bfd.Up)
	return len(x.changes(peer4)) + len(x.changes(peer6)) - before
}

// A neighbour that falls silent is noticed when the detection time is over: never before, and later only as far as the machine is busy.
func TestBIRDFallsSilent(t *testing.T) {
	x := startBird(t)
	for _, peer := range []netip.Addr{peer4, peer6} {
		if err := x.manager.Add(peer, config(100, 3)); err != nil {
			t.Fatal(err)
		}
	}
	inTime := false
	for round := 0; round < rounds && !inTime; round++ {
		x.waitSessions("Up", bfd.Up, 100*time.Millisecond, 300*time.Millisecond, "Up ")
		inTime = silence(x)
	}
	if !inTime {
		t.Errorf("silence was not noticed within 400 ms in any of %d rounds", rounds)
	}
	x.waitSessions("Up again", bfd.Up, 100*time.Millisecond, 300*time.Millisecond, "Up ")
	// We fall silent without a word: BIRD notices.
	if err := x.host.IP("link", "set", "eth0", "down"); err != nil {
		t.Fatal(err)
	}
	x.waitSessions("Down", bfd.Down, 0, 0, "")
	x.waitChange(peer4, bfd.Down)
	if err := x.host.IP("link", "set", "eth0", "up"); err != nil {
		t.Fatal(err)
	}
	x.waitChange(peer4, bfd.Up)
}

// silence stops BIRD until we notice, and says whether that was before a fourth interval was over. Not before the third in any case.
func silence(x *bird) (inTime bool) {
	x.t.Helper()
	x.waitChange(peer4, bfd.Up)
	x.waitChange(peer6, bfd.Up)
	if err := x.process.Signal(syscall.SIGSTOP); err != nil {
		x.t.Fatal(err)
	}
	x.waitSessions("Down", bfd.Down, 0, 0, "")
	inTime = true
	for _, peer := range []netip.Addr{peer4, peer6} {
		last := x.waitChange(peer, bfd.Down)
		d := last.At.Sub(x.lastHeard(peer, last.At))
		x.t.Logf("%v was noticed %v after its last packet: %v", peer, d.Round(time.Millisecond), last.Diag)
		if last.Diag != bfd.DiagExpired {
			inTime = false // BIRD, which had not heard us, was faster to say so
			continue
		}
		if d < 300*time.Millisecond {
			x.t.Errorf("%v: %+v already after %v", peer, last.Change, d)
		}
		inTime = inTime && d < 400*time.Millisecond
	}
	if err := x.process.Signal(syscall.SIGCONT); err != nil {
		x.t.Fatal(err)
	}
	return inTime
}

// What we send has TTL 255, and what arrives is handed over with its own.
func TestTTLOverKernelSockets(t *testing.T) {
	_, a, b := lab.PairForTest(t)
	var ends [2]*bfd.UDP
	for i, h := range []struct {
		namespace, address string
	}{{a.Namespace, lab.PairA4}, {b.Namespace, lab.PairB4}} {
		inside(t, h.namespace, func() (err error) {
			ends[i], err = bfd.ListenUDP(netip.MustParseAddr(h.address))
			return err
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	got, back := make(chan uint8, 1), make(chan uint8, 1)
	var group sync.WaitGroup
	t.Cleanup(func() { cancel(); group.Wait() })
	group.Go(func() {
		_ = ends[1].Run(ctx, func(from netip.Addr, packet []byte, ttl uint8) bfd.Drop {
			if from.String() != lab.PairA4 || string(packet) != "hello" {
				t.Errorf("%q from %v", packet, from)
			}
			got <- ttl
			return bfd.Accepted
		})
	})
	group.Go(func() {
		_ = ends[0].Run(ctx, func(_ netip.Addr, _ []byte, ttl uint8) bfd.Drop {
			back <- ttl
			return bfd.Accepted
		})
	})
	if err := ends[0].Send(netip.MustParseAddr(lab.PairB4), []byte("hello")); err != nil {
		t.Fatal(err)
	}
	arrives := func(c chan uint8, want uint8) {
		t.Helper()
		select {
		case ttl := <-c:
			if ttl != want {
				t.Errorf("TTL %d, want %d", ttl, want)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("nothing arrived")
		}
	}
	arrives(got, 255)
	// A program that does not ask for it sends with 64.
	if out, err := b.Run(ctx, "bash", "-c", "echo -n hello >/dev/udp/"+lab.PairA4+"/3784"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	arrives(back, 64)
}
