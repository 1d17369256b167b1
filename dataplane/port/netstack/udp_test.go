package netstack

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
)

func listenPacket(t testing.TB, p *Port, network, address string) net.PacketConn {
	t.Helper()
	c, err := p.ListenPacket(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

func TestUDP(t *testing.T) {
	p := newPair(t)
	server := listenPacket(t, p.b, "udp", ":5353")
	for _, to := range []netip.Addr{b4, b6} {
		c := dial(t, p.a, "udp", netip.AddrPortFrom(to, 5353).String())
		for _, size := range []int{0, 1, 1300, 8000} { // the last in fragments
			msg := bytes.Repeat([]byte{byte(size)}, size)
			if _, err := c.Write(msg); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 1<<16)
			n, from, err := server.ReadFrom(buf)
			if err != nil || !bytes.Equal(buf[:n], msg) || from.String() != c.LocalAddr().String() {
				t.Fatalf("%d bytes: got %d from %v, %v", size, n, from, err)
			}
			if _, err := server.WriteTo(msg, from); err != nil {
				t.Fatal(err)
			}
			if n, err := c.Read(buf); err != nil || !bytes.Equal(buf[:n], msg) {
				t.Fatalf("%d bytes came back as %d: %v", size, n, err)
			}
		}
	}
}

func TestUDPErrors(t *testing.T) {
	p := newPair(t)
	c := listenPacket(t, p.a, "udp4", "10.9.0.1:0")
	if _, err := p.a.ListenPacket("udp", c.LocalAddr().String()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("in use: %v", err)
	}
	other := listenPacket(t, p.b, "udp", "10.9.0.2:99")
	// net.ParseIP gives IPv4 addresses in 16 bytes.
	if _, err := c.WriteTo([]byte("x"), &net.UDPAddr{IP: net.ParseIP("10.9.0.2"), Port: 99}); err != nil {
		t.Errorf("to a mapped address: %v", err)
	}
	if n, _, err := other.ReadFrom(make([]byte, 9)); n != 1 || err != nil {
		t.Errorf("from a mapped address: %d, %v", n, err)
	}
	var op *net.OpError
	for _, to := range []net.Addr{nil, &net.TCPAddr{}, &net.UDPAddr{Port: 1}} {
		if _, err := c.WriteTo([]byte("x"), to); !errors.As(err, &op) {
			t.Errorf("to %v: %v", to, err)
		}
	}
	if _, err := c.WriteTo(make([]byte, 70000), other.LocalAddr()); !errors.Is(err, syscall.EMSGSIZE) {
		t.Errorf("70000 bytes: %v", err)
	}
	connected := dial(t, p.a, "udp", "10.9.0.2:100")
	connected.Write([]byte("x"))
	if _, err := connected.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody there: %v", err)
	}
	c.SetDeadline(time.Time{})
	woken := make(chan error, 1)
	go func() { _, _, err := c.ReadFrom(make([]byte, 1)); woken <- err }()
	c.Close()
	if err := <-woken; !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func TestUDPDeadlines(t *testing.T) {
	p := newPair(t)
	c := listenPacket(t, p.a, "udp", ":0")
	b := make([]byte, 1)
	for _, d := range []time.Duration{-time.Second, 5 * time.Millisecond, time.Nanosecond, 3 * time.Millisecond} {
		c.SetReadDeadline(time.Now().Add(d))
		if _, _, err := c.ReadFrom(b); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%v: %v", d, err)
		}
	}
	c.SetDeadline(time.Now().Add(-time.Second))
	if _, err := c.WriteTo(b, &net.UDPAddr{IP: b4.AsSlice(), Port: 9}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write: %v", err)
	}
	c.SetDeadline(time.Time{})
	woken := make(chan error, 1)
	go func() { _, _, err := c.ReadFrom(b); woken <- err }()
	c.SetReadDeadline(time.Now().Add(-time.Second)) // also wakes who waits already
	if err := <-woken; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("waiting: %v", err)
	}
}

func TestPing(t *testing.T) {
	p := newPair(t)
	for _, to := range []netip.Addr{b4, b6, a4, netip.AddrFrom16(b4.As16())} {
		if rtt, err := p.a.Ping(ctxFor(t), to); err != nil || rtt <= 0 || rtt > patience {
			t.Errorf("ping %v: %v, %v", to, rtt, err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, err := p.a.Ping(ctx, netip.MustParseAddr("10.9.0.77"))
	var op *net.OpError
	if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &op) || !op.Timeout() {
		t.Errorf("nobody there: %v", err)
	}
	if _, err := p.a.Ping(ctx, netip.Addr{}); err == nil {
		t.Error("pinged nothing")
	}
}

// The second request is answered where the first was lost, and its time counts: the whole took longer by the interval at least.
func TestPingAsksAgain(t *testing.T) {
	var requests atomic.Int64
	p := newPair(t, func(a, b *Config, ab, ba *way) {
		ab.verdict = func(b []byte) bool {
			request := b[0]>>4 == 6 && b[6] == wire.ProtoICMPv6 && b[wire.IPv6HeaderLen] == 128
			return !request || requests.Add(1) > 1
		}
	})
	began := time.Now()
	rtt, err := p.a.Ping(ctxFor(t), b6)
	took := time.Since(began)
	if err != nil || rtt <= 0 || rtt > took-pingInterval || requests.Load() < 2 {
		t.Errorf("rtt %v of %v, %d requests, %v: the time of the request that was answered counts", rtt, took, requests.Load(), err)
	}
}

func TestHandleTCPAndUDP(t *testing.T) {
	p := newPair(t)
	anywhere := "192.0.2.77:443"
	if _, err := p.a.DialContext(shortCtx(t), "tcp", anywhere); err == nil {
		t.Fatal("connected to an address that nobody has")
	}
	greet := func(dst netip.AddrPort, c net.Conn) {
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		var b [64]byte
		n, _ := c.Read(b[:])
		io.WriteString(c, dst.String()+" says "+string(b[:n]))
	}
	if err := p.b.HandleTCP(greet); err != nil {
		t.Fatal(err)
	}
	if err := p.b.HandleUDP(greet); err != nil {
		t.Fatal(err)
	}
	for _, network := range []string{"tcp", "udp"} {
		for _, to := range []string{anywhere, "[2001:db8:77::1]:80"} {
			c := dial(t, p.a, network, to)
			io.WriteString(c, "hello")
			b := make([]byte, 64)
			n, err := io.ReadAtLeast(c, b, len(to)+len(" says hello"))
			if got := string(b[:n]); err != nil || got != to+" says hello" {
				t.Errorf("%s %s: %q, %v", network, to, got, err)
			}
		}
	}
	// Own listeners come first.
	own := dial(t, p.a, "tcp", listen(t, p.b, b4, func(c net.Conn) { io.WriteString(c, "listener"); c.Close() }))
	if b, err := io.ReadAll(own); err != nil || string(b) != "listener" {
		t.Errorf("%q %v", b, err)
	}
	p.b.HandleTCP(nil)
	p.b.HandleUDP(nil)
	if _, err := p.a.DialContext(shortCtx(t), "tcp", anywhere); err == nil {
		t.Error("connected without a handler")
	}
	p.b.Close()
	if err := p.b.HandleTCP(greet); !errors.Is(err, net.ErrClosed) {
		t.Errorf("on a closed port: %v", err)
	}
}

func shortCtx(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func TestCloseEndsHandlers(t *testing.T) {
	p := newPair(t)
	got := make(chan error, 1)
	p.b.HandleTCP(func(_ netip.AddrPort, c net.Conn) {
		_, err := c.Read(make([]byte, 1))
		got <- err
	})
	dial(t, p.a, "tcp", "192.0.2.77:443")
	eventually(t, "the handler runs", func() bool {
		p.b.mu.Lock()
		defer p.b.mu.Unlock()
		return len(p.b.open) == 1
	})
	p.b.Close()
	select {
	case err := <-got:
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("the handler's connection: %v", err)
		}
	default:
		t.Error("the handler is still running")
	}
}

// udpPacket is a UDP packet over IPv4 from b4 to somewhere.
func udpPacket(dst netip.Addr, ttl uint8, payload int) []byte {
	b := make([]byte, 28+payload)
	b[0], b[8], b[9] = 0x45, ttl, wire.ProtoUDP
	s, d := b4.As4(), dst.As4()
	copy(b[12:], s[:])
	copy(b[16:], d[:])
	b[2], b[3] = byte(len(b)>>8), byte(len(b))
	b[21], b[23], b[24], b[25] = 7, 7, byte((8+payload)>>8), byte(8+payload)
	wire.SetIPv4Checksum(b)
	return b
}

func inject(p *Port, data ...[]byte) []packet.Packet {
	b := packet.NewBatch(1 << 20)
	for _, d := range data {
		b.Commit(0, copy(b.Space(len(d)), d))
	}
	p.NewWriter().Write(b.Packets())
	return b.Packets()
}

func TestForwarding(t *testing.T) {
	out := netip.MustParseAddr("198.51.100.9")
	for _, on := range []bool{true, false} {
		c := config("router", a4)
		c.Forwarding = on
		p := newPort(t, c)
		inject(p, udpPacket(out, 9, 100), udpPacket(out, 1, 100), udpPacket(a4, 9, 100))
		want := []uint8{8, 0} // forwarded, time exceeded; and what came for ourselves: port unreachable
		if !on {
			want = nil
		}
		b := packet.NewBatch(1 << 18)
		if err := p.Readers()[0].Read(b); err != nil {
			t.Fatal(err)
		}
		got := b.Packets()
		if len(got) != len(want)+1 {
			t.Fatalf("forwarding %v: %d packets", on, len(got))
		}
		if on {
			if got[0].Bytes()[8] != 8 || got[0].Bytes()[9] != wire.ProtoUDP {
				t.Errorf("forwarded with TTL %d", got[0].Bytes()[8])
			}
			if b := got[1].Bytes(); b[9] != wire.ProtoICMP || b[20] != 11 {
				t.Errorf("protocol %d type %d, want time exceeded", b[9], b[20])
			}
		}
		if b := got[len(got)-1].Bytes(); b[9] != wire.ProtoICMP || b[20] != 3 || b[21] != 3 {
			t.Errorf("protocol %d type %d, want port unreachable", b[9], b[20])
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	p := newPort(t, config("a", a4))
	pkts := inject(p, []byte{0x75, 0, 0}, []byte{0x45})
	if pkts[0].Drop != packet.NotIP || pkts[1].Drop != packet.None {
		t.Errorf("drops %v %v", pkts[0].Drop, pkts[1].Drop)
	}
	p.Close()
	p.Close()
	if pkts := inject(p, udpPacket(a4, 9, 9)); pkts[0].Drop != packet.PortDown {
		t.Errorf("drop %v on a closed port", pkts[0].Drop)
	}
}

func TestCloseWakesReaders(t *testing.T) {
	c := config("a", a4)
	c.Queues = 3
	p := newPort(t, c)
	errs := make(chan error, 3)
	for _, r := range p.Readers() {
		go func() { errs <- r.Read(packet.NewBatch(1 << 17)) }()
	}
	p.Close()
	for range 3 {
		if err := <-errs; !errors.Is(err, dataplane.ErrClosed) {
			t.Errorf("woken with %v", err)
		}
	}
}

// What the stack sent before the port was closed leaves: resets of connections are the last of it.
func TestCloseLeavesWhatIsQueued(t *testing.T) {
	p := newPort(t, config("a", a4))
	pc := listenPacket(t, p, "udp", ":0")
	for range 3 {
		if _, err := pc.WriteTo([]byte("x"), &net.UDPAddr{IP: b4.AsSlice(), Port: 9}); err != nil {
			t.Fatal(err)
		}
	}
	p.Close()
	b := packet.NewBatch(1 << 17)
	if err := p.Readers()[0].Read(b); err != nil || b.Len() != 3 {
		t.Errorf("%d packets of 3, %v", b.Len(), err)
	}
	if err := p.Readers()[0].Read(b); !errors.Is(err, dataplane.ErrClosed) {
		t.Errorf("behind the last: %v", err)
	}
}

func TestFullQueueDropsAndCounts(t *testing.T) {
	c := config("a", a4)
	c.QueueBytes = 1 << 17
	p := newPort(t, c)
	pc := listenPacket(t, p, "udp", ":0")
	const all = 1000
	for range all {
		if _, err := pc.WriteTo(make([]byte, 1000), &net.UDPAddr{IP: b4.AsSlice(), Port: 9}); err != nil {
			t.Fatal(err) // as with a kernel, nobody learns of a full queue
		}
	}
	full := int(p.Stats().QueueFull)
	sent := all - full
	if sent < 10 || sent > 1<<17/1000 {
		t.Errorf("%d sent, %d refused", sent, full)
	}
	b := packet.NewBatch(1 << 20)
	read, lost := 0, 0
	for read < sent {
		if err := p.Readers()[0].Read(b); err != nil {
			t.Fatal(err)
		}
		read += b.Len()
		lost += b.Lost
	}
	if lost != full {
		t.Errorf("the worker is told of %d refused, want %d", lost, full)
	}
	if _, err := pc.WriteTo([]byte("x"), &net.UDPAddr{IP: b4.AsSlice(), Port: 9}); err != nil {
		t.Fatal(err)
	}
	if got := int(p.Stats().QueueFull); got != full {
		t.Errorf("the emptied queue refused %d", got-full)
	}
}

// A queue smaller than the window costs speed, not correctness.
func TestTransferThroughSmallQueue(t *testing.T) {
	p := newPair(t, func(a, b *Config, ab, ba *way) { a.QueueBytes = 1 << 17 })
	transfer(t, p, b4, 1<<20)
}

func TestConfigSaysAllThatIsWrong(t *testing.T) {
	_, err := New(Config{
		MTU: 1000, Queues: 1000, QueueBytes: 5,
		Addresses: []netip.Prefix{netip.MustParsePrefix("2001:db8::1/64"), netip.MustParsePrefix("224.0.0.1/24"), {}},
	})
	for _, want := range []string{"no name", "MTU 1000, want 1280", "1000 queues", "224.0.0.1/24", "not valid", "5 bytes"} {
		if err == nil || !bytes.Contains([]byte(err.Error()), []byte(want)) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	if _, err := New(Config{Name: "a", Addresses: []netip.Prefix{netip.PrefixFrom(a4, 24), netip.PrefixFrom(a4, 24)}}); err == nil {
		t.Error("an address was taken twice")
	}
}
