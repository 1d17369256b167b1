package netstack

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/waiter"
)

// udpConn is a net.PacketConn and net.Conn over a UDP endpoint. gVisor's own adapter is not used because it sleeps
// through ICMP errors and takes an IPv4 address in 16 bytes for IPv6.
type udpConn struct {
	ep      tcpip.Endpoint
	wq      *waiter.Queue
	port    *Port
	network string
	local   net.Addr
	remote  net.Addr // nil if not connected

	closed          atomic.Bool
	readBy, writeBy deadline
}

// newUDPConn takes over the endpoint.
func (p *Port) newUDPConn(network string, ep tcpip.Endpoint, wq *waiter.Queue) (*udpConn, error) {
	c := &udpConn{ep: ep, wq: wq, port: p, network: network}
	if a, err := ep.GetLocalAddress(); err == nil {
		c.local = &net.UDPAddr{IP: unspecifiedIfEmpty(a.Addr), Port: int(a.Port)}
	}
	if a, err := ep.GetRemoteAddress(); err == nil {
		c.remote = &net.UDPAddr{IP: net.IP(a.Addr.AsSlice()), Port: int(a.Port)}
	}
	if !p.register(c) {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (c *udpConn) LocalAddr() net.Addr  { return c.local }
func (c *udpConn) RemoteAddr() net.Addr { return c.remote }

func (c *udpConn) SetReadDeadline(t time.Time) error  { return c.setDeadline(t, &c.readBy) }
func (c *udpConn) SetWriteDeadline(t time.Time) error { return c.setDeadline(t, &c.writeBy) }
func (c *udpConn) SetDeadline(t time.Time) error      { return c.setDeadline(t, &c.readBy, &c.writeBy) }

func (c *udpConn) setDeadline(t time.Time, ds ...*deadline) error {
	if c.closed.Load() {
		return c.fail("set", c.remote, net.ErrClosed)
	}
	for _, d := range ds {
		d.set(t)
	}
	return nil
}

func (c *udpConn) fail(op string, remote net.Addr, err error) error {
	return opError(op, c.network, c.local, remote, err, c.closed.Load())
}

// await calls try until it does not say that it would block. Errors that the network reports wake it too.
func (c *udpConn) await(events waiter.EventMask, d *deadline, try func() tcpip.Error) error {
	passed := d.passed()
	select {
	case <-passed:
		return os.ErrDeadlineExceeded
	default:
	}
	err := try()
	if _, block := err.(*tcpip.ErrWouldBlock); block {
		entry, ready := waiter.NewChannelEntry(events | waiter.EventErr | waiter.EventHUp)
		c.wq.EventRegister(&entry)
		defer c.wq.EventUnregister(&entry)
		for err = try(); block; err = try() {
			if _, block = err.(*tcpip.ErrWouldBlock); !block {
				break
			}
			select {
			case <-passed:
				return os.ErrDeadlineExceeded
			case <-ready:
			}
		}
	}
	if err == nil {
		return nil
	}
	return errorOf(err)
}

func (c *udpConn) Read(b []byte) (int, error) {
	n, _, err := c.ReadFrom(b)
	return n, err
}

// ReadFrom takes out one datagram; what does not fit b is lost.
func (c *udpConn) ReadFrom(b []byte) (int, net.Addr, error) {
	var res tcpip.ReadResult
	w := tcpip.SliceWriter(b)
	err := c.await(waiter.ReadableEvents, &c.readBy, func() (err tcpip.Error) {
		res, err = c.ep.Read(&w, tcpip.ReadOptions{NeedRemoteAddr: true})
		return err
	})
	if err != nil {
		return 0, nil, c.fail("read", c.remote, err)
	}
	return res.Count, &net.UDPAddr{IP: net.IP(res.RemoteAddr.Addr.AsSlice()), Port: int(res.RemoteAddr.Port)}, nil
}

func (c *udpConn) Write(b []byte) (int, error) { return c.write(b, c.remote, nil) }

// WriteTo sends to a *net.UDPAddr, whose IPv4 address may have either of its forms.
func (c *udpConn) WriteTo(b []byte, to net.Addr) (int, error) {
	ua, ok := to.(*net.UDPAddr)
	if !ok || ua == nil {
		return 0, c.fail("write", to, &net.AddrError{Err: "not a UDP address", Addr: addrText(to)})
	}
	ip, ok := netip.AddrFromSlice(ua.IP)
	if !ok {
		return 0, c.fail("write", to, &net.AddrError{Err: "missing host", Addr: ua.String()})
	}
	full := fullAddress(netip.AddrPortFrom(ip.Unmap(), uint16(ua.Port)))
	return c.write(b, to, &full)
}

func (c *udpConn) write(b []byte, to net.Addr, full *tcpip.FullAddress) (int, error) {
	err := c.await(waiter.WritableEvents, &c.writeBy, func() tcpip.Error {
		_, err := c.ep.Write(bytes.NewReader(b), tcpip.WriteOptions{To: full})
		return err
	})
	if err != nil {
		return 0, c.fail("write", to, err)
	}
	return len(b), nil
}

func addrText(a net.Addr) string {
	if a == nil {
		return "<nil>"
	}
	return a.String()
}

// Close wakes whoever waits in the connection.
func (c *udpConn) Close() error {
	if c.closed.Swap(true) {
		return c.fail("close", c.remote, net.ErrClosed)
	}
	c.port.forget(c)
	c.ep.Close()
	c.wq.Notify(waiter.EventHUp)
	return nil
}

// deadline is a point in time that may be moved while somebody waits for it. The zero deadline never passes.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	ch    chan struct{} // closed once the deadline has passed
}

// passed returns a channel that is closed when the deadline passes.
func (d *deadline) passed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.channel()
}

func (d *deadline) channel() chan struct{} {
	if d.ch == nil {
		d.ch = make(chan struct{})
	}
	return d.ch
}

// set moves the deadline; the zero time takes it away.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fired := d.timer != nil && !d.timer.Stop()
	d.timer = nil
	ch := d.channel()
	select {
	case <-ch:
		fired = true
	default:
	}
	if fired { // the timer closes its own channel, perhaps only now
		ch = make(chan struct{})
		d.ch = ch
	}
	switch left := time.Until(t); {
	case t.IsZero():
	case left <= 0:
		close(ch)
	default:
		d.timer = time.AfterFunc(left, func() { close(ch) })
	}
}
