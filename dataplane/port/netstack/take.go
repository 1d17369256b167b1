package netstack

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/warrenvpn/warren/dataplane/wire"
)

// Datagram is what TakeUDP hands over: where it came from, the TTL or hop limit that it came with, and a payload that is borrowed until
// the call returns.
type Datagram func(from netip.AddrPort, ttl uint8, payload []byte)

// takers are by port. They are never changed, but replaced.
type takers map[uint16]Datagram

// TakeUDP has whole datagrams to a port of any of the stack's addresses handed to take by the worker that has them, instead of to a
// socket that somebody must be woken to read: for a protocol that hears a little all the time. As all that workers call, take must
// not wait. Datagrams in fragments, and those that the stack sends to itself, are lost. The port is taken until release is called.
func (p *Port) TakeUDP(port uint16, take Datagram) (release func(), err error) {
	at := netip.AddrPortFrom(netip.IPv6Unspecified(), port)
	ep, wq, _, err := p.bind("udp", at.String(), udp.ProtocolNumber) // so that nobody else has it
	if err != nil {
		return nil, opError("listen", "udp", netAddr("udp", at), nil, err, false)
	}
	c, err := p.newUDPConn("udp", ep, wq)
	if err != nil {
		return nil, opError("listen", "udp", netAddr("udp", at), nil, err, false)
	}
	p.setTaker(port, take)
	return sync.OnceFunc(func() {
		p.setTaker(port, nil)
		_ = c.Close() // fails if the port was closed before
	}), nil
}

func (p *Port) setTaker(port uint16, take Datagram) {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := takers{}
	if old := p.link.takers.Load(); old != nil {
		maps.Copy(all, *old)
	}
	if all[port] = take; take == nil {
		delete(all, port)
	}
	p.link.takers.Store(&all)
	if len(all) == 0 {
		p.link.takers.Store(nil)
	}
}

// take hands a complete packet to whoever takes such, and says whether somebody has. What is not in order is left to the stack, which
// counts it.
func (l *link) take(b []byte) bool {
	all := l.takers.Load()
	if all == nil {
		return false
	}
	var info wire.Info
	if wire.Parse(b, &info, false) != wire.OK || info.Proto != wire.ProtoUDP || info.Flags&(wire.FlagFragment|wire.FlagPorts) != wire.FlagPorts {
		return false
	}
	take := (*all)[info.DstPort]
	if take == nil || !l.isTo(&info) {
		return false
	}
	b = b[:wire.Length(b)]
	if info.Version == 4 && wire.Checksum(b[:info.HdrLen], 0) != 0 {
		return false
	}
	u := b[info.HdrLen:]
	n := int(binary.BigEndian.Uint16(u[4:]))
	if n < wire.UDPHeaderLen || n > len(u) {
		return false
	}
	u = u[:n]
	without := info.Version == 4 && u[6] == 0 && u[7] == 0
	if !without && (u[6]|u[7] == 0 || wire.Checksum(u, wire.PseudoSum(b, wire.ProtoUDP, n)) != 0) {
		return false
	}
	take(netip.AddrPortFrom(info.SrcAddr(), info.SrcPort), info.TTL, u[wire.UDPHeaderLen:])
	return true
}

// isTo says whether a packet is to one of the stack's addresses.
func (l *link) isTo(info *wire.Info) bool {
	own := l.own.Load()
	if own == nil {
		return false
	}
	var is bool
	if dst := info.DstAddr(); dst.Is4() {
		_, is = (*own)[tcpip.AddrFrom4(dst.As4())]
	} else {
		_, is = (*own)[tcpip.AddrFrom16(dst.As16())]
	}
	return is
}
