package tun

import (
	"bytes"

	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
)

// change is one way in which the next packet of a flow may differ from those before.
type change struct {
	name  string
	edit  func(f *flow)
	spoil func(b []byte, l4 int) []byte
	after func(p *packet.Packet)
	size  int // of the payload, relative to the others
	// The families in which it is joined all the same.
	tcp, tcp4, tcp6, udp4, udp6 bool
}

func (c *change) joins(six, udp bool) bool {
	switch {
	case udp && six:
		return c.udp6
	case udp:
		return c.udp4
	case six:
		return c.tcp || c.tcp6
	}
	return c.tcp || c.tcp4
}

func (c *change) make(f *flow, size int) []byte {
	if c.edit != nil {
		c.edit(f)
	}
	b := f.next(fill(max(0, size+c.size), 3))
	l4 := 20
	if f.six {
		l4 = 40
	}
	if c.spoil != nil {
		b = c.spoil(b, l4)
	}
	return b
}

var changes = []change{
	{name: "none", tcp: true, udp4: true, udp6: true},
	{name: "shorter", size: -1, tcp: true, udp4: true, udp6: true},
	{name: "longer", size: 1},
	{name: "empty", size: -1000},
	{name: "PSH", edit: func(f *flow) { f.flags |= tcpPSH }, tcp: true, udp4: true, udp6: true},
	{name: "FIN", edit: func(f *flow) { f.flags |= tcpFIN }, tcp: true, udp4: true, udp6: true},
	{name: "ECE", edit: func(f *flow) { f.flags |= tcpECE }, udp4: true, udp6: true},
	{name: "CWR", edit: func(f *flow) { f.flags |= tcpCWR }, udp4: true, udp6: true},
	{name: "URG", edit: func(f *flow) { f.flags |= 0x20 }, udp4: true, udp6: true},
	{name: "SYN", edit: func(f *flow) { f.flags |= 0x02 }, udp4: true, udp6: true},
	{name: "RST", edit: func(f *flow) { f.flags |= 0x04 }, udp4: true, udp6: true},
	{name: "no ACK", edit: func(f *flow) { f.flags = 0 }, udp4: true, udp6: true},
	{name: "gap", edit: func(f *flow) { f.seq++ }, udp4: true, udp6: true},
	{name: "again", edit: func(f *flow) { f.seq -= 100 }, udp4: true, udp6: true},
	{name: "acknowledgment", edit: func(f *flow) { f.ack++ }, udp4: true, udp6: true},
	{name: "window", edit: func(f *flow) { f.window++ }, udp4: true, udp6: true},
	{name: "timestamp", edit: func(f *flow) { f.options = append([]byte(nil), f.options...); twist(f.options, 7) }, udp4: true, udp6: true},
	{name: "no options", edit: func(f *flow) { f.options = nil }, udp4: true, udp6: true},
	{name: "TOS", edit: func(f *flow) { f.tos ^= 1 }},
	{name: "TTL", edit: func(f *flow) { f.ttl-- }},
	{name: "flow label", edit: func(f *flow) { f.label++ }, tcp4: true, udp4: true},
	{name: "identification with DF", edit: func(f *flow) { f.id += 9 }, tcp: true, udp4: true, udp6: true},
	{name: "DF", edit: func(f *flow) { f.df = false }, tcp6: true, udp6: true},
	{name: "source port", edit: func(f *flow) { f.sport++ }},
	{name: "destination port", edit: func(f *flow) { f.dport++ }},
	{name: "protocol", edit: func(f *flow) { f.udp = !f.udp }},
	{name: "family", edit: func(f *flow) { f.six = !f.six }},
	{name: "payload corrupt", spoil: func(b []byte, _ int) []byte { return twist(b, len(b)-1) }},
	{name: "source address", spoil: func(b []byte, l4 int) []byte { return finish(twist(b, 15)) }},
	{name: "destination address", spoil: func(b []byte, l4 int) []byte { return finish(twist(b, l4-1)) }},
	{name: "urgent pointer", spoil: func(b []byte, l4 int) []byte { return finish(twist(b, l4+19)) }, udp4: true, udp6: true},
	{name: "reserved flag", spoil: func(b []byte, l4 int) []byte { return finish(twist(b, l4+12)) }, udp4: true, udp6: true},
	{name: "more fragments", spoil: func(b []byte, l4 int) []byte {
		if l4 == 20 {
			b[6] |= 0x20
			return finish(b)
		}
		b[6] = wire.ProtoFragment
		return b
	}},
	{name: "fragment", spoil: func(b []byte, l4 int) []byte {
		if l4 == 20 {
			b[7]++
			return finish(b)
		}
		b[6] = wire.ProtoDestOpts
		return b
	}},
	{name: "IPv4 options", spoil: func(b []byte, l4 int) []byte {
		if l4 == 20 {
			b = append(append(bytes.Clone(b[:20]), 1, 1, 1, 1), b[20:]...)
			b[0]++
			return finish(b)
		}
		b[6] = wire.ProtoHopByHop
		return b
	}},
	{name: "IPv4 checksum", spoil: func(b []byte, l4 int) []byte {
		if l4 == 40 {
			return twist(b, 39)
		}
		return twist(b, 10)
	}},
	{name: "length", spoil: func(b []byte, _ int) []byte { return append(b, 0) }},
	{name: "cut off", spoil: func(b []byte, _ int) []byte { return b[:len(b)-1] }},
	{name: "cut off short", spoil: func(b []byte, l4 int) []byte { return b[:l4+3] }},
	{name: "TCP header too short", spoil: func(b []byte, l4 int) []byte {
		if l4+12 < len(b) {
			b[l4+12] = 0x40
		}
		return finish(b)
	}, udp4: true, udp6: true},
	{name: "no checksum", spoil: func(b []byte, l4 int) []byte {
		at := l4 + 6
		if b[9] == 6 && l4 == 20 || b[6] == 6 && l4 == 40 {
			at = l4 + 16
		}
		b[at], b[at+1] = 0, 0
		return b
	}},
	{name: "dropped", after: func(p *packet.Packet) { p.Drop = packet.NoRoute }},
	{name: "unfinished", after: func(p *packet.Packet) {
		p.Offload = wire.Offload{NeedsCsum: true, CsumStart: uint16(p.Len - 10), CsumOffset: 6}
	}},
	{name: "neither 4 nor 6", spoil: func(b []byte, l4 int) []byte { b[0] = 0x50; return b }},
}

func twist(b []byte, at int) []byte {
	if at < len(b) {
		b[at] ^= 1
	}
	return b
}
