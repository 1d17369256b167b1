package netstack

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"
)

// listen accepts one connection and gives it to serve.
func listen(t testing.TB, p *Port, a netip.Addr, serve func(net.Conn)) string {
	t.Helper()
	l, err := p.Listen("tcp", netip.AddrPortFrom(a, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return l.Addr().String()
}

func dial(t testing.TB, p *Port, network, address string) net.Conn {
	t.Helper()
	c, err := p.DialContext(ctxFor(t), network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// transfer sends n random bytes from a to b, then all of them back again, and compares. It does not echo as it reads:
// that would have one side stop reading until it can write (see the package's documentation).
func transfer(t testing.TB, p *pair, to netip.Addr, n int) {
	t.Helper()
	addr := listen(t, p.b, to, func(c net.Conn) {
		all, _ := io.ReadAll(c)
		c.Write(all)
		c.Close()
	})
	c := dial(t, p.a, "tcp", addr)
	sent, got := sha256.New(), sha256.New()
	wrote := make(chan error, 1)
	go func() {
		src := io.LimitReader(rand.NewChaCha8([32]byte{1}), int64(n))
		_, err := io.CopyBuffer(io.MultiWriter(struct{ io.Writer }{c}, sent), struct{ io.Reader }{src}, make([]byte, 1<<17))
		if err == nil {
			err = c.(*tcpConn).CloseWrite()
		}
		wrote <- err
	}()
	m, err := io.Copy(got, c)
	if err != nil || m != int64(n) {
		t.Fatalf("got %d of %d bytes back: %v", m, n, err)
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	if string(got.Sum(nil)) != string(sent.Sum(nil)) {
		t.Fatal("content differs")
	}
}

func TestTransfer(t *testing.T) {
	for name, to := range map[string]netip.Addr{"IPv4": b4, "IPv6": b6} {
		t.Run(name+"/cut", func(t *testing.T) {
			p := newPair(t)
			// What is ready to be sent when an acknowledgment comes goes as one packet. On a busy machine that can for once be
			// little: a transfer in a hundred or fewer, and never several in a row.
			for tries := 0; ; tries++ {
				p.ab.packets.Store(0)
				p.ab.runs.Store(0)
				transfer(t, p, to, 8<<20)
				packets, runs := p.ab.packets.Load(), p.ab.runs.Load()
				if packets >= 2*runs {
					break
				}
				if tries == 5 {
					t.Fatalf("%d packets out of %d reads: no super-packets", packets, runs)
				}
			}
			if n := p.a.Stats().ChecksumErrors + p.b.Stats().ChecksumErrors; n != 0 {
				t.Errorf("%d checksum errors", n)
			}
		})
		t.Run(name+"/super", func(t *testing.T) {
			transfer(t, newPair(t, func(a, b *Config, ab, ba *way) { ab.super, ba.super = true, true }), to, 8<<20)
		})
		t.Run(name+"/queues", func(t *testing.T) {
			p := newPair(t, func(a, b *Config, ab, ba *way) { a.Queues, b.Queues = 3, 2 })
			for range 4 {
				transfer(t, p, to, 1<<20)
			}
		})
	}
}

func TestTransferUnderLoss(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	p := newPair(t, func(a, b *Config, ab, ba *way) {
		ab.verdict, ba.verdict = lossy(seed, 0.01), lossy(seed+1, 0.01)
	})
	transfer(t, p, b4, 1<<19)
	if p.a.Stats().TCPRetransmits == 0 {
		t.Error("nothing was sent again: was anything lost?")
	}
}

// A corrupted segment must not get through joined with good neighbours. Which ones are corrupted is random, but for one.
func TestTransferUnderCorruption(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	data := 0
	p := newPair(t, func(a, b *Config, ab, ba *way) {
		ab.verdict = func(p []byte) bool {
			if len(p) <= 200 {
				return true
			}
			if data++; data == 20 || r.Float64() < 0.005 {
				p[100+r.IntN(len(p)-100)] ^= 1 << r.IntN(8)
			}
			return true
		}
	})
	transfer(t, p, b4, 1<<20)
	if p.b.Stats().ChecksumErrors == 0 {
		t.Error("no checksum errors: was anything corrupted?")
	}
}

func TestPacketTooBigIsHonoured(t *testing.T) {
	for name, to := range map[string]netip.Addr{"IPv4": b4, "IPv6": b6} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, func(a, b *Config, ab, ba *way) { ab.mtu.Store(1300) })
			transfer(t, p, to, 1<<20)
			if n := p.ab.tooBig.Load(); n == 0 || n > 100 {
				t.Errorf("%d packets were too big, want a few before the stack learned", n)
			}
		})
	}
}

func TestSetMTU(t *testing.T) {
	p := newPair(t)
	if err := p.a.SetMTU(1300); err != nil || p.a.MTU() != 1300 {
		t.Fatalf("MTU %d, %v", p.a.MTU(), err)
	}
	p.ab.mtu.Store(1300) // nothing larger may come now
	p.ba.mtu.Store(1300)
	transfer(t, p, b6, 1<<20)
	if n := p.ab.tooBig.Load() + p.ba.tooBig.Load(); n != 0 {
		t.Errorf("%d packets were larger than the MTU", n)
	}
	if p.a.SetMTU(1279) == nil || p.a.SetMTU(70000) == nil {
		t.Error("an MTU below IPv6's least or above 65535 was taken")
	}
}

func TestDialErrors(t *testing.T) {
	p := newPair(t)
	ctx := ctxFor(t)
	_, err := p.a.DialContext(ctx, "tcp", netip.AddrPortFrom(b4, 9).String())
	var op *net.OpError
	if !errors.Is(err, syscall.ECONNREFUSED) || !errors.As(err, &op) || op.Op != "dial" || op.Addr.String() != "10.9.0.2:9" {
		t.Errorf("closed port: %v", err)
	}
	for _, bad := range []struct{ network, address string }{
		{"tcp", "example.com:80"}, {"tcp4", "[2001:db8::1]:80"}, {"tcp6", "10.0.0.1:80"}, {"tcp", "10.0.0.1"},
		{"unix", "/x"}, {"tcp", ":80"}, {"udp", "[fe80::1%eth0]:80"}, {"tcp", "10.0.0.1:99999"},
	} {
		if c, err := p.a.DialContext(ctx, bad.network, bad.address); err == nil || !errors.As(err, &op) {
			t.Errorf("dial %s %s: %v, %v", bad.network, bad.address, c, err)
		}
	}
	silent := newPort(t, config("silent", a4))
	short, cancel := context.WithCancel(ctx)
	go func() {
		eventually(t, "a SYN is queued", func() bool {
			q := silent.link.queues[0]
			q.mu.Lock()
			defer q.mu.Unlock()
			return len(q.pkts) > 0
		})
		cancel()
	}()
	if _, err := silent.DialContext(short, "tcp", "10.9.0.77:80"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for _, nobody := range []string{"0.0.0.0:80", "[::]:80"} {
		var ae *net.AddrError
		if _, err := p.a.DialContext(ctx, "tcp", nobody); !errors.As(err, &ae) {
			t.Errorf("dialled %s: %v", nobody, err)
		}
	}
	timeout, cancel2 := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel2()
	_, err = silent.DialContext(timeout, "tcp", "10.9.0.77:80")
	if ne, ok := err.(net.Error); !ok || !ne.Timeout() || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("timed out: %v", err)
	}
	if _, err := silent.DialContext(ctx, "tcp", "[2001:db8::1]:80"); err == nil {
		t.Error("dialled a family of which the stack has no address")
	} else if !errors.Is(err, syscall.EHOSTUNREACH) && !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("no address of the family: %v", err)
	}
}

func TestDialFrom(t *testing.T) {
	p := newPair(t)
	second := netip.MustParseAddr("10.9.0.40")
	if err := p.a.AddAddress(netip.PrefixFrom(second, 24)); err != nil {
		t.Fatal(err)
	}
	from := make(chan net.Addr, 2)
	addr := listen(t, p.b, b4, func(c net.Conn) { from <- c.RemoteAddr(); c.Close() })
	c, err := p.a.DialFrom(ctxFor(t), "tcp", netip.AddrPortFrom(second, 1179), addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := (<-from).String(); got != "10.9.0.40:1179" {
		t.Errorf("came from %s", got)
	}
	if err := p.a.RemoveAddress(second); err != nil {
		t.Fatal(err)
	}
	if _, err := p.a.DialFrom(ctxFor(t), "tcp", netip.AddrPortFrom(second, 0), addr); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("from an address that was removed: %v", err)
	}
	if err := p.a.RemoveAddress(second); err == nil {
		t.Error("removed twice")
	}
	if got := len(p.a.Addresses()); got != 2 {
		t.Errorf("%d addresses", got)
	}
}

func TestListenErrors(t *testing.T) {
	p := newPair(t)
	l, err := p.a.Listen("tcp", "10.9.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	var op *net.OpError
	if _, err := p.a.Listen("tcp", "10.9.0.1:80"); !errors.Is(err, syscall.EADDRINUSE) || !errors.As(err, &op) || op.Op != "listen" {
		t.Errorf("in use: %v", err)
	}
	if _, err := p.a.Listen("tcp", "10.9.0.99:80"); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("not ours: %v", err)
	}
	if _, err := p.a.Listen("udp", "10.9.0.1:80"); err == nil {
		t.Error("listened for UDP connections")
	}
	if _, err := p.a.ListenPacket("tcp", "10.9.0.1:81"); err == nil {
		t.Error("listened for TCP packets")
	}
	woken := make(chan error, 1)
	go func() { _, err := l.Accept(); woken <- err }()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-woken; !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v", err)
	}
	if err := l.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed twice: %v", err)
	}
}

func TestListenOnAllAddresses(t *testing.T) {
	p := newPair(t)
	l, err := p.b.Listen("tcp", ":7777")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, to := range []string{"10.9.0.2:7777", "[2001:db8:9::2]:7777"} {
		dial(t, p.a, "tcp", to)
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got := c.LocalAddr().String(); got != to {
			t.Errorf("accepted on %s, dialled %s", got, to)
		}
	}
	l6, err := p.b.Listen("tcp6", "[::]:7778")
	if err != nil {
		t.Fatal(err)
	}
	defer l6.Close()
	if _, err := p.a.DialContext(ctxFor(t), "tcp", "10.9.0.2:7778"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("IPv4 to a tcp6 listener: %v", err)
	}
}

func TestOwnAddressStaysInside(t *testing.T) {
	p := newPort(t, config("alone", a4))
	addr := listen(t, p, a4, func(c net.Conn) { io.WriteString(c, "hello"); c.Close() })
	c := dial(t, p, "tcp", addr)
	if b, err := io.ReadAll(c); err != nil || string(b) != "hello" {
		t.Errorf("%q %v", b, err)
	}
}

func TestDeadlines(t *testing.T) {
	p := newPair(t)
	addr := listen(t, p.b, b4, func(c net.Conn) {})
	c := dial(t, p.a, "tcp", addr)
	c.SetReadDeadline(time.Now().Add(-time.Second))
	_, err := c.Read(make([]byte, 1))
	if ne, ok := err.(net.Error); !ok || !ne.Timeout() || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read past the deadline: %v", err)
	}
	c.SetReadDeadline(time.Time{})
	woken := make(chan error, 1)
	go func() { _, err := c.Read(make([]byte, 1)); woken <- err }()
	c.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
	if err := <-woken; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("waiting read: %v", err)
	}
	c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	for err = nil; err == nil; {
		_, err = c.Write(make([]byte, 1<<20)) // nobody reads
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write: %v", err)
	}
	if n, err := c.Read(nil); n != 0 || err != nil {
		t.Errorf("read of nothing: %d, %v", n, err)
	}
}

// blocked starts a read and a write that cannot go on.
func blocked(t *testing.T, c net.Conn) chan error {
	c.SetDeadline(time.Time{})
	errs := make(chan error, 2)
	go func() { _, err := c.Read(make([]byte, 1)); errs <- err }()
	wrote := make(chan struct{}, 1)
	go func() {
		for {
			n, err := c.Write(make([]byte, 1<<20))
			if err != nil {
				errs <- err
				return
			}
			if n > 0 {
				select {
				case wrote <- struct{}{}:
				default:
				}
			}
		}
	}()
	<-wrote
	return errs
}

func TestCloseWakesTheConnection(t *testing.T) {
	p := newPair(t)
	addr := listen(t, p.b, b4, func(c net.Conn) {})
	c := dial(t, p.a, "tcp", addr)
	errs := blocked(t, c)
	c.Close()
	for range 2 {
		if err := <-errs; !errors.Is(err, net.ErrClosed) {
			t.Errorf("connection closed: %v", err)
		}
	}
	if err := c.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed again: %v", err)
	}
	c = dial(t, p.a, "tcp", addr)
	errs = blocked(t, c)
	p.a.Close()
	for range 2 {
		if err := <-errs; !errors.Is(err, net.ErrClosed) {
			t.Errorf("port closed: %v", err)
		}
	}
	if _, err := p.a.DialContext(ctxFor(t), "tcp", addr); err == nil {
		t.Error("dialled on a closed port")
	}
	if _, err := p.a.Listen("tcp", "10.9.0.1:90"); err == nil {
		t.Error("listened on a closed port")
	}
}

func TestPeerResets(t *testing.T) {
	p := newPair(t)
	accepted := make(chan net.Conn, 1)
	c := dial(t, p.a, "tcp", listen(t, p.b, b4, func(c net.Conn) { accepted <- c }))
	<-accepted
	p.b.Close() // resets
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) && err != io.EOF {
		t.Errorf("read: %v", err)
	}
}
