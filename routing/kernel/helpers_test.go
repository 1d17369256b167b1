package kernel

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/warrenvpn/warren/internal/until"
)

// patience is how long a condition may take on a busy machine.
const patience = time.Minute

func TestMain(m *testing.M) {
	if namespace := os.Getenv(childNamespace); namespace != "" {
		protectForever(namespace)
	}
	goleak.VerifyTestMain(m)
}

// namespace makes a network namespace with two devices, da and db, that have addresses of both families.
func namespace(t testing.TB) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	name := fmt.Sprintf("krt-%d-%d", os.Getpid(), time.Now().UnixNano()%1e6)
	run(t, "ip", "netns", "add", name)
	t.Cleanup(func() { run(t, "ip", "netns", "del", name) })
	ip(t, name, "link set lo up")
	for i, device := range []string{"da", "db"} {
		pair(t, name, device)
		ip(t, name, "addr add 192.0.2.%d/25 dev %s", 1+128*i, device)
		ip(t, name, "addr add 2001:db8:%d::1/64 dev %s nodad", i, device)
	}
	return name
}

// pair makes a device that does not ask for neighbours, as a tunnel's. It has carrier while its peer, xda for da, is up.
func pair(t testing.TB, namespace, device string) {
	t.Helper()
	ip(t, namespace, "link add name %s arp off type veth peer name x%s", device, device)
	ip(t, namespace, "link set x%s addrgenmode none", device)
	ip(t, namespace, "link set x%s up", device)
	ip(t, namespace, "link set %s up", device)
	carrier(t, namespace, device)
}

// carrier waits until a device is seen to have it: the kernel says so a while after both ends were set up.
func carrier(t testing.TB, namespace, device string) {
	t.Helper()
	shown := ""
	eventually(t, func() bool {
		shown = ip(t, namespace, "-o link show %s", device)
		return strings.Contains(shown, " state UP ")
	}, func() string { return shown })
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// ip runs iproute2 as the other editor.
func ip(t testing.TB, namespace, format string, args ...any) string {
	t.Helper()
	return run(t, "ip", append([]string{"-n", namespace}, strings.Fields(fmt.Sprintf(format, args...))...)...)
}

// routes are the lines of `ip route`, filtered, spaces made single, of both families. A table that has had none yet is not there.
func routes(t testing.TB, namespace, filter string) []string {
	t.Helper()
	var all strings.Builder
	for _, family := range []string{"-4", "-6"} {
		args := append([]string{"-n", namespace, family, "-o", "route", "show"}, strings.Fields(filter)...)
		out, err := exec.Command("ip", args...).CombinedOutput()
		switch {
		case err == nil:
			all.Write(out)
		case !strings.Contains(string(out), "FIB table does not exist"):
			t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	var lines []string
	for line := range strings.Lines(all.String()) {
		if line = strings.Join(strings.Fields(strings.ReplaceAll(line, "\\", " ")), " "); line != "" {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return lines
}

// expect waits until the routes of our protocol begin with what is wanted, line by line.
func expect(t testing.TB, namespace string, want ...string) {
	t.Helper()
	expectIn(t, namespace, "proto 201", want...)
}

func expectIn(t testing.TB, namespace, filter string, want ...string) {
	t.Helper()
	slices.Sort(want)
	var got []string
	eventually(t, func() bool {
		got = routes(t, namespace, filter)
		return slices.EqualFunc(got, want, strings.HasPrefix)
	}, func() string {
		return fmt.Sprintf("routes\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	})
}

func eventually(t testing.TB, condition func() bool, say func() string) {
	t.Helper()
	if !until.Holds(patience, condition) {
		t.Fatalf("not so after %v: %s", patience, say())
	}
}

// start makes a Table and runs it until stop, or until the test ends.
func start(t testing.TB, config Config) (table *Table, stop func()) {
	t.Helper()
	table, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return table, running(t, table)
}

func running(t testing.TB, table *Table) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- table.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func set(t testing.TB, table *Table, prefix string, hops ...Hop) {
	t.Helper()
	if err := table.Set(netip.MustParsePrefix(prefix), hops); err != nil {
		t.Fatal(err)
	}
}

func over(devices ...string) (hops []Hop) {
	for _, device := range devices {
		hops = append(hops, Hop{Device: device})
	}
	return hops
}

// school collects what is learned.
type school struct {
	mu  sync.Mutex
	now map[netip.Prefix]Learned
	all int
}

func newSchool() *school { return &school{now: map[netip.Prefix]Learned{}} }

func (s *school) learn(batch []Learned) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all += len(batch)
	for _, l := range batch {
		if l.Withdrawn {
			delete(s.now, l.Prefix)
		} else {
			s.now[l.Prefix] = l
		}
	}
}

func (s *school) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}

func (s *school) get(prefix string) (Learned, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.now[netip.MustParsePrefix(prefix)]
	return l, ok
}

// holds waits until so many prefixes are learned.
func (s *school) holds(t testing.TB, want int) {
	t.Helper()
	got := ""
	eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		got = fmt.Sprint(s.now)
		return len(s.now) == want
	}, func() string { return fmt.Sprintf("learned %s, want %d", got, want) })
}

// expect waits until a prefix is learned as "device gateway metric protocol", or, with "", not at all.
func (s *school) expect(t testing.TB, prefix, want string) {
	t.Helper()
	got := ""
	eventually(t, func() bool {
		l, ok := s.get(prefix)
		got = ""
		if ok {
			got = fmt.Sprint(l.Device, " ", l.Gateway, " ", l.Metric, " ", l.Protocol)
		}
		return got == want
	}, func() string { return fmt.Sprintf("%s is learned as %q, want %q", prefix, got, want) })
}
