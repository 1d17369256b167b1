package netstack

import (
	"net"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// TTLConn is a UDP connection whose hop limits count, as those of protocols that only speak to neighbours: who receives 255
// knows that no router was on the way (RFC 5082). [Port.TakeUDP] says what came with which.
type TTLConn interface {
	net.Conn
	// SetTTL sets the TTL or hop limit of what is sent from now on.
	SetTTL(ttl uint8) error
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
	return c, nil
}

// SetTTL is of [TTLConn].
func (c *udpConn) SetTTL(ttl uint8) error {
	// An endpoint of IPv6 may send IPv4 too, and one of IPv4 has no hop limit.
	err4 := c.ep.SetSockOptInt(tcpip.IPv4TTLOption, int(ttl))
	err6 := c.ep.SetSockOptInt(tcpip.IPv6HopLimitOption, int(ttl))
	if err4 != nil && err6 != nil {
		return c.fail("set", c.remote, errorOf(err4))
	}
	return nil
}
