package warren_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/dataplane/underlay/sim"
)

// forwardSites runs two sites of which the first has forwards, until stop.
func forwardSites(t *testing.T, forwards ...warren.ForwardConfig) (a, b *warren.Engine, stop func()) {
	t.Helper()
	ca, cb := twoSites()
	ca.Forwards = forwards
	network := sim.New(sim.Config{})
	a, stopA := start(t, ca, warren.WithNetwork(network))
	b, stopB := start(t, cb, warren.WithNetwork(network))
	for i, e := range []*warren.Engine{a, b} {
		if err := ping(t, e, fmt.Sprintf("10.%d.0.1", i+1), patience); err != nil {
			t.Fatal(err)
		}
	}
	return a, b, func() { // the first has to leave by itself, while the second still holds its connections
		stopA()
		stopB()
	}
}

// forwardTo is a forward from a port of loopback that the system chooses.
func forwardTo(to string) warren.ForwardConfig {
	return warren.ForwardConfig{Listen: netip.AddrPortFrom(loopback(), 0), To: to}
}

func forwardStatus(t *testing.T, e *warren.Engine, i int) warren.ForwardStatus {
	t.Helper()
	s := e.Status()
	if i >= len(s.Forwards) {
		t.Fatalf("%d forwards, want number %d", len(s.Forwards), i)
	}
	return s.Forwards[i]
}

// serve hands what is accepted to f, until the test ends.
func serve(t *testing.T, ln net.Listener, err error, f func(net.Conn)) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go f(c)
		}
	}()
	return ln.Addr().String()
}

// closeWriter is a stream of which one direction can be ended.
type closeWriter interface {
	net.Conn
	CloseWrite() error
}

// reverser reads all that comes until the other side has ended its direction, and only then sends it back.
func reverser(c net.Conn) {
	defer c.Close()
	if data, err := io.ReadAll(c); err == nil {
		_, _ = c.Write(data)
	}
}

// exchange sends data, ends its direction and wants the same back: which the reverser gives only if the end was carried too.
func exchange(t *testing.T, c net.Conn, data []byte) {
	t.Helper()
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(data)
		sent <- errors.Join(err, c.(closeWriter).CloseWrite())
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes of %d came back: %v", len(got), len(data), err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func dialHost(t *testing.T, addr netip.AddrPort) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

func randomBytes(t *testing.T, n int) []byte {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// TestForwardTCP: from the host to what lies behind the tunnel and back, with each direction's end carried.
func TestForwardTCP(t *testing.T) {
	host, err := net.Listen("tcp", "127.0.0.1:0")
	service := serve(t, host, err, reverser)
	into := warren.ForwardConfig{Listen: netip.MustParseAddrPort("10.1.0.1:22"), To: service}
	a, b, stop := forwardSites(t, forwardTo("10.2.0.1:80"), into)
	defer stop()
	ln, err := b.Listen("tcp", "10.2.0.1:80")
	serve(t, ln, err, reverser)

	data := randomBytes(t, 1<<20)
	exchange(t, dialHost(t, forwardStatus(t, a, 0).Listen), data)
	c, err := b.DialContext(t.Context(), "tcp", "10.1.0.1:22")
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, c, data)
	for i, in := range []string{"host", "stack"} {
		eventually(t, "the connection is counted as gone", patience, func() bool { return forwardStatus(t, a, i).Open == 0 })
		s := forwardStatus(t, a, i)
		if s.In != in || s.Total != 1 || s.SentBytes != uint64(len(data)) || s.ReceivedBytes != uint64(len(data)) || s.Errors != 0 || s.VRF != "main" {
			t.Errorf("forward %d: %+v", i, s)
		}
	}
}

// TestForwardByName: the host resolves names.
func TestForwardByName(t *testing.T) {
	host, err := net.Listen("tcp", "127.0.0.1:0")
	service := serve(t, host, err, reverser)
	_, port, _ := net.SplitHostPort(service)
	_, b, stop := forwardSites(t, warren.ForwardConfig{Listen: netip.MustParseAddrPort("10.1.0.1:22"), To: "localhost:" + port})
	defer stop()
	c, err := b.DialContext(t.Context(), "tcp", "10.1.0.1:22")
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, c, []byte("by name"))
}

// mustBeReset connects and wants a reset, which may come as early as that.
func mustBeReset(t *testing.T, addr netip.AddrPort) {
	t.Helper()
	c, err := net.Dial("tcp", addr.String())
	n := 0
	if err == nil {
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		n, err = c.Read(make([]byte, 1))
	}
	if n != 0 || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%d bytes, %v; want a reset", n, err)
	}
}

// TestForwardRefused: who connects learns that nobody is there, by a reset and not by an end.
func TestForwardRefused(t *testing.T) {
	a, _, stop := forwardSites(t, forwardTo("10.2.0.1:81"))
	defer stop()
	mustBeReset(t, forwardStatus(t, a, 0).Listen)
	eventually(t, "the error is told", patience, func() bool {
		s := forwardStatus(t, a, 0)
		return s.Errors == 1 && strings.Contains(s.LastError, "refused") && s.Open == 0 && s.Total == 1
	})
}

// TestForwardResets: a connection that its peer resets is not taken for one that ended.
func TestForwardResets(t *testing.T) {
	host, err := net.Listen("tcp", "127.0.0.1:0")
	service := serve(t, host, err, func(c net.Conn) {
		_, _ = io.ReadFull(c, make([]byte, 1)) // or the reset might come while it is being dialled
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	})
	a, b, stop := forwardSites(t, warren.ForwardConfig{Listen: netip.MustParseAddrPort("10.1.0.1:22"), To: service}, forwardTo("10.2.0.1:80"))
	defer stop()
	c, err := b.DialContext(t.Context(), "tcp", "10.1.0.1:22")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the reset is counted", patience, func() bool { s := forwardStatus(t, a, 0); return s.Errors == 1 && s.Open == 0 })

	ln, err := b.Listen("tcp", "10.2.0.1:80")
	ended := make(chan error, 1)
	serve(t, ln, err, func(c net.Conn) {
		_, err := io.Copy(io.Discard, c)
		ended <- err
		_ = c.Close()
	})
	d := dialHost(t, forwardStatus(t, a, 1).Listen)
	if _, err := d.Write([]byte("half a sentence")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has passed", patience, func() bool { return forwardStatus(t, a, 1).SentBytes > 0 })
	_ = d.(*net.TCPConn).SetLinger(0)
	_ = d.Close()
	<-ended
	eventually(t, "the reset is counted", patience, func() bool { s := forwardStatus(t, a, 1); return s.Errors == 1 && s.Open == 0 })
}

// TestForwardLimit: one connection too many is refused, and when one has gone there is room.
func TestForwardLimit(t *testing.T) {
	f := forwardTo("10.2.0.1:80")
	f.MaxConnections = 2
	a, b, stop := forwardSites(t, f)
	defer stop()
	ln, err := b.Listen("tcp", "10.2.0.1:80")
	serve(t, ln, err, reverser)
	addr := forwardStatus(t, a, 0).Listen
	first, second := dialHost(t, addr), dialHost(t, addr)
	defer second.Close()
	eventually(t, "both are open", patience, func() bool { return forwardStatus(t, a, 0).Open == 2 })
	mustBeReset(t, addr)
	if s := forwardStatus(t, a, 0); s.Limited != 1 || s.Total != 2 || s.MaxConnections != 2 {
		t.Errorf("%+v", s)
	}
	exchange(t, first, []byte("first"))
	eventually(t, "there is room", patience, func() bool { return forwardStatus(t, a, 0).Open == 1 })
	exchange(t, dialHost(t, addr), []byte("fourth"))
}

// TestForwardsEndWithTheEngine: connections of all kinds are open when the engine stops, and nothing stays.
func TestForwardsEndWithTheEngine(t *testing.T) {
	defer leavesNothing(t)()
	host, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	before := 0
	for life := range 5 {
		udp := forwardTo("10.2.0.1:53")
		udp.Protocol = "udp"
		blocked := forwardTo("10.2.77.77:80") // the other site's network has no such host: its stack is silent
		into := warren.ForwardConfig{Listen: netip.MustParseAddrPort("10.1.0.1:22"), To: host.Addr().String()}
		a, b, stop := forwardSites(t, forwardTo("10.2.0.1:80"), udp, into, blocked)
		ln, err := b.Listen("tcp", "10.2.0.1:80") // accepts and never reads, so that writing is blocked
		if err != nil {
			t.Fatal(err)
		}
		addr := forwardStatus(t, a, 0).Listen
		c, u, p := dialHost(t, addr), func() net.Conn {
			c, err := net.Dial("udp", forwardStatus(t, a, 1).Listen.String())
			if err != nil {
				t.Fatal(err)
			}
			return c
		}(), dialHost(t, forwardStatus(t, a, 3).Listen)
		stuck := make(chan error, 1)
		go func() {
			_, err := io.Copy(c, zeros{})
			stuck <- err
		}()
		if _, err := u.Write([]byte("a flow")); err != nil {
			t.Fatal(err)
		}
		back, err := b.DialContext(t.Context(), "tcp", "10.1.0.1:22")
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "all are open", patience, func() bool {
			for i := range 4 {
				if forwardStatus(t, a, i).Open != 1 {
					return false
				}
			}
			return forwardStatus(t, a, 0).SentBytes > 100_000
		})
		stop()
		if err := <-stuck; err == nil {
			t.Error("zeros have an end")
		}
		if n, err := p.Read(make([]byte, 1)); n != 0 || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%d bytes, %v; want a reset", n, err)
		}
		for _, x := range []io.Closer{ln, c, u, p, back} {
			_ = x.Close()
		}
		if c, err := net.Dial("tcp", addr.String()); err == nil {
			_ = c.Close()
			t.Error("something listens still")
		}
		if s := a.Status(); len(s.Forwards) != 0 {
			t.Errorf("%+v", s.Forwards)
		}
		if life == 0 {
			before = descriptors(t)
		}
	}
	// What the host accepted and nobody took out belongs to the listener.
	noMore(t, before)
}

// zeros is an endless stream.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

// TestForwardThatCannotListen: the error says which, and nothing stays open.
func TestForwardThatCannotListen(t *testing.T) {
	defer leavesNothing(t)()
	taken := freeListener(t)
	defer taken.Close()
	free := netip.AddrPortFrom(loopback(), freePort(t))
	cfg, _ := twoSites()
	cfg.Forwards = []warren.ForwardConfig{{Listen: free, To: "10.2.0.1:80"},
		{Listen: netip.MustParseAddrPort(taken.Addr().String()), To: "10.2.0.1:80"}}
	e, err := warren.New(cfg, warren.WithNetwork(sim.New(sim.Config{})))
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("forward %v to 10.2.0.1:80: ", taken.Addr())
	if err := e.Run(t.Context()); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("%v; want %q and that it is in use", err, want)
	}
	if ln, err := net.Listen("tcp", free.String()); err != nil {
		t.Errorf("the first one listens still: %v", err)
	} else {
		_ = ln.Close()
	}
}

// TestForwardOnDemand: by the library and by the control socket, whose client ends it by leaving.
func TestForwardOnDemand(t *testing.T) {
	a, b, stop := forwardSites(t)
	ln, err := b.Listen("tcp", "10.2.0.1:80")
	serve(t, ln, err, reverser)
	f, err := a.Forward(t.Context(), forwardTo("10.2.0.1:80"))
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, dialHost(t, f.Status().Listen), []byte("by the library"))
	held := dialHost(t, f.Status().Listen)
	defer held.Close()
	if err := errors.Join(f.Close(), f.Close()); err != nil {
		t.Error(err)
	}
	if n := len(a.Status().Forwards); n != 0 {
		t.Errorf("%d forwards", n)
	}
	var bad warren.ConfigErrors
	if _, err := a.Forward(t.Context(), forwardTo("example.org:80")); !errors.As(err, &bad) || !strings.Contains(err.Error(), "does not resolve names") {
		t.Errorf("%v", err)
	}

	socket, err := warren.ListenControl(t.Context(), filepath.Join(t.TempDir(), "w.sock"))
	if err != nil {
		t.Fatal(err)
	}
	controlled := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { controlled <- a.ServeControl(ctx, socket) }()
	client := warren.NewClient(socket.Addr().String())
	ask := func() (leave func(), ended chan error) {
		ready, ended := make(chan warren.ForwardStatus, 1), make(chan error, 1)
		ctx, leave := context.WithCancel(context.Background())
		go func() {
			ended <- client.Forward(ctx, forwardTo("10.2.0.1:80"), func(s warren.ForwardStatus) { ready <- s })
		}()
		select {
		case s := <-ready:
			exchange(t, dialHost(t, s.Listen), []byte("by the control socket"))
		case err := <-ended:
			t.Fatal(err)
		}
		return leave, ended
	}
	leave, ended := ask()
	leave()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	eventually(t, "the engine has noticed", patience, func() bool { return len(a.Status().Forwards) == 0 })
	if err := client.Forward(t.Context(), forwardTo("nonsense"), func(warren.ForwardStatus) { t.Error("ready") }); err == nil || !strings.Contains(err.Error(), "no address with a port") {
		t.Errorf("%v", err)
	}
	leave, ended = ask()
	defer leave()
	stop()
	if err := <-ended; !errors.Is(err, warren.ErrForwardEnded) {
		t.Errorf("%v", err)
	}
	cancel()
	if err := <-controlled; err != nil {
		t.Error(err)
	}
	soon, done := context.WithTimeout(t.Context(), time.Millisecond)
	defer done()
	if _, err := a.Forward(soon, forwardTo("10.2.0.1:80")); !errors.Is(err, warren.ErrNotUp) {
		t.Errorf("%v", err)
	}
}
