//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/bench/lab"
)

// wgQuick is a file of wg-quick(8): private key, port, addresses, more of the interface, the peer's key, allowed addresses, and more
// of the peer.
const wgQuick = `# as a provider hands it out
[Interface]
PrivateKey = %s
%s
Address = %s
DNS = 10.2.0.53, example.org
%s
PostUp = iptables -A FORWARD -i %%i -j ACCEPT

[Peer]
PublicKey = %s
AllowedIPs = %s
%s
`

// TestQuick: `warren run wg0.conf` against wireguard-go with the mirrored file, as wg-quick(8) would give it to wg(8).
func TestQuick(t *testing.T) {
	w := newWG(t, "wg-quick")
	mirrored := filepath.Join(w.dir, "mirrored.conf")
	w.must(os.WriteFile(mirrored, fmt.Appendf(nil, wgQuick, w.keys[1].Private, "ListenPort = 51820", "10.2.0.1/16, fd02::1/64", "", w.keys[0].Public,
		"10.1.0.0/16, fd01::/64", ""), 0o600))
	stripped := filepath.Join(w.dir, "stripped.conf")
	w.must(os.WriteFile(stripped, []byte(w.run(w.b, "wg-quick", "strip", mirrored)), 0o600))
	w.startTheirs("")
	w.run(w.b, "wg", "setconf", w.peer.Device, stripped)

	conf := fmt.Sprintf(wgQuick, w.keys[0].Private, "", "10.1.0.1/16, fd01::1/64", "MTU = 1400", w.keys[1].Public, "10.2.0.0/16, fd02::/64",
		"Endpoint = 192.0.2.2:51820\nPersistentKeepalive = 25")
	w.ia = w.a // the device is the host's own
	w.startFile(w.device+".conf", conf)
	w.routed()
	w.first(w.a, "10.2.0.1")
	w.first(w.b, "fd01::1")
	if out := w.run(w.a, "ip", "link", "show", w.device); !strings.Contains(out, "mtu 1400") {
		t.Errorf("the device: %s", out)
	}
	if out := w.wg("", "show", w.device); !strings.Contains(out, "persistent keepalive: every 25 seconds") || !strings.Contains(out, "allowed ips: 10.2.0.0/16, fd02::/64") {
		t.Errorf("wg show: %s", out)
	}
	if log := w.warren.Log(); !strings.Contains(log, "DNS") || !strings.Contains(log, "PostUp") || strings.Contains(log, "iptables") {
		t.Errorf("what is ignored is not said:\n%s", log)
	}
	w.stop()
	if _, err := w.a.Run(w.ctx, "ip", "link", "show", w.device); err == nil {
		t.Error("the device stays")
	}

	// What import prints is the same, and a configuration.
	out, err := exec.CommandContext(w.ctx, w.program, "import", filepath.Join(w.dir, w.device+".conf")).Output()
	w.must(err)
	w.startOurs(string(out))
	w.first(w.a, "10.2.0.1")
	w.stop()
}

// distant are the addresses of the peer's host beyond what the tunnel's own networks are, reached in the clear while there is no
// tunnel.
var distant = []string{"198.18.0.1", "2001:db8:f::1"}

// newDistant is a laboratory where host b is a router, the way to all others, and wireguard-go is on host c behind it.
func newDistant(t testing.TB) (w *wg, street *lab.Capture) {
	t.Helper()
	w = newWG(t, "tcpdump", "sysctl")
	c, err := w.lab.Host("c")
	w.must(err)
	w.must(w.lab.Connect(lab.Link{A: w.b, B: c, DevA: "toc", AddrsA: []string{"198.51.100.1/24", "2001:db8:c::1/64"}, AddrsB: []string{"198.51.100.2/24", "2001:db8:c::2/64"}}))
	for _, r := range [][]string{{"a", "0.0.0.0/0", lab.PairB4}, {"a", "::/0", lab.PairB6}, {"c", "192.0.2.0/24", "198.51.100.1"}, {"c", "2001:db8::/64", "2001:db8:c::1"},
		{"b", distant[0], "198.51.100.2"}, {"b", distant[1], "2001:db8:c::2"}} {
		w.must(map[string]*lab.Host{"a": w.a, "b": w.b, "c": c}[r[0]].IP("route", "add", r[1], "via", r[2]))
	}
	for i, length := range []string{"/32", "/128"} {
		w.must(c.AddAddress("lo", distant[i]+length))
	}
	w.run(w.b, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
	for _, dst := range distant {
		w.must(w.a.WaitReachable(w.ctx, dst)) // in the clear
	}
	street, err = w.b.Capture(w.ctx, "eth0", "icmp or icmp6 and ip6[40] >= 128 and ip6[40] <= 129")
	w.must(err)
	w.b, w.ia = c, w.a // where the peer is, and the clear side
	return w, street
}

// serveNames answers questions for IPv4 addresses of one name.
func serveNames(conn *net.UDPConn, name, addr string) {
	buf := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		m.Response, m.Authoritative, m.Additionals = true, true, nil
		if q := m.Questions[0]; q.Name.String() == name+"." && q.Type == dnsmessage.TypeA {
			m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1},
				Body: &dnsmessage.AResource{A: netip.MustParseAddr(addr).As4()}}}
		}
		if answer, err := m.Pack(); err == nil {
			_, _ = conn.WriteToUDPAddrPort(answer, from)
		}
	}
}

// withNames starts a program that finds its names at a server of the test's.
const withNames = `set -e; mount --bind "$1" /etc/resolv.conf; shift; exec "$@"`

// TestQuickDefaultRoute: a file whose peer has the default routes takes all that the host sends but our own packets and what has a
// better route; its peer's name is found nevertheless. When we are killed nothing leaves in the clear, and the next one finds its
// way; when we leave, everything is as it was.
func TestQuickDefaultRoute(t *testing.T) {
	w, street := newDistant(t)
	w.startTheirs("")
	for _, p := range []string{"10.1.0.2/32", "fd01::2/128"} {
		w.must(w.b.IP("route", "add", p, "dev", w.peer.Device))
	}
	names := w.listen(w.b, "198.51.100.2:53")
	go serveNames(names, "gw.example", "198.51.100.2")
	conf, resolv := filepath.Join(w.dir, w.device+".conf"), filepath.Join(w.dir, "resolv.conf")
	w.must(os.WriteFile(resolv, []byte("nameserver 198.51.100.2\n"), 0o600))
	w.must(os.WriteFile(conf, fmt.Appendf(nil, wgQuick, w.keys[0].Private, "", "10.1.0.2/32, fd01::2/128", "", w.keys[1].Public, "0.0.0.0/0, ::/0", "Endpoint = gw.example:51820"), 0o600))
	rules := w.rules()
	start := func() {
		t.Helper()
		socket := filepath.Join(w.dir, "w.sock")
		p, err := w.a.Start("sh", "-c", withNames, "sh", resolv, w.program, "run", "--socket", socket, conf)
		w.must(err)
		w.warren, w.client = p, warren.NewClient(socket)
		w.must(p.Wait(w.ctx, "all to go through the tunnel", func() error {
			out, err := w.a.Run(w.ctx, "ip", "route", "get", distant[0])
			if err == nil && !strings.Contains(out, w.device) {
				err = errors.New(out)
			}
			return err
		}))
	}
	inClear := w.pingsSeen(street)
	start()
	for _, dst := range distant {
		w.first(w.a, dst)
	}
	w.inMiddle(w.transfer(w.b, w.a, "10.2.0.1", "10.1.0.2", 1<<20), 1, func() {})
	if got := w.rules(); strings.Count(got, "lookup 51820") != 2 || strings.Count(got, "suppress_prefixlength 0") != 2 {
		t.Errorf("rules:\n%s", got)
	}
	if out := w.run(w.a, "ip", "route", "get", lab.PairB4); !strings.Contains(out, "dev eth0") {
		t.Errorf("the way to a neighbour: %s", out)
	}
	w.kill(w.warren)
	for _, dst := range distant {
		if !w.silent(w.a, dst) {
			t.Error("an answer when the engine was killed")
		}
	}
	w.run(w.a, "sysctl", "-q", "-w", "net.ipv4.conf.eth0.rp_filter=1")
	start()
	if log := w.warren.Log(); !strings.Contains(log, "rp_filter is 1") || !strings.Contains(log, "eth0") {
		t.Errorf("no warning of a strict filter:\n%s", log)
	}
	if !w.silent(w.a, distant[0]) {
		t.Error("a strict filter accepts what the warning says it does not")
	}
	w.run(w.a, "sysctl", "-q", "-w", "net.ipv4.conf.eth0.rp_filter=2")
	for _, dst := range distant {
		w.reach(w.a, dst)
		w.first(w.a, dst)
	}
	if now := w.pingsSeen(street); now != inClear {
		t.Errorf("%d packets in the clear, %d before", now, inClear)
	}
	// A mark that would lead our own packets into the tunnel is refused; a file without one does not.
	if _, err := w.a.Run(w.ctx, "wg", "set", w.device, "fwmark", "7"); err == nil {
		t.Error("another mark was accepted")
	}
	w.wg("[Interface]\nPrivateKey = "+w.keys[0].Private+"\n[Peer]\nPublicKey = "+w.keys[1].Public+"\nAllowedIPs = 0.0.0.0/0, ::/0\n", "syncconf", w.device, "/dev/stdin")
	w.first(w.a, distant[0])
	w.stop()
	if got := w.rules(); got != rules {
		t.Errorf("rules afterwards:\n%s\nbefore:\n%s", got, rules)
	}
	for _, dst := range distant {
		w.reach(w.a, dst)
	}
	if w.pingsSeen(street) == inClear {
		t.Error("what is in the clear was not seen")
	}
}

// rules are the host's.
func (w *wg) rules() string {
	w.t.Helper()
	return w.run(w.a, "ip", "-4", "rule") + w.run(w.a, "ip", "-6", "rule")
}

// seen is what tcpdump says of a capture that may still run.
func (w *wg) seen(c *lab.Capture, filter ...string) (out string) {
	w.t.Helper()
	w.eventually("a file that is whole", func() (err error) {
		out, err = w.a.Run(w.ctx, "tcpdump", append([]string{"-nr", c.Path()}, filter...)...)
		return err
	})
	return out
}

// pingsSeen is how many pings the wire has carried in the clear.
func (w *wg) pingsSeen(c *lab.Capture) int {
	w.t.Helper()
	return strings.Count(w.seen(c), "echo")
}
