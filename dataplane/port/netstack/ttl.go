package netstack

import (
	"fmt"
	"net"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// TTLConn is a UDP connection whose hop limits count, as those of protocols that only speak to neighbours: who receives 255
// knows that no router was on the way (RFC 5082).
type TTLConn interface {
	net.PacketConn
	net.Conn
	// SetTTL sets the TTL or hop limit of what is sent from now on.
	SetTTL(ttl uint8) error
	// ReadTTL takes out one datagram with where it came from and the TTL or hop limit that it came with.
	ReadTTL(b []byte) (n int, from netip.AddrPort, ttl uint8, err error)
}

// ListenTTL is ListenPacket for a connection whose hop limits count.
func (p *Port) ListenTTL(network, address string) (TTLConn, error) {
	pc, err := p.ListenPacket(network, address)
	if err != nil {
		return nil, err
	}
	return pc.(*udpConn).withTTL(), nil
}

// DialTTL connects from a local address and port of UDP to a remote one, for a connection whose hop limits count.
func (p *Port) DialTTL(local, remote netip.AddrPort) (TTLConn, error) {
	fail := func(err error) (TTLConn, error) {
		return nil, opError("dial", "udp", netAddr("udp", local), netAddr("udp", remote), err, false)
	}
	ep, wq, _, err := p.bind("udp", local.String(), udp.ProtocolNumber)
	if err != nil {
		return fail(err)
	}
	if terr := ep.Connect(fullAddress(remote)); terr != nil {
		ep.Close()
		return fail(errorOf(terr))
	}
	c, err := p.newUDPConn("udp", ep, wq)
	if err != nil {
		return fail(err)
	}
	return c.withTTL(), nil
}

func (c *udpConn) withTTL() *udpConn {
	c.ep.SocketOptions().SetReceiveTTL(true)
	c.ep.SocketOptions().SetReceiveHopLimit(true)
	return c
}

func (c *udpConn) SetTTL(ttl uint8) error {
	// An endpoint of IPv6 may send IPv4 too, and one of IPv4 has no hop limit.
	err4 := c.ep.SetSockOptInt(tcpip.IPv4TTLOption, int(ttl))
	err6 := c.ep.SetSockOptInt(tcpip.IPv6HopLimitOption, int(ttl))
	if err4 != nil && err6 != nil {
		return c.fail("set", c.remote, errorOf(err4))
	}
	return nil
}

func (c *udpConn) ReadTTL(b []byte) (n int, from netip.AddrPort, ttl uint8, err error) {
	var res tcpip.ReadResult
	w := tcpip.SliceWriter(b)
	err = c.await(waiter.ReadableEvents, &c.readBy, func() (err tcpip.Error) {
		res, err = c.ep.Read(&w, tcpip.ReadOptions{NeedRemoteAddr: true})
		return err
	})
	if err != nil {
		return 0, from, 0, c.fail("read", c.remote, err)
	}
	a, _ := netip.AddrFromSlice(res.RemoteAddr.Addr.AsSlice())
	from = netip.AddrPortFrom(a.Unmap(), res.RemoteAddr.Port)
	switch cm := &res.ControlMessages; {
	case cm.HasTTL:
		ttl = cm.TTL
	case cm.HasHopLimit:
		ttl = cm.HopLimit
	default:
		return 0, from, 0, c.fail("read", c.remote, fmt.Errorf("datagram of %v without a hop limit", from))
	}
	return res.Count, from, ttl, nil
}
