package tun

import (
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/internal/race"
)

func TestReadAndWriteAllocateNothing(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector's runtime allocates")
	}
	for name, lacks := range map[string]features{"all": {}, "bare": {vnet: true}} {
		t.Run(name, func(t *testing.T) {
			ns := space(t, "alloc")
			d := open(t, Config{NetNS: ns, Addresses: prefixes("10.9.0.1/24"), lacks: lacks})
			var c net.Conn
			in(t, ns, func() (err error) {
				c, err = net.Dial("udp", "10.9.0.2:7")
				return err
			})
			defer c.Close()
			b, r := packet.NewBatch(arena), d.Readers()[0]
			data := make([]byte, 100)
			if n := testing.AllocsPerRun(100, func() {
				for range 3 {
					if _, err := c.Write(data); err != nil {
						t.Fatal(err)
					}
				}
				if err := r.Read(b); err != nil || b.Len() == 0 {
					t.Fatal(err, b.Len())
				}
			}); n != 0 {
				t.Errorf("%v allocations in a read", n)
			}
			for i := range b.Packets() {
				if p := &b.Packets()[i]; p.Head() < packet.HeadRoom || p.Tail() < packet.TailRoom || p.Off%64 != 0 || p.Len != 128 {
					t.Errorf("%d bytes at %d, %d behind", p.Len, p.Off, p.Tail())
				}
			}
			if err := r.Read(packet.NewBatch(packet.MaxSize)); err == nil || errors.Is(err, dataplane.ErrClosed) {
				t.Errorf("an arena that takes no super-packet: %v", err)
			}
			w := d.NewWriter()
			tcp, udp := newFlow(false, false), newFlow(true, true)
			pkts := batchOf(t, tcp.next(fill(100, 1)), tcp.next(fill(100, 1)), udp.next(fill(90, 1)), udp.next(fill(90, 1)), udp4(t, 1, 10),
				udp4(t, 2, 3000), tcp.next(fill(5, 1)))
			// One that has no room in front, and one that another port left to be cut.
			pkts[4].Buf, pkts[4].Off = pkts[4].Buf[pkts[4].Off:], 0
			gso := wire.Offload{GSO: wire.GSOUDP, NeedsCsum: true, Size: 1000, HdrLen: 28, CsumStart: 20, CsumOffset: 6}
			if n := testing.AllocsPerRun(100, func() {
				pkts[5].Offload = gso
				w.Write(pkts)
				for i := range pkts {
					if pkts[i].Drop != packet.None {
						t.Fatal(i, pkts[i].Drop)
					}
				}
			}); n != 0 {
				t.Errorf("%v allocations in a write", n)
			}
		})
	}
}

// BenchmarkWrite writes batches of one flow to an address where the kernel throws them away.
func BenchmarkWrite(b *testing.B) {
	for _, proto := range []string{"tcp", "udp"} {
		for _, size := range []int{64, 1400} {
			for name, lacks := range map[string]features{"joined": {}, "alone": {vnet: true}} {
				b.Run(fmt.Sprintf("%s/%d/%s", proto, size, name), func(b *testing.B) {
					d := open(b, Config{NetNS: space(b, "bw"), lacks: lacks})
					f := newFlow(false, proto == "udp")
					pkts := packet.NewBatch(1 << 20)
					for i := range 44 {
						data := f.next(fill(size-52+24*map[string]int{"udp": 1}[proto], byte(i)))
						pkts.Commit(0, copy(pkts.Space(len(data)), data))
					}
					w := d.NewWriter()
					b.SetBytes(int64(size))
					for n := 0; n < b.N; n += pkts.Len() {
						w.Write(pkts.Packets())
					}
					if pkts.Packets()[0].Drop != packet.None {
						b.Fatal(pkts.Packets()[0].Drop)
					}
				})
			}
		}
	}
}

// BenchmarkRead reads what a socket sent before; only reading is timed.
func BenchmarkRead(b *testing.B) {
	for _, size := range []int{64, 1400} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			ns := space(b, "br")
			d := open(b, Config{NetNS: ns, Addresses: prefixes("10.9.0.1/24")})
			var c net.Conn
			in(b, ns, func() (err error) {
				c, err = net.Dial("udp", "10.9.0.2:7")
				return err
			})
			defer c.Close()
			data := make([]byte, size-28)
			batch, r := packet.NewBatch(arena), d.Readers()[0]
			b.SetBytes(int64(size))
			b.ResetTimer()
			for n := 0; n < b.N; {
				b.StopTimer()
				for range drain {
					if _, err := c.Write(data); err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
				if err := r.Read(batch); err != nil {
					b.Fatal(err)
				}
				n += batch.Len()
			}
		})
	}
}
