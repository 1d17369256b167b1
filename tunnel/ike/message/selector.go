package message

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
)

const selectorLen = 8 // of a traffic selector without its addresses

// SelectorOf returns the selector of all traffic of a prefix: any protocol, any port.
func SelectorOf(p netip.Prefix) TrafficSelector {
	p = p.Masked()
	return TrafficSelector{EndPort: math.MaxUint16, Start: p.Addr(), End: lastOf(p)}
}

// SelectorsOf returns the selectors of all traffic of each prefix.
func SelectorsOf(prefixes []netip.Prefix) []TrafficSelector {
	selectors := make([]TrafficSelector, 0, len(prefixes))
	for _, p := range prefixes {
		selectors = append(selectors, SelectorOf(p))
	}
	return selectors
}

// Prefix returns the prefix that the range of addresses is, if it is one.
func (s TrafficSelector) Prefix() (p netip.Prefix, ok bool) {
	if !s.ranges() {
		return p, false
	}
	from, to, width := span128(s)
	same := from.xor(to).leadingZeros() - (128 - width)
	p = netip.PrefixFrom(s.Start, same).Masked()
	return p, p.Addr() == s.Start && lastOf(p) == s.End
}

// Prefixes returns the fewest prefixes that together are the range of addresses, in order: at most 254 for IPv6 and 62 for
// IPv4. It is nil if the selector is not a range of addresses.
func (s TrafficSelector) Prefixes() []netip.Prefix {
	if !s.ranges() {
		return nil
	}
	from, to, width := span128(s)
	var prefixes []netip.Prefix
	for {
		// The largest block that begins at from and does not go beyond to.
		size := min(from.trailingZeros(), to.sub(from).blockBits(), width)
		prefixes = append(prefixes, netip.PrefixFrom(from.addr(width), width-size))
		last := from.or(ones(size))
		if last == to {
			return prefixes
		}
		from = last.add1()
	}
}

// PrefixesOf returns the prefixes of the ranges of all selectors, one after the other, whatever their protocols and ports.
func PrefixesOf(selectors []TrafficSelector) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, s := range selectors {
		prefixes = append(prefixes, s.Prefixes()...)
	}
	return prefixes
}

// AnyPort says whether the selector covers all ports.
func (s TrafficSelector) AnyPort() bool { return s.StartPort == 0 && s.EndPort == math.MaxUint16 }

// Opaque says whether the selector covers only packets whose ports cannot be seen (RFC 7296 section 3.13.1).
func (s TrafficSelector) Opaque() bool { return s.StartPort == math.MaxUint16 && s.EndPort == 0 }

// Type is the type of the selector.
func (s TrafficSelector) Type() TSType {
	switch {
	case s.Unknown != nil:
		return s.Unknown.Type
	case s.Start.Is4():
		return TSIPv4AddrRange
	}
	return TSIPv6AddrRange
}

// String is the selector in a form of its own: a prefix or "first..last", then in brackets protocol and ports if not any.
func (s TrafficSelector) String() string {
	if s.Unknown != nil {
		return s.Type().String()
	}
	text := fmt.Sprintf("%v..%v", s.Start, s.End)
	if p, ok := s.Prefix(); ok {
		text = p.String()
	}
	if s.Protocol == 0 && s.AnyPort() {
		return text
	}
	switch {
	case s.AnyPort():
		return fmt.Sprintf("%s[%d]", text, s.Protocol)
	case s.Opaque():
		return fmt.Sprintf("%s[%d/OPAQUE]", text, s.Protocol)
	case s.StartPort == s.EndPort:
		return fmt.Sprintf("%s[%d/%d]", text, s.Protocol, s.StartPort)
	}
	return fmt.Sprintf("%s[%d/%d-%d]", text, s.Protocol, s.StartPort, s.EndPort)
}

// ranges says whether it is a range of addresses as TrafficSelector wants it.
func (s TrafficSelector) ranges() bool {
	return s.Unknown == nil && s.Start.IsValid() && s.Start.BitLen() == s.End.BitLen() && s.Start.Zone() == "" &&
		s.End.Zone() == "" && s.Start.Compare(s.End) <= 0
}

func parseSelectors(r *reader) ([]TrafficSelector, error) {
	if err := r.need(4, "traffic selectors"); err != nil {
		return nil, err
	}
	count := int(r.u8())
	r.take(3)
	if count == 0 {
		return nil, r.bad("number of selectors", 4, 0, "1 or more")
	}
	selectors := make([]TrafficSelector, 0, min(count, len(r.b)/4))
	for range count {
		s, err := parseSelector(r)
		if err != nil {
			return nil, err
		}
		selectors = append(selectors, s)
	}
	return selectors, r.end("last selector")
}

// addrLen is the length of an address in a selector, 0 if it has none.
func addrLen(t TSType) int {
	switch t {
	case TSIPv4AddrRange:
		return 4
	case TSIPv6AddrRange:
		return 16
	}
	return 0
}

func parseSelector(r *reader) (TrafficSelector, error) {
	if err := r.need(4, "selector"); err != nil {
		return TrafficSelector{}, err
	}
	left := len(r.b)
	kind, protocol, n := TSType(r.u8()), r.u8(), int(r.u16())
	size := addrLen(kind)
	if whole := selectorLen + 2*size; size != 0 && n != whole {
		return TrafficSelector{}, r.bad(kind.String()+" length", 2, n, fmt.Sprint(whole))
	}
	if n < 4 || n > left {
		return TrafficSelector{}, r.bad(kind.String()+" length", 2, n, fmt.Sprintf("4 to %d", left))
	}
	if size == 0 {
		return TrafficSelector{Unknown: &UnknownSelector{Type: kind, Protocol: protocol, Body: r.bytes(n - 4)}}, nil
	}
	s := TrafficSelector{Protocol: protocol, StartPort: r.u16(), EndPort: r.u16()}
	s.Start, _ = netip.AddrFromSlice(r.take(size))
	s.End, _ = netip.AddrFromSlice(r.take(size))
	if !s.ranges() {
		return s, r.bad(kind.String(), 2*size, fmt.Sprintf("%v to %v", s.Start, s.End), "the lower address first")
	}
	return s, nil
}

func (t *TSi) appendBody(b []byte) ([]byte, error) { return appendSelectors(b, t.Selectors) }

func (t *TSr) appendBody(b []byte) ([]byte, error) { return appendSelectors(b, t.Selectors) }

func appendSelectors(b []byte, selectors []TrafficSelector) ([]byte, error) {
	if n := len(selectors); n == 0 || n > MaxSelectors {
		return nil, fmt.Errorf("%d selectors, 1 to %d can be sent", n, MaxSelectors)
	}
	b = append(b, byte(len(selectors)), 0, 0, 0)
	for i, s := range selectors {
		start := len(b)
		b = append(b, byte(s.Type()), s.Protocol, 0, 0)
		switch {
		case s.Unknown != nil && addrLen(s.Type()) == 0:
			b[start+1] = s.Unknown.Protocol
			b = append(b, s.Unknown.Body...)
		case s.ranges():
			b = binary.BigEndian.AppendUint16(b, s.StartPort)
			b = binary.BigEndian.AppendUint16(b, s.EndPort)
			b = append(append(b, s.Start.AsSlice()...), s.End.AsSlice()...)
		default:
			return nil, fmt.Errorf("selector %d, %v, is not a range of addresses of one family", i+1, s)
		}
		if err := putLength(b, start, start+2); err != nil {
			return nil, fmt.Errorf("selector %d: %w", i+1, err)
		}
	}
	return b, nil
}

// lastOf returns the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	width := p.Addr().BitLen()
	return number(p.Addr()).or(ones(width - p.Bits())).addr(width)
}

// span128 returns the range as numbers, and how many bits its addresses have.
func span128(s TrafficSelector) (from, to uint128, width int) {
	return number(s.Start), number(s.End), s.Start.BitLen()
}

// A uint128 is an address as a number: IPv4 in its lowest 32 bits.
type uint128 struct{ hi, lo uint64 }

func number(a netip.Addr) uint128 {
	if a.Is4() {
		b := a.As4()
		return uint128{lo: uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return uint128{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (u uint128) addr(width int) netip.Addr {
	if width == 32 {
		return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(u.lo))))
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], u.hi)
	binary.BigEndian.PutUint64(b[8:], u.lo)
	return netip.AddrFrom16(b)
}

// ones returns the number whose lowest n bits are set.
func ones(n int) uint128 {
	if n >= 64 {
		return uint128{1<<(n-64) - 1, math.MaxUint64}
	}
	return uint128{0, 1<<n - 1}
}

func (u uint128) or(v uint128) uint128  { return uint128{u.hi | v.hi, u.lo | v.lo} }
func (u uint128) xor(v uint128) uint128 { return uint128{u.hi ^ v.hi, u.lo ^ v.lo} }

func (u uint128) sub(v uint128) uint128 {
	lo, borrow := bits.Sub64(u.lo, v.lo, 0)
	hi, _ := bits.Sub64(u.hi, v.hi, borrow)
	return uint128{hi, lo}
}

func (u uint128) add1() uint128 {
	lo, carry := bits.Add64(u.lo, 1, 0)
	return uint128{u.hi + carry, lo}
}

func (u uint128) leadingZeros() int {
	if u.hi != 0 {
		return bits.LeadingZeros64(u.hi)
	}
	return 64 + bits.LeadingZeros64(u.lo)
}

func (u uint128) trailingZeros() int {
	if u.lo != 0 {
		return bits.TrailingZeros64(u.lo)
	}
	return 64 + bits.TrailingZeros64(u.hi)
}

// blockBits returns the most bits that a block has which fits u+1 addresses.
func (u uint128) blockBits() int {
	if n := 128 - u.leadingZeros(); u == ones(n) {
		return n
	}
	return 127 - u.leadingZeros()
}
