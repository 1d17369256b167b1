package wireguard_test

import (
	"testing"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/packet/packettest"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

// FuzzOpen gives a device with a session trains of anything, and packets that are authentic and hold anything: what it delivers is a
// packet that can be parsed, and of a train nobody sealed it delivers nothing.
func FuzzOpen(f *testing.F) {
	d := newDuo(f)
	inner := packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1)
	f.Add(inner, uint8(0), 0)
	f.Add(inner[:50], uint8(wire.CE), 20)
	f.Add([]byte{4, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, uint8(wire.ECT1), 7)
	f.Add(append([]byte{byte(handshake.TypeInitiation), 0, 0, 0}, make([]byte, handshake.InitiationSize-4)...), uint8(0), -1)
	f.Fuzz(func(t *testing.T, b []byte, tos uint8, size int) {
		if len(b) > 1<<16 || size < 0 {
			size = 0
		}
		if size > 0 {
			size = max(size, len(b)/packet.MaxBatch+1) // as many datagrams as a train may have
		}
		d.b.out.Reset()
		d.b.device.Open(d.b.ctx, d.b.sent, &dataplane.Train{Data: append([]byte(nil), b...), Size: size, Remote: d.a.sent.local, TOS: tos}, &d.b.out)
		if n := d.b.out.Len(); n != 0 {
			t.Fatalf("%d packets were delivered that nobody sealed", n)
		}
		if len(b) == 0 || len(b) > 1400 {
			return
		}
		// The same as the content of a message: Seal does not look at it.
		batch := packet.NewBatch(1 << 12)
		copy(batch.Space(len(b)), b)
		batch.Commit(0, len(b))
		if d.a.peer.Seal(d.a.ctx, batch.Packets()) != 0 {
			t.Fatal(batch.Packets()[0].Drop)
		}
		d.a.ctx.Tx.Flush()
		for _, m := range d.a.sent.take() {
			d.b.out.Reset()
			d.b.device.Open(d.b.ctx, d.b.sent, &dataplane.Train{Data: m, Remote: d.a.sent.local, TOS: tos}, &d.b.out)
			for _, p := range d.b.out.Packets() {
				var info wire.Info
				if wire.Parse(p.Bytes(), &info, false) != wire.OK || len(p.Bytes()) > (len(b)+15)&^15 {
					t.Fatalf("delivered %x", p.Bytes())
				}
			}
		}
	})
}
