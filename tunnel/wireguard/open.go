package wireguard

import (
	"encoding/binary"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/tunnel/outer"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

// The way of datagrams into clear packets, in the order of the functions of this file:
//
//	Open     cut the train into datagrams; handshake messages go to control, the others by their index to a keypair
//	openRun  decrypt the datagrams of one keypair in place
//	commit   ask the window (shared: the keypair's, once a run)
//	accept   inner header, source, ECN; on to the data plane
//	moved    follow the peer where it went

// batch is a run of datagrams of one keypair. A train has no more datagrams than a batch of packets.
type batch struct {
	n     int
	items [packet.MaxBatch]item
}

// item is a transport message: datagram[headerLen:headerLen+len] is what it carries.
type item struct {
	datagram []byte
	counter  uint64
	len      int
	drop     packet.Reason
}

// Open implements dataplane.Opener.
func (d *Device) Open(ctx *dataplane.Ctx, u dataplane.Underlay, tr *dataplane.Train, out *packet.Batch) {
	s := d.worker(ctx.Worker)
	b := &s.batch
	b.n = 0
	var kp *keypair
	var index uint32
	for rest, size := tr.Data, tr.Size; len(rest) > 0; {
		m := rest
		if size > 0 && len(m) > size {
			m = rest[:size:size]
		}
		rest = rest[len(m):]
		receiver, counter, ok := handshake.ParseTransport(m)
		if !ok || len(m) < overhead {
			d.other(ctx, u, tr, m)
			continue
		}
		if kp == nil || receiver != index || b.n == len(b.items) {
			d.openRun(ctx, s, kp, u, tr, out)
			index = receiver
			kp, _ = d.indices.Lookup(receiver)
		}
		if kp == nil {
			ctx.Counters.Drop(packet.UnknownSPI, 0, 1)
			continue
		}
		b.items[b.n] = item{datagram: m, counter: counter}
		b.n++
	}
	d.openRun(ctx, s, kp, u, tr, out)
}

// other takes a datagram that is not transport data: a handshake message of somebody who knows our public key goes to the queue,
// if that has room. To see that takes less than to have somebody else see it.
func (d *Device) other(ctx *dataplane.Ctx, u dataplane.Underlay, tr *dataplane.Train, b []byte) {
	kind, ok := handshake.TypeOf(b)
	if !ok || kind == handshake.TypeTransport {
		r := packet.Malformed
		if len(b) < overhead {
			r = packet.FrameShort
		}
		ctx.Counters.Drop(r, 0, 1)
		return
	}
	by, ok := d.hs.Knocks(b)
	if !ok {
		d.drops[handshake.BadMAC1].Add(1)
		return
	}
	if !d.inbox.put(u, tr.Remote, by, b) {
		ctx.Counters.Drop(packet.UnderlayFull, 0, 1)
	}
}

// openRun opens the datagrams of one keypair.
func (d *Device) openRun(ctx *dataplane.Ctx, s *scratch, kp *keypair, u dataplane.Underlay, tr *dataplane.Train, out *packet.Batch) {
	b := &s.batch
	items := b.items[:b.n]
	b.n = 0
	if len(items) == 0 {
		return
	}
	for i := range items {
		it := &items[i]
		binary.LittleEndian.PutUint64(s.nonce[4:], it.counter)
		m := it.datagram
		plain, err := kp.recv.Open(m[headerLen:headerLen], s.nonce[:], m[headerLen:], nil)
		if err != nil {
			it.drop = packet.BadICV
			continue
		}
		it.len = len(plain)
	}
	newest, authentic := kp.commit(items)
	p := kp.peer
	if authentic && !kp.confirmed.Load() {
		p.promote(kp) // before the packets are delivered, since answers to them may be quick
	}
	var count, size uint64
	notes := uint32(0)
	for i := range items {
		it := &items[i]
		switch {
		case it.drop != packet.None:
		case it.len == 0:
			notes |= noteKeepalive
			continue
		default:
			notes |= noteReceived
			var n int
			if n, it.drop = p.accept(it.datagram, it.len, tr.TOS, out); it.drop == packet.None {
				count++
				size += uint64(n)
				continue
			}
		}
		ctx.Counters.Drop(it.drop, p.index, 1)
	}
	if count > 0 {
		ctx.Counters.In(p.index, count, size)
	}
	if !authentic {
		return
	}
	p.note(notes)
	if newest && kp.trusted.Load() {
		if path := p.path.Load(); path == nil || path.Remote != tr.Remote || path.Underlay != u {
			p.moved(u, tr.Remote)
		}
	}
}

// commit asks the window for every datagram that was authentic, and sets the reason on those that are refused. It says whether
// one of them has the highest counter so far, and so tells where the peer is now, and whether there was any.
func (k *keypair) commit(items []item) (newest, authentic bool) {
	in := &k.in
	in.mu.Lock()
	defer in.mu.Unlock()
	for i := range items {
		it := &items[i]
		if it.drop != packet.None {
			continue
		}
		if !in.filter.ValidateCounter(it.counter, handshake.RejectAfterMessages) {
			it.drop = packet.Replayed
			if it.counter < in.top && in.top-it.counter > windowSize {
				it.drop = packet.TooOld
			}
			continue
		}
		authentic = true
		in.received += uint64(len(it.datagram))
		if !in.any || it.counter > in.top {
			in.any, in.top, newest = true, it.counter, true
		}
	}
	return newest, authentic
}

// accept hands one clear packet to the data plane: n bytes behind the header, padding included. It returns the packet's own
// length.
func (p *Peer) accept(datagram []byte, n int, tos uint8, out *packet.Batch) (int, packet.Reason) {
	c := out.Append(datagram, headerLen, n)
	if c == nil {
		return 0, packet.PortFull
	}
	c.Ingress = p.index
	b := c.Bytes()
	r := packet.None
	switch {
	case wire.Parse(b, &c.Info, false) != wire.OK:
		r = packet.Malformed
	case !p.mayHave(&c.Info):
		r = packet.SelectorIn
	case tos&3 != 0:
		r = outer.DecapECN(c, tos)
	}
	if r != packet.None {
		out.Unappend()
		return 0, r
	}
	c.Len = int(c.Info.Len)
	return c.Len, packet.None
}
