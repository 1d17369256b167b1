package ipsec

import (
	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/esp"
)

// The way of clear packets into frames, in the order of the functions of this file:
//
//	Seal       the first child whose selectors cover a packet takes it; runs of one child go on together
//	sealRun    reserve sequence numbers for all frames of the run (shared: the SA's counter, touched once)
//	sealPlain  one packet, in place where there is room
//	sealSuper  one super-packet: cut, and each segment sealed into contiguous frames
//	frame      outer DF and TOS; on to the underlay

// scratch is what one worker keeps for sealing and opening, whatever the tunnel.
type scratch struct {
	esp   *esp.Scratch
	cut   wire.Segmenter
	batch esp.Batch
}

func newScratch() *scratch { return &scratch{esp: esp.NewScratch()} }

// sealing is one run on its way through Seal.
type sealing struct {
	*scratch
	t     *Tunnel
	ctx   *dataplane.Ctx
	child *outChild
	path  *dataplane.Path
	room  int // largest frame in bytes that the path takes
	run   esp.Run
	bytes uint64
	count uint64
}

// Seal implements dataplane.Tunnel.
func (t *Tunnel) Seal(ctx *dataplane.Ctx, pkts []packet.Packet) (refused int) {
	out, path := t.out.Load(), t.path.Load()
	if out == nil || len(out.children) == 0 || path == nil {
		r := packet.NoSA
		if path == nil {
			r = packet.PeerUnknown
		}
		return refuse(pkts, r)
	}
	s := sealing{scratch: t.gw.worker(ctx.Worker), t: t, ctx: ctx, path: path, room: int(t.outer.Load())}
	if out.all != nil {
		s.child = out.all
		refused = s.sealRun(pkts)
		pkts = nil
	}
	for lo := 0; lo < len(pkts); {
		child := out.choose(&pkts[lo].Info)
		hi := lo + 1
		for hi < len(pkts) && out.choose(&pkts[hi].Info) == child {
			hi++
		}
		if child == nil {
			refused += refuse(pkts[lo:hi], packet.SelectorOut)
		} else {
			s.child = child
			refused += s.sealRun(pkts[lo:hi])
		}
		lo = hi
	}
	if s.count > 0 {
		ctx.Counters.Out(t.index, s.count, s.bytes)
	}
	return refused
}

// choose returns the first child whose selectors cover the packet.
func (o *outbound) choose(i *wire.Info) *outChild {
	for _, c := range o.children {
		if c.match.outbound(i) {
			return c
		}
	}
	return nil
}

// refuse sets the reason on all packets that have none and returns how many have one.
func refuse(pkts []packet.Packet, r packet.Reason) int {
	for i := range pkts {
		if pkts[i].Drop == packet.None {
			pkts[i].Drop = r
		}
	}
	return len(pkts)
}

// sealRun seals packets with one SA.
func (s *sealing) sealRun(pkts []packet.Packet) (refused int) {
	want := 0
	for i := range pkts {
		if pkts[i].Drop == packet.None {
			want += frames(&pkts[i])
		}
	}
	s.run = s.child.sa.Reserve(want)
	short := s.run.Left() < want
	for i := range pkts {
		p := &pkts[i]
		switch {
		case p.Drop != packet.None:
		case short && s.run.Left() < frames(p):
			p.Drop = packet.SAExhausted
		case p.Offload.GSO != wire.GSONone:
			s.sealSuper(p)
		default:
			s.sealPlain(p)
		}
		if p.Drop != packet.None {
			refused++
		}
	}
	s.run.End()
	return refused
}

// frames returns how many frames a packet makes.
func frames(p *packet.Packet) int {
	if p.Offload.GSO == wire.GSONone {
		return 1
	}
	payload, size := p.Len-int(p.Offload.HdrLen), int(p.Offload.Size)
	return max(1, (payload+size-1)/size)
}

// sealPlain seals one packet where it stands, or where there is no room around it, elsewhere.
func (s *sealing) sealPlain(p *packet.Packet) {
	if p.Offload.NeedsCsum {
		wire.CompleteChecksum(p.Bytes(), &p.Offload)
	}
	sa := s.child.sa
	if p.Off >= s.child.header && p.Tail() >= sa.TrailerLen(p.Len) {
		b := p.Buf[p.Off-s.child.header:]
		n := s.run.Seal(s.esp, b, p.Len, nextHeader(p))
		s.frame(b[:n], p)
	} else {
		dst := s.ctx.Tx.Space(sa.SealedLen(p.Len))
		copy(dst[s.child.header:], p.Bytes())
		n := s.run.Seal(s.esp, dst, p.Len, nextHeader(p))
		s.ctx.Tx.Take(n)
		s.frame(dst[:n], p)
	}
	s.bytes += uint64(p.Len)
	s.count++
}

// sealSuper cuts a super-packet and seals its segments into contiguous frames, in one pass over the payload.
func (s *sealing) sealSuper(p *packet.Packet) {
	if !s.cut.Reset(p.Buf, p.Off, p.Len, &p.Offload) {
		p.Drop = packet.BadOffload
		return
	}
	sa, next := s.child.sa, nextHeader(p)
	for off, n := s.cut.Next(); n > 0; off, n = s.cut.Next() {
		dst := s.ctx.Tx.Space(sa.SealedLen(n))
		s.run.SealTo(s.esp, dst, p.Buf[off:], n, next)
		s.ctx.Tx.Take(len(dst))
		s.frame(dst, p)
		s.bytes += uint64(n)
		s.count++
	}
}

// nextHeader is the ESP trailer's next header for tunnel mode (RFC 4303 section 2.6).
func nextHeader(p *packet.Packet) byte {
	if p.Info.Version == 4 {
		return wire.ProtoIPv4
	}
	return wire.ProtoIPv6
}

// frame gives one sealed packet its outer header's fields: DSCP and ECN as inside (RFC 2983, RFC 6040 section 4.1), DF as
// configured. A frame that the path does not take although its packet was let through may be fragmented outside.
func (s *sealing) frame(b []byte, p *packet.Packet) {
	df := p.Info.Flags&wire.FlagDF != 0
	switch s.t.cfg.DF {
	case DFSet:
		df = true
	case DFClear:
		df = false
	}
	if len(b) > s.room {
		df = false
	}
	s.ctx.Tx.Append(dataplane.Frame{Data: b, Path: s.path, TOS: p.Info.TOS, DF: df, Tunnel: s.t.index})
}
