//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/bench/lab"
)

// heir is the laboratory of take-overs: warren on host a, with BIRD as the router of its clear side in r, and a tunnel to warren on
// host b, whose clear side is ib. BIRD has routes of warren's own and those of the other site, and the other site has BIRD's.
type heir struct {
	t           testing.TB
	ctx         context.Context
	lab         *lab.Lab
	a, b, r, ib *lab.Host
	program     string
	dir, conf   string
	socket      string
	client, far *warren.Client
	here, there *lab.Process
	bird        *lab.BIRD
	events      [2]*routeEvents // here and there
}

const heirConfig = `%[1]s
vrfs:
  main:
    port: {tun: warren0, netns: %[2]q, addresses: [10.77.0.1/24, "2001:db8:77::1/64"], routes: [172.20.1.0/24]}
    protect: [10.2.0.0/16, "fd02::/64"]
    kernel: {export: [{neighbor: far}]}
    bgp:
      local_as: 65002
      router_id: 10.77.0.2
      hold_time: 9s
      connect_retry: 1s
      addresses: [10.77.0.2, "2001:db8:77::2"]
      import: all
      export: [{from: static}, {from: connected}, {from: bgp}]
      neighbors: [{name: bird, address: 10.77.0.1, neighbor_as: 65001%[3]s}]
tunnels:
  far:
    %[4]s
    addresses: ["2001:db8:ff::/127"]
    bgp: {neighbor_as: 65003}
`

const farConfig = `%[1]s
vrfs:
  main:
    port: {tun: warren0, netns: %[2]q, addresses: [10.2.0.1/16, "fd02::1/64"]}
    kernel: {export: [{from: bgp}]}
    bgp: {local_as: 65003, router_id: 10.2.0.1, hold_time: 9s, connect_retry: 1s, import: all, export: [{from: connected}]}
tunnels:
  near:
    %[3]s
    addresses: ["2001:db8:ff::1/127"]
    bgp: {neighbor_as: 65002}
`

const heirBIRD = `log stderr all;
router id 10.77.0.1;
protocol device {}
protocol bfd { interface "*" { interval 100 ms; multiplier 3; }; }
protocol static s4 { ipv4; route 172.30.1.0/24 blackhole; }
protocol bgp warren {
	local 10.77.0.1 as 65001; neighbor 10.77.0.2 as 65002;
	hold time 9; connect delay time 1; connect retry time 1; error wait time 1, 1;
	%s
	debug { events, routes, states };
	ipv4 { import all; export where source = RTS_STATIC; };
	ipv6 { import all; export where source = RTS_STATIC; };
}
`

// newHeir starts all. more is what the neighbor has in warren's configuration, birdMore in BIRD's.
func newHeir(t testing.TB, tunnel func(near bool, keys [2]lab.WireGuardKey) (top, ipsec string), more, birdMore string) *heir {
	t.Helper()
	l, a, b := lab.PairForTest(t, append([]string{"ping"}, lab.BIRDPrograms...)...)
	h := &heir{t: t, ctx: limit(t), lab: l, a: a, b: b, program: build(t), dir: t.TempDir()}
	var err error
	if h.r, err = l.Host("r"); err != nil {
		t.Fatal(err)
	}
	if h.ib, err = l.Host("ib"); err != nil {
		t.Fatal(err)
	}
	var keys [2]lab.WireGuardKey
	for i := range keys {
		if keys[i], err = lab.NewWireGuardKey(); err != nil {
			t.Fatal(err)
		}
	}
	file := func(name, text string) string {
		path := filepath.Join(h.dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	top, how := tunnel(true, keys)
	h.conf = file("near.yaml", fmt.Sprintf(heirConfig, top, h.r.Namespace, more, how))
	top, how = tunnel(false, keys)
	farConf := file("far.yaml", fmt.Sprintf(farConfig, top, h.ib.Namespace, how))
	h.socket = filepath.Join(h.dir, "near.sock")
	h.client = warren.NewClient(h.socket)
	farSocket := filepath.Join(h.dir, "far.sock")
	h.far = warren.NewClient(farSocket)
	if h.there, err = h.b.Start(h.program, "run", "--socket", farSocket, farConf); err != nil {
		t.Fatal(err)
	}
	h.here = h.start()
	h.await("BIRD", func() error { // its device must be there
		if h.bird == nil {
			h.bird, err = h.r.StartBIRD(h.ctx, fmt.Sprintf(heirBIRD, birdMore))
		}
		return err
	})
	h.await("all know all", h.whole)
	for i, host := range []*lab.Host{h.r, h.ib} {
		h.events[i] = watchRoutes(t, host)
	}
	return h
}

// routeEvents are what the kernel says of a host's routes.
type routeEvents struct {
	host *lab.Host
	said chan netlink.RouteUpdate
}

func watchRoutes(t testing.TB, host *lab.Host) *routeEvents {
	t.Helper()
	w := &routeEvents{host, make(chan netlink.RouteUpdate, 4096)}
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	if err := host.Inside(func() error { return netlink.RouteSubscribe(w.said, done) }); err != nil {
		t.Fatal(err)
	}
	return w
}

// deleted are the routes that are no more, but for link-local ones, of all that happened before it was called.
func (w *routeEvents) deleted(t testing.TB) (all []string) {
	t.Helper()
	const mark = "203.0.113.77/32"
	for _, verb := range []string{"add", "del"} {
		if err := w.host.IP("route", verb, "blackhole", mark); err != nil {
			t.Fatal(err)
		}
	}
	for {
		select {
		case e := <-w.said:
			switch {
			case e.Type != unix.RTM_DELROUTE || e.Dst == nil:
			case e.Dst.String() == mark:
				return all
			case !e.Dst.IP.IsLinkLocalUnicast() && !e.Dst.IP.IsMulticast():
				all = append(all, e.Dst.String())
			}
		case <-time.After(30 * time.Second):
			t.Fatal("the kernel says nothing of its routes")
		}
	}
}

// unnoticed: since then BIRD has lost no route, and neither kernel any.
func (h *heir) unnoticed(birdSince int) {
	h.t.Helper()
	if log := h.bird.Log()[birdSince:]; strings.Contains(log, "removed") || !strings.Contains(log, "graceful restart done") {
		h.t.Errorf("BIRD:\n%s", log)
	}
	for i, w := range h.events {
		if gone := w.deleted(h.t); len(gone) > 0 {
			h.t.Errorf("the kernel of host %d has lost %v", i, gone)
		}
	}
}

// received are the packets that came out of the tunnel.
func (h *heir) received() (n uint64) {
	st, err := h.client.Status(h.ctx)
	if err != nil {
		return 0
	}
	for _, t := range st.Tunnels {
		n += t.InPackets
	}
	return n
}

func overWireGuard(near bool, keys [2]lab.WireGuardKey) (top, tunnel string) {
	self, peer, to := keys[0], keys[1], lab.PairB4
	if !near {
		self, peer, to = keys[1], keys[0], lab.PairA4
	}
	return fmt.Sprintf("wireguard: {private_key: %q, listen_port: 51820, interface: no}", self.Private),
		fmt.Sprintf(`wireguard: {public_key: %q, endpoint: "%s:51820"}
    allowed_ips: [0.0.0.0/0, "::/0"]`, peer.Public, to)
}

func overIKE(near bool, _ [2]lab.WireGuardKey) (top, tunnel string) {
	self, peer, action := lab.PairA4, lab.PairB4, "start"
	if !near {
		self, peer, action = lab.PairB4, lab.PairA4, "none"
	}
	return fmt.Sprintf("underlay: {addresses: [%s]}", self),
		fmt.Sprintf(`ipsec:
      remote: %s
      psk: a-secret-of-the-laboratory-only
      child: {local_ts: [0.0.0.0/0, "::/0"], remote_ts: [0.0.0.0/0, "::/0"], start_action: %s}`, peer, action)
}

func (h *heir) start(args ...string) *lab.Process {
	h.t.Helper()
	p, err := h.a.Start(h.program, append(append([]string{"run"}, args...), "--socket", h.socket, h.conf)...)
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

func (h *heir) await(what string, cond func() error) {
	h.t.Helper()
	if err := lab.WaitFor(h.ctx, what, cond); err != nil {
		bird := ""
		if h.bird != nil {
			bird = end(h.bird.Log())
		}
		h.t.Fatalf("%v\nhere:\n%s\nthere:\n%s\nBIRD:\n%s", err, end(h.here.Log()), end(h.there.Log()), bird)
	}
}

// whole says whether everybody has the routes of everybody, none of them stale.
func (h *heir) whole() error {
	if h.bird != nil {
		out, err := h.bird.Ctl(h.ctx, "show", "route", "protocol", "warren")
		if err != nil {
			return err
		}
		for _, p := range []string{"172.20.1.0/24", "10.2.0.0/16", "fd02::/64"} {
			if !strings.Contains(out, p) {
				return fmt.Errorf("BIRD has no %s", p)
			}
		}
	}
	far, err := h.far.Routes(h.ctx, "")
	if err != nil {
		return err
	}
	near, err := h.client.Routes(h.ctx, "")
	if err != nil {
		return err
	}
	for _, want := range []struct {
		routes []warren.RouteStatus
		prefix string
	}{{far, "172.30.1.0/24"}, {near, "172.30.1.0/24"}, {near, "10.2.0.0/16"}} {
		found := false
		for _, r := range want.routes {
			for _, p := range r.Paths {
				found = found || r.Prefix.String() == want.prefix && p.Used && !p.Stale
			}
		}
		if !found {
			return fmt.Errorf("no fresh %s", want.prefix)
		}
	}
	return nil
}

var pingLoss = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received.* time (\d+)ms`)

// takeOver has another process take over amid pings, of which few are lost.
func (h *heir) takeOver() {
	h.t.Helper()
	const every = 2 * time.Millisecond
	pings, err := h.r.Start("ping", "-q", "-i", fmt.Sprint(every.Seconds()), "-I", "10.77.0.1", "10.2.0.1")
	if err != nil {
		h.t.Fatal(err)
	}
	before := h.received()
	h.await("traffic", func() error {
		if n := h.received() - before; n < 50 {
			return fmt.Errorf("%d packets", n)
		}
		return nil
	})
	old := h.here
	begun := time.Now()
	h.here = h.start("--take-over")
	select {
	case <-old.Done():
	case <-time.After(30 * time.Second):
		h.t.Fatalf("the old one does not end\n%s\n%s", end(old.Log()), end(h.here.Log()))
	}
	if err := old.Err(); err != nil {
		h.t.Errorf("the old one: %v\n%s", err, old.Log())
	}
	h.t.Logf("the old one had ended after %v", time.Since(begun))
	h.await("all know all again", func() error {
		if st, err := h.client.Status(h.ctx); err != nil || st.State != "running" {
			return errors.Join(err, errors.New("the new one does not run"))
		}
		if n := h.received(); n < 50 {
			return fmt.Errorf("the new one has received %d packets", n)
		}
		return h.whole()
	})
	h.t.Logf("nothing was stale any more after %v", time.Since(begun))
	_ = pings.Signal(syscall.SIGINT)
	<-pings.Done()
	m := pingLoss.FindStringSubmatch(pings.Log())
	if m == nil {
		h.t.Fatalf("ping: %s", pings.Log())
	}
	sent, _ := strconv.Atoi(m[1]) // they are digits
	received, _ := strconv.Atoi(m[2])
	took, _ := strconv.Atoi(m[3])
	lost := time.Duration(sent-received) * time.Duration(took) * time.Millisecond / time.Duration(max(1, sent))
	h.t.Logf("%d of %d pings were not answered: %v", sent-received, sent, lost)
	if lost > time.Second {
		h.t.Errorf("nothing was forwarded for %v", lost)
	}
}

// TestTakeOver: another process takes the place of a running one. BIRD, which has routes of warren's own and those of the site behind
// its tunnel, and the other site never lose a route, nor do their kernels; few packets are lost; and it works again.
func TestTakeOver(t *testing.T) {
	for _, c := range []struct {
		name           string
		tunnel         func(bool, [2]lab.WireGuardKey) (string, string)
		more, birdMore string
	}{
		{name: "WireGuard", tunnel: overWireGuard},
		{name: "IKE", tunnel: overIKE},
		// BIRD would take AdminDown for the end of the way.
		{"BFD", overWireGuard, ", bfd: {interval: 100ms, multiplier: 3}", "bfd graceful;"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fairly(t, func(t testing.TB) {
				h := newHeir(t, c.tunnel, c.more, c.birdMore)
				h.await("BFD", func() error {
					ns, err := h.client.Neighbors(h.ctx)
					for _, n := range ns {
						if n.BFD != "" && n.BFD != "Up" {
							err = errors.New(n.BFD)
						}
					}
					return err
				})
				since := len(h.bird.Log())
				h.takeOver()
				h.takeOver()
				h.unnoticed(since)
				if out, err := h.bird.Ctl(h.ctx, "show", "protocols", "all", "warren"); err != nil || !preserved.MatchString(out) {
					t.Errorf("%v\n%s", err, out)
				}
				if t.Failed() {
					t.Logf("here:\n%s\nthere:\n%s", h.here.Log(), h.there.Log())
				}
			})
		})
	}
}

// preserved is how BIRD shows the F bit of both families and the restart time.
var preserved = regexp.MustCompile(`(?s)Neighbor capabilities.*Graceful restart.*Restart time: 120.*AF supported: ipv4 ipv6.*AF preserved: ipv4 ipv6`)

// TestColdStart: an engine that was killed has kept nothing, and says so (F=0). BIRD has forgotten its routes with its device.
func TestColdStart(t *testing.T) {
	h := newHeir(t, overWireGuard, "", "")
	since := len(h.bird.Log())
	if err := h.here.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-h.here.Done()
	if out, err := h.r.Run(h.ctx, "ip", "route", "get", "10.2.0.1"); err == nil {
		t.Errorf("what is protected leaves in the clear: %s", out)
	}
	h.here = h.start()
	h.await("all know all again", func() error {
		if st, err := h.client.Status(h.ctx); err != nil || st.State != "running" {
			return errors.Join(err, errors.New("it does not run"))
		}
		if !strings.Contains(h.bird.Log()[since:], "BGP session established") {
			return errors.New("BIRD is not back")
		}
		return h.whole()
	})
	out, err := h.bird.Ctl(h.ctx, "show", "protocols", "all", "warren")
	if err != nil || preserved.MatchString(out) || !strings.Contains(out, "Restart time: 120") {
		t.Errorf("%v\n%s", err, out)
	}
	if log := h.bird.Log()[since:]; !strings.Contains(log, "removed [sole] 10.2.0.0/16") {
		t.Errorf("BIRD:\n%s", log)
	}
}

// TestTakeOverRefused: with a mistake in the file of the new one the old one goes on; without an old one there is nothing to take over.
func TestTakeOverRefused(t *testing.T) {
	h := newHeir(t, overWireGuard, "", "")
	since := len(h.bird.Log())
	wrong := filepath.Join(h.dir, "wrong.yaml")
	if err := os.WriteFile(wrong, []byte("tunnels: {x: {ipsec: {remote: 1.2.3.400}}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused := func(want string, args ...string) {
		t.Helper()
		out, err := h.a.Run(h.ctx, h.program, append([]string{"run", "--take-over"}, args...)...)
		if err == nil || !strings.Contains(out+err.Error(), want) {
			t.Errorf("%v\n%s", err, out)
		}
	}
	refused("1.2.3.400", "--socket", h.socket, wrong)
	nobody := filepath.Join(h.dir, "nobody.sock")
	refused("none to take over from", "--socket", nobody, h.conf)
	if _, err := os.Lstat(nobody); err == nil {
		t.Error("a socket was made")
	}
	err := h.whole()
	for _, word := range []string{"removed", "BGP session", "Neighbor", "changed state"} { // it may still say what it did before
		if err != nil || strings.Contains(h.bird.Log()[since:], word) {
			t.Errorf("%v\n%s", err, h.bird.Log()[since:])
		}
	}
}
