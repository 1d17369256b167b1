package wire

import (
	"encoding/binary"
	"net/netip"
)

// IP protocol numbers that the engine cares about.
const (
	ProtoHopByHop = 0
	ProtoICMP     = 1
	ProtoIPv4     = 4
	ProtoTCP      = 6
	ProtoUDP      = 17
	ProtoIPv6     = 41
	ProtoRouting  = 43
	ProtoFragment = 44
	ProtoGRE      = 47
	ProtoESP      = 50
	ProtoAH       = 51
	ProtoICMPv6   = 58
	ProtoNoNext   = 59
	ProtoDestOpts = 60
	ProtoSCTP     = 132
	ProtoMobility = 135
)

// Lengths of fixed headers in bytes.
const (
	IPv4HeaderLen = 20
	IPv6HeaderLen = 40
	UDPHeaderLen  = 8
	TCPHeaderLen  = 20
)

// maxExtensions bounds the walk over IPv6 extension headers.
const maxExtensions = 8

// Verdict is what Parse has to say.
type Verdict uint8

// Verdicts of Parse.
const (
	OK Verdict = iota
	Malformed
	NotIP
)

// Info flags.
const (
	// FlagDF: IPv4's don't-fragment bit. IPv6 packets always carry it: no router fragments them.
	FlagDF = 1 << iota
	// FlagFragment: a fragment, first or later.
	FlagFragment
	// FlagLater: not the first fragment, so that there is no upper-layer header in it.
	FlagLater
	// FlagPorts: SrcPort and DstPort are set.
	FlagPorts
	// FlagOpaque: IPv6 extension headers end where we cannot follow (ESP, no next header, unknown).
	FlagOpaque
)

// Key6 is an IPv6 address as two big-endian halves, the form in which the route table wants it.
type Key6 struct{ Hi, Lo uint64 }

// Info is what one pass over an IP packet finds.
type Info struct {
	// Src and Dst hold an IPv6 address, or an IPv4 address in the low 32 bits of Lo with Hi zero.
	Src, Dst Key6
	// Version is 4 or 6.
	Version uint8
	// Proto is the upper-layer protocol, behind any IPv6 extension headers.
	Proto uint8
	// TOS is the type-of-service octet or traffic class: DSCP and ECN.
	TOS uint8
	// TTL is the time to live or hop limit.
	TTL   uint8
	Flags uint8
	// HdrLen is the offset of the upper-layer header in bytes.
	HdrLen uint16
	// Len is the packet's length in bytes: what its header says, or of a super-packet what was parsed.
	Len uint32
	// SrcPort and DstPort are those of TCP, UDP and SCTP; for ICMP and ICMPv6, as traffic selectors have it (RFC 4301
	// section 4.4.1.1), type and code in the two octets of SrcPort and of DstPort alike.
	SrcPort, DstPort uint16
}

// SrcAddr returns the source address.
func (i *Info) SrcAddr() netip.Addr { return addrOf(i.Version, i.Src) }

// DstAddr returns the destination address.
func (i *Info) DstAddr() netip.Addr { return addrOf(i.Version, i.Dst) }

func addrOf(version uint8, k Key6) netip.Addr {
	if version == 4 {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], uint32(k.Lo))
		return netip.AddrFrom4(a)
	}
	var a [16]byte
	binary.BigEndian.PutUint64(a[:8], k.Hi)
	binary.BigEndian.PutUint64(a[8:], k.Lo)
	return netip.AddrFrom16(a)
}

// KeyOf returns an address in the form that Info has it.
func KeyOf(a netip.Addr) Key6 {
	if a.Is4() {
		b := a.As4()
		return Key6{Lo: uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return Key6{Hi: binary.BigEndian.Uint64(b[:8]), Lo: binary.BigEndian.Uint64(b[8:])}
}

// Length returns the length in bytes that the IP header at the front of b claims, or 0 where b is too short to say.
func Length(b []byte) int {
	switch {
	case len(b) >= IPv4HeaderLen && b[0]>>4 == 4:
		return int(binary.BigEndian.Uint16(b[2:]))
	case len(b) >= IPv6HeaderLen && b[0]>>4 == 6:
		return IPv6HeaderLen + int(binary.BigEndian.Uint16(b[4:]))
	}
	return 0
}

// Parse fills in info from the IP packet b, which may have bytes behind the packet's end (info.Len says where that is).
// super says that b is a super-packet, whose length fields may be wrong or zero: b itself is the length then.
//
// IPv4 is parsed here, since most packets are (RFC 791 section 3.1). Options are skipped; the checksum is the receiver's to check.
func Parse(b []byte, info *Info, super bool) Verdict {
	if len(b) < IPv4HeaderLen || b[0]>>4 != 4 {
		return parseOther(b, info, super)
	}
	hdr := int(b[0]&0xf) << 2
	total := int(binary.BigEndian.Uint16(b[2:]))
	if super {
		total = len(b)
	}
	if hdr < IPv4HeaderLen || hdr > total || total > len(b) {
		return Malformed
	}
	addrs := binary.BigEndian.Uint64(b[12:])
	info.Src = Key6{Lo: addrs >> 32}
	info.Dst = Key6{Lo: addrs & 0xffffffff}
	info.Version, info.Proto, info.TOS, info.TTL = 4, b[9], b[1], b[8]
	info.HdrLen, info.Len = uint16(hdr), uint32(total)
	frag := binary.BigEndian.Uint16(b[6:])
	flags := uint8(frag>>14) & FlagDF
	if frag&0x3fff == 0 && (info.Proto == ProtoTCP || info.Proto == ProtoUDP) && total-hdr >= 8 { // most packets
		ports := binary.BigEndian.Uint32(b[hdr:])
		info.SrcPort, info.DstPort = uint16(ports>>16), uint16(ports)
		info.Flags = flags | FlagPorts
		return OK
	}
	if frag&0x3fff != 0 {
		flags |= FlagFragment
		if frag&0x1fff != 0 {
			flags |= FlagLater
		}
	}
	info.Flags = flags
	return parseUpper(b[hdr:total], info)
}

// parseOther: IPv6, or what is neither.
func parseOther(b []byte, info *Info, super bool) Verdict {
	switch {
	case len(b) == 0 || b[0]>>4 != 4 && b[0]>>4 != 6:
		return NotIP
	case len(b) < IPv4HeaderLen:
		return Malformed
	}
	return parse6(b, info, super)
}

// parse6: RFC 8200 section 3.
func parse6(b []byte, info *Info, super bool) Verdict {
	if len(b) < IPv6HeaderLen {
		return Malformed
	}
	total := IPv6HeaderLen + int(binary.BigEndian.Uint16(b[4:]))
	if super {
		total = len(b)
	}
	if total > len(b) {
		return Malformed
	}
	info.Src = Key6{binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])}
	info.Dst = Key6{binary.BigEndian.Uint64(b[24:]), binary.BigEndian.Uint64(b[32:])}
	info.Version, info.Proto, info.TTL = 6, b[6], b[7]
	info.TOS = uint8(binary.BigEndian.Uint16(b) >> 4)
	info.Flags = FlagDF
	info.HdrLen, info.Len = IPv6HeaderLen, uint32(total)
	if isExtension(info.Proto) {
		if v := walkExtensions(b[:total], info); v != OK {
			return v
		}
	}
	return parseUpper(b[info.HdrLen:total], info)
}

func isExtension(proto uint8) bool {
	switch proto {
	case ProtoHopByHop, ProtoRouting, ProtoFragment, ProtoAH, ProtoDestOpts, ProtoMobility:
		return true
	}
	return false
}

// walkExtensions finds the upper-layer header behind the extension headers (RFC 8200 section 4).
func walkExtensions(b []byte, info *Info) Verdict {
	off, proto := IPv6HeaderLen, info.Proto
	for range maxExtensions {
		if !isExtension(proto) {
			info.Proto, info.HdrLen = proto, uint16(off)
			return OK
		}
		if info.Flags&FlagLater != 0 {
			break
		}
		if len(b) < off+8 {
			return Malformed
		}
		next, size := b[off], 8+int(b[off+1])*8
		switch proto {
		case ProtoFragment:
			size = 8
			frag := binary.BigEndian.Uint16(b[off+2:])
			if frag&0xfff9 != 0 {
				info.Flags |= FlagFragment
			}
			if frag&0xfff8 != 0 {
				info.Flags |= FlagLater
			}
		case ProtoAH:
			size = 8 + int(b[off+1])*4
		}
		off += size
		if off > len(b) {
			return Malformed
		}
		proto = next
	}
	info.Proto, info.HdrLen = proto, uint16(off)
	info.Flags |= FlagOpaque
	return OK
}

// parseUpper reads the ports, where there are any.
func parseUpper(b []byte, info *Info) Verdict {
	info.SrcPort, info.DstPort = 0, 0
	if info.Flags&(FlagLater|FlagOpaque) != 0 {
		return OK
	}
	switch info.Proto {
	case ProtoTCP, ProtoUDP, ProtoSCTP:
		if len(b) < 8 {
			if info.Flags&FlagFragment != 0 {
				return OK
			}
			return Malformed
		}
		ports := binary.BigEndian.Uint32(b)
		info.SrcPort, info.DstPort = uint16(ports>>16), uint16(ports)
		info.Flags |= FlagPorts
	case ProtoICMP, ProtoICMPv6:
		if len(b) < 2 {
			return Malformed
		}
		tc := binary.BigEndian.Uint16(b)
		info.SrcPort, info.DstPort = tc, tc
		info.Flags |= FlagPorts
	}
	return OK
}

// FlowHash mixes addresses, protocol and ports into 32 bits, so that the packets of a flow take the same member of a
// multipath group and flows spread evenly. Fragments hash by addresses and protocol alone, so that a datagram's
// fragments stay together; they may take another way than the flow's whole packets.
func (i *Info) FlowHash() uint32 {
	x := i.Src.Hi ^ i.Src.Lo*0x9e3779b97f4a7c15
	y := i.Dst.Hi ^ i.Dst.Lo*0xc2b2ae3d27d4eb4f
	z := uint64(i.Proto)
	if i.Flags&(FlagPorts|FlagFragment) == FlagPorts && i.Proto != ProtoICMP && i.Proto != ProtoICMPv6 {
		z |= uint64(i.SrcPort)<<32 | uint64(i.DstPort)<<16
	}
	h := x ^ (y<<31 | y>>33) ^ z*0x165667b19e3779f9
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	return uint32(h >> 32)
}
