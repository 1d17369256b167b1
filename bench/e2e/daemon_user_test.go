//go:build linux

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/warrenvpn/warren/bench/lab"
)

// commoners are two ends on one host that belong to a user without any privilege.
type commoners struct {
	host    *lab.Host
	dir     string // the user's
	program string
}

func newCommoners(t testing.TB) *commoners {
	t.Helper()
	l := lab.ForTest(t, "ip", "setpriv")
	c := &commoners{}
	var err error
	if c.host, err = l.Host("h"); err != nil {
		t.Fatal(err)
	}
	if c.dir, err = os.MkdirTemp("", "warren-e2e-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(c.dir) })
	c.program = filepath.Join(c.dir, "warren")
	if err := errors.Join(os.Chown(c.dir, nobodysID, nobodysID), os.Rename(build(t), c.program)); err != nil {
		t.Fatal(err)
	}
	return c
}

const nobodysID = 65534

// as are the arguments of setpriv(1) that run a command as nobody.
func (c *commoners) as(command ...string) []string {
	return append([]string{"--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all",
		"env", "-i", "HOME=" + c.dir, "XDG_RUNTIME_DIR=" + c.dir}, command...)
}

func (c *commoners) write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// stack is a configuration that needs no privilege.
const stack = `underlay: {addresses: [%s], udp_port: 4500}
vrfs:
  main: {port: {netstack: {addresses: [%s, "%s"]}}}
tunnels:
  peer:
    ipsec:
      remote: %s
      encap: always
      static:
        esp: aes128gcm16
        state_file: %s
        out: {spi: %s, key: "%s"}
        in:  {spi: %s, key: "%s"}
    routes: [%s, "%s"]
forward:
  - {listen: "%s", to: "%s"}
`

// TestRunWithoutPrivilege: two engines of an ordinary user, with stacks of their own, carry TCP between programs of the host.
func TestRunWithoutPrivilege(t *testing.T) {
	c := newCommoners(t)
	ctx := limit(t)
	a := c.write(t, "a.yaml", fmt.Sprintf(stack, "127.0.0.1", "10.1.0.1/16", "fd01::1/64", "127.0.0.2", filepath.Join(c.dir, "a.iv"), spi1, key1, spi2, key2,
		"10.2.0.0/16", "fd02::/64", "127.0.0.1:8080", "[fd02::1]:80"))
	b := c.write(t, "b.yaml", fmt.Sprintf(stack, "127.0.0.2", "10.2.0.1/16", "fd02::1/64", "127.0.0.1", filepath.Join(c.dir, "b.iv"), spi2, key2, spi1, key1,
		"10.1.0.0/16", "fd01::/64", "[fd02::1]:80", "127.0.0.1:9000"))
	if out, err := c.host.Command(ctx, "setpriv", c.as(c.program, "check", a)...).CombinedOutput(); err != nil || !strings.Contains(string(out), "configuration OK") {
		t.Errorf("check: %v\n%s", err, out)
	}
	socketB := filepath.Join(c.dir, "b.sock")
	pa, err := c.host.Start("setpriv", c.as(c.program, "run", a)...) // with the user's own control socket
	if err != nil {
		t.Fatal(err)
	}
	pb, err := c.host.Start("setpriv", c.as(c.program, "run", "--socket", socketB, b)...)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*lab.Process{pa, pb} {
		if err := p.WaitLog(ctx, "engine is up"); err != nil {
			t.Fatal(err)
		}
	}
	c.echo(t, ctx)
	for _, args := range [][]string{{"status"}, {"tunnels"}, {"sas"}, {"drops"}, {"status", "--socket", socketB}} {
		out, err := c.host.Command(ctx, "setpriv", c.as(append([]string{c.program}, args...)...)...).CombinedOutput()
		if err != nil || len(out) == 0 {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	for _, p := range []*lab.Process{pa, pb} {
		if err := p.Stop(); err != nil {
			t.Errorf("%v\n%s", err, p.Log())
		}
		if log := p.Log(); strings.Contains(log, "level=ERROR") || strings.Contains(log, "goroutine ") || strings.Contains(log, key1[2:]) {
			t.Errorf("says\n%s", log)
		}
	}
}

// echo sends a megabyte to a program behind b and reads it again.
func (c *commoners) echo(t testing.TB, ctx context.Context) {
	t.Helper()
	var ln net.Listener
	err := c.host.Inside(func() (err error) {
		ln, err = net.Listen("tcp", "127.0.0.1:9000")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		if conn, err := ln.Accept(); err == nil {
			_, _ = io.Copy(conn, conn)
			_ = conn.Close()
		}
	}()
	var conn net.Conn
	err = c.host.Inside(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", "127.0.0.1:8080")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	words := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(words)
	go func() {
		_, _ = conn.Write(words)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, words) {
		t.Errorf("%d of %d bytes came back: %v", len(got), len(words), err)
	}
}

// TestWhatNeedsPrivilege: who has none is told in one sentence what needs it and what does not.
func TestWhatNeedsPrivilege(t *testing.T) {
	c := newCommoners(t)
	ctx := limit(t)
	good := fmt.Sprintf(stack, "127.0.0.1", "10.1.0.1/16", "fd01::1/64", "127.0.0.2", filepath.Join(c.dir, "a.iv"), spi1, key1, spi2, key2,
		"10.2.0.0/16", "fd02::/64", "127.0.0.1:8080", "10.2.0.1:80")
	const device = `{tun: warren0, addresses: [10.1.0.1/16, "fd01::1/64"]}`
	const netstack = `{netstack: {addresses: [10.1.0.1/16, "fd01::1/64"]}}`
	for _, k := range []struct {
		what, old, fresh string
		want             []string
	}{
		{"device", netstack, device, []string{"CAP_NET_ADMIN", "`port: {netstack: …}`"}},
		{"device elsewhere", netstack, strings.Replace(device, "warren0", "warren0, netns: "+c.host.Namespace, 1), []string{"CAP_SYS_ADMIN", "`port: {netstack: …}`"}},
		{"raw", "encap: always", "encap: never", []string{"CAP_NET_RAW", "`encap: always`"}},
		{"mark", "udp_port: 4500", "udp_port: 4500, mark: 7", []string{"CAP_NET_ADMIN", "without `mark`"}},
		{"namespace", "udp_port: 4500", "udp_port: 4500, netns: " + c.host.Namespace, []string{"CAP_SYS_ADMIN", "without `netns`"}},
		{"port", "udp_port: 4500", "udp_port: 500", []string{"500", "1024"}},
	} {
		text := strings.Replace(good, k.old, k.fresh, 1)
		if text == good {
			t.Fatalf("%s: no %q", k.what, k.old)
		}
		if strings.Contains(k.fresh, "tun:") {
			text = text[:strings.Index(text, "forward:")]
		}
		out, err := c.host.Command(ctx, "setpriv", c.as(c.program, "run", c.write(t, "a.yaml", text))...).CombinedOutput()
		said := string(out)
		var last string
		for line := range strings.Lines(said) {
			last = line
		}
		if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 1 {
			t.Errorf("%s: %v, want exit status 1", k.what, err)
		}
		for _, w := range k.want {
			if !strings.Contains(last, w) {
				t.Errorf("%s: no %q in\n%s", k.what, w, said)
			}
		}
		if strings.Count(said, "warren: ") != 1 || !strings.HasPrefix(last, "warren: ") || strings.Contains(said, "goroutine ") {
			t.Errorf("%s: want one sentence:\n%s", k.what, said)
		}
	}
}
