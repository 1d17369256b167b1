package netstack

import (
	"net"
	"net/netip"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
)

// tcpConn is gVisor's connection with the net package's errors, closed with its port.
type tcpConn struct {
	*gonet.TCPConn
	ep      tcpip.Endpoint
	port    *Port
	network string
	closed  atomic.Bool
	// The stack forgets a connection's addresses when it ends.
	local, remote net.Addr
}

// newTCPConn takes over the endpoint.
func (p *Port) newTCPConn(network string, g *gonet.TCPConn, ep tcpip.Endpoint) (*tcpConn, error) {
	c := &tcpConn{TCPConn: g, ep: ep, port: p, network: network, local: g.LocalAddr(), remote: g.RemoteAddr()}
	if !p.register(c) {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (c *tcpConn) fix(op string, err error) error {
	return opError(op, c.network, c.local, c.remote, err, c.closed.Load())
}

func (c *tcpConn) LocalAddr() net.Addr  { return c.local }
func (c *tcpConn) RemoteAddr() net.Addr { return c.remote }

func (c *tcpConn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, err := c.TCPConn.Read(b)
	return n, c.fix("read", err)
}

func (c *tcpConn) Write(b []byte) (int, error) {
	n, err := c.TCPConn.Write(b)
	return n, c.fix("write", err)
}

// CloseRead and CloseWrite shut down one direction.
func (c *tcpConn) CloseRead() error  { return c.fix("close", c.TCPConn.CloseRead()) }
func (c *tcpConn) CloseWrite() error { return c.fix("close", c.TCPConn.CloseWrite()) }

// SetNoDelay turns Nagle's algorithm off, which is the default here as in the net package.
func (c *tcpConn) SetNoDelay(noDelay bool) error {
	c.ep.SocketOptions().SetDelayOption(!noDelay)
	return nil
}

// SetKeepAlive turns TCP keepalives on or off.
func (c *tcpConn) SetKeepAlive(on bool) error {
	c.ep.SocketOptions().SetKeepAlive(on)
	return nil
}

func (c *tcpConn) Close() error {
	if c.closed.Swap(true) {
		return c.fix("close", net.ErrClosed)
	}
	c.port.forget(c)
	return c.TCPConn.Close()
}

// udpConn is gVisor's UDP socket with the net package's errors, closed with its port.
type udpConn struct {
	*gonet.UDPConn
	port    *Port
	network string
	closed  atomic.Bool
	local   net.Addr
	remote  net.Addr // nil if not connected
}

func (p *Port) newUDPConn(network string, g *gonet.UDPConn) (*udpConn, error) {
	c := &udpConn{UDPConn: g, port: p, network: network, local: g.LocalAddr(), remote: g.RemoteAddr()}
	if !p.register(c) {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (c *udpConn) fix(op string, remote net.Addr, err error) error {
	return opError(op, c.network, c.local, remote, err, c.closed.Load())
}

func (c *udpConn) LocalAddr() net.Addr  { return c.local }
func (c *udpConn) RemoteAddr() net.Addr { return c.remote }

func (c *udpConn) Read(b []byte) (int, error) {
	n, err := c.UDPConn.Read(b)
	return n, c.fix("read", c.remote, err)
}

func (c *udpConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.UDPConn.ReadFrom(b)
	return n, from, c.fix("read", c.remote, err)
}

func (c *udpConn) Write(b []byte) (int, error) {
	n, err := c.UDPConn.Write(b)
	return n, c.fix("write", c.remote, err)
}

// WriteTo sends to a *net.UDPAddr, whose IPv4 address may have either of its forms.
func (c *udpConn) WriteTo(b []byte, to net.Addr) (int, error) {
	ua, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, c.fix("write", to, &net.AddrError{Err: "not a UDP address", Addr: addrText(to)})
	}
	ip, ok := netip.AddrFromSlice(ua.IP)
	if !ok {
		return 0, c.fix("write", to, &net.AddrError{Err: "missing host", Addr: ua.String()})
	}
	n, err := c.UDPConn.WriteTo(b, net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip.Unmap(), uint16(ua.Port))))
	return n, c.fix("write", to, err)
}

func addrText(a net.Addr) string {
	if a == nil {
		return "<nil>"
	}
	return a.String()
}

func (c *udpConn) Close() error {
	if c.closed.Swap(true) {
		return c.fix("close", c.remote, net.ErrClosed)
	}
	c.port.forget(c)
	return c.UDPConn.Close()
}
