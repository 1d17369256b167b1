package wireguard

import (
	"sync"
	"unsafe"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/internal/prefetch"
)

// The way of clear packets into frames, in the order of the functions of this file:
//
//	Seal       the current keypair takes all; without one they wait (wait.go)
//	sealRun    cut the run into parts of few frames
//	sealSome   reserve counters for a part (shared: the keypair's counter, touched once a part), and seal it
//	sealPlain  one packet, in place where there is room
//	sealSuper  one super-packet: cut, and each segment sealed into contiguous frames
//	frame      outer DF and TOS; on to the underlay
//
// keypair.Renew, right before they leave, gives new counters to frames that waited too long.

// scratch is what one worker keeps for sealing and opening, whatever the peer.
type scratch struct {
	cut   wire.Segmenter
	batch batch
	saved [padTo]byte
	nonce [12]byte // the first four are always zero (paper, section 5.4.6)
}

func newScratch() *scratch { return new(scratch) }

// padTo is the multiple in bytes that packets are padded to.
const padTo = 16

// sealing is one run on its way through Seal.
type sealing struct {
	*scratch
	p     *Peer
	ctx   *dataplane.Ctx
	kp    *keypair
	path  *dataplane.Path
	room  int // largest frame in bytes that the path takes
	mtu   int // largest clear packet in bytes, padding included
	run   run
	bytes uint64
	count uint64
	sent  uint64 // bytes of messages
}

// Seal implements dataplane.Tunnel.
func (p *Peer) Seal(ctx *dataplane.Ctx, pkts []packet.Packet) (refused int) {
	path, kp := p.path.Load(), p.current.Load()
	if path == nil {
		r := packet.PeerUnknown
		if p.closed.Load() {
			r = packet.TunnelDown
		}
		return refuse(pkts, r)
	}
	if kp == nil {
		if refused, kp = p.wait(ctx, pkts); kp == nil {
			return refused
		}
	}
	s := sealing{scratch: p.device.worker(ctx.Worker), p: p, ctx: ctx, kp: kp, path: path, room: int(p.outer.Load()), mtu: int(p.inner.Load())}
	refused = s.sealRun(pkts)
	if s.count > 0 {
		ctx.Counters.Out(p.index, s.count, s.bytes)
		kp.sent.Add(s.sent)
		p.note(noteSent)
	}
	return refused
}

// near is the list on which a peer keeps what Seal reads of it.
type near struct {
	mu   sync.Mutex
	list *prefetch.List
}

// KeepNear implements dataplane.Tunnel.
func (p *Peer) KeepNear(l *prefetch.List) {
	p.near.mu.Lock()
	p.near.list = l
	p.near.mu.Unlock()
	p.keepNear()
}

// keepNear is called when path or current has changed. A key of ChaCha20-Poly1305 is one cache line, and nothing is derived from
// it beforehand.
func (p *Peer) keepNear() {
	p.near.mu.Lock()
	defer p.near.mu.Unlock()
	kp, path := p.current.Load(), p.path.Load()
	switch {
	case p.near.list == nil:
	case kp == nil || path == nil:
		p.near.list.Set()
	default:
		p.near.list.Set(prefetch.Bytes(unsafe.Pointer(p), unsafe.Offsetof(p.name)), prefetch.Bytes(unsafe.Pointer(kp), unsafe.Offsetof(kp.in)),
			prefetch.Of(path), prefetch.Behind(kp.send))
	}
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

// reserveAtMost is how many counters a worker takes at once, where no super-packet needs more.
const reserveAtMost = 128

// sealRun seals packets with one keypair.
func (s *sealing) sealRun(pkts []packet.Packet) (refused int) {
	for len(pkts) > 0 {
		n, want := 0, 0
		for ; n < len(pkts); n++ {
			if pkts[n].Drop != packet.None {
				continue
			}
			more := frames(&pkts[n])
			if want > 0 && want+more > reserveAtMost {
				break
			}
			want += more
		}
		refused += s.sealSome(pkts[:n], want)
		pkts = pkts[n:]
	}
	return refused
}

// sealSome seals packets that make as many frames as wanted.
func (s *sealing) sealSome(pkts []packet.Packet, want int) (refused int) {
	s.run = s.kp.reserve(want)
	first, short := s.run.next, s.run.left < want
	for i := range pkts {
		p := &pkts[i]
		switch {
		case p.Drop != packet.None:
		case short && s.run.left < frames(p):
			p.Drop = packet.SAExhausted
			s.p.note(noteSent) // control sees that the counters are used up
		case p.Offload.GSO != wire.GSONone:
			s.sealSuper(p)
		default:
			s.sealPlain(p)
		}
		if p.Drop != packet.None {
			refused++
		}
	}
	s.ctx.Tx.Numbered(s.kp, int(s.run.next-first), first)
	return refused
}

// frames returns how many frames a packet makes.
func frames(p *packet.Packet) int {
	if p.Offload.GSO == wire.GSONone {
		return 1
	}
	payload, size := p.Len-int(p.Offload.HdrLen), max(1, int(p.Offload.Size))
	return max(1, (payload+size-1)/size)
}

// padded returns the length of a packet of n bytes with its padding, which makes nothing larger than the MTU (paper, section
// 5.4.6) that was not.
func padded(n, mtu int) int {
	return max(n, min((n+padTo-1)&^(padTo-1), mtu))
}

// sealPlain seals one packet where it stands, or where there is no room around it, elsewhere.
func (s *sealing) sealPlain(p *packet.Packet) {
	if p.Offload.NeedsCsum {
		wire.CompleteChecksum(p.Bytes(), &p.Offload)
	}
	body := padded(p.Len, s.mtu)
	if p.Off >= headerLen && p.Tail() >= body-p.Len+tagLen {
		b := p.Buf[p.Off-headerLen : p.Off+body+tagLen]
		s.sealIn(b, p.Len)
		s.frame(b, p)
	} else {
		dst := s.ctx.Tx.Space(overhead + body)
		copy(dst[headerLen:], p.Bytes())
		s.sealIn(dst, p.Len)
		s.ctx.Tx.Take(len(dst))
		s.frame(dst, p)
	}
	s.bytes += uint64(p.Len)
	s.count++
}

// sealIn seals in place the packet of n bytes that stands in b behind the header. All of b becomes the message.
func (s *sealing) sealIn(b []byte, n int) {
	plain := b[headerLen : len(b)-tagLen]
	clear(plain[n:])
	s.run.seal(s.scratch, b, plain)
}

// sealSuper cuts a super-packet and seals its segments into contiguous frames, in one pass over the payload.
func (s *sealing) sealSuper(p *packet.Packet) {
	if !s.cut.Reset(p.Buf, p.Off, p.Len, &p.Offload) {
		p.Drop = packet.BadOffload
		return
	}
	for off, n := s.cut.Next(); n > 0; off, n = s.cut.Next() {
		body := padded(n, s.mtu)
		dst := s.ctx.Tx.Space(overhead + body)
		if off+body <= len(p.Buf) {
			// The padding stands for a moment where the next segment's payload does.
			plain := p.Buf[off : off+body]
			behind := s.saved[:copy(s.saved[:], plain[n:])]
			clear(plain[n:])
			s.run.seal(s.scratch, dst, plain)
			copy(plain[n:], behind)
		} else {
			copy(dst[headerLen:], p.Buf[off:off+n])
			s.sealIn(dst, n)
		}
		s.ctx.Tx.Take(len(dst))
		s.frame(dst, p)
		s.bytes += uint64(n)
		s.count++
	}
}

// frame gives one message its outer header's fields: DSCP and ECN as inside (RFC 2983, RFC 6040 section 4.1), DF as inside. A
// frame that the path does not take although its packet was let through may be fragmented outside.
func (s *sealing) frame(b []byte, p *packet.Packet) {
	df := p.Info.Flags&wire.FlagDF != 0 && len(b) <= s.room
	s.sent += uint64(len(b))
	s.ctx.Tx.Append(dataplane.Frame{Data: b, Path: s.path, TOS: p.Info.TOS, DF: df, Tunnel: s.p.index})
}
