package wire_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/warrenvpn/warren/dataplane/wire"
)

var (
	a4 = netip.MustParseAddr("10.1.2.3")
	b4 = netip.MustParseAddr("10.9.8.7")
	a6 = netip.MustParseAddr("2001:db8:a1::1")
	b6 = netip.MustParseAddr("2001:db8:b2::2")
)

// build serialises an IP packet with gopacket, lengths and checksums included.
func build(t testing.TB, v6 bool, l4 gopacket.SerializableLayer, payload []byte, tweak func(*layers.IPv4)) []byte {
	t.Helper()
	proto := layers.IPProtocolTCP
	switch l4.(type) {
	case *layers.UDP:
		proto = layers.IPProtocolUDP
	case *layers.ICMPv4:
		proto = layers.IPProtocolICMPv4
	}
	var ip gopacket.SerializableLayer
	var net gopacket.NetworkLayer
	if v6 {
		h := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: proto, SrcIP: a6.AsSlice(), DstIP: b6.AsSlice()}
		ip, net = h, h
	} else {
		h := &layers.IPv4{Version: 4, TTL: 64, Id: 0xfffe, Protocol: proto, Flags: layers.IPv4DontFragment, SrcIP: a4.AsSlice(), DstIP: b4.AsSlice()}
		if tweak != nil {
			tweak(h)
		}
		ip, net = h, h
	}
	switch l := l4.(type) {
	case *layers.TCP:
		_ = l.SetNetworkLayerForChecksum(net)
	case *layers.UDP:
		_ = l.SetNetworkLayerForChecksum(net)
	}
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, ip, l4, gopacket.Payload(payload)); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(buf.Bytes())
}

func payload(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// slowSum is RFC 1071's definition, sixteen bits at a time.
func slowSum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		v := uint32(b[i]) << 8
		if i+1 < len(b) {
			v |= uint32(b[i+1])
		}
		sum += v
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

func TestSumEqualsDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for n := range 400 {
		b := payload(r, n)
		if n%7 == 0 {
			for i := range b {
				b[i] = 0xff // the sum's own carries must not get lost
			}
		}
		split := 0
		if n > 2 {
			split = r.IntN(n/2) * 2
		}
		got, want := wire.Fold(wire.Sum(b[split:], wire.Sum(b[:split], 0))), slowSum(b)
		if got != want && !(got%0xffff == 0 && want%0xffff == 0) {
			t.Fatalf("n=%d split=%d: sum %#04x, want %#04x", n, split, got, want)
		}
	}
}

// checksumsOK verifies every checksum that gopacket's own arithmetic can be compared with: it serialises anew.
func checksumsOK(t *testing.T, b []byte) gopacket.Packet {
	t.Helper()
	first := layers.LayerTypeIPv4
	if b[0]>>4 == 6 {
		first = layers.LayerTypeIPv6
	}
	p := gopacket.NewPacket(b, first, gopacket.Default)
	if e := p.ErrorLayer(); e != nil {
		t.Fatalf("gopacket: %v", e.Error())
	}
	if first == layers.LayerTypeIPv4 && slowSum(b[:int(b[0]&15)*4]) != 0xffff {
		t.Fatal("IPv4 header checksum is wrong")
	}
	switch l := p.TransportLayer().(type) {
	case *layers.TCP:
		_ = l.SetNetworkLayerForChecksum(p.NetworkLayer())
		if c, _ := l.ComputeChecksum(); c != 0 {
			t.Fatalf("TCP checksum is off: %#04x", c)
		}
	case *layers.UDP:
		_ = l.SetNetworkLayerForChecksum(p.NetworkLayer())
		if l.Checksum == 0 {
			t.Fatal("UDP checksum left out")
		}
	}
	return p
}

func TestSegmenterTCP(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for range 200 {
		v6 := r.IntN(2) == 1
		size, n := 1+r.IntN(1400), 1+r.IntN(20000)
		data := payload(r, n)
		tcp := &layers.TCP{SrcPort: 80, DstPort: 1234, Seq: 0xffffff00, Ack: 7, ACK: true, PSH: true, FIN: true, CWR: true, Window: 99,
			Options: []layers.TCPOption{{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: payload(r, 8)}}}
		b := build(t, v6, tcp, data, nil)
		hdr := len(b) - n
		o := wire.Offload{GSO: wire.GSOTCP4, NeedsCsum: true, Size: uint16(size), HdrLen: uint16(hdr), CsumOffset: 16}
		o.CsumStart = uint16(hdr - 32)
		slot := append(make([]byte, 64), b...)
		segs := cut(t, slot, 64, len(b), &o)
		var got []byte
		for i, s := range segs {
			p := checksumsOK(t, s)
			l := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
			if want := 0xffffff00 + uint32(i*size); l.Seq != want {
				t.Fatalf("segment %d: seq %d, want %d", i, l.Seq, want)
			}
			last := i == len(segs)-1
			if l.FIN != last || l.PSH != last || l.CWR != (i == 0) || !l.ACK {
				t.Fatalf("segment %d of %d: flags FIN=%v PSH=%v CWR=%v", i, len(segs), l.FIN, l.PSH, l.CWR)
			}
			if ip, ok := p.NetworkLayer().(*layers.IPv4); ok && ip.Id != 0xfffe+uint16(i) {
				t.Fatalf("segment %d: id %d", i, ip.Id)
			}
			got = append(got, l.Payload...)
		}
		if want := (n + size - 1) / size; len(segs) != want || !bytes.Equal(got, data) {
			t.Fatalf("size %d of %d: %d segments, want %d; payload equal: %v", size, n, len(segs), want, bytes.Equal(got, data))
		}
	}
}

func TestSegmenterUDP(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	data := payload(r, 5000)
	b := build(t, false, &layers.UDP{SrcPort: 7, DstPort: 9999}, data, nil)
	o := wire.Offload{GSO: wire.GSOUDP, NeedsCsum: true, Size: 1200, HdrLen: 28, CsumStart: 20, CsumOffset: 6}
	segs := cut(t, b, 0, len(b), &o)
	var got []byte
	for _, s := range segs {
		got = append(got, checksumsOK(t, s).TransportLayer().LayerPayload()...)
	}
	if len(segs) != 5 || !bytes.Equal(got, data) {
		t.Fatalf("%d segments, payload equal: %v", len(segs), bytes.Equal(got, data))
	}
}

func cut(t *testing.T, slot []byte, off, n int, o *wire.Offload) [][]byte {
	t.Helper()
	var s wire.Segmenter
	if !s.Reset(slot, off, n, o) {
		t.Fatalf("offload refused: %+v", *o)
	}
	var segs [][]byte
	for {
		off, n := s.Next()
		if n == 0 {
			return segs
		}
		segs = append(segs, bytes.Clone(slot[off:off+n]))
	}
}

func TestSegmenterRefuses(t *testing.T) {
	good := wire.Offload{GSO: wire.GSOTCP4, NeedsCsum: true, Size: 100, HdrLen: 40, CsumStart: 20, CsumOffset: 16}
	for name, change := range map[string]func(*wire.Offload){
		"no size":              func(o *wire.Offload) { o.Size = 0 },
		"headers beyond":       func(o *wire.Offload) { o.HdrLen = 500 },
		"headers too long":     func(o *wire.Offload) { o.HdrLen = 300 },
		"transport beyond":     func(o *wire.Offload) { o.CsumStart = 30 },
		"checksum beyond":      func(o *wire.Offload) { o.CsumOffset = 19 },
		"checksum far":         func(o *wire.Offload) { o.CsumOffset = 0xffff },
		"transport far beyond": func(o *wire.Offload) { o.CsumStart = 0xffff },
	} {
		o := good
		change(&o)
		var s wire.Segmenter
		if s.Reset(make([]byte, 400), 0, 400, &o) {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestFragmenterReassembles(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	for range 200 {
		data := payload(r, 100+r.IntN(4000))
		var opts []layers.IPv4Option
		if r.IntN(2) == 1 {
			// one option that is copied (0x83, loose source route) and one that is not (7, record route)
			opts = []layers.IPv4Option{{OptionType: 7, OptionLength: 7, OptionData: make([]byte, 5)}, {OptionType: 0x83, OptionLength: 7, OptionData: make([]byte, 5)}}
		}
		b := build(t, false, &layers.UDP{SrcPort: 1, DstPort: 2}, data, func(h *layers.IPv4) { h.Flags, h.Options = 0, opts })
		mtu := wire.MinIPv4MTU + r.IntN(1400)
		var f wire.Fragmenter
		f.Reset(b, mtu)
		whole := map[int][]byte{}
		dst := make([]byte, mtu)
		more := true
		for n := f.Next(dst); n > 0; n = f.Next(dst) {
			if n > mtu {
				t.Fatalf("fragment of %d for mtu %d", n, mtu)
			}
			p := checksumsOK4(t, dst[:n])
			if !more {
				t.Fatal("fragment behind the last")
			}
			more = p.Flags&layers.IPv4MoreFragments != 0
			if p.FragOffset > 0 {
				for _, o := range p.Options {
					if o.OptionType == 7 {
						t.Fatal("option that is not to be copied in a later fragment")
					}
				}
			}
			whole[int(p.FragOffset)*8] = bytes.Clone(p.Payload)
		}
		var got []byte
		for len(whole) > 0 {
			piece, ok := whole[len(got)]
			if !ok {
				t.Fatalf("hole at %d", len(got))
			}
			delete(whole, len(got))
			got = append(got, piece...)
		}
		if more || !bytes.Equal(got, b[int(b[0]&15)*4:]) {
			t.Fatal("fragments do not make the packet")
		}
	}
}

func checksumsOK4(t *testing.T, b []byte) *layers.IPv4 {
	t.Helper()
	if slowSum(b[:int(b[0]&15)*4]) != 0xffff {
		t.Fatal("IPv4 header checksum is wrong")
	}
	var ip layers.IPv4
	if err := ip.DecodeFromBytes(b, gopacket.NilDecodeFeedback); err != nil {
		t.Fatal(err)
	}
	return &ip
}

func TestTTLAndTOSKeepTheChecksum(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for range 1000 {
		b := build(t, false, &layers.UDP{}, payload(r, 8), func(h *layers.IPv4) {
			h.TTL, h.TOS, h.Id = uint8(1+r.IntN(255)), uint8(r.IntN(256)), uint16(r.Uint32())
		})
		ttl, tos := b[8], uint8(r.IntN(256))
		wire.DecrementTTL(b)
		wire.SetTOS(b, tos)
		if slowSum(b[:20]) != 0xffff || b[8] != ttl-1 || b[1] != tos {
			t.Fatalf("ttl %d tos %d: sum %#04x", b[8], b[1], slowSum(b[:20]))
		}
	}
	b := build(t, true, &layers.UDP{}, nil, nil)
	wire.SetTOS(b, 0xb9)
	wire.DecrementTTL(b)
	var info wire.Info
	if wire.Parse(b, &info, false) != wire.OK || info.TOS != 0xb9 || info.TTL != 63 || b[0] != 0x6b {
		t.Fatalf("IPv6: %+v", info)
	}
}

// TestDecapECN is RFC 6040 figure 4, written out.
func TestDecapECN(t *testing.T) {
	const drop = 9
	want := map[uint8][4]uint8{ // inner: outer Not-ECT, ECT(0), ECT(1), CE
		wire.NotECT: {wire.NotECT, wire.NotECT, wire.NotECT, drop},
		wire.ECT0:   {wire.ECT0, wire.ECT0, wire.ECT1, wire.CE},
		wire.ECT1:   {wire.ECT1, wire.ECT1, wire.ECT1, wire.CE},
		wire.CE:     {wire.CE, wire.CE, wire.CE, wire.CE},
	}
	for inner, row := range want {
		for i, outer := range []uint8{wire.NotECT, wire.ECT0, wire.ECT1, wire.CE} {
			got, ok := wire.DecapECN(0xb8|inner, 0x44|outer)
			if ok != (row[i] != drop) || ok && got != 0xb8|row[i] {
				t.Errorf("inner %d outer %d: %#x %v", inner, outer, got, ok)
			}
		}
	}
}

func TestClampMSS(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, pad := range []int{0, 1, 2} { // at even and odd offsets
			opts := make([]layers.TCPOption, pad, pad+1)
			for i := range opts {
				opts[i] = layers.TCPOption{OptionType: layers.TCPOptionKindNop}
			}
			opts = append(opts, layers.TCPOption{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{0x05, 0xb4}})
			b := build(t, v6, &layers.TCP{SYN: true, Options: opts}, nil, nil)
			var info wire.Info
			wire.Parse(b, &info, false)
			if !wire.ClampMSS(b, &info, &wire.Offload{}, 1400) {
				t.Fatal("not clamped")
			}
			l := checksumsOK(t, b).Layer(layers.LayerTypeTCP).(*layers.TCP)
			want := uint16(1360)
			if v6 {
				want = 1340
			}
			for _, o := range l.Options {
				if o.OptionType == layers.TCPOptionKindMSS && binary.BigEndian.Uint16(o.OptionData) != want {
					t.Fatalf("mss %d, want %d", binary.BigEndian.Uint16(o.OptionData), want)
				}
			}
			if wire.ClampMSS(b, &info, &wire.Offload{}, 1500) {
				t.Fatal("raised")
			}
		}
	}
}

func TestICMPErrors(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	dst := make([]byte, wire.MaxICMP)
	for _, v6 := range []bool{false, true} {
		src := netip.MustParseAddr("192.0.2.9")
		if v6 {
			src = netip.MustParseAddr("2001:db8::9")
		}
		orig := build(t, v6, &layers.UDP{SrcPort: 7, DstPort: 9}, payload(r, 1400), nil)
		n := wire.PutICMPError(dst, wire.ErrTooBig, src, orig, 1438)
		p := checksumsOK(t, dst[:n])
		var quoted []byte
		if v6 {
			l := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
			if l.TypeCode != layers.CreateICMPv6TypeCode(2, 0) || n != 1280 {
				t.Fatalf("%v, %d bytes", l.TypeCode, n)
			}
			if c := wire.Checksum(dst[40:n], wire.PseudoSum(dst, wire.ProtoICMPv6, n-40)); c != 0 {
				t.Fatalf("checksum off by %#04x", c)
			}
			if got := binary.BigEndian.Uint32(dst[44:]); got != 1438 {
				t.Fatalf("mtu %d", got)
			}
			quoted = dst[48:n]
		} else {
			l := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
			if l.TypeCode != layers.CreateICMPv4TypeCode(3, 4) || l.Seq != 1438 || n != 576 || slowSum(dst[20:n]) != 0xffff {
				t.Fatalf("%v mtu %d, %d bytes", l.TypeCode, l.Seq, n)
			}
			quoted = dst[28:n]
		}
		if !bytes.HasPrefix(orig, quoted) {
			t.Fatal("does not quote the packet")
		}
		var info wire.Info
		wire.Parse(dst[:n], &info, false)
		if info.SrcAddr() != src || info.TTL != 64 || wire.MayAnswer(dst[:n], &info) {
			t.Fatalf("from %v, TTL %d; or an error about an error would be sent", info.SrcAddr(), info.TTL)
		}
	}
}

func TestMayAnswer(t *testing.T) {
	say := func(b []byte) bool {
		var info wire.Info
		wire.Parse(b, &info, false)
		return wire.MayAnswer(b, &info)
	}
	udp := func(tweak func(*layers.IPv4)) []byte { return build(t, false, &layers.UDP{}, make([]byte, 16), tweak) }
	if !say(udp(nil)) || !say(build(t, true, &layers.UDP{}, nil, nil)) {
		t.Error("an ordinary packet is not answered")
	}
	if !say(build(t, false, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0)}, nil, nil)) {
		t.Error("an echo request is not answered")
	}
	for name, tweak := range map[string]func(*layers.IPv4){
		"later fragment":   func(h *layers.IPv4) { h.FragOffset = 3 },
		"from nobody":      func(h *layers.IPv4) { h.SrcIP = []byte{0, 0, 0, 0} },
		"from a group":     func(h *layers.IPv4) { h.SrcIP = []byte{224, 0, 0, 1} },
		"to a group":       func(h *layers.IPv4) { h.DstIP = []byte{224, 0, 0, 1} },
		"from a broadcast": func(h *layers.IPv4) { h.SrcIP = []byte{255, 255, 255, 255} },
	} {
		if say(udp(tweak)) {
			t.Errorf("%s: answered", name)
		}
	}
}

// FuzzParse: whatever Parse accepts can be edited and answered without a panic.
func FuzzParse(f *testing.F) {
	f.Add(build(f, false, &layers.TCP{SYN: true}, []byte("x"), nil), false)
	f.Add(build(f, true, &layers.UDP{}, []byte("x"), nil), false)
	f.Add([]byte{0x60, 0, 0, 0, 0, 16, 0, 64}, true)
	dst := make([]byte, wire.MaxICMP)
	f.Add(append(build(f, false, &layers.UDP{}, []byte("x"), nil), "what is no longer the packet"...), false)
	f.Add(append(build(f, true, &layers.UDP{}, []byte("x"), nil), "what is no longer the packet"...), false)
	f.Fuzz(func(t *testing.T, b []byte, super bool) {
		var info wire.Info
		if wire.Parse(b, &info, super) != wire.OK {
			return
		}
		if n := wire.Length(b); !super && int(info.Len) != n || super && int(info.Len) != len(b) {
			t.Fatalf("a length of %d, where the header says %d and there are %d bytes", info.Len, n, len(b))
		}
		if n := wire.Length(b); !super && n > len(b) || int(info.HdrLen) > len(b) {
			t.Fatalf("accepted %d bytes of %d, header %d", n, len(b), info.HdrLen)
		}
		info.FlowHash()
		wire.ClampMSS(b, &info, &wire.Offload{}, 1280)
		if wire.MayAnswer(b, &info) {
			wire.PutICMPError(dst, wire.ErrTooBig, info.DstAddr(), b, 1280)
		}
		if info.Version == 4 && !super {
			var fr wire.Fragmenter
			out := make([]byte, 576)
			fr.Reset(b[:wire.Length(b)], 576)
			for i := 0; fr.Next(out) > 0; i++ {
				if i > 10000 {
					t.Fatal("does not end")
				}
			}
		}
		wire.DecrementTTL(b)
		wire.SetTOS(b, 3)
	})
}

// TestEcho: gopacket reads it as what it is, with right checksums.
func TestEcho(t *testing.T) {
	for _, c := range []struct {
		from, to string
		first    gopacket.LayerType
		want     gopacket.LayerType
	}{{"10.1.0.1", "10.2.0.1", layers.LayerTypeIPv4, layers.LayerTypeICMPv4}, {"fd01::1", "fd02::1", layers.LayerTypeIPv6, layers.LayerTypeICMPv6Echo}} {
		b := wire.Echo(netip.MustParseAddr(c.from), netip.MustParseAddr(c.to))
		p := gopacket.NewPacket(b, c.first, gopacket.Default)
		if p.ErrorLayer() != nil || p.Layer(c.want) == nil || p.NetworkLayer().NetworkFlow().String() != c.from+"->"+c.to {
			t.Errorf("%s to %s: %v", c.from, c.to, p)
		}
		var info wire.Info
		if wire.Parse(b, &info, false) != wire.OK {
			t.Errorf("%x is not parsed", b)
		}
		sum := uint64(0)
		if info.Version == 6 {
			sum = wire.PseudoSum(b, wire.ProtoICMPv6, 8)
		}
		if wire.Checksum(b[info.HdrLen:], sum) != 0 {
			t.Errorf("%x: wrong checksum", b)
		}
	}
}
