package dataplane

import (
	"encoding/binary"
	"testing"

	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
)

// finishing is a tunnel that does to packets what real ones do before they seal: complete checksums, cut super-packets.
type finishing struct {
	t *testing.T
	*fakeTunnel
	taken int
	cut   wire.Segmenter
}

func (f *finishing) Seal(_ *Ctx, pkts []packet.Packet) (refused int) {
	for i := range pkts {
		p := &pkts[i]
		switch {
		case p.Drop != packet.None:
		case p.SegmentSize() > limitFor(p, f.mtu):
			f.t.Fatalf("a packet of %d bytes for a tunnel of %d", p.SegmentSize(), f.mtu)
		case p.Offload.GSO == wire.GSONone:
			wire.CompleteChecksum(p.Bytes(), &p.Offload)
		case !f.cut.Reset(p.Buf, p.Off, p.Len, &p.Offload):
			p.Drop = packet.BadOffload
		default:
			for _, n := f.cut.Next(); n > 0; _, n = f.cut.Next() {
				if n > p.SegmentSize() {
					f.t.Fatalf("a segment of %d bytes, expected at most %d", n, p.SegmentSize())
				}
			}
		}
		if p.Drop != packet.None {
			refused++
		} else {
			f.taken++
		}
	}
	return refused
}

// FuzzWalk: whatever a port or a tunnel hands in, with whatever offload fields, the walk does not panic, makes nothing larger than
// the tunnel takes, and each packet is sealed, written or counted as dropped.
func FuzzWalk(f *testing.F) {
	f.Add(ip4(a4, b4, 100), []byte{}, uint16(1438), false)
	f.Add(ip4(a4, c4, 4000), []byte{3, 1, 0x05, 0x78, 0, 28, 0, 20, 0, 6}, uint16(600), false)
	f.Add(ip6(a6, b6, 1400), []byte{0, 1, 0, 0, 0, 0, 0, 40, 0, 6}, uint16(1300), false)
	f.Add(ip6(b6, c6, 1400, hopLimit(1)), []byte{}, uint16(1300), true)
	f.Add(ip4(b4, a4, 60), []byte{0, 1, 0, 0, 0, 0, 0, 60, 0, 16}, uint16(576), true)
	f.Fuzz(func(t *testing.T, data, offload []byte, mtu uint16, fromTunnel bool) {
		if len(data) > packet.MaxSize || mtu < 576 { // what an error may take (RFC 1812 section 4.3.2.3)
			return
		}
		b := newBench(t)
		var tunnels []*finishing
		for _, fake := range []*fakeTunnel{b.one, b.two} {
			fake.mtu = int(mtu)
			e := b.plane.tunnels.get(fake.index)
			e.mssClamp = -1
			tunnels = append(tunnels, &finishing{t: t, fakeTunnel: fake})
			e.tunnel = tunnels[len(tunnels)-1]
		}
		slot := make([]byte, 64+len(data)+64)
		copy(slot[64:], data)
		w := b.out.worker
		if fromTunnel {
			w = b.in.worker
			p := b.in.clear.Append(slot, 64, len(data))
			if wire.Parse(data, &p.Info, false) != wire.OK {
				return
			}
			p.Ingress, p.Len = b.one.index, wire.Length(data)
			b.in.deliver()
		} else {
			var batch packet.Batch
			p := batch.Append(slot, 64, len(data))
			if len(offload) >= 10 {
				p.Offload = packet.Offload{GSO: wire.GSO(offload[0] % 4), NeedsCsum: offload[1]&1 != 0, Size: binary.BigEndian.Uint16(offload[2:]),
					HdrLen: binary.BigEndian.Uint16(offload[4:]), CsumStart: binary.BigEndian.Uint16(offload[6:]), CsumOffset: binary.BigEndian.Uint16(offload[8:])}
			}
			if o := &p.Offload; int(o.HdrLen) > len(data) || int(o.CsumStart)+int(o.CsumOffset)+2 > len(data) || o.GSO != wire.GSONone && (o.Size == 0 || !o.NeedsCsum) {
				p.Offload = packet.Offload{} // what no port hands in
			}
			b.out.walk(batch.Packets())
		}
		accounted := len(b.port.written) + tunnels[0].taken + tunnels[1].taken
		for _, n := range b.drops(w) {
			accounted += int(n)
		}
		if accounted == 0 {
			t.Fatal("a packet vanished")
		}
	})
}
