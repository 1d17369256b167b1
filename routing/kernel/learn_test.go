package kernel

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestLearn(t *testing.T) {
	ns := namespace(t)
	ip(t, ns, "route add 10.1.0.0/16 via 192.0.2.2 proto bird metric 20")
	ip(t, ns, "route add 10.1.0.0/16 via 192.0.2.130 proto static metric 30")
	ip(t, ns, "route add 2001:db8:a::/48 via 2001:db8:1::2 proto ospf")
	ip(t, ns, "route add unreachable 10.2.0.0/16")
	ip(t, ns, "route add 10.3.0.0/16 dev da proto 201 metric 32")
	ip(t, ns, "route add 10.4.0.0/16 dev da tos 0x10")
	ip(t, ns, "route add 10.5.0.0/16 dev da table 77")
	s := newSchool()
	table, _ := start(t, Config{Namespace: ns, Learn: s.learn})
	<-table.Synced()
	s.holds(t, 6) // with the four connected ones
	s.expect(t, "10.1.0.0/16", "da 192.0.2.2 20 12")
	s.expect(t, "2001:db8:a::/48", "db 2001:db8:1::2 1024 188")
	s.expect(t, "192.0.2.0/25", "da invalid IP 0 2")
	s.expect(t, "2001:db8::/64", "da invalid IP 256 2")

	for _, c := range []struct{ edit, prefix, want string }{
		{"route del 10.1.0.0/16 metric 20", "10.1.0.0/16", "db 192.0.2.130 30 4"},
		{"route replace 10.1.0.0/16 via 192.0.2.131 metric 30", "10.1.0.0/16", "db 192.0.2.131 30 3"},
		{"route del 10.1.0.0/16 metric 30", "10.1.0.0/16", ""},
		{"route add 10.6.0.0/16 nexthop dev da nexthop dev db", "10.6.0.0/16", "da invalid IP 0 3"},
		{"route append 10.6.0.0/16 dev db proto static", "10.6.0.0/16", "da invalid IP 0 3"},
		{"route del 10.6.0.0/16 proto boot", "10.6.0.0/16", "db invalid IP 0 4"},
		{"route replace 2001:db8:a::/48 via 2001:db8:0::9", "2001:db8:a::/48", "da 2001:db8::9 1024 3"},
		{"route append 2001:db8:a::/48 via 2001:db8:1::9", "2001:db8:a::/48", "da 2001:db8::9 1024 3"},
		{"route del 2001:db8:a::/48 via 2001:db8:0::9", "2001:db8:a::/48", "db 2001:db8:1::9 1024 3"},
		{"route del 2001:db8:a::/48", "2001:db8:a::/48", ""},
		{"route add default via 192.0.2.9", "0.0.0.0/0", "da 192.0.2.9 0 3"},
		{"route add default via 2001:db8::9", "::/0", "da 2001:db8::9 1024 3"},
		{"link set xda down", "0.0.0.0/0", ""},
		{"link set xda up", "0.0.0.0/0", "da 192.0.2.9 0 3"},
		{"link set da down", "0.0.0.0/0", ""},
		{"link set da up", "192.0.2.0/25", "da invalid IP 0 2"},
		{"addr del 192.0.2.129/25 dev db", "192.0.2.128/25", ""},
		{"route add 10.7.0.0/16 dev db src 192.0.2.1", "10.7.0.0/16", "db invalid IP 0 3"},
		{"addr del 192.0.2.1/25 dev da", "10.7.0.0/16", ""}, // the kernel does not say so
		{"route add 10.9.0.0/16 nexthop dev da nexthop dev db", "10.9.0.0/16", "da invalid IP 0 3"},
		{"link set da down", "10.9.0.0/16", "db invalid IP 0 3"},
		{"link set da up", "10.9.0.0/16", "da invalid IP 0 3"}, // nor this
		{"link set db down", "10.6.0.0/16", ""},
		{"link set db name dc", "10.6.0.0/16", ""},
		{"link set dc up", "2001:db8:1::/64", ""},
		{"route add 10.8.0.0/16 dev dc", "10.8.0.0/16", "dc invalid IP 0 3"},
		{"link del dc", "10.8.0.0/16", ""},
	} {
		ip(t, ns, "%s", c.edit)
		if t.Run(c.edit, func(t *testing.T) { s.expect(t, c.prefix, c.want) }); t.Failed() {
			break
		}
	}
	for _, prefix := range []string{"10.2.0.0/16", "10.3.0.0/16", "10.4.0.0/16", "10.5.0.0/16", "fe80::/64"} {
		s.expect(t, prefix, "")
	}
}

// Routes that nobody but we see are not learned, and installing tells nobody anything.
func TestOwnRoutesAreNoNews(t *testing.T) {
	ns := namespace(t)
	s := newSchool()
	table, _ := start(t, Config{Namespace: ns, Learn: s.learn})
	<-table.Synced()
	s.holds(t, 4)
	before := s.count()
	for i := range 1000 {
		set(t, table, fmt.Sprintf("10.%d.%d.0/24", i>>8, i&255), over("da")...)
	}
	eventually(t, func() bool { return table.Stats().Standing == 1000 }, func() string { return fmt.Sprintf("%+v", table.Stats()) })
	ip(t, ns, "route add 172.16.0.0/12 dev da")
	s.expect(t, "172.16.0.0/12", "da invalid IP 0 3")
	if n := s.count() - before; n != 1 {
		t.Errorf("%d learned, want 1", n)
	}
}

// A route that replaces ours is learned, and no more when we have taken the place back.
func TestAPlaceTakenBackIsUnlearned(t *testing.T) {
	ns := namespace(t)
	s := newSchool()
	table, _ := start(t, Config{Namespace: ns, Learn: s.learn})
	for _, prefix := range []string{"10.1.0.0/16", "2001:db8:a::/48"} {
		set(t, table, prefix, over("da")...)
	}
	expect(t, ns, "10.1.0.0/16 dev da", "2001:db8:a::/48 dev da")
	for i := range 3 {
		lost := table.Stats().Lost + 2
		for _, prefix := range []string{"10.1.0.0/16", "2001:db8:a::/48"} {
			ip(t, ns, "route replace %s dev db metric 32 proto static", prefix)
		}
		eventually(t, func() bool { return table.Stats().Lost >= lost }, func() string { return fmt.Sprintf("%+v", table.Stats()) })
		expect(t, ns, "10.1.0.0/16 dev da", "2001:db8:a::/48 dev da")
		// What is told in order after it says that all before was told.
		ip(t, ns, "route add 10.3.%d.0/24 dev da", i)
		s.expect(t, fmt.Sprintf("10.3.%d.0/24", i), "da invalid IP 0 3")
		for _, prefix := range []string{"10.1.0.0/16", "2001:db8:a::/48"} {
			if l, ok := s.get(prefix); ok {
				t.Errorf("%d. still learned: %+v", i, l)
			}
		}
	}
	ip(t, ns, "route add 10.2.0.0/16 dev da")
	s.expect(t, "10.2.0.0/16", "da invalid IP 0 3")
	ip(t, ns, "route replace blackhole 10.2.0.0/16")
	s.expect(t, "10.2.0.0/16", "")
}

// What does not fit into the socket's buffer is lost, and must be found by reading the table again: what others routed, what they
// took from us, and what bears our number and is not ours.
func TestOverrun(t *testing.T) {
	ns := namespace(t)
	s := newSchool()
	hold, release := make(chan bool), make(chan bool)
	first := true
	table, err := New(Config{Namespace: ns, Learn: func(batch []Learned) {
		if s.learn(batch); first {
			first = false
			hold <- true
			<-release
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := table.notices.raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 8192) }); err != nil {
		t.Fatal(err)
	}
	set(t, table, "10.255.0.0/16", over("da")...)
	set(t, table, "10.254.0.0/16", over("da")...)
	table.Settled()
	running(t, table)
	expect(t, ns, "10.254.0.0/16", "10.255.0.0/16")
	<-hold
	var lines strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&lines, "route add 10.%d.%d.0/24 dev da\n", i>>8, i&255)
	}
	lines.WriteString("route del 10.255.0.0/16\nroute replace 10.254.0.0/16 dev db metric 32 proto static\n")
	fmt.Fprintf(&lines, "route add 10.253.0.0/16 dev da metric 32 proto %d\n", DefaultProtocol) // nobody wants it
	file := filepath.Join(t.TempDir(), "batch")
	if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "ip", "-n", ns, "-batch", file)
	close(release)
	s.expect(t, "10.7.207.0/24", "da invalid IP 0 3")
	expect(t, ns, "10.254.0.0/16 dev da", "10.255.0.0/16 dev da")
	if st := table.Stats(); st.Resyncs == 0 || st.Lost != 2 {
		t.Errorf("stats %+v, want a resync that found two lost", st)
	}
}

func TestManyRoutes(t *testing.T) {
	ns := namespace(t)
	table, stop := start(t, Config{Namespace: ns})
	const n = 50_000
	hops := over("da", "db")
	began := time.Now()
	for i := range n {
		prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{20 + byte(i>>16), byte(i >> 8), byte(i)}), 24)
		if i%5 == 0 {
			prefix = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(i >> 16), byte(i >> 8), byte(i)}), 56)
		}
		if err := table.Set(prefix, hops); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() bool { return table.Stats().Standing == n }, func() string { return fmt.Sprintf("%+v", table.Stats()) })
	t.Logf("%d routes installed in %v", n, time.Since(began))
	began = time.Now()
	stop()
	t.Logf("removed in %v", time.Since(began))
	if s := table.Stats(); s.Standing != 0 || s.Failures != 0 {
		t.Errorf("%+v", s)
	}
	expect(t, ns)
}
