package capture

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/wire"
)

// maxOuter is the longest outer header: IPv6 and UDP.
const maxOuter = wire.IPv6HeaderLen + wire.UDPHeaderLen

// outer knows which headers an underlay's frames travel behind.
type outer struct {
	local netip.AddrPort
	udp   bool
	proto uint8 // behind the IP header
}

// outers are the underlays that an interface's frames travel through. Workers find theirs without a lock, and add one that is
// new.
type outers struct {
	all atomic.Pointer[[]underlayOuter]
}

type underlayOuter struct {
	underlay dataplane.Underlay
	outer    outer
}

// maxOuters is how many underlays are told apart; an engine has two for each address and key. Later ones look like the last.
const maxOuters = 256

func (o *outers) index(u dataplane.Underlay) uint8 {
	for {
		old := o.all.Load()
		var all []underlayOuter
		if old != nil {
			all = *old
		}
		for i := range all {
			if all[i].underlay == u {
				return uint8(i)
			}
		}
		if len(all) == maxOuters {
			return maxOuters - 1
		}
		more := append(slices.Clip(all), underlayOuter{u, outerOf(u)})
		if o.all.CompareAndSwap(old, &more) {
			return uint8(len(all))
		}
	}
}

func (o *outers) at(i uint8) *outer { return &(*o.all.Load())[i].outer }

// protocoler is an underlay of raw sockets that says which IP protocol it carries; others carry ESP.
type protocoler interface{ Protocol() uint8 }

func outerOf(u dataplane.Underlay) outer {
	o := outer{local: u.Local(), udp: u.Encap().UDP, proto: wire.ProtoESP}
	if p, ok := u.(protocoler); ok {
		o.proto = p.Protocol()
	}
	if o.udp {
		o.proto = wire.ProtoUDP
	}
	return o
}

// ttl is what the made-up headers say.
const ttl = 64

// put writes to b, which holds maxOuter bytes, the headers in front of a frame, and returns them. data is what was
// captured of the frame's m.length bytes. The UDP checksum is left out where that is allowed (IPv4) or where the frame
// was cut, so that it cannot be known.
func (o *outer) put(b []byte, m *meta, data []byte) []byte {
	src, dst := o.localFor(m.remote), m.remote
	if m.dir == inbound {
		src, dst = dst, src
	}
	payload := m.length
	if o.udp {
		payload += wire.UDPHeaderLen
	}
	n := o.putIP(b, m, src.Addr(), dst.Addr(), payload)
	if !o.udp {
		return b[:n]
	}
	u := b[n : n+wire.UDPHeaderLen]
	binary.BigEndian.PutUint16(u, src.Port())
	binary.BigEndian.PutUint16(u[2:], dst.Port())
	binary.BigEndian.PutUint16(u[4:], uint16(payload))
	u[6], u[7] = 0, 0
	if dst.Addr().Is6() && len(data) == m.length {
		sum := wire.Sum(data, wire.Sum(u, wire.PseudoSum(b, wire.ProtoUDP, payload)))
		c := ^wire.Fold(sum)
		if c == 0 {
			c = 0xffff
		}
		binary.BigEndian.PutUint16(u[6:], c)
	}
	return b[:n+wire.UDPHeaderLen]
}

func (o *outer) putIP(b []byte, m *meta, src, dst netip.Addr, payload int) int {
	if dst.Is4() {
		clear(b[:wire.IPv4HeaderLen])
		b[0], b[1], b[8], b[9] = 0x45, m.tos, ttl, o.proto
		binary.BigEndian.PutUint16(b[2:], uint16(wire.IPv4HeaderLen+payload))
		if m.df {
			b[6] = 0x40
		}
		s, d := src.As4(), dst.As4()
		copy(b[12:], s[:])
		copy(b[16:], d[:])
		wire.SetIPv4Checksum(b)
		return wire.IPv4HeaderLen
	}
	clear(b[:wire.IPv6HeaderLen])
	binary.BigEndian.PutUint16(b, 0x6000|uint16(m.tos)<<4)
	binary.BigEndian.PutUint16(b[4:], uint16(payload))
	b[6], b[7] = o.proto, ttl
	s, d := src.As16(), dst.As16()
	copy(b[8:], s[:])
	copy(b[24:], d[:])
	return wire.IPv6HeaderLen
}

// localFor is our own address towards a peer: unspecified, but of its family, where the system chooses it.
func (o *outer) localFor(remote netip.AddrPort) netip.AddrPort {
	a := o.local.Addr().Unmap()
	if a.IsValid() && a.Is4() == remote.Addr().Is4() {
		return netip.AddrPortFrom(a, o.local.Port())
	}
	if remote.Addr().Is4() {
		return netip.AddrPortFrom(netip.IPv4Unspecified(), o.local.Port())
	}
	return netip.AddrPortFrom(netip.IPv6Unspecified(), o.local.Port())
}
