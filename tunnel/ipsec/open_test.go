package ipsec_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"testing"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/packet/packettest"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/esp"
	"github.com/warrenvpn/warren/tunnel/ipsec"
)

// seal makes an ESP packet of whatever is to stand inside.
func seal(out *esp.Outbound, inside []byte, next byte) []byte {
	run := out.Reserve(1)
	defer run.End()
	b := make([]byte, out.SealedLen(len(inside)))
	copy(b[out.HeaderLen():], inside)
	run.Seal(esp.NewScratch(), b, len(inside), next)
	return b
}

// arrives hands a frame of a to b as if it came with that outer traffic class.
func arrives(hosts [2]*host, frame []byte, tos uint8) {
	hosts[0].underlay.NewSender().Send([]dataplane.Frame{{Data: frame, TOS: tos,
		Path: &dataplane.Path{Underlay: hosts[0].underlay, Remote: hosts[1].underlay.Local()}}})
}

// TestWhatStandsInside of packets of the peer: padding for traffic flow confidentiality does not come out, and what does not come out at
// all is counted for the tunnel, by its reason.
func TestWhatStandsInside(t *testing.T) {
	for _, suite := range []esp.Suite{esp.AES256GCM16, esp.ChaCha20Poly1305, esp.AES128SHA1, esp.AES256SHA512} {
		_, h := pair(t, setup{suite: suite})
		out := h[0].child.Out
		four, six := packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1), packettest.UDP("fd01::5", "fd02::5", 120, 2)
		padding := bytes.Repeat([]byte{0xee}, 300)
		good := seal(out, append(bytes.Clone(four), padding...), 4)
		damaged := seal(out, four, 4)
		damaged[len(damaged)-1] ^= 1
		for _, frame := range [][]byte{
			good, seal(out, append(bytes.Clone(six), padding...), 41),
			seal(out, padding, 59), seal(out, nil, 59), // dummies
			seal(out, four[:99], 4), seal(out, six[:60], 41), // cut off
			seal(out, four, 41), seal(out, six, 4), seal(out, four, 6),
			good, good[:len(good)-13], good[:12], good[:4], damaged,
			seal(out, four, 4),
		} {
			arrives(h, bytes.Clone(frame), 0)
		}
		for i, want := range [][]byte{four, six, four} {
			if got := h[1].next(t); !bytes.Equal(got, want) {
				t.Errorf("%v: packet %d came out as %x", suite, i, got)
			}
		}
		want := map[packet.Reason]uint64{packet.Dummy: 2, packet.Malformed: 2, packet.BadNextHeader: 3, packet.Replayed: 1, packet.BadICV: 1, packet.FrameShort: 3}
		s, _ := h[1].plane.TunnelStats(h[1].index)
		if s.InPackets != 3 || s.InBytes != 320 || !maps.Equal(s.Drops, want) {
			t.Errorf("%v: %+v, want drops %v", suite, s, want)
		}
	}
}

// TestCongestionOfEveryKind is figure 4 of RFC 6040, for inner packets of both families.
func TestCongestionOfEveryKind(t *testing.T) {
	const dropped = 0xff
	figure := [4][4]uint8{ // by inner and outer codepoint
		wire.NotECT: {wire.NotECT: wire.NotECT, wire.ECT0: wire.NotECT, wire.ECT1: wire.NotECT, wire.CE: dropped},
		wire.ECT0:   {wire.NotECT: wire.ECT0, wire.ECT0: wire.ECT0, wire.ECT1: wire.ECT1, wire.CE: wire.CE},
		wire.ECT1:   {wire.NotECT: wire.ECT1, wire.ECT0: wire.ECT1, wire.ECT1: wire.ECT1, wire.CE: wire.CE},
		wire.CE:     {wire.NotECT: wire.CE, wire.ECT0: wire.CE, wire.ECT1: wire.CE, wire.CE: wire.CE},
	}
	_, h := pair(t, setup{})
	for _, v6 := range []bool{false, true} {
		for inner := range uint8(4) {
			for outer := range uint8(4) {
				p, next := packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1), byte(4)
				if v6 {
					p, next = packettest.UDP("fd01::5", "fd02::5", 100, 1), 41
				}
				wire.SetTOS(p, 46<<2|inner)
				arrives(h, seal(h[0].child.Out, p, next), 10<<2|outer)
				if figure[inner][outer] == dropped {
					continue
				}
				wire.SetTOS(p, 46<<2|figure[inner][outer])
				if got := h[1].next(t); !bytes.Equal(got, p) {
					t.Errorf("IPv6 %v, inner %d, outer %d: %x, want %x", v6, inner, outer, got[:20], p[:20])
				}
			}
		}
	}
	h[1].dropped(t, packet.ECNInvalid, 2)
}

// TestSelectorsByProtocolAndPort: what they do not cover enters the tunnel no more than it leaves it, fragments without ports neither.
func TestSelectorsByProtocolAndPort(t *testing.T) {
	to := func(proto uint8, ports uint32) []byte {
		p := packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1)
		p[9] = proto
		binary.BigEndian.PutUint32(p[20:], ports)
		wire.SetIPv4Checksum(p)
		return p
	}
	fragment := func(p []byte, offset uint16) []byte {
		binary.BigEndian.PutUint16(p[6:], offset)
		wire.SetIPv4Checksum(p)
		return p
	}
	all := ipsec.PrefixSelector(netip.MustParsePrefix("10.0.0.0/8"))
	dns, web, ping := all, all, all
	dns.Proto, dns.FromPort, dns.ToPort = wire.ProtoUDP, 0, 53
	web.Proto, web.FromPort, web.ToPort = wire.ProtoTCP, 8000, 8999
	ping.Proto, ping.FromPort, ping.ToPort = wire.ProtoICMP, 8<<8, 8<<8
	gre := all
	gre.Proto = wire.ProtoGRE
	remote := []ipsec.Selector{dns, web, ping, gre}
	for name, c := range map[string]struct {
		p  []byte
		ok bool
	}{
		"DNS":               {to(wire.ProtoUDP, 5353<<16|53), true},
		"DNS, the way back": {to(wire.ProtoUDP, 53<<16|5353), false},
		"UDP":               {to(wire.ProtoUDP, 5353<<16|54), false},
		"port of TCP":       {to(wire.ProtoUDP, 5353<<16|8000), false},
		"TCP":               {to(wire.ProtoTCP, 1<<16|8999), true},
		"TCP, beyond":       {to(wire.ProtoTCP, 1<<16|9000), false},
		"TCP, below":        {to(wire.ProtoTCP, 1<<16|7999), false},
		"port of UDP":       {to(wire.ProtoTCP, 1<<16|53), false},
		"echo request":      {to(wire.ProtoICMP, 8<<24), true},
		"timestamp":         {to(wire.ProtoICMP, 13<<24), false},
		"GRE":               {to(wire.ProtoGRE, 0), true},
		"GRE, later":        {fragment(to(wire.ProtoGRE, 0), 5), true},
		"IPIP":              {to(wire.ProtoIPv4, 0), false},
		"first fragment":    {fragment(to(wire.ProtoUDP, 5353<<16|53), 0x2000), true},
		"later fragment":    {fragment(to(wire.ProtoUDP, 5353<<16|53), 5), false},
	} {
		narrow, wide := newChild(t, setup{suite: esp.AES128GCM16, window: 64}, 0), newChild(t, setup{suite: esp.AES128GCM16, window: 64}, 1)
		narrow.Local, narrow.Remote = []ipsec.Selector{all}, remote
		g := ipsec.NewGateway(ipsec.Options{})
		sent := new(recorder)
		ctx, b := dataplane.NewCtx(), packet.NewBatch(1<<12)
		for _, child := range []*ipsec.Child{narrow, wide} {
			tunnel := g.NewTunnel(1, ipsec.Config{Name: "one"})
			tunnel.SetPath(&dataplane.Path{Underlay: sent, Remote: netip.MustParseAddrPort("192.0.2.2:4500")})
			if err := tunnel.AddChild(child); err != nil {
				t.Fatal(err)
			}
			b.Reset()
			packettest.Put(b, c.p, wire.Offload{})
			sent.frames = nil
			refused := tunnel.Seal(ctx, b.Packets())
			ctx.Tx.Flush()
			if ok := child == wide || c.ok; (refused == 0) != ok || (len(sent.frames) == 1) != ok {
				t.Errorf("%s outbound: %d refused for %v, want %v", name, refused, b.Packets()[0].Drop, ok)
			}
		}
		// The peer's frame, which is of its wide child, is opened by another gateway's narrow one.
		in, out := ipsec.NewGateway(ipsec.Options{}), newChild(t, setup{suite: esp.AES128GCM16, window: 64}, 0)
		out.Remote, out.Local = []ipsec.Selector{all}, remote
		if err := in.NewTunnel(1, ipsec.Config{Name: "one"}).AddChild(out); err != nil {
			t.Fatal(err)
		}
		var clear packet.Batch
		in.Open(ctx, sent, &dataplane.Train{Data: sent.frames[0], Size: len(sent.frames[0])}, &clear)
		if (clear.Len() == 1) != c.ok {
			t.Errorf("%s inbound: %d packets, want %v", name, clear.Len(), c.ok)
		}
	}
}

// TestOneFamilyIsNotBoth: selectors that take all of one family take nothing of the other, either way.
func TestOneFamilyIsNotBoth(t *testing.T) {
	four, six := packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1), packettest.UDP("fd01::5", "fd02::5", 100, 1)
	for _, c := range []struct {
		all            string
		covered, other []byte
		next           byte
	}{{"0.0.0.0/0", four, six, 41}, {"::/0", six, four, 4}} {
		_, h := pair(t, setup{local: [2][]string{{c.all}, {c.all}}})
		h[0].inject(t, c.other, c.covered)
		arrives(h, seal(h[0].child.Out, c.other, c.next), 0)
		if got := h[1].next(t); !bytes.Equal(got, c.covered) {
			t.Errorf("%s: %x came out", c.all, got)
		}
		h[0].dropped(t, packet.SelectorOut, 1)
		h[1].dropped(t, packet.SelectorIn, 1)
	}
}

// TestErrorAboutAnSAThatHasGone lowers nothing: whoever has its SPI now is another.
func TestErrorAboutAnSAThatHasGone(t *testing.T) {
	_, h := pair(t, setup{})
	second := newChild(t, setup{suite: esp.AES256GCM16, window: 64}, 1)
	if err := h[0].tunnel.AddChild(second); err != nil {
		t.Fatal(err)
	}
	quote := binary.BigEndian.AppendUint32(nil, h[0].child.Out.SPI())
	h[0].tunnel.RemoveChild(h[0].child)
	before := h[0].tunnel.InnerMTU()
	h[0].gateway.PathError(h[0].underlay, &dataplane.PathError{Remote: h[0].tunnel.Path().Remote, MTU: 1000, Quote: quote})
	if got := h[0].tunnel.InnerMTU(); got != before {
		t.Errorf("inner MTU %d, want %d", got, before)
	}
}

// TestHeardByAnotherAddressOfOurs: it is not the peer that has moved.
func TestHeardByAnotherAddressOfOurs(t *testing.T) {
	_, h := pair(t, setup{cfg: ipsec.Config{Roam: true}})
	was := h[1].tunnel.Path()
	ctx := dataplane.NewCtx()
	for i, c := range []struct {
		by    dataplane.Underlay
		moved bool
	}{{new(recorder), false}, {h[1].underlay, true}} {
		frame := seal(h[0].child.Out, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1), 4)
		var clear packet.Batch
		from := netip.MustParseAddrPort(fmt.Sprintf("198.51.100.%d:4500", i))
		h[1].gateway.Open(ctx, c.by, &dataplane.Train{Data: frame, Size: len(frame), Remote: from}, &clear)
		if clear.Len() != 1 || (h[1].tunnel.Path() != was) != c.moved {
			t.Errorf("%d packets; the peer is at %v", clear.Len(), h[1].tunnel.Path().Remote)
		}
	}
	// What was sent before and comes late does not move it back.
	now := h[1].tunnel.Path().Remote
	late, last := seal(h[0].child.Out, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1), 4), seal(h[0].child.Out, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1), 4)
	var clear packet.Batch
	h[1].gateway.Open(ctx, h[1].underlay, &dataplane.Train{Data: last, Size: len(last), Remote: now}, &clear)
	h[1].gateway.Open(ctx, h[1].underlay, &dataplane.Train{Data: late, Size: len(late), Remote: was.Remote}, &clear)
	if got := h[1].tunnel.Path().Remote; clear.Len() != 2 || got != now {
		t.Errorf("%d packets; the peer is at %v, want %v", clear.Len(), got, now)
	}
}

// TestMessagesOfKeyExchange stand among ESP in UDP behind the non-ESP marker, and nowhere else; what nobody has room for is counted.
func TestMessagesOfKeyExchange(t *testing.T) {
	_, h := pair(t, setup{})
	var got []string
	room := 2
	g := ipsec.NewGateway(ipsec.Options{Control: func(u dataplane.Underlay, from netip.AddrPort, b []byte) bool {
		if room--; room < 0 {
			return false
		}
		got = append(got, fmt.Sprintf("%v %v %s", u.Name(), from, b))
		return true
	}})
	from := netip.MustParseAddrPort("198.51.100.1:4500")
	message := append(make([]byte, 4), "hello"...)
	open := func(g *ipsec.Gateway, u *recorder) {
		train := dataplane.Train{Data: bytes.Repeat(message, 3), Size: len(message), Remote: from}
		if err := h[1].plane.AddUnderlay(&once{recorder: u, train: train}, g); err != nil {
			t.Fatal(err)
		}
	}
	open(g, new(recorder))
	h[1].dropped(t, packet.UnderlayFull, 1)
	if len(got) != 2 || got[0] != "recorder 198.51.100.1:4500 hello" || got[1] != got[0] {
		t.Errorf("%q", got)
	}
	open(g, &recorder{raw: true})
	open(ipsec.NewGateway(ipsec.Options{}), new(recorder))
	h[1].dropped(t, packet.NotControl, 6)
}

// once is an underlay by which one train comes.
type once struct {
	*recorder
	train dataplane.Train
	came  bool
}

func (o *once) Receivers() []dataplane.Receiver { return []dataplane.Receiver{o} }

func (o *once) Recv(rx *dataplane.Rx) error {
	if rx.Reset(); o.came {
		return dataplane.ErrClosed
	}
	o.came = true
	rx.Trains = append(rx.Trains, o.train)
	return nil
}
