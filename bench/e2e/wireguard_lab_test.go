//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/bench/lab"
)

// wgPort is where both ends listen.
const wgPort = 51820

// wg is the laboratory in which warren, on host a with its clear side on host ia, meets wireguard-go on host b: 10.1.0.1 and fd01::1
// here, 10.2.0.1 and fd02::1 there.
type wg struct {
	t           testing.TB
	ctx         context.Context
	lab         *lab.Lab
	a, b, ia    *lab.Host
	program     string
	dir, device string // device is the name that wg(8) has for ours
	keys        [2]lab.WireGuardKey
	psk         string
	warren      *lab.Process
	client      *warren.Client
	peer        *lab.WireGuardGo
}

// wgDevices numbers the devices of this process.
var wgDevices atomic.Uint32

// wgDevice is a name for wg(8) that nobody else on the machine has.
func wgDevice() string {
	return fmt.Sprintf("wr%sx%d", strconv.FormatInt(int64(os.Getpid()), 36), wgDevices.Add(1))
}

func newWG(t testing.TB, programs ...string) *wg {
	t.Helper()
	programs = append(programs, "ping")
	l, a, b := lab.PairForTest(t, append(programs, lab.WireGuardPrograms...)...)
	w := &wg{t: t, lab: l, a: a, b: b, program: build(t), dir: t.TempDir(), device: wgDevice()}
	w.ctx = limit(t)
	var err error
	w.ia, err = l.Host("ia")
	w.must(err)
	for i := range w.keys {
		w.keys[i], err = lab.NewWireGuardKey()
		w.must(err)
	}
	return w
}

func (w *wg) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// run runs a program on a host and returns what it writes.
func (w *wg) run(h *lab.Host, program string, args ...string) string {
	w.t.Helper()
	out, err := h.Run(w.ctx, program, args...)
	w.must(err)
	return out
}

// startTheirs starts wireguard-go with a peer that has our networks. endpoint is empty where we speak first.
func (w *wg) startTheirs(endpoint string) {
	w.t.Helper()
	var err error
	w.peer, err = w.b.StartWireGuard(w.ctx, w.keys[1], wgPort)
	w.must(err)
	for _, addr := range []string{"10.2.0.1/16", "fd02::1/64"} {
		w.must(w.b.AddAddress(w.peer.Device, addr))
	}
	w.must(w.peer.AddPeer(w.ctx, lab.WireGuardPeer{Public: w.keys[0].Public, Endpoint: endpoint, AllowedIPs: []string{"10.1.0.0/16", "fd01::/64"}}))
	if w.psk != "" {
		_, err := w.b.RunInput(w.ctx, w.psk, "wg", "set", w.peer.Device, "peer", w.keys[0].Public, "preshared-key", "/dev/stdin")
		w.must(err)
	}
}

// wgSite is warren's configuration: key, device, namespace, peer's key, further keys of the peer, further keys of the tunnel, and
// what comes before.
const wgSite = `%[7]s
wireguard: {private_key: %[1]q, listen_port: 51820, interface: %[2]s}
vrfs:
  main:
    port: {tun: warren0, netns: %[3]q, addresses: [10.1.0.1/16, "fd01::1/64"]}
    kernel: {export: [{from: static}]}
tunnels:
  peer:
    wireguard: {public_key: %[4]q%[5]s}
    routes: [10.2.0.0/16, "fd02::/64"]
%[6]s`

// config is the site with the peer, which is found at an endpoint unless that is empty.
func (w *wg) config(endpoint, more, before string) string {
	keys := ""
	if endpoint != "" {
		keys += fmt.Sprintf(", endpoint: %q", endpoint)
	}
	if w.psk != "" {
		keys += fmt.Sprintf(", preshared_key: %q", w.psk)
	}
	return fmt.Sprintf(wgSite, w.keys[0].Private, w.device, w.ia.Namespace, w.keys[1].Public, keys, more, before)
}

// startOurs starts warren.
func (w *wg) startOurs(conf string) {
	w.t.Helper()
	w.startFile("warren.yaml", conf)
	w.routed()
}

func (w *wg) startFile(name, conf string) {
	w.t.Helper()
	path, socket := filepath.Join(w.dir, name), filepath.Join(w.dir, "w.sock")
	w.must(os.WriteFile(path, []byte(conf), 0o600))
	var err error
	p, err := w.a.Start(w.program, "run", "--socket", socket, path)
	w.must(err)
	w.warren, w.client = p, warren.NewClient(socket)
	w.t.Cleanup(func() {
		if w.t.Failed() {
			w.t.Logf("warren:\n%s", lastLines(p.Log(), 40))
		}
	})
	w.must(p.Wait(w.ctx, "the engine to answer", func() error {
		st, err := w.client.Status(w.ctx)
		if err == nil && st.State != "running" {
			err = errors.New(st.State)
		}
		return err
	}))
}

// kill ends a program without warning.
func (w *wg) kill(p *lab.Process) {
	w.t.Helper()
	w.must(p.Signal(syscall.SIGKILL))
	<-p.Done()
}

// stop ends warren, which must leave in peace and without having told its key.
func (w *wg) stop() {
	w.t.Helper()
	if err := w.warren.Stop(); err != nil {
		w.t.Errorf("SIGTERM: %v", err)
	}
	if err := w.warren.Err(); err != nil {
		w.t.Errorf("warren ended with %v", err)
	}
	if log := w.warren.Log(); strings.Contains(log, "panic") || strings.Contains(log, w.keys[0].Private) {
		w.t.Error("a panic or a secret in the log")
	}
}

// tunnel is the state of a tunnel.
func (w *wg) tunnel(name string) warren.TunnelStatus {
	w.t.Helper()
	st, err := w.client.Status(w.ctx)
	w.must(err)
	for _, t := range st.Tunnels {
		if t.Name == name {
			return t
		}
	}
	w.t.Fatalf("there is no tunnel %q", name)
	return warren.TunnelStatus{}
}

// arrives pings once, and says whether an answer came in time.
func (w *wg) arrives(from *lab.Host, dst string, args ...string) bool {
	w.t.Helper()
	r, err := from.Ping(w.ctx, dst, 1, args...)
	return err == nil && r.Received == 1
}

// silent says whether no answer comes within a second.
func (w *wg) silent(from *lab.Host, dst string) bool {
	w.t.Helper()
	return !w.arrives(from, dst, "-W", "1")
}

// first sends the packets that make the session: none of them may be lost.
func (w *wg) first(from *lab.Host, dst string) {
	w.t.Helper()
	r, err := from.Ping(w.ctx, dst, 3, "-i", "0.1", "-w", "30")
	for i := range 3 {
		if err == nil && !strings.Contains(r.Output, fmt.Sprintf("icmp_seq=%d ttl", i+1)) {
			err = fmt.Errorf("packet %d is lost", i+1)
		}
	}
	if err != nil {
		w.t.Fatalf("the first packets to %s: %v: %s", dst, err, r.Output)
	}
}

// routed waits until the kernel leads to the peer: what protects the way while we are gone gives way when we are back.
func (w *wg) routed() {
	w.t.Helper()
	w.eventually("a route to the peer", func() error {
		_, err4 := w.ia.Run(w.ctx, "ip", "route", "get", "10.2.0.1")
		_, err6 := w.ia.Run(w.ctx, "ip", "route", "get", "fd02::1")
		return errors.Join(err4, err6)
	})
}

// reach waits until an answer comes.
func (w *wg) reach(from *lab.Host, dst string, args ...string) {
	w.t.Helper()
	w.must(from.WaitReachable(w.ctx, dst, append([]string{"-W", "0.5"}, args...)...))
}

func (w *wg) eventually(what string, cond func() error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()
	w.must(lab.WaitFor(ctx, what, cond))
}

// handshake is when the last handshake with wireguard-go was, as it says.
func (w *wg) handshake() string {
	w.t.Helper()
	return w.run(w.b, "wg", "show", w.peer.Device, "latest-handshakes")
}

// atOnce makes experiments at the same time, each in its own lab: most of their time is waiting.
func atOnce(t *testing.T, tests map[string]func(w *wg)) {
	t.Helper()
	eachAtOnce(t, tests, func(t *testing.T, test func(t testing.TB)) { test(t) })
}

// eachAtOnce says how each of them is tried.
func eachAtOnce(t *testing.T, tests map[string]func(w *wg), try func(t *testing.T, test func(t testing.TB))) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	build(t) // once
	var all sync.WaitGroup
	for name, test := range tests {
		all.Go(func() {
			t.Run(name, func(t *testing.T) {
				try(t, func(t testing.TB) {
					w := newWG(t)
					test(w)
					w.stop()
				})
			})
		})
	}
	all.Wait()
}

// newPSK is a preshared key.
func newPSK(t testing.TB) string {
	t.Helper()
	out, err := exec.Command(build(t), "genpsk").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
