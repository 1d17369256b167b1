//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/warrenvpn/warren/bench/lab"
)

// site is the configuration of one end, as the design's example of keys given by hand.
const site = `underlay: {addresses: [%s], udp_port: 4500}
vrfs:
  main: {port: {tun: warren0, netns: %q, addresses: [%s, "%s"]}}
tunnels:
  peer:
    ipsec:
      remote: %s
      encap: always
      static:
        esp: %s
        state_file: %s
        out: {spi: %s, key: "%s"}
        in:  {spi: %s, key: "%s"}
    routes: [%s, "%s"]
`

const (
	spi1, key1 = "0xc1890b6e", "0x0102030405060708090a0b0c0d0e0f1011121314"
	spi2, key2 = "0xcf2426b6", "0x1112131415161718191a1b1c1d1e1f2021222324"
)

// ends are two hosts, each with a namespace of its own for the clear side.
type ends struct {
	lab            *lab.Lab
	a, b           *lab.Host
	insideA        *lab.Host
	insideB        *lab.Host
	confA, confB   string
	sockA, sockB   string
	program, state string
}

func newEnds(t testing.TB) *ends {
	t.Helper()
	l, a, b := lab.PairForTest(t)
	e := &ends{lab: l, a: a, b: b, program: build(t), state: t.TempDir()}
	var err error
	if e.insideA, err = l.Host("ia"); err != nil {
		t.Fatal(err)
	}
	if e.insideB, err = l.Host("ib"); err != nil {
		t.Fatal(err)
	}
	e.confA, e.confB = filepath.Join(e.state, "a.yaml"), filepath.Join(e.state, "b.yaml")
	e.sockA, e.sockB = filepath.Join(e.state, "a.sock"), filepath.Join(e.state, "b.sock")
	e.write(t, e.confA, lab.PairA4, e.insideA.Namespace, "10.1.0.1/16", "fd01::1/64", lab.PairB4, "aes128gcm16",
		filepath.Join(e.state, "a.iv"), spi1, key1, spi2, key2, "10.2.0.0/16", "fd02::/64")
	e.write(t, e.confB, lab.PairB4, e.insideB.Namespace, "10.2.0.1/16", "fd02::1/64", lab.PairA4, "aes128gcm16",
		filepath.Join(e.state, "b.iv"), spi2, key2, spi1, key1, "10.1.0.0/16", "fd01::/64")
	return e
}

func (e *ends) write(t testing.TB, path string, args ...any) {
	t.Helper()
	if err := os.WriteFile(path, fmt.Appendf(nil, site, args...), 0o600); err != nil {
		t.Fatal(err)
	}
}

// start starts the daemon of one end and waits until it answers, then gives the kernel its routes.
func (e *ends) start(t testing.TB, ctx context.Context, h, inside *lab.Host, conf, sock string, routes ...string) *lab.Process {
	t.Helper()
	p, err := h.Start(e.program, "run", "--socket", sock, conf)
	if err != nil {
		t.Fatal(err)
	}
	err = p.Wait(ctx, "the engine to answer", func() error {
		out, err := exec.CommandContext(ctx, e.program, "status", "--json", "--socket", sock).Output()
		var s struct{ State string }
		if err == nil && (json.Unmarshal(out, &s) != nil || s.State != "running") {
			err = errors.New("not running yet")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routes {
		if err := inside.IP("route", "add", r, "dev", "warren0"); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// TestTwoHostsWithoutUDP: the same over IP protocol 50, where eight bytes more fit.
func TestTwoHostsWithoutUDP(t *testing.T) {
	e := newEnds(t)
	ctx := limit(t)
	for _, conf := range []string{e.confA, e.confB} {
		text, err := os.ReadFile(conf)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(conf, []byte(strings.Replace(string(text), "encap: always", "encap: never", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pa := e.start(t, ctx, e.a, e.insideA, e.confA, e.sockA, "10.2.0.0/16", "fd02::/64")
	pb := e.start(t, ctx, e.b, e.insideB, e.confB, e.sockB, "10.1.0.0/16", "fd01::/64")
	for _, dst := range []string{"10.2.0.1", "fd02::1"} {
		if r, err := e.insideA.Ping(ctx, dst, 3); err != nil || r.Received != 3 {
			t.Fatalf("%+v %v\na: %s\nb: %s", r, err, pa.Log(), pb.Log())
		}
	}
	if r, err := e.insideA.Ping(ctx, "10.2.0.1", 1, "-M", "do", "-s", fmt.Sprint(1446-28)); err != nil || r.Received != 1 {
		t.Errorf("1446 bytes: %+v %v", r, err)
	}
	if r, err := e.insideA.Ping(ctx, "10.2.0.1", 1, "-M", "do", "-s", fmt.Sprint(1447-28)); err == nil && r.Received > 0 {
		t.Errorf("1447 bytes crossed: %+v", r)
	}
	for _, p := range []*lab.Process{pa, pb} {
		if err := p.Stop(); err != nil {
			t.Errorf("SIGTERM: %v\n%s", err, p.Log())
		}
	}
}

func limit(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestTwoHostsThroughTUN(t *testing.T) {
	e := newEnds(t)
	ctx := limit(t)
	pa := e.start(t, ctx, e.a, e.insideA, e.confA, e.sockA, "10.2.0.0/16", "fd02::/64")
	pb := e.start(t, ctx, e.b, e.insideB, e.confB, e.sockB, "10.1.0.0/16", "fd01::/64")
	for _, dst := range []string{"10.2.0.1", "fd02::1"} {
		if r, err := e.insideA.Ping(ctx, dst, 3); err != nil || r.Received != 3 {
			t.Fatalf("%+v %v\na: %s\nb: %s", r, err, pa.Log(), pb.Log())
		}
	}
	// What crosses exactly: 1438 bytes with DF, and not one more.
	if r, err := e.insideA.Ping(ctx, "10.2.0.1", 1, "-M", "do", "-s", fmt.Sprint(1438-28)); err != nil || r.Received != 1 {
		t.Errorf("1438 bytes: %+v %v", r, err)
	}
	if r, err := e.insideA.Ping(ctx, "10.2.0.1", 1, "-M", "do", "-s", fmt.Sprint(1439-28)); err == nil && r.Received > 0 {
		t.Errorf("1439 bytes crossed: %+v", r)
	}
	// Without DF the kernel fragments; both fragments cross.
	if r, err := e.insideA.Ping(ctx, "10.2.0.1", 1, "-M", "dont", "-s", "4000"); err != nil || r.Received != 1 {
		t.Errorf("4000 bytes in fragments: %+v %v", r, err)
	}
	e.showsEverything(t, ctx)
	e.kill9(t, ctx, pa)
	if err := pb.Stop(); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, pb.Log())
	}
	for _, log := range []string{pa.Log(), pb.Log()} {
		if strings.Contains(log, key1[2:]) || strings.Contains(log, key2[2:]) {
			t.Error("a key is in the log")
		}
	}
}

// showsEverything asks all that the program can tell.
func (e *ends) showsEverything(t testing.TB, ctx context.Context) {
	t.Helper()
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"status"}, "warren0"}, {[]string{"tunnels"}, "192.0.2.2:4500"}, {[]string{"tunnels", "peer"}, "1438"},
		{[]string{"sas"}, spi1}, {[]string{"routes"}, "10.2.0.0/16"}, {[]string{"routes", "10.2.3.4"}, "10.2.0.0/16  *  peer"},
		{[]string{"drops"}, "REASON"}, {[]string{"sas", "--json"}, `"suite": "aes128gcm16"`},
	} {
		out, err := exec.CommandContext(ctx, e.program, append(c.args, "--socket", e.sockA)...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), c.want) {
			t.Errorf("warren %v: %v, want %q in\n%s", c.args, err, c.want, out)
		}
		if strings.Contains(string(out), key1[2:]) || strings.Contains(string(out), "\x1b[") {
			t.Errorf("warren %v shows a key or colours:\n%s", c.args, out)
		}
	}
	if out, err := exec.CommandContext(ctx, e.program, "tunnels", "nobody", "--socket", e.sockA).CombinedOutput(); err == nil || !strings.Contains(string(out), "there are: peer") {
		t.Errorf("an unknown tunnel: %v %s", err, out)
	}
	out, err := exec.CommandContext(ctx, e.program, "run", "--socket", e.sockA, e.confA).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "in use by another warren") {
		t.Errorf("a second engine on the socket: %v %s", err, out)
	}
}

// kill9 ends a daemon without warning: the next one starts as if nothing had been, and its peer takes its packets.
func (e *ends) kill9(t testing.TB, ctx context.Context, p *lab.Process) {
	t.Helper()
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	again := e.start(t, ctx, e.a, e.insideA, e.confA, e.sockA, "10.2.0.0/16")
	// The peer's window remembers the old sequence numbers: keys by hand start at 1 again, which it must refuse until it
	// is started anew. That is what `check` warns of.
	out, err := exec.CommandContext(ctx, e.program, "check", e.confA).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "replay protection") || !strings.Contains(string(out), "configuration OK") {
		t.Errorf("check: %v\n%s", err, out)
	}
	if err := again.Stop(); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, again.Log())
	}
}

func TestMistakesOnTheCommandLine(t *testing.T) {
	program := build(t)
	wrong := filepath.Join(t.TempDir(), "wrong.yaml")
	if err := os.WriteFile(wrong, []byte("underlay: {adresses: [1.2.3.4]}\ntunnels:\n  x:\n    ipsec: {remote: 1.2.3.400}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   []string
		status int
		want   []string
	}{
		{[]string{"--help"}, 0, []string{"demo", "check", "status"}},
		{[]string{"nonsense"}, 2, []string{"nonsense", "--help"}},
		{[]string{"run"}, 2, []string{"usage"}},
		{[]string{"run", "--nonsense", "x"}, 2, []string{"--nonsense", "--help"}},
		{[]string{"check", "/does/not/exist.yaml"}, 1, []string{"no such file"}},
		{[]string{"check", wrong}, 2, []string{"wrong.yaml:1:", "adresses", "addresses", "wrong.yaml:4:", "1.2.3.400"}},
		{[]string{"run", wrong}, 2, []string{"wrong.yaml:1:"}},
		{[]string{"status", "--socket", "/does/not/exist.sock"}, 1, []string{"no engine answers", "warren run"}},
	} {
		out, err := exec.CommandContext(t.Context(), program, c.args...).CombinedOutput()
		status := 0
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			status = exit.ExitCode()
		}
		if status != c.status {
			t.Errorf("warren %v: status %d, want %d\n%s", c.args, status, c.status, out)
		}
		for _, w := range c.want {
			if !strings.Contains(string(out), w) {
				t.Errorf("warren %v: no %q in\n%s", c.args, w, out)
			}
		}
	}
}

func TestDemo(t *testing.T) { fairly(t, showsAll) } // its BFD takes a machine that stands still for dead

func showsAll(t testing.TB) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, build(t), "demo").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "all of it worked") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestWithoutPrivilege: who may not make devices is told so in one sentence, with what works instead.
func TestWithoutPrivilege(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: to give up its privileges")
	}
	dir, err := os.MkdirTemp("", "warren-e2e")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "warren")
	if err := os.Rename(build(t), program); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "a.yaml")
	text := fmt.Sprintf(site, "127.0.0.1", "", "10.1.0.1/16", "fd01::1/64", "127.0.0.2", "aes128gcm16", filepath.Join(dir, "a.iv"), spi1, key1, spi2, key2, "10.2.0.0/16", "fd02::/64")
	if err := os.WriteFile(conf, []byte(strings.Replace(text, `netns: "", `, "", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "run", "--socket", filepath.Join(dir, "w.sock"), conf)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "netstack") || strings.Count(strings.TrimSpace(string(out)), "warren: ") != 1 {
		t.Errorf("%v\n%s", err, out)
	}
}
