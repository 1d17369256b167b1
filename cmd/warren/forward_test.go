package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/warrenvpn/warren"
)

// startEngine runs an engine with a stack at 10.1.0.1 and a control socket, until the test ends or stop is called.
func startEngine(t *testing.T) (e *warren.Engine, socket string, stop func()) {
	t.Helper()
	e, err := warren.New(&warren.Config{VRFs: []warren.VRFConfig{{Name: "main", Port: warren.PortConfig{
		Netstack: &warren.NetstackConfig{Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.0.1/32")}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := warren.ListenControl(t.Context(), filepath.Join(t.TempDir(), "w.sock"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- e.Run(ctx) }()
	go func() { ended <- e.ServeControl(ctx, ln) }()
	done := false
	stop = func() {
		if done {
			return
		}
		done = true
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return e, ln.Addr().String(), stop
}

// forwarding runs the command until the context ends, and returns what it said first and how it will have ended.
func forwarding(ctx context.Context, t *testing.T, args ...string) (said string, status chan int) {
	t.Helper()
	r, w := io.Pipe()
	status = make(chan int, 1)
	go func() {
		status <- execute(ctx, append([]string{"forward"}, args...), w, w)
		_ = w.Close()
	}()
	buf := make([]byte, 4096)
	n, err := r.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, r) }()
	return string(buf[:n]), status
}

func TestForwardCommand(t *testing.T) {
	e, socket, stop := startEngine(t)
	ln, err := e.Listen("tcp", "10.1.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("hello"))
			_ = c.Close()
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	said, status := forwarding(ctx, t, "--socket", socket, "127.0.0.1:0", "10.1.0.1:80")
	found := regexp.MustCompile(`^host listens on (127\.0\.0\.1:\d+)/tcp and forwards to 10\.1\.0\.1:80; Ctrl-C ends it\n$`).FindStringSubmatch(said)
	if found == nil {
		t.Fatalf("it said %q", said)
	}
	c, err := net.Dial("tcp", found[1])
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if b, err := io.ReadAll(c); err != nil || string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
	_ = c.Close()
	var out bytes.Buffer
	if n := execute(t.Context(), []string{"status", "--socket", socket}, &out, &out); n != 0 ||
		!strings.Contains(out.String(), "LISTENS IN") || !strings.Contains(out.String(), found[1]+"/tcp") || !strings.Contains(out.String(), "5 B") {
		t.Errorf("status %d:\n%s", n, out.String())
	}
	cancel() // as Ctrl-C does
	if n := <-status; n != 0 {
		t.Errorf("exit status %d after Ctrl-C", n)
	}

	said, status = forwarding(t.Context(), t, "--socket", socket, "--protocol", "udp", "--max-connections", "3", "10.1.0.1:53", "localhost:53")
	if said != "stack of main listens on 10.1.0.1:53/udp and forwards to localhost:53; Ctrl-C ends it\n" {
		t.Errorf("it said %q", said)
	}
	stop()
	if n := <-status; n != 1 {
		t.Errorf("exit status %d after the engine has gone", n)
	}
}

func TestForwardCommandRefuses(t *testing.T) {
	_, socket, _ := startEngine(t)
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"127.0.0.1:0"}, 2, "forward: TO is missing"},
		{[]string{"8080", "10.1.0.1:80"}, 2, `"8080" is no address with a port`},
		{[]string{"127.0.0.1:0", "example.org:80"}, 1, "does not resolve names"},
		{[]string{"192.0.2.77:80", "10.1.0.1:80"}, 1, "192.0.2.77:80"},
		{[]string{"--vrf", "other", "127.0.0.1:0", "10.1.0.1:80"}, 1, `warren: vrf: there is no vrf "other"`},
		{[]string{"--idle-timeout", "5s", "127.0.0.1:0", "10.1.0.1:80"}, 1, "idle_timeout"},
	} {
		said, status := forwarding(t.Context(), t, append([]string{"--socket", socket}, c.args...)...)
		if n := <-status; n != c.status || !strings.Contains(said, c.want) {
			t.Errorf("%q: exit status %d, %q; want %d and %q", c.args, n, said, c.status, c.want)
		}
	}
	said, status := forwarding(t.Context(), t, "--socket", socket+"no", "127.0.0.1:0", "10.1.0.1:80")
	if n := <-status; n != 1 || !strings.Contains(said, "no engine answers") {
		t.Errorf("exit status %d, %q", n, said)
	}
}
