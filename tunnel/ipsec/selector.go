package ipsec

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/warrenvpn/warren/dataplane/wire"
)

// Selector is one traffic selector: a range of addresses, a protocol, a range of ports (RFC 7296 section 3.13.1, RFC 4301
// section 4.4.1.1).
type Selector struct {
	From, To netip.Addr
	// Proto is the upper-layer protocol, 0 for any.
	Proto uint8
	// FromPort and ToPort bound the port; for ICMP, type and code in the two octets. 0 and 65535 mean any. A packet without ports,
	// such as a later fragment, matches only a selector for any port.
	FromPort, ToPort uint16
}

// PrefixSelector selects all traffic of a prefix.
func PrefixSelector(p netip.Prefix) Selector {
	p = p.Masked()
	return Selector{From: p.Addr(), To: lastAddr(p), ToPort: 65535}
}

// lastAddr returns the highest address of a masked prefix.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// String writes the selector as strongSwan does: "10.0.0.0..10.0.0.255[tcp/80]".
func (s Selector) String() string {
	out := s.From.String()
	if p, ok := s.prefix(); ok {
		out = p.String()
	} else if s.To != s.From {
		out += ".." + s.To.String()
	}
	if s.Proto == 0 && s.FromPort == 0 && s.ToPort == 65535 {
		return out
	}
	proto := map[uint8]string{0: "", wire.ProtoTCP: "tcp", wire.ProtoUDP: "udp", wire.ProtoICMP: "icmp", wire.ProtoICMPv6: "ipv6-icmp", wire.ProtoGRE: "gre"}
	name, ok := proto[s.Proto]
	if !ok {
		name = fmt.Sprint(s.Proto)
	}
	switch {
	case s.FromPort == 0 && s.ToPort == 65535:
		return out + "[" + name + "]"
	case s.FromPort == s.ToPort:
		return fmt.Sprintf("%s[%s/%d]", out, name, s.FromPort)
	}
	return fmt.Sprintf("%s[%s/%d-%d]", out, name, s.FromPort, s.ToPort)
}

// prefix returns the prefix that the range is, where it is one.
func (s Selector) prefix() (netip.Prefix, bool) {
	for bits := 0; bits <= s.From.BitLen(); bits++ {
		p := netip.PrefixFrom(s.From, bits)
		if p.Masked() == p && lastAddr(p) == s.To {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// Validate says what is wrong with a selector, if anything.
func (s Selector) Validate() error {
	switch {
	case !s.From.IsValid() || !s.To.IsValid() || s.From.Is4() != s.To.Is4() || s.From.Is4In6():
		return fmt.Errorf("traffic selector: %v and %v are not the ends of one range", s.From, s.To)
	case s.To.Less(s.From):
		return fmt.Errorf("traffic selector: range ends at %v before it begins at %v", s.To, s.From)
	case s.ToPort < s.FromPort:
		return fmt.Errorf("traffic selector: port range ends at %d before it begins at %d", s.ToPort, s.FromPort)
	}
	return nil
}

// rule is a selector in the form that packets are compared with.
type rule struct {
	from, to         wire.Key6
	version, proto   uint8
	fromPort, toPort uint16
}

func (r *rule) covers(version uint8, addr wire.Key6, proto uint8, port uint16, ports bool) bool {
	if r.version != version || less(addr, r.from) || less(r.to, addr) || r.proto != 0 && r.proto != proto {
		return false
	}
	if r.fromPort == 0 && r.toPort == 65535 {
		return true
	}
	return ports && r.fromPort <= port && port <= r.toPort
}

func less(a, b wire.Key6) bool {
	return cmp.Or(cmp.Compare(a.Hi, b.Hi), cmp.Compare(a.Lo, b.Lo)) < 0
}

// matcher says whether a packet is covered by a child SA's selectors. It is immutable.
type matcher struct {
	// any4 and any6: everything of that family is covered, which is the whole check for route-based tunnels.
	any4, any6 bool
	// ports: something depends on ports, which a datagram's later fragments do not show.
	ports         bool
	local, remote []rule
}

func newMatcher(local, remote []Selector) *matcher {
	m := &matcher{local: rules(local), remote: rules(remote)}
	m.any4 = coversAll(m.local, 4) && coversAll(m.remote, 4)
	m.any6 = coversAll(m.local, 6) && coversAll(m.remote, 6)
	m.ports = slices.ContainsFunc(slices.Concat(m.local, m.remote), func(r rule) bool { return r.fromPort != 0 || r.toPort != 65535 })
	return m
}

func rules(ss []Selector) []rule {
	rs := make([]rule, len(ss))
	for i, s := range ss {
		rs[i] = rule{wire.KeyOf(s.From), wire.KeyOf(s.To), 6, s.Proto, s.FromPort, s.ToPort}
		if s.From.Is4() {
			rs[i].version = 4
		}
	}
	return rs
}

func coversAll(rs []rule, version uint8) bool {
	last := wire.Key6{Lo: 0xffffffff}
	if version == 6 {
		last = wire.Key6{Hi: ^uint64(0), Lo: ^uint64(0)}
	}
	for _, r := range rs {
		if r.version == version && r.from == (wire.Key6{}) && r.to == last && r.proto == 0 && r.fromPort == 0 && r.toPort == 65535 {
			return true
		}
	}
	return false
}

// outbound says whether a packet that we send is covered: from a local selector to a remote one.
func (m *matcher) outbound(i *wire.Info) bool {
	if m.all(i.Version) {
		return true
	}
	ports := i.Flags&wire.FlagPorts != 0
	return anyCovers(m.local, i.Version, i.Src, i.Proto, i.SrcPort, ports) &&
		anyCovers(m.remote, i.Version, i.Dst, i.Proto, i.DstPort, ports)
}

// inbound says whether a packet that arrived is covered: from a remote selector to a local one.
func (m *matcher) inbound(i *wire.Info) bool {
	if m.all(i.Version) {
		return true
	}
	ports := i.Flags&wire.FlagPorts != 0
	return anyCovers(m.remote, i.Version, i.Src, i.Proto, i.SrcPort, ports) &&
		anyCovers(m.local, i.Version, i.Dst, i.Proto, i.DstPort, ports)
}

func (m *matcher) all(version uint8) bool {
	return version == 4 && m.any4 || version == 6 && m.any6
}

func anyCovers(rs []rule, version uint8, addr wire.Key6, proto uint8, port uint16, ports bool) bool {
	for i := range rs {
		if rs[i].covers(version, addr, proto, port, ports) {
			return true
		}
	}
	return false
}
