package netstack

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
)

// writer is one worker's way into the stack.
type writer struct {
	link *link
	// whole: the stack forwards, so that it must get packets as they were on the way, neither joined nor uncut.
	whole bool
	seg   wire.Segmenter
}

// Write hands the packets to the stack, which processes each up to its socket before Write goes on; TCP's answers come
// later from the stack's own goroutines. Segments of one flow that follow one another go as one packet, since what a
// packet costs the stack hardly depends on its length.
func (w *writer) Write(pkts []packet.Packet) {
	d := w.link.dispatcher.Load()
	for i := 0; i < len(pkts); {
		p := &pkts[i]
		if p.Drop != packet.None {
			i++
			continue
		}
		if d == nil {
			p.Drop = packet.PortDown
			i++
			continue
		}
		if w.whole || p.Offload != (packet.Offload{}) {
			w.one(*d, p)
			i++
			continue
		}
		n, length := 1, p.Len
		if i+1 < len(pkts) {
			n, length = countRun(pkts[i:])
		}
		if n == 1 {
			w.one(*d, p)
		} else {
			v := buffer.NewViewSize(length)
			joinRun(v.AsSlice(), pkts[i:i+n])
			deliver(*d, v)
		}
		i += n
	}
}

// one hands a single packet to the stack, with whatever its offload left undone done.
func (w *writer) one(d stack.NetworkDispatcher, p *packet.Packet) {
	if v := p.Bytes(); len(v) == 0 || (v[0]>>4 != 4 && v[0]>>4 != 6) {
		p.Drop = packet.NotIP
		return
	}
	o := p.Offload
	if o.GSO == wire.GSOUDP || (o.GSO != wire.GSONone && w.whole) {
		w.cut(d, p)
		return
	}
	v := buffer.NewViewSize(p.Len)
	copy(v.AsSlice(), p.Bytes())
	complete(v.AsSlice(), &o)
	if w.whole {
		w.expire(v.AsSlice())
	}
	if w.link.take(v.AsSlice()) {
		v.Release()
		return
	}
	deliver(d, v)
}

// expire makes the stack answer a packet that may not be forwarded any more: it would let it go with a TTL of zero.
func (w *writer) expire(b []byte) {
	var info wire.Info
	if wire.Parse(b, &info, false) != wire.OK || info.TTL != 1 {
		return
	}
	if own := w.link.own.Load(); own != nil {
		if _, is := (*own)[tcpip.AddrFromSlice(info.DstAddr().AsSlice())]; is {
			return
		}
	}
	wire.DecrementTTL(b)
}

// complete finishes what a packet's offload left undone. A TCP super-packet gets a length and checksum of its own, as if
// it had come as one packet.
func complete(b []byte, o *packet.Offload) {
	if o.GSO == wire.GSONone {
		wire.CompleteChecksum(b, o)
		return
	}
	setLength(b)
	t := b[o.CsumStart:]
	c := t[o.CsumOffset : o.CsumOffset+2]
	c[0], c[1] = 0, 0
	binary.BigEndian.PutUint16(c, wire.Checksum(t, wire.PseudoSum(b, wire.ProtoTCP, len(t))))
}

// cut hands the stack the packets that a super-packet stands for. It spends the packet's bytes.
func (w *writer) cut(d stack.NetworkDispatcher, p *packet.Packet) {
	if !w.seg.Reset(p.Buf, p.Off, p.Len, &p.Offload) {
		p.Drop = packet.BadOffload
		return
	}
	for off, n := w.seg.Next(); n > 0; off, n = w.seg.Next() {
		v := buffer.NewViewSize(n)
		copy(v.AsSlice(), p.Buf[off:off+n])
		if w.whole {
			w.expire(v.AsSlice())
		}
		deliver(d, v)
	}
}

// deliver takes over v.
func deliver(d stack.NetworkDispatcher, v *buffer.View) {
	proto := header.IPv4ProtocolNumber
	if v.AsSlice()[0]>>4 == 6 {
		proto = header.IPv6ProtocolNumber
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(v)})
	d.DeliverNetworkPacket(proto, pkt)
	pkt.DecRef()
}
