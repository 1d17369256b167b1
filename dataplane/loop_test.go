package dataplane

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
)

// pieces4 and pieces6 are the fragments of a datagram from one of our ports, made as the kernel makes them. port is the
// destination's.
func pieces4(id, port uint16) (all [][]byte) {
	for i := range 3 {
		all = append(all, ip4(a4, b4, 100, func(b []byte) {
			binary.BigEndian.PutUint16(b[4:], id)
			binary.BigEndian.PutUint16(b[6:], uint16(10*i))
			if i < 2 {
				b[6] |= 0x20
			}
			if i == 0 {
				binary.BigEndian.PutUint32(b[20:], 4500<<16|uint32(port))
			}
		}))
	}
	return all
}

func pieces6(id, port uint16) (all [][]byte) {
	for i := range 3 {
		all = append(all, ip6(a6, b6, 128, func(b []byte) {
			b[6], b[40], b[41] = wire.ProtoFragment, wire.ProtoUDP, 0
			more := 1
			if i == 2 {
				more = 0
			}
			binary.BigEndian.PutUint16(b[42:], uint16(10*i<<3|more))
			binary.BigEndian.PutUint32(b[44:], 0xabcd0000|uint32(id))
			if i == 0 {
				binary.BigEndian.PutUint32(b[48:], 4500<<16|uint32(port))
			}
		}))
	}
	return all
}

// TestLoopInPieces: all fragments of our own frames are told from those of others, between which they come.
func TestLoopInPieces(t *testing.T) {
	for name, pieces := range map[string]func(id, port uint16) [][]byte{b4: pieces4, b6: pieces6} {
		b := newBench(t)
		ports := []uint16{4500}
		b.plane.own.setPorts(ports)
		b.plane.Peers().Move(netip.AddrPort{}, netip.AddrPortFrom(netip.MustParseAddr(name), 4500))
		own, others := pieces(1, 4500), pieces(2, 53)
		b.fromPort(slices.Concat(own[:1], others[:2], own[1:], others[2:])...)
		if got := b.drops(b.out.worker); got[packet.Loop] != 3 || len(b.one.sealed) != 3 {
			t.Errorf("to %s: drops %v, %d sealed", name, got, len(b.one.sealed))
		}
		for id := uint16(3); id < 11; id++ { // many more: the memory is short
			b.fromPort(pieces(id, 4500)...)
		}
		if got := b.drops(b.out.worker); got[packet.Loop] != 27 || len(b.one.sealed) != 3 {
			t.Errorf("to %s: drops %v, %d sealed", name, got, len(b.one.sealed))
		}
		if n := testing.AllocsPerRun(10, func() {
			for i := range own {
				var info wire.Info
				if wire.Parse(own[i], &info, false) != wire.OK || !b.out.ownPieces.is(&b.plane.own, own[i], &info) {
					t.Fatal("not ours any more")
				}
			}
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

// from is an underlay that frames leave from.
type from struct {
	Underlay
	local netip.AddrPort
}

func (f from) Local() netip.AddrPort { return f.local }
func (from) Encap() Encap            { return Encap{UDP: true} }

// TestLoopKnowsPortsOfUnderlaysAlone: an underlay by which nothing leaves makes no packet of others one of our frames, such as one
// from port 0.
func TestLoopKnowsPortsOfUnderlaysAlone(t *testing.T) {
	var own ownFrames
	peer := netip.MustParseAddrPort("192.0.2.2:4500")
	own.peers.Move(netip.AddrPort{}, peer)
	own.add(from{})
	own.add(from{local: netip.MustParseAddrPort("192.0.2.1:4500")})
	for port, want := range map[uint16]bool{0: false, 4500: true} {
		info := wire.Info{Version: 4, Proto: wire.ProtoUDP, SrcPort: port, DstPort: peer.Port()}
		info.Dst = wire.KeyOf(peer.Addr())
		if got := own.is(&info); got != want {
			t.Errorf("from port %d: ours is %v, want %v", port, got, want)
		}
	}
}

// rawFrom is an underlay of IP protocol 50.
type rawFrom struct{ from }

func (rawFrom) Encap() Encap { return Encap{} }

// TestLoopOfESP: ESP of ours without UDP, whole or in pieces, over both families, and only while there is such an underlay.
func TestLoopOfESP(t *testing.T) {
	for _, c := range []struct {
		peer   string
		whole  []byte
		pieces [][]byte
	}{
		{b4, ip4(a4, b4, 100, func(p []byte) { p[9] = wire.ProtoESP }), pieces4(1, 0)},
		{b6, ip6(a6, b6, 100, func(p []byte) { p[6] = wire.ProtoESP }), pieces6(1, 0)},
	} {
		for _, p := range c.pieces {
			if p[0]>>4 == 4 {
				p[9] = wire.ProtoESP
			} else {
				p[40] = wire.ProtoESP
			}
		}
		all := append([][]byte{c.whole}, c.pieces...)
		slices.Reverse(all) // each is known by itself
		b := newBench(t)
		b.plane.Peers().Move(netip.AddrPort{}, netip.AddrPortFrom(netip.MustParseAddr(c.peer), 0))
		b.fromPort(all...)
		if len(b.one.sealed) != len(all) {
			t.Errorf("to %s: %d of others sealed, drops %v", c.peer, len(b.one.sealed), b.drops(b.out.worker))
		}
		b.plane.own.add(rawFrom{from{local: netip.MustParseAddrPort("192.0.2.1:0")}})
		b.fromPort(all...)
		if got := b.drops(b.out.worker)[packet.Loop]; got != uint64(len(all)) || len(b.one.sealed) != len(all) {
			t.Errorf("to %s: %d of ours dropped, %d sealed", c.peer, got, len(b.one.sealed))
		}
	}
}
