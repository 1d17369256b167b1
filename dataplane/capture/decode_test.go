package capture

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/internal/race"
)

// What gopacket makes of a packet, in wire's terms.
type seen struct {
	src, dst   netip.Addr
	tos, ttl   uint8
	df         bool
	frag       bool // a fragment
	later      bool // not the first one
	proto      uint8
	hdr        int // offset of the upper layer
	upper      []byte
	broken     bool // a header is cut off or contradicts itself
	cannotTell bool // gopacket does not know the extension header
}

// look walks over gopacket's layers as far as wire goes: to the upper layer's first bytes.
func look(b []byte) seen {
	var s seen
	six := len(b) >= 40 && b[0]>>4 == 6
	if six {
		// gopacket takes a payload of no bytes for a fault or a jumbogram.
		s.cannotTell = b[4] == 0 && b[5] == 0
		s.walk(b, b, layers.LayerTypeIPv6)
	} else {
		s.walk(b, b, layers.LayerTypeIPv4)
	}
	s.cannotTell = s.cannotTell || (six && s.proto == wire.ProtoMobility)
	return s
}

// walk decodes b, the whole packet or what follows a fragment header, where gopacket stops.
func (s *seen) walk(whole, b []byte, first gopacket.Decoder) {
	p := gopacket.NewPacket(b, first, gopacket.DecodeOptions{NoCopy: true})
	for _, l := range p.Layers() {
		inner := s.hdr > 0
		if inner && whole[0]>>4 == 4 {
			return // extension headers are IPv6's
		}
		switch l := l.(type) {
		case *layers.IPv4:
			if inner {
				return
			}
			s.ip4(whole, l)
		case *layers.IPv6:
			if inner {
				return
			}
			s.ip6(whole, l)
		case *layers.IPv6HopByHop:
			s.proto = uint8(l.NextHeader)
		case *layers.IPv6Destination:
			s.proto = uint8(l.NextHeader)
		case *layers.IPv6Routing:
			s.proto = uint8(l.NextHeader)
		case *layers.IPSecAH:
			s.proto = uint8(l.NextHeader)
		case *layers.IPv6Fragment:
			s.proto, s.later = uint8(l.NextHeader), s.later || l.FragmentOffset != 0
			s.frag = s.frag || l.FragmentOffset != 0 || l.MoreFragments
			s.hdr += len(l.LayerContents())
			s.upper = l.LayerPayload()
			if !s.later && len(s.upper) > 0 {
				s.walk(whole, s.upper, l.NextHeader)
			}
			return
		case *gopacket.DecodeFailure:
			if !inner {
				s.broken = true
			} else if isExtension(s.proto) {
				s.failed()
			}
			return
		default:
			return
		}
		s.hdr += len(l.LayerContents())
		s.upper = l.LayerPayload()
	}
}

// failed says what an extension header is that gopacket could not decode: cut off, or with options or of a type that it
// does not like and that nobody but the destination need look at.
func (s *seen) failed() {
	cut := len(s.upper) < 8
	if !cut {
		size := 8 + 8*int(s.upper[1])
		switch s.proto {
		case wire.ProtoAH:
			size = 8 + 4*int(s.upper[1])
		case wire.ProtoFragment:
			size = 8
		}
		cut = size > len(s.upper)
	}
	s.broken = s.broken || cut
	s.cannotTell = !cut
}

func isExtension(proto uint8) bool {
	switch proto {
	case wire.ProtoHopByHop, wire.ProtoDestOpts, wire.ProtoRouting, wire.ProtoFragment, wire.ProtoAH, wire.ProtoMobility:
		return true
	}
	return false
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a
}

func (s *seen) ip4(b []byte, l *layers.IPv4) {
	s.src, s.dst, s.tos, s.ttl, s.proto = addrOf(l.SrcIP), addrOf(l.DstIP), l.TOS, l.TTL, uint8(l.Protocol)
	s.df, s.later = l.Flags&layers.IPv4DontFragment != 0, l.FragOffset != 0
	s.frag = s.later || l.Flags&layers.IPv4MoreFragments != 0
	s.broken = int(l.Length) > len(b)
}

func (s *seen) ip6(b []byte, l *layers.IPv6) {
	s.src, s.dst, s.tos, s.ttl, s.df = addrOf(l.SrcIP), addrOf(l.DstIP), l.TrafficClass, l.HopLimit, true
	s.proto = uint8(l.NextHeader)
	s.broken = 40+int(l.Length) > len(b)
}

// random builds a packet of random layers, with everything right.
func random(r *rand.Rand) []byte {
	var ls []gopacket.SerializableLayer
	upper := []layers.IPProtocol{layers.IPProtocolTCP, layers.IPProtocolUDP, layers.IPProtocolICMPv4, layers.IPProtocolSCTP, layers.IPProtocolESP}[r.IntN(5)]
	ip := func(n int) net.IP {
		b := make(net.IP, n)
		binary.NativeEndian.PutUint32(b, r.Uint32())
		b[n-1] = byte(r.Uint32())
		return b
	}
	if r.IntN(2) == 0 {
		l := &layers.IPv4{
			Version: 4, TOS: uint8(r.Uint32()), TTL: uint8(r.Uint32()), Id: uint16(r.Uint32()), SrcIP: ip(4), DstIP: ip(4), Protocol: upper,
			Flags: layers.IPv4Flag(r.IntN(4)),
		}
		if r.IntN(5) == 0 {
			l.FragOffset = uint16(r.IntN(1 << 13))
		}
		for range r.IntN(3) {
			l.Options = append(l.Options, layers.IPv4Option{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}})
		}
		return serialize(append(append(ls, l), upperLayers(r, upper)...)...)
	}
	if upper == layers.IPProtocolICMPv4 {
		upper = layers.IPProtocolICMPv6
	}
	l := &layers.IPv6{Version: 6, TrafficClass: uint8(r.Uint32()), FlowLabel: r.Uint32() & 0xfffff, HopLimit: uint8(r.Uint32()), SrcIP: ip(16), DstIP: ip(16)}
	// gopacket cannot serialize all extension headers: these are bytes of our own.
	kinds := []uint8{}
	for _, k := range []uint8{wire.ProtoHopByHop, wire.ProtoDestOpts, wire.ProtoRouting, wire.ProtoFragment, wire.ProtoAH} {
		if r.IntN(4) == 0 {
			kinds = append(kinds, k)
		}
	}
	body := serialize(upperLayers(r, upper)...)
	for i := len(kinds) - 1; i >= 0; i-- {
		next := uint8(upper)
		if i+1 < len(kinds) {
			next = kinds[i+1]
		}
		body = append(extension(r, kinds[i], next), body...)
	}
	l.NextHeader = upper
	if len(kinds) > 0 {
		l.NextHeader = layers.IPProtocol(kinds[0])
	}
	l.Length = uint16(len(body))
	return append(serializeWith(gopacket.SerializeOptions{}, l), body...)
}

// extension builds an IPv6 extension header (RFC 8200 section 4, RFC 4302 section 2).
func extension(r *rand.Rand, kind, next uint8) []byte {
	switch kind {
	case wire.ProtoFragment:
		b := []byte{next, 0, 0, 0, 1, 2, 3, 4}
		if r.IntN(2) == 0 {
			binary.BigEndian.PutUint16(b[2:], uint16(r.IntN(2))|uint16(r.IntN(3))<<3)
		}
		return b
	case wire.ProtoAH:
		b := make([]byte, 24)
		b[0], b[1] = next, 4
		return b
	case wire.ProtoRouting:
		b := make([]byte, 24)
		b[0], b[1] = next, 2
		return b
	}
	units := r.IntN(3)
	b := make([]byte, 8+8*units)
	b[0], b[1] = next, uint8(units)
	b[2], b[3] = 1, uint8(len(b)-4) // PadN
	return b
}

func upperLayers(r *rand.Rand, proto layers.IPProtocol) []gopacket.SerializableLayer {
	payload := make(gopacket.Payload, r.IntN(64))
	sport, dport := uint16(1024+r.IntN(60000)), uint16(1024+r.IntN(60000))
	switch proto {
	case layers.IPProtocolTCP:
		return []gopacket.SerializableLayer{&layers.TCP{SrcPort: layers.TCPPort(sport), DstPort: layers.TCPPort(dport), ACK: true, Seq: r.Uint32()}, payload}
	case layers.IPProtocolUDP:
		return []gopacket.SerializableLayer{&layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(dport)}, payload}
	case layers.IPProtocolSCTP:
		return []gopacket.SerializableLayer{&layers.SCTP{SrcPort: layers.SCTPPort(sport), DstPort: layers.SCTPPort(dport)}, payload}
	case layers.IPProtocolICMPv4:
		return []gopacket.SerializableLayer{&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(uint8(r.IntN(20)), uint8(r.IntN(16)))}, payload}
	case layers.IPProtocolICMPv6:
		return []gopacket.SerializableLayer{&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(uint8(r.IntN(256)), uint8(r.IntN(16)))}, payload}
	}
	return []gopacket.SerializableLayer{gopacket.Payload(append([]byte{0, 0, 1, 1, 0, 0, 0, 9}, payload...))}
}

func serialize(ls ...gopacket.SerializableLayer) []byte {
	return serializeWith(gopacket.SerializeOptions{FixLengths: true}, ls...)
}

func serializeWith(o gopacket.SerializeOptions, ls ...gopacket.SerializableLayer) []byte {
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, o, ls...); err != nil {
		panic(err)
	}
	return append([]byte(nil), buf.Bytes()...)
}

// compare says what wire and gopacket see differently in a packet that wire accepted. It returns "" where they agree.
func compare(i *wire.Info, s *seen) string {
	flag := func(f uint8) bool { return i.Flags&f != 0 }
	switch {
	case i.SrcAddr() != s.src, i.DstAddr() != s.dst:
		return "addresses"
	case i.TOS != s.tos, i.TTL != s.ttl:
		return "TOS or TTL"
	case flag(wire.FlagDF) != s.df, flag(wire.FlagFragment) != s.frag, flag(wire.FlagLater) != s.later:
		return "fragment flags"
	case flag(wire.FlagOpaque):
		return "" // behind a later fragment or too many headers: neither protocol nor offset mean anything
	case i.Proto != s.proto:
		return "protocol"
	case int(i.HdrLen) != s.hdr:
		return "header length"
	case s.later && flag(wire.FlagPorts):
		return "ports in a later fragment"
	case !flag(wire.FlagPorts):
		return ""
	}
	want := uint32(0)
	switch {
	case len(s.upper) >= 8 && (s.proto == wire.ProtoTCP || s.proto == wire.ProtoUDP || s.proto == wire.ProtoSCTP):
		want = binary.BigEndian.Uint32(s.upper)
	case len(s.upper) >= 2 && (s.proto == wire.ProtoICMP || s.proto == wire.ProtoICMPv6):
		want = uint32(binary.BigEndian.Uint16(s.upper)) * 0x10001
	default:
		return "ports where there are none"
	}
	if uint32(i.SrcPort)<<16|uint32(i.DstPort) != want {
		return "ports"
	}
	return ""
}

// rounds are few under the race detector and in short runs.
func rounds(n int) int {
	if testing.Short() || race.Enabled {
		return n / 10
	}
	return n
}

func TestWireSeesWhatGopacketSees(t *testing.T) {
	const seed = 1 // gopacket has its own mind where chance leads far enough, so that one knows where this leads
	r := rand.New(rand.NewPCG(seed, 1))
	ports := 0
	for round := range rounds(100000) {
		b := random(r)
		var info wire.Info
		s := look(b)
		if v := wire.Parse(b, &info, false); v != wire.OK {
			t.Fatalf("seed %d round %d: verdict %v on % x", seed, round, v, b)
		}
		if diff := compare(&info, &s); diff != "" || s.broken {
			t.Fatalf("seed %d round %d: %s differ: %+v and %+v in % x", seed, round, diff, info, s, b)
		}
		hasPorts := s.proto != wire.ProtoESP && !s.later && info.Flags&wire.FlagOpaque == 0
		if hasPorts != (info.Flags&wire.FlagPorts != 0) {
			t.Fatalf("seed %d round %d: ports %v: %+v and %+v", seed, round, hasPorts, info, s)
		}
		if hasPorts {
			ports++
		}
	}
	if ports == 0 {
		t.Error("no packet had ports")
	}
}

// Whatever is done to a packet, wire must not accept what gopacket finds cut off, nor see it differently.
func TestWireAcceptsNoMorePacketsThanGopacket(t *testing.T) {
	const seed = 1
	r := rand.New(rand.NewPCG(seed, 2))
	accepted, refused := 0, 0
	for round := range rounds(200000) {
		b := random(r)
		for range 1 + r.IntN(3) {
			switch r.IntN(3) {
			case 0:
				b = b[:1+r.IntN(len(b))]
			case 1:
				b[r.IntN(min(len(b), 64))] = byte(r.Uint32())
			case 2:
				b[r.IntN(min(len(b), 64))] ^= 1 << r.IntN(8)
			}
		}
		var info wire.Info
		if wire.Parse(b, &info, false) != wire.OK {
			refused++
			continue
		}
		accepted++
		s := look(b)
		if s.cannotTell || info.Flags&wire.FlagOpaque != 0 {
			continue // wire promises nothing behind the last header that it follows
		}
		if diff := compare(&info, &s); diff != "" || s.broken {
			t.Fatalf("seed %d round %d: %s differ, broken %v: %+v and %+v in % x", seed, round, diff, s.broken, info, s, b)
		}
	}
	t.Logf("%d accepted, %d refused", accepted, refused)
	if accepted == 0 || refused == 0 {
		t.Error("the mutations are no test")
	}
}
