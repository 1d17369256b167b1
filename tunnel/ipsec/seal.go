package ipsec

import (
	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/esp"
	"github.com/warrenvpn/warren/internal/prefetch"
)

// The way of clear packets into frames, in the order of the functions of this file:
//
//	Seal       the first child whose selectors cover a packet takes it; runs of one child go on together
//	sealRun    one packet after the other
//	begin      sequence numbers for the next frames (shared: the SA's counter, touched once for all of them)
//	end        what was sealed with them waits for the batch's end, or leaves now where other workers use the SA too
//	sealPlain  one packet, in place where there is room
//	sealSuper  one super-packet: cut, and each segment sealed into contiguous frames
//	frame      outer DF and TOS; on to the underlay
//	Renew      right before they leave: new numbers for frames that waited too long

// scratch is what one worker keeps for sealing and opening, whatever the tunnel.
type scratch struct {
	esp   *esp.Scratch
	cut   wire.Segmenter
	batch esp.Batch
	// timely is how many runs of shared SAs left in time, one behind the other.
	timely int
	// sealing is what Seal has in hand. Between calls it has no numbers; that it stands here spares it from being made anew for
	// each run, which may be of a single packet.
	sealing sealing
}

func newScratch() *scratch {
	s := &scratch{esp: esp.NewScratch()}
	s.sealing.scratch = s
	return s
}

// sealing is one run on its way through Seal.
type sealing struct {
	*scratch
	t     *Tunnel
	ctx   *dataplane.Ctx
	child *outChild
	path  *dataplane.Path
	room  int // largest frame in bytes that the path takes
	bytes uint64
	count uint64
	// ahead is how many frames are still to come in the run in hand, more or less.
	ahead int
	// run are the numbers in hand, first is the first of them, and shared says that other workers use the SA too.
	run    esp.Run
	first  uint64
	shared bool
	// single: frames of a shared SA leave one by one. IP has no call that sends many at once, as UDP has: a worker that has to
	// wait within its call would come late with all the rest.
	single bool
}

// Seal implements dataplane.Tunnel.
func (t *Tunnel) Seal(ctx *dataplane.Ctx, pkts []packet.Packet) (refused int) {
	out, path := t.out.Load(), t.path.Load()
	if out == nil || out.first.sa == nil || path == nil {
		r := packet.NoSA
		if path == nil {
			r = packet.PeerUnknown
		}
		if out != nil {
			return out.trapped(pkts, r)
		}
		return refuse(pkts, r)
	}
	s := &t.gw.worker(ctx.Worker).sealing
	s.t, s.ctx, s.path, s.room = t, ctx, path, int(t.outer.Load())
	s.bytes, s.count = 0, 0
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
			refused += out.trapped(pkts[lo:hi], packet.SelectorOut)
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

// Whole implements dataplane.Divider: where ports decide, of a datagram's fragments only the first one would pass, here and at the
// peer (RFC 4301 section 7).
func (t *Tunnel) Whole(p *packet.Packet) bool {
	out := t.out.Load()
	if out == nil || out.all != nil {
		return false
	}
	child := out.choose(&p.Info)
	return child != nil && child.match.ports && !child.match.all(p.Info.Version)
}

// KeepNear implements dataplane.Tunnel, for the first child SA: most tunnels have no other.
func (t *Tunnel) KeepNear(l *prefetch.List) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.near = l
	t.keepNear()
}

// keepNear is called with t.mu held when something of it has changed.
func (t *Tunnel) keepNear() {
	out, path := t.out.Load(), t.path.Load()
	switch {
	case t.near == nil:
	case out == nil || path == nil || out.first.sa == nil:
		t.near.Set()
	default:
		sa, head, tail := out.first.sa.Near()
		t.near.Set(prefetch.Of(t), prefetch.Of(out), prefetch.Of(path), sa, head, tail)
	}
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

// How many numbers a worker takes at once: alone that it uses the SA, or while others do so too. In the latter case its frames
// leave before it takes more. staleAfter is how far the SA's counter may be ahead of a number, by the doing of other workers,
// before its packet gets a new one. Together they stay well below the smallest replay window in use, 128 (strongSwan's own
// ESP), so that it does no harm where a worker is descheduled between sealing and sending.
const (
	reserveAlone  = 32
	reserveShared = 24
	reserveLeast  = 4
	staleAfter    = 96
)

// sealRun seals packets with one SA.
func (s *sealing) sealRun(pkts []packet.Packet) (refused int) {
	for i := range pkts {
		if pkts[i].Drop == packet.None {
			s.ahead += frames(&pkts[i])
		}
	}
	before := s.bytes
	for i := range pkts {
		p := &pkts[i]
		switch {
		case p.Drop != packet.None:
		case p.Offload.GSO != wire.GSONone:
			s.sealSuper(p)
		default:
			s.sealPlain(p)
		}
		if p.Drop != packet.None {
			refused++
		}
	}
	s.end()
	s.ahead = 0
	s.child.sa.Carried(s.ctx.Worker, s.bytes-before)
	return refused
}

// numbered says whether there is a number for the next frame.
func (s *sealing) numbered() bool { return s.run.Left() > 0 || s.begin() }

// begin takes numbers for the frames to come.
func (s *sealing) begin() bool {
	if s.first != 0 {
		s.end()
	}
	n := reserveAlone
	if s.shared = s.child.sa.Turn(s.ctx.Worker); s.shared {
		n = int(s.child.share.Load())
		s.single = !s.path.Underlay.Encap().UDP
	}
	s.run = s.child.sa.Reserve(max(1, min(n, s.ahead)))
	s.first = s.run.First()
	return s.run.Left() > 0
}

// hand hands the frames that have been numbered to the data plane. They leave with the batch, or where other workers use the SA
// at the same time, now.
func (s *sealing) hand() {
	n := int(s.run.First() - s.first)
	if n == 0 {
		return
	}
	s.ctx.Tx.Numbered(s.child, n, s.first)
	s.first = s.run.First()
	s.ahead -= n
	if s.shared {
		s.ctx.Tx.Flush()
	}
}

// end hands over what there is and gives back the numbers that were not used.
func (s *sealing) end() {
	s.hand()
	s.run.End()
	s.first = 0
	if s.shared {
		s.regain()
	}
	s.shared, s.single = false, false
}

// manyTimely is after how many runs of one worker that all left in time larger ones are tried again.
const manyTimely = 256

func (s *sealing) regain() {
	if n := s.child.share.Load(); n < reserveShared {
		if s.timely++; s.timely >= manyTimely {
			s.timely = 0
			s.child.share.Store(min(reserveShared, 2*n))
		}
	}
}

// Renew implements dataplane.Numberer. Frames that are late by little are so because many workers share the SA: from then on
// they take fewer numbers at once. Those that are late by much had a worker that was not scheduled.
func (c *outChild) Renew(worker int, frames []dataplane.Frame, first uint64) {
	sent := c.sa.Sent()
	if sent < first+uint64(len(frames)) || sent < first+staleAfter {
		return // nobody took numbers after these, or only a few
	}
	s := c.gw.worker(worker)
	if sent < first+2*staleAfter {
		c.share.Store(max(reserveLeast, c.share.Load()/2))
	}
	s.timely = 0
	run := c.sa.Reserve(len(frames))
	for i := range frames {
		if run.Left() == 0 {
			break
		}
		run.Reseal(s.esp, frames[i].Data, first+uint64(i))
	}
	run.End()
}

// frames returns how many frames a packet makes.
func frames(p *packet.Packet) int {
	if p.Offload.GSO == wire.GSONone {
		return 1
	}
	payload, size := p.Len-int(p.Offload.HdrLen), max(1, int(p.Offload.Size))
	return max(1, (payload+size-1)/size)
}

// sealPlain seals one packet where it stands, or where there is no room around it, elsewhere.
func (s *sealing) sealPlain(p *packet.Packet) {
	if !s.numbered() {
		p.Drop = packet.SAExhausted
		return
	}
	if p.Offload.NeedsCsum {
		wire.CompleteChecksum(p.Bytes(), &p.Offload)
	}
	sa := s.child.sa
	if from := p.Off - int(s.child.header); from >= 0 && (p.Tail() >= int(s.child.trailer) || p.Tail() >= sa.TrailerLen(p.Len)) {
		b := p.Buf[from:]
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
		if !s.numbered() {
			p.Drop = packet.SAExhausted
			return
		}
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
	df := (p.Info.Flags&wire.FlagDF != 0 || s.t.df == DFSet) && s.t.df != DFClear && len(b) <= s.room
	s.ctx.Tx.Append(dataplane.Frame{Data: b, Path: s.path, TOS: p.Info.TOS, DF: df, Tunnel: s.t.index})
	if s.single {
		s.hand()
	}
}
