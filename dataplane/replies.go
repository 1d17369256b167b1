package dataplane

import (
	"net/netip"
	"time"

	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
)

// The rate at which one worker sends ICMP errors (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4(f)): so many at once,
// and so many a second.
const (
	replyBurst = 64
	replyRate  = 1000
)

// replies are the ICMP errors that one batch earned, and the bucket that limits them.
type replies struct {
	batch  *packet.Batch
	to     []replyTo
	now    func() time.Time
	tokens float64
	last   time.Time
}

// replyTo says which way an error goes: back into the tunnel that the packet came from, or out through the port.
type replyTo struct {
	tunnel *tunnelEntry
	port   *portEntry
}

func newReplies(now func() time.Time) *replies {
	return &replies{now: now, tokens: replyBurst}
}

func (r *replies) allowed() bool {
	now := r.now()
	if !r.last.IsZero() {
		r.tokens = min(replyBurst, r.tokens+now.Sub(r.last).Seconds()*replyRate)
	}
	r.last = now
	if r.tokens < 1 {
		return false
	}
	r.tokens--
	return true
}

// answer prepares an ICMP error about a packet that was going into the tunnel e, or nowhere where e is nil.
func (w *worker) answer(e *tunnelEntry, p *packet.Packet, kind wire.ICMPError, mtu int) {
	if p.Info.Version == 0 || !wire.MayAnswer(p.Bytes(), &p.Info) || !w.replies.allowed() {
		return
	}
	to := replyTo{w.plane.tunnels.get(p.Ingress), w.origin.from}
	src := replySource(w.origin.vrf, e, to.tunnel, &p.Info)
	r := w.replies
	if r.batch == nil {
		r.batch = packet.NewBatch(16 * (packet.HeadRoom + wire.MaxICMP + packet.TailRoom + 64))
	}
	room := r.batch.Space(wire.MaxICMP)
	if room == nil {
		return // a batch that earns more errors than this has had its say
	}
	reply := r.batch.Commit(0, wire.PutICMPError(room, kind, src, p.Bytes(), mtu))
	wire.Parse(reply.Bytes(), &reply.Info, false)
	r.to = append(r.to, to)
}

// replySource chooses the address that an error comes from, so that its receiver takes it and an operator knows it.
//
// Towards a tunnel: the vrf's address at its first port, as a router's traceroute shows the side the packet was going to; else
// our own end of that tunnel. Where the tunnel's selectors do not let that out: the packet's own destination, which they cover
// (RFC 4301 section 6.2). Towards the port: our end of the tunnel the packet was going into, never an address of the
// port's own side, which would take a packet from its own address for forged. Where there is none, the packet's own
// destination: the one address that the sender is sure to connect with the packet, and that passes reverse-path filters.
func replySource(v *VRF, e, back *tunnelEntry, info *wire.Info) netip.Addr {
	v4 := info.Version == 4
	if back != nil {
		if port := v.portAt(0); port != nil {
			if a, ok := ofFamily(port.addrs, v4); ok {
				return a
			}
		}
		if a, ok := ofFamily(back.local, v4); ok {
			return a
		}
	} else if e != nil {
		if a, ok := ofFamily(e.local, v4); ok {
			return a
		}
	}
	return info.DstAddr()
}

func ofFamily(addrs []netip.Addr, v4 bool) (netip.Addr, bool) {
	for _, a := range addrs {
		if a.Is4() == v4 && (v4 || !a.IsLinkLocalUnicast()) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// sendReplies sends the errors that the batch earned. What becomes of them earns no further ones.
func (w *worker) sendReplies() {
	r := w.replies
	if len(r.to) == 0 {
		return
	}
	pkts := r.batch.Packets()
	for i := range pkts {
		one, to := pkts[i:i+1], r.to[i]
		if to.tunnel != nil {
			w.replyInto(to.tunnel, one)
		} else if to.port != nil {
			to.port.writer(w.ctx.Worker).Write(one)
			if one[0].Drop != packet.None {
				w.counters.Drop(one[0].Drop, 0, 1)
			}
		}
	}
	w.ctx.Tx.Flush()
	r.batch.Reset()
	r.to = r.to[:0]
}

// replyInto sends an error back into the tunnel that its packet came from.
func (w *worker) replyInto(e *tunnelEntry, one []packet.Packet) {
	p := &one[0]
	for _, last := range []bool{false, true} {
		w.tapClear(e.index, true, one)
		if e.tunnel.Seal(&w.ctx, one) == 0 {
			return
		}
		if last || p.Drop != packet.SelectorOut {
			break
		}
		wire.AnswerAsDestination(p.Bytes())
		wire.Parse(p.Bytes(), &p.Info, false)
		p.Drop = packet.None
	}
	w.counters.Drop(p.Drop, e.index, 1)
}
