package ipsec

import (
	"encoding/binary"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/esp"
	"github.com/warrenvpn/warren/tunnel/outer"
)

// The way of datagrams into clear packets, in the order of the functions of this file:
//
//	Open     cut the train into datagrams, those of one SPI together; find the SA
//	openRun  check, open, commit (shared: the SA's replay window, twice a run)
//	accept   inner header, selectors, ECN; on to the data plane

// reasons says how the data plane counts a datagram that yielded no packet.
var reasons = [esp.NumVerdicts]packet.Reason{
	esp.OK: packet.None, esp.Dummy: packet.Dummy, esp.TooShort: packet.FrameShort, esp.Replayed: packet.Replayed,
	esp.TooOld: packet.TooOld, esp.BadICV: packet.BadICV, esp.BadPadding: packet.BadPadding,
	esp.BadNextHeader: packet.BadNextHeader,
}

// Open implements dataplane.Opener.
func (g *Gateway) Open(ctx *dataplane.Ctx, u dataplane.Underlay, tr *dataplane.Train, out *packet.Batch) {
	s := g.worker(ctx.Worker)
	b := &s.batch
	var child *inChild
	var spi uint32
	b.Reset()
	for rest, size := tr.Data, tr.Size; len(rest) > 0; {
		d := rest
		if size > 0 && len(d) > size {
			d = rest[:size:size]
		}
		rest = rest[len(d):]
		if len(d) < 4 {
			ctx.Counters.Drop(packet.FrameShort, 0, 1)
			continue
		}
		if v := binary.BigEndian.Uint32(d); v != spi {
			g.openRun(ctx, s, child, u, tr, out)
			spi, child = v, nil
			if c, ok := g.inbound.Lookup(v); ok {
				child = c
			}
		}
		if child == nil {
			g.nobodys(ctx, u, tr, spi, d)
			continue
		}
		if !b.Add(d) {
			g.openRun(ctx, s, child, u, tr, out)
			b.Add(d)
		}
	}
	g.openRun(ctx, s, child, u, tr, out)
}

// nobodys takes a datagram that belongs to no SA: a message of key exchange, or one to be dropped.
func (g *Gateway) nobodys(ctx *dataplane.Ctx, u dataplane.Underlay, tr *dataplane.Train, spi uint32, d []byte) {
	switch {
	case spi != 0 && g.early.keep(u, tr, spi, d): // its SA is about to be
	case spi != 0:
		ctx.Counters.Drop(packet.UnknownSPI, 0, 1)
		if g.stray != nil && !g.early.expects(spi) {
			g.stray(tr.Remote, spi)
		}
	case g.control != nil && u.Encap().UDP:
		if !g.control(u, tr.Remote, d[4:]) { // behind the non-ESP marker (RFC 3948 section 2.2)
			ctx.Counters.Drop(packet.UnderlayFull, 0, 1)
		}
	default:
		ctx.Counters.Drop(packet.NotControl, 0, 1)
	}
}

// openRun opens the datagrams of one SA.
func (g *Gateway) openRun(ctx *dataplane.Ctx, s *scratch, c *inChild, u dataplane.Underlay, tr *dataplane.Train, out *packet.Batch) {
	b := &s.batch
	if c == nil || b.Len() == 0 {
		return
	}
	newest := c.sa.OpenBatch(s.esp, b)
	var count, size uint64
	for i := range b.Len() {
		off, n, v := b.Result(i)
		if v != esp.OK {
			ctx.Counters.Drop(reasons[v], c.tunnel.index, 1)
			continue
		}
		p := out.Append(b.Datagram(i), off, n)
		if p == nil {
			ctx.Counters.Drop(packet.PortFull, c.tunnel.index, 1)
			continue
		}
		p.Ingress = c.tunnel.index
		if r := c.accept(p, tr.TOS); r != packet.None {
			out.Unappend()
			ctx.Counters.Drop(r, c.tunnel.index, 1)
			continue
		}
		count++
		size += uint64(p.Len)
	}
	if count > 0 {
		ctx.Counters.In(c.tunnel.index, count, size)
	}
	if newest {
		if p := c.tunnel.path.Load(); p == nil || p.Remote != tr.Remote {
			c.tunnel.moved(u, tr.Remote)
		}
	}
	b.Reset()
}

// accept parses a clear packet, which may be followed by TFC padding, and says whether it may have come this way.
func (c *inChild) accept(p *packet.Packet, tos uint8) packet.Reason {
	if wire.Parse(p.Bytes(), &p.Info, false) != wire.OK {
		return packet.Malformed
	}
	p.Len = int(p.Info.Len)
	if !c.all && !c.match.inbound(&p.Info) {
		return packet.SelectorIn
	}
	if tos&3 != 0 {
		return outer.DecapECN(p, tos)
	}
	return packet.None
}
