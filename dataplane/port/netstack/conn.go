package netstack

import (
	"net"
	"sync/atomic"
	"time"

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

// SetLinger says what Close does with what was not sent yet, as net.TCPConn has it: with 0 it resets the connection.
func (c *tcpConn) SetLinger(seconds int) error {
	c.ep.SocketOptions().SetLinger(tcpip.LingerOption{Enabled: seconds >= 0, Timeout: time.Duration(seconds) * time.Second})
	return nil
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
