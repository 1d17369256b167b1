package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestInstall(t *testing.T) {
	ns := namespace(t)
	table, stop := start(t, Config{Namespace: ns})
	set(t, table, "10.1.0.0/16", over("da")...)
	set(t, table, "10.2.0.0/16", Hop{Device: "da", Weight: 3}, Hop{Device: "db"})
	set(t, table, "10.3.0.0/16", Hop{Device: "da", Gateway: netip.MustParseAddr("192.0.2.2")})
	set(t, table, "10.4.0.0/16", Hop{Device: "db", Gateway: netip.MustParseAddr("2001:db8:1::2")})
	set(t, table, "10.5.0.0/16", Hop{Device: "da", Gateway: netip.MustParseAddr("203.0.113.1"), OnLink: true})
	set(t, table, "2001:db8:a::/48", over("da")...)
	set(t, table, "2001:db8:b::/48", over("da", "db")...)
	set(t, table, "2001:db8:c::/48", Hop{Device: "da", Gateway: netip.MustParseAddr("2001:db8:0::2")}, Hop{Device: "db", Gateway: netip.MustParseAddr("2001:db8:1::2"), Weight: 2})
	set(t, table, "0.0.0.0/0", over("da")...)
	set(t, table, "::/0", over("db")...)
	expect(t, ns,
		"10.1.0.0/16 dev da metric 32",
		"10.2.0.0/16 metric 32 nexthop dev da weight 3 nexthop dev db weight 1",
		"10.3.0.0/16 via 192.0.2.2 dev da metric 32",
		"10.4.0.0/16 via inet6 2001:db8:1::2 dev db metric 32",
		"10.5.0.0/16 via 203.0.113.1 dev da metric 32 onlink",
		"2001:db8:a::/48 dev da metric 32",
		"2001:db8:b::/48 metric 32 pref medium nexthop via fe80::ffff:ffff:ffff:fffe dev da weight 1 nexthop via fe80::ffff:ffff:ffff:fffe dev db weight 1",
		"2001:db8:c::/48 metric 32 pref medium nexthop via 2001:db8::2 dev da weight 1 nexthop via 2001:db8:1::2 dev db weight 2",
		"default dev da metric 32",
		"default dev db metric 32")

	// Each kind of change into each other, IPv6 being particular about bare devices and multipath.
	set(t, table, "10.1.0.0/16", over("da", "db")...)
	set(t, table, "10.2.0.0/16", over("db")...)
	set(t, table, "2001:db8:a::/48", over("da", "db")...)
	set(t, table, "2001:db8:b::/48", over("db")...)
	set(t, table, "2001:db8:c::/48", Hop{Device: "da", Gateway: netip.MustParseAddr("2001:db8:0::3")})
	for _, gone := range []string{"10.3.0.0/16", "10.4.0.0/16", "10.5.0.0/16", "0.0.0.0/0", "::/0", "198.51.100.0/24"} {
		if err := table.Delete(netip.MustParsePrefix(gone)); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, ns,
		"10.1.0.0/16 metric 32 nexthop dev da weight 1 nexthop dev db weight 1",
		"10.2.0.0/16 dev db metric 32",
		"2001:db8:a::/48 metric 32 pref medium nexthop via fe80::ffff:ffff:ffff:fffe dev da weight 1 nexthop via fe80::ffff:ffff:ffff:fffe dev db weight 1",
		"2001:db8:b::/48 dev db metric 32",
		"2001:db8:c::/48 via 2001:db8::3 dev da metric 32")
	stands(t, table, 5)
	if s := table.Stats(); s.Failures != 0 || s.Lost != 0 || s.Wanted != 5 {
		t.Errorf("stats %+v, want 5 routes, no failures, nothing lost", s)
	}
	stop()
	expect(t, ns)
	if err := table.Set(netip.MustParsePrefix("10.1.0.0/16"), over("da")); !errors.Is(err, ErrClosed) {
		t.Errorf("Set after the end: %v", err)
	}
	if err := table.Protect(netip.MustParsePrefix("10.1.0.0/16")); !errors.Is(err, ErrClosed) {
		t.Errorf("Protect after the end: %v", err)
	}
	if err := table.Run(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("second Run: %v", err)
	}
}

// stands waits until the table knows of so many routes that they stand: the kernel has them a little sooner.
func stands(t *testing.T, table *Table, n int) {
	t.Helper()
	eventually(t, func() bool { return table.Stats().Standing == n }, func() string { return fmt.Sprintf("%+v, want %d standing", table.Stats(), n) })
}

func TestOtherTable(t *testing.T) {
	ns := namespace(t)
	s := newSchool()
	table, _ := start(t, Config{Namespace: ns, TableID: 4711, Metric: 7, Learn: s.learn})
	set(t, table, "10.1.0.0/16", over("da")...)
	set(t, table, "2001:db8:a::/48", over("da")...)
	expectIn(t, ns, "table 4711", "10.1.0.0/16 dev da proto 201 metric 7", "2001:db8:a::/48 dev da proto 201 metric 7")
	ip(t, ns, "route add 10.2.0.0/16 dev db table 4711")
	ip(t, ns, "route add 10.3.0.0/16 dev db")
	s.expect(t, "10.2.0.0/16", "db invalid IP 0 3")
	s.expect(t, "10.3.0.0/16", "")
}

func TestDevicesComeAndGo(t *testing.T) {
	ns := namespace(t)
	table, _ := start(t, Config{Namespace: ns})
	set(t, table, "10.1.0.0/16", over("da", "db", "later")...)
	set(t, table, "2001:db8:a::/48", over("da", "db", "later")...)
	set(t, table, "10.2.0.0/16", over("later")...)
	set(t, table, "2001:db8:b::/48", over("later")...)
	two4 := "10.1.0.0/16 metric 32 nexthop dev da weight 1 nexthop dev db weight 1"
	two6 := "2001:db8:a::/48 metric 32 pref medium nexthop via fe80::ffff:ffff:ffff:fffe dev da weight 1 nexthop via fe80::ffff:ffff:ffff:fffe dev db weight 1"
	expect(t, ns, two4, two6)
	pair(t, ns, "later")
	three := []string{two4 + " nexthop dev later weight 1", two6 + " nexthop via fe80::ffff:ffff:ffff:fffe dev later weight 1",
		"10.2.0.0/16 dev later metric 32", "2001:db8:b::/48 dev later metric 32"}
	expect(t, ns, three...)
	for _, c := range []struct{ off, on string }{{"link set later down", "link set later up"}, {"link set xlater down", "link set xlater up"}} {
		ip(t, ns, "%s", c.off)
		expect(t, ns, two4, two6)
		ip(t, ns, "%s", c.on)
		expect(t, ns, three...)
	}
	ip(t, ns, "link del later")
	expect(t, ns, two4, two6)
	ip(t, ns, "link set da down")
	ip(t, ns, "link set da name dc")
	expect(t, ns, "10.1.0.0/16 dev db metric 32", "2001:db8:a::/48 dev db metric 32")
	stands(t, table, 2)
	if s := table.Stats(); s.Wanted != 4 || s.Refused != 0 {
		t.Errorf("stats %+v, want 4 wanted and 2 standing", s)
	}
}

func TestRepair(t *testing.T) {
	ns := namespace(t)
	table, _ := start(t, Config{Namespace: ns})
	set(t, table, "10.1.0.0/16", over("da")...)
	set(t, table, "2001:db8:a::/48", over("da")...)
	set(t, table, "2001:db8:b::/48", over("da", "db")...)
	b6 := "2001:db8:b::/48 metric 32 pref medium nexthop via fe80::ffff:ffff:ffff:fffe dev da weight 1 nexthop via fe80::ffff:ffff:ffff:fffe dev db weight 1"
	want := []string{"10.1.0.0/16 dev da metric 32", "2001:db8:a::/48 dev da metric 32", b6}
	expect(t, ns, want...)
	for i, edit := range []string{
		"route del 10.1.0.0/16 metric 32",
		"route del 2001:db8:a::/48 metric 32",
		"route replace 10.1.0.0/16 dev db metric 32 proto static",
		"route replace 10.1.0.0/16 dev db metric 32 proto 201",
		"route replace 2001:db8:a::/48 dev db metric 32 proto static",
		"route del 2001:db8:b::/48 via fe80::ffff:ffff:ffff:fffe dev db metric 32",
		"route del 2001:db8:b::/48 metric 32",
		"route replace unreachable 10.1.0.0/16 metric 32 proto static",
		"route flush proto 201",
		"-6 route flush proto 201",
	} {
		stands(t, table, len(want))
		before := table.Stats().Lost
		ip(t, ns, "%s", edit)
		eventually(t, func() bool { return table.Stats().Lost > before }, func() string { return fmt.Sprintf("%d. %q was not noticed", i, edit) })
		expect(t, ns, want...)
	}
	if got := routes(t, ns, "metric 32"); len(got) != len(want) {
		t.Errorf("others are left at our places: %q", got)
	}
}

// Two who both want a place must not keep the machine busy.
func TestAFightDoesNotSpin(t *testing.T) {
	ns := namespace(t)
	table, _ := start(t, Config{Namespace: ns})
	set(t, table, "10.1.0.0/16", over("da")...)
	expect(t, ns, "10.1.0.0/16 dev da")
	stands(t, table, 1)
	before, began := table.Stats().Written, time.Now()
	for n := uint64(0); n < 6; {
		ip(t, ns, "route replace 10.1.0.0/16 dev db metric 32 proto static")
		n = table.Stats().Written - before
		took := time.Since(began)
		if least := firstWait * (1<<n - 1); took < least {
			t.Fatalf("%d times taken back in %v, want that in no less than %v", n, took, least)
		}
		if took > patience {
			t.Fatalf("%d times taken back in %v, want 6 in 1.3 s", n, took)
		}
	}
	expect(t, ns, "10.1.0.0/16 dev da")
}

func TestAPlaceOfOthersIsNotTaken(t *testing.T) {
	ns := namespace(t)
	ip(t, ns, "route add 10.1.0.0/16 dev db metric 32 proto static")
	ip(t, ns, "route add 2001:db8:a::/48 dev db metric 32 proto static")
	table, _ := start(t, Config{Namespace: ns})
	set(t, table, "10.1.0.0/16", over("da")...)
	set(t, table, "2001:db8:a::/48", over("da")...)
	set(t, table, "10.9.0.0/16", Hop{Device: "da", Gateway: netip.MustParseAddr("203.0.113.9")})
	eventually(t, func() bool { return table.Stats().Refused == 3 && table.Stats().Failures >= 6 }, func() string { return fmt.Sprintf("%+v", table.Stats()) })
	expect(t, ns)
	if e := table.Stats().LastError; !strings.Contains(e, "metric 32") {
		t.Errorf("last error is %q", e)
	}
	ip(t, ns, "route del 10.1.0.0/16 metric 32")
	ip(t, ns, "route del 2001:db8:a::/48 metric 32")
	ip(t, ns, "addr add 203.0.113.1/24 dev da")
	expect(t, ns, "10.1.0.0/16 dev da", "2001:db8:a::/48 dev da", "10.9.0.0/16 via 203.0.113.9 dev da")
	eventually(t, func() bool { return table.Stats().Refused == 0 }, func() string { return fmt.Sprintf("%+v", table.Stats()) })
}

func TestKeepAndAdopt(t *testing.T) {
	ns := namespace(t)
	first, stop := start(t, Config{Namespace: ns, Keep: true})
	for _, prefix := range []string{"10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16", "2001:db8:a::/48", "2001:db8:b::/48"} {
		set(t, first, prefix, over("da", "db")...)
	}
	eventually(t, func() bool { return first.Stats().Standing == 5 }, func() string { return fmt.Sprintf("%+v", first.Stats()) })
	stop()
	ip(t, ns, "route add 10.4.0.0/16 dev da metric 99 proto 201") // by a life with another metric

	second, stop := start(t, Config{Namespace: ns})
	set(t, second, "10.1.0.0/16", over("da", "db")...)
	set(t, second, "2001:db8:a::/48", over("da", "db")...)
	set(t, second, "10.2.0.0/16", over("db")...)
	expect(t, ns, "10.1.0.0/16 metric", "10.2.0.0/16 dev db", "10.3.0.0/16 metric", "2001:db8:a::/48 metric", "2001:db8:b::/48 metric", "10.4.0.0/16 dev da")
	eventually(t, func() bool { return second.Stats().Written > 0 }, func() string { return fmt.Sprintf("%+v", second.Stats()) })
	if s := second.Stats(); s.Written != 1 {
		t.Errorf("%d routes written, want only the one that differs", s.Written)
	}
	second.Settled()
	expect(t, ns, "10.1.0.0/16 metric", "10.2.0.0/16 dev db", "2001:db8:a::/48 metric")
	// Nobody else uses our number.
	ip(t, ns, "route add 10.5.0.0/16 dev da metric 5 proto 201")
	expect(t, ns, "10.1.0.0/16 metric", "10.2.0.0/16 dev db", "2001:db8:a::/48 metric")
	stop()
	expect(t, ns)
}

// TestSetKeep: what is said last, be it while the Table runs, decides whether our routes stay.
func TestSetKeep(t *testing.T) {
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprintf("to %v", keep), func(t *testing.T) {
			ns := namespace(t)
			table, stop := start(t, Config{Namespace: ns, Keep: !keep})
			set(t, table, "10.1.0.0/16", over("da")...)
			set(t, table, "2001:db8:a::/48", over("da")...)
			want := []string{"10.1.0.0/16 dev da metric 32", "2001:db8:a::/48 dev da metric 32"}
			expect(t, ns, want...)
			table.SetKeep(keep)
			stop()
			if !keep {
				want = nil
			}
			expect(t, ns, want...)
		})
	}
}

func TestInvalid(t *testing.T) {
	ns := namespace(t)
	table, _ := start(t, Config{Namespace: ns})
	ok := netip.MustParsePrefix("10.0.0.0/8")
	for _, c := range []struct {
		prefix netip.Prefix
		hops   []Hop
	}{
		{netip.Prefix{}, over("da")},
		{netip.MustParsePrefix("10.1.0.0/8"), over("da")},
		{netip.MustParsePrefix("::ffff:10.0.0.0/104"), over("da")},
		{ok, nil},
		{ok, []Hop{{}}},
		{ok, over("a name that is longer than a device's")},
		{netip.MustParsePrefix("2001:db8::/32"), []Hop{{Device: "da", Gateway: netip.MustParseAddr("192.0.2.2")}}},
		{ok, []Hop{{Device: "da", Gateway: netip.MustParseAddr("fe80::1%a")}}},
		{ok, make([]Hop, 257)},
	} {
		if err := table.Set(c.prefix, c.hops); !errors.Is(err, ErrInvalid) {
			t.Errorf("Set(%v, %v): %v", c.prefix, c.hops, err)
		}
	}
	if err := table.Protect(netip.MustParsePrefix("10.1.0.0/8")); !errors.Is(err, ErrInvalid) {
		t.Errorf("Protect: %v", err)
	}
	if _, err := New(Config{Namespace: ns, Metric: ProtectMetric}); err == nil {
		t.Error("the protecting metric is accepted")
	}
	if _, err := New(Config{Namespace: "krt-does-not-exist"}); err == nil || !strings.Contains(err.Error(), "krt-does-not-exist") {
		t.Errorf("New in a namespace that does not exist: %v", err)
	}
}
