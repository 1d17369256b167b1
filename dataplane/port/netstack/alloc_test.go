package netstack

import (
	"net"
	"testing"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/internal/race"
)

// swallow is a stack that takes packets and does nothing with them.
type swallow struct{ n int }

func (s *swallow) DeliverNetworkPacket(tcpip.NetworkProtocolNumber, *stack.PacketBuffer) { s.n++ }
func (s *swallow) DeliverLinkPacket(tcpip.NetworkProtocolNumber, *stack.PacketBuffer)    {}

func skipUnderRace(t *testing.T) {
	if race.Enabled {
		t.Skip("pools forget at random under the race detector")
	}
}

// What is ours in Read and Write allocates nothing: the stack is replaced by one that does nothing.
func TestOurPartAllocatesNothing(t *testing.T) {
	skipUnderRace(t)
	l := newLink(1420, 1, 1<<20)
	s := &swallow{}
	l.Attach(s)
	w := &writer{link: l}
	body := make([]byte, 1300)
	for name, pkts := range map[string][]packet.Packet{
		"joined": packets(tcpPacket(b4, a4, 0, tcpACK, 12, body), tcpPacket(b4, a4, 1300, tcpACK, 12, body)),
		"single": packets(tcpPacket(b6, a6, 0, tcpACK, 12, body)),
	} {
		if n := testing.AllocsPerRun(200, func() { w.Write(pkts) }); n != 0 {
			t.Errorf("write, %s: %v allocations", name, n)
		}
	}
	r := &reader{q: l.queues[0]}
	b := packet.NewBatch(1 << 18)
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(body)})
	defer pkt.DecRef()
	round := func() {
		for range 3 {
			l.queues[0].push(pkt)
		}
		if err := r.Read(b); err != nil || b.Len() != 3 {
			t.Fatal(err, b.Len())
		}
	}
	round()
	if n := testing.AllocsPerRun(200, round); n != 0 {
		t.Errorf("read: %v allocations", n)
	}
}

// BenchmarkTransfer sends through two stacks and two pumps, with super-packets handed over uncut or cut into segments
// that the writer joins again.
func BenchmarkTransfer(b *testing.B) {
	for name, super := range map[string]bool{"super": true, "cut": false} {
		b.Run("tcp/"+name, func(b *testing.B) {
			p := newPair(b, func(_, _ *Config, ab, ba *way) { ab.super, ba.super = super, super })
			done := make(chan struct{})
			total := b.N * (128 << 10)
			addr := listen(b, p.b, b4, func(c net.Conn) {
				buf := make([]byte, 1<<18)
				for got := 0; got < total; {
					n, err := c.Read(buf)
					if err != nil {
						b.Error(err)
						break
					}
					got += n
				}
				close(done)
			})
			c := dial(b, p.a, "tcp", addr)
			chunk := make([]byte, 128<<10)
			b.SetBytes(int64(len(chunk)))
			b.ResetTimer()
			for range b.N {
				if _, err := c.Write(chunk); err != nil {
					b.Fatal(err)
				}
			}
			<-done
		})
	}
}
