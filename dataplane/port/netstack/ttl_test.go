package netstack

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
)

// datagram is what was taken.
type datagram struct {
	from netip.AddrPort
	ttl  uint8
	text string
}

// TestTTL: what was set is what comes, in both families, and another one later.
func TestTTL(t *testing.T) {
	p := newPair(t)
	got := make(chan datagram, 1)
	release, err := p.b.TakeUDP(3784, func(from netip.AddrPort, ttl uint8, b []byte) { got <- datagram{from, ttl, string(b)} })
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	for _, end := range [][2]netip.Addr{{a4, b4}, {a6, b6}} {
		c, err := p.a.DialTTL(netip.AddrPortFrom(end[0], 49152), netip.AddrPortFrom(end[1], 3784))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, ttl := range []uint8{255, 7} {
			if err := c.SetTTL(ttl); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			want := datagram{netip.AddrPortFrom(end[0], 49152), ttl, "hello"}
			select {
			case d := <-got:
				if d != want {
					t.Errorf("%+v, want %+v", d, want)
				}
			case <-time.After(patience):
				t.Fatalf("no %+v", want)
			}
		}
	}
}

// TestTakeUDPLeavesTheRest: other ports and addresses, what is damaged or cut short, and everything after release go to the stack.
func TestTakeUDPLeavesTheRest(t *testing.T) {
	port := newPort(t, config("b", b4, b6))
	s := &swallow{}
	port.link.Attach(s)
	w := &writer{link: port.link}
	taken := 0
	release, err := port.TakeUDP(3784, func(netip.AddrPort, uint8, []byte) { taken++ })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := port.TakeUDP(3784, func(netip.AddrPort, uint8, []byte) {}); err == nil {
		t.Error("taken twice")
	}
	if c, err := port.ListenPacket("udp", ":3784"); err == nil {
		c.Close()
		t.Error("taken, and listened to")
	}
	for _, end := range [][2]netip.Addr{{a4, b4}, {a6, b6}} {
		whole := func() []byte { return udpFrom(end[0], end[1], 3784, []byte("hello")) }
		hdr := len(whole()) - 8 - 5
		for name, c := range map[string]struct {
			change func(b []byte) []byte
			take   bool
		}{
			"as it is":                 {func(b []byte) []byte { return b }, true},
			"something behind it":      {func(b []byte) []byte { return append(b, 0, 0, 0) }, true},
			"another port":             {func([]byte) []byte { return udpFrom(end[0], end[1], 3785, nil) }, false},
			"another address":          {func([]byte) []byte { return udpFrom(end[1], end[0], 3784, nil) }, false},
			"another protocol":         {func([]byte) []byte { return tcpPacket(end[0], end[1], 1, tcpACK, 0, []byte("hello")) }, false},
			"a bit of data":            {func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, false},
			"a length too large":       {func(b []byte) []byte { b[hdr+5]++; return b }, false},
			"a length below 8":         {func(b []byte) []byte { b[hdr+5] = 7; return b }, false},
			"without a checksum":       {func(b []byte) []byte { b[hdr+6], b[hdr+7] = 0, 0; return b }, end[0].Is4()},
			"shorter than a header":    {func(b []byte) []byte { return b[:hdr+7] }, false},
			"a header that is damaged": {func(b []byte) []byte { b[map[int]int{20: 8, 40: 15}[hdr]] ^= 1; return b }, false},
			"a fragment": {func(b []byte) []byte {
				if end[0].Is4() {
					b[6] |= 0x20
					setLength(b)
					return b
				}
				f := append(slices.Clone(b[:hdr]), wire.ProtoUDP, 0, 0, 1, 0, 0, 0, 1)
				f[6] = wire.ProtoFragment
				f = append(f, b[hdr:]...)
				setLength(f)
				return f
			}, false},
		} {
			taken, s.n = 0, 0
			w.Write(packets(c.change(whole())))
			if (taken == 1) != c.take || taken+s.n != 1 {
				t.Errorf("%v, %s: taken %d times, to the stack %d times", end[0], name, taken, s.n)
			}
		}
	}
	release()
	release()
	taken, s.n = 0, 0
	w.Write(packets(udpFrom(a4, b4, 3784, nil)))
	if taken != 0 || s.n != 1 {
		t.Errorf("after release: taken %d times, to the stack %d times", taken, s.n)
	}
}

// udpFrom is a datagram from port 49152.
func udpFrom(src, dst netip.Addr, port uint16, payload []byte) []byte {
	u := binary.BigEndian.AppendUint16(nil, 49152)
	u = binary.BigEndian.AppendUint16(u, port)
	u = binary.BigEndian.AppendUint16(u, uint16(wire.UDPHeaderLen+len(payload)))
	u = append(append(u, 0, 0), payload...)
	b := append([]byte{0x45, 8: 255, 9: wire.ProtoUDP, 11: 0}, append(src.AsSlice(), dst.AsSlice()...)...)
	if src.Is6() {
		b = append([]byte{0x60, 6: wire.ProtoUDP, 7: 255}, append(src.AsSlice(), dst.AsSlice()...)...)
	}
	hdr := len(b)
	b = append(b, u...)
	setLength(b)
	binary.BigEndian.PutUint16(b[hdr+6:], wire.Checksum(b[hdr:], wire.PseudoSum(b, wire.ProtoUDP, len(u))))
	return b
}

// TestTakeUDPAllocatesNothing: neither for those who take nor for those who do not.
func TestTakeUDPAllocatesNothing(t *testing.T) {
	skipUnderRace(t)
	port := newPort(t, config("b", b4, b6))
	release, err := port.TakeUDP(3784, func(netip.AddrPort, uint8, []byte) {})
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	port.link.Attach(&swallow{})
	w := &writer{link: port.link}
	var pkts []packet.Packet
	for _, port := range []uint16{3784, 3785} {
		pkts = append(pkts, packets(udpFrom(a4, b4, port, nil), udpFrom(a6, b6, port, nil))...)
	}
	if n := testing.AllocsPerRun(200, func() { w.Write(pkts) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
