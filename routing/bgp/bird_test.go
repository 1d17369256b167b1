//go:build linux

package bgp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/warrenvpn/warren/bench/lab"
	"github.com/warrenvpn/warren/routing/route"
)

// inside runs f on a thread in a namespace; sockets that it makes stay there. The thread goes back after it: it may be the one
// that started a process of the lab, which must not end before the process.
func inside(namespace string, f func()) error {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	away, err := netns.GetFromName(namespace)
	if err == nil {
		err = netns.Set(away)
		away.Close()
	}
	if err == nil {
		f()
		if err := netns.Set(home); err != nil {
			return err // and the thread stays locked, and ends with its goroutine
		}
	}
	runtime.UnlockOSThread()
	return err
}

// hostDialer dials from a host of the lab.
type hostDialer struct{ host *lab.Host }

func (d hostDialer) Dial(ctx context.Context, n *Neighbor) (conn net.Conn, err error) {
	nsErr := inside(d.host.Namespace, func() {
		from := &net.TCPAddr{IP: n.LocalAddress.AsSlice()}
		conn, err = (&net.Dialer{LocalAddr: from}).DialContext(ctx, "tcp", n.AddrPort().String())
	})
	return conn, errors.Join(nsErr, err)
}

// bird is BIRD 2 on a host.
type bird struct {
	t    testing.TB
	host *lab.Host
	conf string
	ctl  string
	pid  string
	proc *lab.Process
}

func startBIRD(t testing.TB, l *lab.Lab, host *lab.Host, config string) *bird {
	t.Helper()
	base := filepath.Join(l.Dir(), host.Name)
	b := &bird{t: t, host: host, conf: base + ".conf", ctl: base + ".ctl", pid: base + ".pid"}
	if err := os.WriteFile(b.conf, []byte("log stderr all;\nrouter id 10.0.0.2;\nprotocol device {}\n"+config), 0o600); err != nil {
		t.Fatal(err)
	}
	b.start()
	return b
}

func (b *bird) start() {
	b.t.Helper()
	var err error
	if b.proc, err = b.host.Start("bird", "-f", "-c", b.conf, "-s", b.ctl, "-P", b.pid); err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if err := b.proc.Wait(ctx, "BIRD's socket", func() error {
		_, err := b.host.Run(ctx, "birdc", "-s", b.ctl, "show", "status")
		return err
	}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bird) ask(args ...string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := b.host.Run(ctx, "birdc", append([]string{"-s", b.ctl}, args...)...)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// routes says whether BIRD has so many routes of ours.
func (b *bird) routes(v4, v6 int) func() bool {
	return func() bool {
		out := b.ask("show", "route", "protocol", "warren", "count")
		return strings.Contains(out, fmt.Sprintf("%d of %d routes for %d networks in table master4", v4, v4+birdStatics, v4+birdStatics)) &&
			strings.Contains(out, fmt.Sprintf("%d of %d routes for %d networks in table master6", v6, v6+birdStatics, v6+birdStatics))
	}
}

// birdStatics is how many routes of each family BIRD has of its own.
const birdStatics = 500

// birdConfig is a BIRD of AS 65002 that announces its static routes to us, at address by neighbor, both with AS.
func birdConfig(address, neighbor, more string) string {
	var b strings.Builder
	b.WriteString("protocol static s4 { ipv4;\n")
	for i := range birdStatics {
		fmt.Fprintf(&b, "route 172.%d.%d.0/24 blackhole;\n", 16+i/256, i%256)
	}
	b.WriteString("}\nprotocol static s6 { ipv6;\n")
	for i := range birdStatics {
		fmt.Fprintf(&b, "route 2001:db8:b000:%x::/64 blackhole;\n", i)
	}
	fmt.Fprintf(&b, `}
protocol bgp warren {
	local %s;
	neighbor %s;
	hold time 9; connect delay time 1; connect retry time 1; error wait time 1, 1;
	graceful restart on;
	ipv4 { import all; export where source = RTS_STATIC; %[3]s };
	ipv6 { import all; export where source = RTS_STATIC; };
}
`, address, neighbor, more)
	return b.String()
}

// birdNeighbor is BIRD as our neighbour.
func birdNeighbor(address, local string) *Neighbor {
	n := testNeighbor("bird", 65002)
	n.Address, n.LocalAddress, n.Exports = netip.MustParseAddr(address), netip.MustParseAddr(local), true
	n.NextHop6 = netip.MustParseAddr("2001:db8::1")
	n.Timers.Retry, n.Timers.ConnectRetry = 200*time.Millisecond, time.Second
	n.Timers.IdleHold = 500 * time.Millisecond
	return n
}

// speakerOn runs a Speaker on a host, listening there.
func speakerOn(t testing.TB, host *lab.Host, table Table, n *Neighbor) (s *Speaker, stop func()) {
	t.Helper()
	var l net.Listener
	var err error
	nsErr := inside(host.Namespace, func() { l, err = net.Listen("tcp", "[::]:179") })
	if err = errors.Join(nsErr, err); err != nil {
		t.Fatal(err)
	}
	if s, err = New(Config{Local: Local{AS: 65001, RouterID: 0x0a000001}, Table: table, Dialer: hostDialer{host},
		Listeners: []net.Listener{l}}); err != nil {
		t.Fatal(err)
	}
	if err = s.Apply([]*Neighbor{n}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = s.Run(ctx) }()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return s, stop
}

// logBIRD shows what BIRD thought, if the test failed.
func logBIRD(t *testing.T, b *bird, s func() *Speaker) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("we: %+v\nBIRD:\n%s\n%s", s().Status(), b.proc.Log(), b.ask("show", "protocols", "all", "warren"))
		}
	})
}

// birdCase is a way to speak with BIRD.
type birdCase struct {
	name       string
	bird, ours string // addresses
	birdAS     int    // what BIRD takes us for
	more       string // of BIRD's IPv4 channel
	sees       string // of a route of ours in BIRD
	restarts   bool   // either side restarts, too
	change     func(*Neighbor)
}

func TestBIRD(t *testing.T) {
	t.Parallel()
	for _, c := range []birdCase{
		{"eBGP over IPv4", "192.0.2.2", "192.0.2.1", 65001, "", "BGP.as_path: 65001\n", true, nil},
		{"eBGP over IPv6 with RFC 8950", "2001:db8::2", "2001:db8::1", 65001, "extended next hop on;", "BGP.as_path: 65001\n", false,
			func(n *Neighbor) { n.ExtendedNextHop, n.Passive = true, true }},
		{"eBGP over link-local addresses", "", "", 65001, "extended next hop on;", "BGP.as_path: 65001\n", false,
			func(n *Neighbor) { n.ExtendedNextHop, n.Passive, n.NextHop6 = true, true, netip.Addr{} }},
		{"iBGP by local-as", "192.0.2.2", "192.0.2.1", 65002, "", "BGP.local_pref: 100\n", false, func(n *Neighbor) { n.LocalAS = 65002 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l, ours, theirs := lab.PairForTest(t, "bird", "birdc")
			birdAt, weAt := c.bird, c.ours
			if c.bird == "" {
				c.bird, birdAt = linkLocal(t, theirs)
				c.ours, _ = linkLocal(t, ours)
				weAt = c.ours + birdAt[strings.Index(birdAt, "%"):]
				birdAt = c.bird
			}
			const n = 2000
			table := newMemTable(manyRoutes(n)...)
			neighbor := birdNeighbor(c.bird, c.ours)
			if c.change != nil {
				c.change(neighbor)
			}
			s, stop := speakerOn(t, ours, table, neighbor)
			b := startBIRD(t, l, theirs, birdConfig(birdAt+" as 65002", fmt.Sprint(weAt, " as ", c.birdAS), c.more))
			logBIRD(t, b, func() *Speaker { return s })
			both := func(what string) {
				t.Helper()
				await(t, what+": BIRD's routes here", has(table, "bird", 2*birdStatics))
				await(t, what+": our routes in BIRD", b.routes(n/2, n/2))
			}
			both("start")
			if out := b.ask("show", "route", "10.0.0.0/26", "all"); !strings.Contains(out, c.sees) ||
				!strings.Contains(out, c.ours) {
				t.Errorf("BIRD has\n%s", out)
			}

			table.advertise(Change{Prefix: netip.MustParsePrefix("203.0.113.0/24"), Attrs: &route.Attrs{}})
			await(t, "one more", b.routes(n/2+1, n/2))
			table.advertise(Change{Prefix: netip.MustParsePrefix("203.0.113.0/24")})
			await(t, "one less", b.routes(n/2, n/2))

			if c.restarts {
				s = restarts(t, stop, ours, b, table, neighbor, both)
			}
			s.Leave(context.Background(), "good night", 100*time.Millisecond)
			await(t, "the last words", func() bool { return strings.Contains(b.proc.Log(), "good night") })
		})
	}
}

// restarts restarts either side, in several ways, and returns our last speaker.
func restarts(t *testing.T, stop func(), ours *lab.Host, b *bird, table *memTable, neighbor *Neighbor, both func(string)) *Speaker {
	b.ask("reload", "warren") // BIRD asks for a refresh
	b.ask("restart", "warren")
	await(t, "the end by BIRD", func() bool {
		// What we had sent and BIRD not read makes its close a reset, which takes its last words with it.
		return table.saw("Administrative Reset") || table.saw("Administrative Shutdown") || table.saw("connection reset by peer") ||
			table.saw("broken pipe")
	})
	both("BIRD's protocol restarted")

	if err := b.proc.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-b.proc.Done()
	await(t, "stale routes of the killed BIRD", func() bool { _, stale := table.count("bird"); return stale == 2*birdStatics })
	b.start()
	both("BIRD killed and started")

	stop()
	await(t, "no routes of who left", b.routes(0, 0))
	s, _ := speakerOn(t, ours, table, neighbor)
	both("we started again")
	return s
}

// linkLocal is the link-local address of a host of a pair, alone and with its device.
func linkLocal(t *testing.T, host *lab.Host) (address, zoned string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var fields []string
	await(t, "a link-local address", func() bool { // duplicate address detection takes its time
		out, err := host.Run(ctx, "ip", "-6", "-o", "addr", "show", "scope", "link", "-tentative")
		fields = strings.Fields(out)
		return err == nil && len(fields) > 3
	})
	address, _, _ = strings.Cut(fields[3], "/")
	return address, address + "%" + fields[1]
}

// A neighbour of the wrong AS is told so, and says so.
func TestBIRDWithWrongAS(t *testing.T) {
	t.Parallel()
	l, ours, theirs := lab.PairForTest(t, "bird", "birdc")
	n := birdNeighbor("192.0.2.2", "192.0.2.1")
	n.AS = 65003
	s, _ := speakerOn(t, ours, newMemTable(), n)
	b := startBIRD(t, l, theirs, birdConfig("192.0.2.2 as 65002", "192.0.2.1 as 65001", ""))
	logBIRD(t, b, func() *Speaker { return s })
	await(t, "our complaint or BIRD's", func() bool {
		return strings.Contains(s.Status()[0].LastError, "says it is AS 65002, wanted 65003") &&
			strings.Contains(b.proc.Log(), "Bad peer AS")
	})
}
