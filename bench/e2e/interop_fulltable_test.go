//go:build linux

package e2e

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/bench/lab"
	"github.com/warrenvpn/warren/routing/fib/fibtest"
)

var fullTablePrefixes = flag.Int("fulltable.prefixes", 0, "how many prefixes TestFullTable has, spread over the table; 0 for all")

// fullTable is a relay whose sender has the Internet's table in editions: each leaves out other prefixes and has an AS of its
// own in all paths, so that what is stale is told from what is not.
type fullTable struct {
	*relay
	prefixes []netip.Prefix
	statics  string
	kernel   int // routes of the vrf that come from no neighbour
}

// An edition is a state of the table.
type edition struct {
	as      int
	without [2]int // prefix lengths of IPv4 and IPv6
}

var (
	first  = edition{64501, [2]int{23, 46}}
	second = edition{64502, [2]int{22, 44}}
	third  = edition{64503, [2]int{21, 40}}
	fourth = edition{64504, [2]int{20, 36}}
)

const fullTableConfig = `vrfs:
  main:
    port: {tun: warren0, netns: %q, addresses: [10.77.0.1/24, "2001:db8:77::1/64"]}
    bgp:
      local_as: 65002
      router_id: 10.77.0.2
      hold_time: 9s
      connect_retry: 1s
      graceful_restart: no
      addresses: [10.77.0.2, "2001:db8:77::2"]
      neighbors:
        - {name: sender, address: 10.77.0.1, neighbor_as: 65001, import: all, graceful_restart: yes}
        - {name: taker, address: 10.77.0.3, neighbor_as: 65003, export: [{from: bgp}]}
`

// The attributes come from the filter: a million lists of them in the configuration take BIRD seconds to read.
const fullTableSender = `log stderr all;
router id 10.77.0.1;
protocol device {}
include %q;
filter edition {
	if source != RTS_STATIC then reject;
	if (net.type = NET_IP4 && net.len = %d) || (net.type = NET_IP6 && net.len = %d) then reject;
	bgp_path.prepend(%d);
	bgp_path.prepend(1000 + net.len);
	accept;
}
protocol bgp warren {
	local 10.77.0.1 as 65001; neighbor 10.77.0.2 as 65002;
	strict bind on;
	graceful restart on;
	hold time 9; connect delay time 1; connect retry time 1; error wait time 1, 1;
	ipv4 { import all; export filter edition; };
	ipv6 { import all; export filter edition; };
}
`

func newFullTable(ctx context.Context, t *testing.T) *fullTable {
	t.Helper()
	table, err := fibtest.Internet()
	if err != nil {
		t.Fatal(err)
	}
	f := &fullTable{relay: newRelay(ctx, t, fullTableConfig), prefixes: table.Prefixes}
	if n := *fullTablePrefixes; n > 0 && n < len(f.prefixes) {
		f.prefixes = make([]netip.Prefix, n)
		for i := range f.prefixes {
			f.prefixes[i] = table.Prefixes[i*len(table.Prefixes)/n]
		}
	}
	t.Logf("%d prefixes: %s", len(f.prefixes), table.Origin)
	if f.kernel, err = f.vrfRoutes(ctx); err != nil {
		t.Fatal(err)
	}
	f.statics = filepath.Join(f.lab.Dir(), "statics.conf")
	if err := f.writeStatics(); err != nil {
		t.Fatal(err)
	}
	// The kernel then drops what comes from where it has no way back to.
	if _, err := f.host.Run(ctx, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/all/rp_filter"); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fullTable) writeStatics() error {
	out, err := os.Create(f.statics)
	if err != nil {
		return err
	}
	b := bufio.NewWriter(out)
	for _, family := range []string{"ipv4", "ipv6"} {
		fmt.Fprintf(b, "protocol static s_%s { %s;\n", family, family)
		for _, p := range f.prefixes {
			if p.Addr().Is4() == (family == "ipv4") {
				fmt.Fprintf(b, "route %v blackhole;\n", p)
			}
		}
		fmt.Fprintln(b, "}")
	}
	return errors.Join(b.Flush(), out.Close())
}

// startSender starts the sender with an edition.
func (f *fullTable) startSender(ctx context.Context, e edition, args ...string) {
	f.t.Helper()
	f.sender.config = fmt.Sprintf(fullTableSender, f.statics, e.without[0], e.without[1], e.as)
	f.sender.start(ctx, args...)
}

func (e edition) has(p netip.Prefix) bool {
	if p.Addr().Is4() {
		return p.Bits() != e.without[0]
	}
	return p.Bits() != e.without[1]
}

// path is what warren is told.
func (e edition) path(p netip.Prefix) string { return fmt.Sprintf("65001 %d %d", 1000+p.Bits(), e.as) }

// count is how many prefixes all of some editions have.
func (f *fullTable) count(all ...edition) (n int) {
next:
	for _, p := range f.prefixes {
		for _, e := range all {
			if !e.has(p) {
				continue next
			}
		}
		n++
	}
	return n
}

func (f *fullTable) vrfRoutes(ctx context.Context) (int, error) {
	st, err := f.client.Status(ctx)
	if err == nil && len(st.VRFs) != 1 {
		err = fmt.Errorf("%d vrfs", len(st.VRFs))
	}
	if err != nil {
		return 0, err
	}
	return st.VRFs[0].Routes, nil
}

// learned waits until warren has so many routes of the sender, and the fib with it.
func (f *fullTable) learned(ctx context.Context, what string, want int) {
	f.t.Helper()
	start := time.Now()
	f.await(ctx, what, f.sender.proc, func() error {
		n, err := f.neighbor(ctx, "sender")
		routes, err2 := f.vrfRoutes(ctx)
		if err = errors.Join(err, err2); err == nil && (n.PrefixesIn != want || n.Used != want || routes != want+f.kernel) {
			err = fmt.Errorf("%s: %d prefixes, %d used, %d routes, want %d", n.State, n.PrefixesIn, n.Used, routes-f.kernel, want)
		}
		return err
	})
	f.t.Logf("%s: %.1f s", what, time.Since(start).Seconds())
}

// told waits until the taker has so many routes, and all of them from this warren.
func (f *fullTable) told(ctx context.Context, what string, want int) {
	f.t.Helper()
	start := time.Now()
	f.await(ctx, what, f.taker.proc, func() error {
		n, err := f.taker.Imported(ctx, "warren")
		if err == nil && n != want {
			err = fmt.Errorf("%d prefixes, want %d", n, want)
		}
		if err == nil && want > 0 {
			var s warren.NeighborStatus
			if s, err = f.neighbor(ctx, "taker"); err == nil && s.PrefixesOut != want {
				err = fmt.Errorf("warren has announced %d, want %d", s.PrefixesOut, want)
			}
		}
		return err
	})
	f.t.Logf("%s: %.1f s more", what, time.Since(start).Seconds())
}

// some waits until a part of the table has come: more than so many prefixes, and not yet all. It says whether it was noticed in time.
func (f *fullTable) some(ctx context.Context, what string, more, all int) bool {
	f.t.Helper()
	var n int
	f.await(ctx, what, f.sender.proc, func() error {
		s, err := f.neighbor(ctx, "sender")
		if n = s.PrefixesIn; err == nil && (s.State != "Established" || n <= more) {
			err = fmt.Errorf("%s: %d prefixes", s.State, n)
		}
		return err
	})
	f.t.Logf("%s: with %d prefixes, %d in the end", what, n, all)
	return n != all
}

// parts are looked at route by route in warren. Of all of it the taker tells.
var parts = []netip.Prefix{netip.MustParsePrefix("193.0.0.0/9"), netip.MustParsePrefix("2a00::/13")}

// exact compares parts of warren's routes with an edition: what it has and nothing else, with its paths.
func (f *fullTable) exact(ctx context.Context, when string, e edition) {
	f.t.Helper()
	for _, part := range parts {
		want := map[netip.Prefix]bool{}
		for _, p := range f.prefixes {
			if e.has(p) && part.Overlaps(p) && p.Bits() >= part.Bits() {
				want[p] = true
			}
		}
		routes, err := f.client.Routes(ctx, part.String())
		if err != nil || len(want) == 0 {
			f.t.Fatalf("%s: routes within %v: %v, want %d", when, part, err, len(want))
		}
		for _, r := range routes {
			if r.Prefix.Bits() < part.Bits() {
				continue // what covers the part
			}
			if !want[r.Prefix] || len(r.Hops) != 1 || len(r.Paths) != 1 || r.Paths[0].ASPath != e.path(r.Prefix) {
				f.t.Fatalf("%s: %+v, want path %q", when, r, e.path(r.Prefix))
			}
			delete(want, r.Prefix)
		}
		if len(want) > 0 {
			f.t.Fatalf("%s: %d routes are missing within %v", when, len(want), part)
		}
		f.t.Logf("%s: %d routes within %v are as they should be", when, len(routes), part)
	}
}

// exactAtTaker compares all that the taker has with an edition.
func (f *fullTable) exactAtTaker(ctx context.Context, when string, e edition) {
	f.t.Helper()
	out, err := f.taker.Ctl(ctx, "show", "route", "protocol", "warren")
	if err != nil {
		f.t.Fatal(err)
	}
	has, origin := make(map[netip.Prefix]bool, len(f.prefixes)), fmt.Sprintf("[AS%di]", e.as)
	for line := range strings.Lines(out) {
		name, _, _ := strings.Cut(line, " ")
		p, err := netip.ParsePrefix(name)
		if err != nil {
			continue // the way of the one before
		}
		if has[p] || !strings.Contains(line, origin) {
			f.t.Fatalf("%s: the taker has %swant %s", when, line, origin)
		}
		has[p] = true
	}
	for _, p := range f.prefixes {
		if has[p] != e.has(p) {
			f.t.Fatalf("%s: the taker has %v: %t", when, p, has[p])
		}
		delete(has, p)
	}
	if len(has) > 0 {
		f.t.Fatalf("%s: the taker has %d routes that nobody announced", when, len(has))
	}
}

func (f *fullTable) kill(p *lab.Process) {
	f.t.Helper()
	if err := p.Signal(syscall.SIGKILL); err != nil {
		f.t.Fatal(err)
	}
	<-p.Done()
}

// cut has what the neighbours and warren send each other vanish, or arrive again.
func (f *fullTable) cut(off bool) {
	f.t.Helper()
	verb := "add"
	if !off {
		verb = "del"
	}
	if err := f.host.IP("route", verb, "blackhole", "10.77.0.2/32"); err != nil {
		f.t.Fatal(err)
	}
}

// TestFullTable: the Internet's table survives restarts of BIRD and of warren and sessions that end in the middle of it: what warren
// has in the end, and tells another BIRD, is what was announced last, and nothing of what was before.
func TestFullTable(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	f := newFullTable(ctx, t)
	f.taker.start(ctx)
	f.startSender(ctx, first)
	f.learned(ctx, "the first edition", f.count(first))
	f.told(ctx, "the first edition", f.count(first))
	f.restartSender(ctx)
	f.cutInTheMiddle(ctx)
	f.restartWarren(ctx)
}

// restartSender kills the sender, whose routes stay (RFC 4724), and again in the middle of what it says then. It says something else
// each time, so that there is always something stale to be removed.
func (f *fullTable) restartSender(ctx context.Context) {
	f.t.Helper()
	fresh := f.count(second) - f.count(first, second)
	for try := 1; ; try++ {
		f.kill(f.sender.proc)
		f.startSender(ctx, second, "-R")
		if f.some(ctx, "killed in the middle of a graceful restart", f.count(first)+fresh/3, f.count(second)) {
			break
		}
		if try == maxTries {
			f.t.Fatal("all of the table was always there at once")
		}
		f.kill(f.sender.proc)
		f.startSender(ctx, first, "-R")
		f.learned(ctx, "the first edition once more", f.count(first))
	}
	f.kill(f.sender.proc)
	f.startSender(ctx, third, "-R")
	f.learned(ctx, "the third edition after graceful restarts", f.count(third))
	f.exact(ctx, "after graceful restarts", third)
	f.told(ctx, "the third edition after graceful restarts", f.count(third))
}

// cutInTheMiddle ends the sender politely, starts it anew, and takes the way between it and warren away while it sends.
func (f *fullTable) cutInTheMiddle(ctx context.Context) {
	f.t.Helper()
	for try := 1; ; try++ {
		if err := f.sender.proc.Stop(); err != nil {
			f.t.Fatalf("SIGTERM: %v\n%s", err, f.sender.proc.Log())
		}
		f.learned(ctx, "the sender has left", 0)
		f.startSender(ctx, fourth)
		if f.some(ctx, "the way is cut", f.count(fourth)/3, f.count(fourth)) {
			break
		}
		if try == maxTries {
			f.t.Fatal("all of the table was always there at once")
		}
	}
	f.cut(true)
	f.learned(ctx, "warren forgets whom it does not hear", 0)
	f.cut(false)
	f.learned(ctx, "the fourth edition after the cut", f.count(fourth))
	f.told(ctx, "the fourth edition after the cut", f.count(fourth))
	f.exactAtTaker(ctx, "after the cut", fourth)
}

// restartWarren ends warren politely, and kills it.
func (f *fullTable) restartWarren(ctx context.Context) {
	f.t.Helper()
	if err := f.warren.Stop(); err != nil {
		f.t.Fatalf("SIGTERM: %v\n%s", err, f.warren.Log())
	}
	f.told(ctx, "warren has left", 0)
	f.start(ctx)
	f.learned(ctx, "the table after warren was ended", f.count(fourth))
	f.told(ctx, "the table after warren was ended", f.count(fourth))
	f.kill(f.warren)
	f.start(ctx)
	f.learned(ctx, "the table after warren was killed", f.count(fourth))
	f.told(ctx, "the table after warren was killed", f.count(fourth))
	f.exactAtTaker(ctx, "after warren was killed", fourth)
}
