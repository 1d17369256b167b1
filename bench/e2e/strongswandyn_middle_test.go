//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/bench/lab"
)

// middle is a router between a and b that takes each of their UDP datagrams in hand: it can delay them, translate a's address as
// a NAT does, forget its mappings, and cut the line. It does so with sockets that pretend to be the other end.
type middle struct {
	host         *lab.Host
	a, b         netip.Addr
	nat          bool
	outside      netip.Addr // the address that a has behind the NAT
	cut          atomic.Bool
	doorman      atomic.Pointer[doorman] // on the way from b; nil for none
	fromA, fromB line

	mu     sync.Mutex
	inner  map[uint16]*net.UDPConn // by port of b: what a believes to be b
	outer  map[mapping]*net.UDPConn
	closed bool
	ended  chan struct{}
}

// A line carries datagrams one way, in order. Its delay wanders between nothing and slow, once to and fro in each period; that
// of the two ways differs. So two ends that do the same at the same time each believe at times to have been the first.
type line struct {
	slow, period time.Duration
	begin        time.Time
	queue        chan delayed
	count        atomic.Int64
}

type delayed struct {
	due  time.Time
	data []byte
	send func([]byte)
}

func newLine(slow, period time.Duration) line {
	return line{slow: slow, period: period, begin: time.Now(), queue: make(chan delayed, 4096)}
}

// delay is that of what is sent now. It falls more slowly than time goes, so that nothing overtakes.
func (l *line) delay(now time.Time) time.Duration {
	phase := 2 * (now.Sub(l.begin) % l.period)
	if phase > l.period {
		phase = 2*l.period - phase
	}
	return l.slow * phase / l.period
}

// carry sends a datagram on when its time has come. What a full line has no room for is lost.
func (l *line) carry(data []byte, send func([]byte)) {
	l.count.Add(1)
	if l.slow == 0 {
		send(data)
		return
	}
	now := time.Now()
	select {
	case l.queue <- delayed{now.Add(l.delay(now)), append([]byte(nil), data...), send}:
	default:
	}
}

func (l *line) run(ended <-chan struct{}) {
	for {
		select {
		case <-ended:
			return
		case d := <-l.queue:
			select {
			case <-ended:
				return
			case <-time.After(time.Until(d.due)):
				d.send(d.data)
			}
		}
	}
}

// mapping is a NAT's: a's port and b's.
type mapping struct{ a, b uint16 }

// Addresses of the hosts with a middle between them.
const (
	middleA, middleB         = "192.0.2.1", "198.51.100.2"
	middleToA, middleOutside = "192.0.2.254", "198.51.100.254"
)

// middleOptions say what is between the ends.
type middleOptions struct {
	nat bool
	// slow is the greatest delay.
	slow time.Duration
}

// newMiddle makes the router's host and links, and opens it for traffic.
func newMiddle(l *lab.Lab, a, b *lab.Host, o middleOptions) (*middle, error) {
	h, err := l.Host("m")
	if err != nil {
		return nil, err
	}
	m := &middle{host: h, a: netip.MustParseAddr(middleA), b: netip.MustParseAddr(middleB), outside: netip.MustParseAddr(middleOutside), nat: o.nat,
		inner: map[uint16]*net.UDPConn{}, outer: map[mapping]*net.UDPConn{}, fromA: newLine(o.slow, 1700*time.Millisecond),
		fromB: newLine(o.slow, 1100*time.Millisecond), ended: make(chan struct{})}
	err = errors.Join(
		l.Connect(lab.Link{A: a, B: h, AddrsA: []string{middleA + "/24"}, AddrsB: []string{middleToA + "/24"}}),
		l.Connect(lab.Link{A: h, B: b, AddrsA: []string{middleOutside + "/24"}, AddrsB: []string{middleB + "/24"}}))
	if err != nil {
		return nil, err
	}
	for _, args := range [][]string{
		// What comes from one side for the other is for the router's own sockets.
		{"rule", "add", "iif", "eth0", "lookup", "100", "pref", "10"}, {"route", "add", "local", middleB + "/32", "dev", "lo", "table", "100"},
		{"rule", "add", "iif", "eth1", "lookup", "101", "pref", "11"}, {"route", "add", "local", middleA + "/32", "dev", "lo", "table", "101"},
	} {
		if err := h.IP(args...); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(a.IP("route", "add", "default", "via", middleToA), b.IP("route", "add", "default", "via", middleOutside)); err != nil {
		return nil, err
	}
	return m, m.open()
}

func (m *middle) open() error {
	go m.fromA.run(m.ended)
	go m.fromB.run(m.ended)
	for _, port := range []uint16{500, 4500} {
		c, err := m.listen(netip.AddrPortFrom(m.b, port))
		if err != nil {
			return err
		}
		m.inner[port] = c
	}
	for port, c := range m.inner { // which is not changed from here on
		go m.outward(c, port)
		if !m.nat {
			if _, err := m.mapped(mapping{port, port}); err != nil {
				return err
			}
		}
	}
	return nil
}

// listen opens a socket of the router's with any address.
func (m *middle) listen(at netip.AddrPort) (c *net.UDPConn, err error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var set error
		err := raw.Control(func(fd uintptr) {
			set = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_TRANSPARENT, 1),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20))
		})
		return errors.Join(err, set)
	}}
	err = m.host.Inside(func() error {
		pc, err := lc.ListenPacket(context.Background(), "udp4", at.String())
		if err == nil {
			c = pc.(*net.UDPConn)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen at %v: %w", at, err)
	}
	return c, nil
}

// mapped returns the socket that stands for a's port towards b's.
func (m *middle) mapped(key mapping) (*net.UDPConn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.outer[key]; c != nil || m.closed {
		return c, nil
	}
	at := netip.AddrPortFrom(m.a, key.a)
	if m.nat {
		at = netip.AddrPortFrom(m.outside, 0)
	}
	c, err := m.listen(at)
	if err != nil {
		return nil, err
	}
	m.outer[key] = c
	go m.inward(c, key)
	return c, nil
}

// outward carries what a sends to one port of b.
func (m *middle) outward(c *net.UDPConn, port uint16) {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		if m.cut.Load() {
			continue
		}
		m.fromA.carry(buf[:n], func(data []byte) {
			if out, err := m.mapped(mapping{from.Port(), port}); err == nil && out != nil {
				_, _ = out.WriteToUDPAddrPort(data, netip.AddrPortFrom(m.b, port)) // what fails is lost
			}
		})
	}
}

// inward carries what b sends to one mapping.
func (m *middle) inward(c *net.UDPConn, key mapping) {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || m.nat && from != netip.AddrPortFrom(m.b, key.b) {
			continue
		}
		if m.cut.Load() {
			continue
		}
		send := func(data []byte) {
			if in := m.inner[from.Port()]; in != nil {
				_, _ = in.WriteToUDPAddrPort(data, netip.AddrPortFrom(m.a, key.a))
			}
		}
		if g := m.doorman.Load(); g == nil || !g.keeps(buf[:n], send) {
			m.fromB.carry(buf[:n], send)
		}
	}
}

// remap forgets all mappings: a's next datagram leaves from another port.
func (m *middle) remap() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, c := range m.outer {
		_ = c.Close()
		delete(m.outer, key)
	}
}

func (m *middle) close() {
	m.remap()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	close(m.ended)
	for _, c := range m.inner {
		_ = c.Close()
	}
}
