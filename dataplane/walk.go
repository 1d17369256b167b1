package dataplane

import (
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/routing/fib"
)

// What both ways share, in packet order:
//
//	forward      look up the routes of all packets, then take runs of equal hop
//	dispatch     a run goes to a tunnel, to the port, or back
//	intoTunnel   what a router does before the tunnel: hop limit, size, MSS; then Seal
//	toPort       write
//	refused      count each packet that went no further, and answer it where a router owes an answer

// origin is where the packets in hand came from and what they are routed in: a port of the vrf, or where from is nil the
// tunnels that their Ingress says.
type origin struct {
	vrf  *VRF
	from *portEntry
}

// forward takes parsed packets of one vrf to where its routes say. Packets whose Drop is set are counted.
func (w *worker) forward(v *VRF, from *portEntry, pkts []packet.Packet) {
	w.origin = origin{v, from}
	hops := w.look.route(v.table, pkts)
	if v.link && from == nil {
		arriveAtPort(pkts, hops)
	}
	n := sameHop(hops)
	if n < len(hops) {
		w.upcoming.find(&w.plane.tunnels, w.ctx.Worker, hops)
	}
	for len(pkts) > 0 {
		if w.upcoming.n > 0 {
			w.upcoming.advance(w.ctx.Worker)
		}
		w.dispatch(hops[0], pkts[:n])
		pkts, hops = pkts[n:], hops[n:]
		n = sameHop(hops)
	}
	w.upcoming.n = 0
}

// sameHop returns how many packets at the front have the same hop.
func sameHop(hops []fib.HopID) int {
	n := min(1, len(hops))
	for n < len(hops) && hops[n] == hops[0] {
		n++
	}
	return n
}

// dispatch takes a run of packets with the same hop.
func (w *worker) dispatch(hop fib.HopID, run []packet.Packet) {
	if index, ok := HopTunnel(hop); ok {
		if e := w.plane.tunnels.get(index); e != nil {
			w.intoTunnel(e, run)
			return
		}
	}
	if number, ok := HopPort(hop); ok {
		w.toPort(w.origin.vrf.portAt(number), run)
		return
	}
	switch hop {
	case HopUnreachable, HopBlackhole, HopProhibit:
		w.refuseAll(run, packet.Unreachable, hop)
	default:
		w.refuseAll(run, packet.NoRoute, hop)
	}
}

// intoTunnel seals a run of packets. The loop only looks; whatever needs more than a look interrupts the run, so that
// order is kept.
func (w *worker) intoTunnel(e *tunnelEntry, run []packet.Packet) {
	mtu := e.tunnel.InnerMTU()
	if e.mssClamp != 0 {
		e.clampMSS(run)
	}
	from := 0
	for i := range run {
		p := &run[i]
		if p.Drop != packet.None {
			continue
		}
		if p.Ingress != 0 && !w.hop(e, p) {
			continue
		}
		if limit := limitFor(p, mtu); p.SegmentSize() > limit && !staysWhole(e, p) {
			w.seal(e, run[from:i])
			w.oversize(e, p, limit)
			from = i + 1
		}
	}
	w.seal(e, run[from:])
}

// staysWhole says that a packet which does not fit is sealed as it is, although its sender allowed that it be fragmented.
func staysWhole(e *tunnelEntry, p *packet.Packet) bool {
	d, ok := e.tunnel.(Divider)
	return ok && p.Info.Flags&wire.FlagDF == 0 && d.Whole(p)
}

// limitFor returns the largest packet of p's family that may enter a tunnel of that MTU. Every link must carry IPv6
// packets of 1280 bytes (RFC 8200 section 5): the tunnel sees to it that its frames are fragmented outside.
func limitFor(p *packet.Packet, mtu int) int {
	if mtu < wire.MinIPv6MTU && p.Info.Version == 6 {
		return wire.MinIPv6MTU
	}
	return mtu
}

// hop does what a router does between two tunnels: it spends one of the packet's hops (RFC 1812 section 5.3.1, RFC 8200
// section 3). A port is no hop, since the kernel or stack behind it counts its own.
func (w *worker) hop(e *tunnelEntry, p *packet.Packet) bool {
	switch {
	case p.Ingress == e.index:
		p.Drop = packet.Hairpin
	case p.Info.TTL <= 1:
		p.Drop = packet.TTLExceeded
	default:
		wire.DecrementTTL(p.Bytes())
		p.Info.TTL--
		return true
	}
	return false
}

// seal hands a run to the tunnel and looks after what it refused.
func (w *worker) seal(e *tunnelEntry, run []packet.Packet) {
	if len(run) == 0 {
		return
	}
	w.tapClear(e.index, true, run)
	if refused := e.tunnel.Seal(&w.ctx, run); refused == 0 {
		return
	}
	for i := range run {
		if run[i].Drop != packet.None {
			w.refused(e, &run[i], 0)
		}
	}
}

// oversize is for a packet that does not fit: it is fragmented where its sender allowed it, otherwise its sender is told
// (RFC 1812 section 4.2.2.7, RFC 8200 section 4.5, RFC 4301 section 8.2).
func (w *worker) oversize(e *tunnelEntry, p *packet.Packet, mtu int) {
	if p.Info.Flags&wire.FlagDF != 0 || mtu < wire.MinIPv4MTU {
		p.Drop = packet.TooBig
		w.refused(e, p, mtu)
		return
	}
	if w.pieces == nil {
		w.pieces = packet.NewBatch(2 * packet.MaxSize)
	}
	if p.Offload.GSO == wire.GSONone {
		wire.CompleteChecksum(p.Bytes(), &p.Offload)
		w.fragment(e, p.Bytes(), p.Ingress, mtu)
		return
	}
	var s wire.Segmenter
	if !s.Reset(p.Buf, p.Off, p.Len, &p.Offload) {
		p.Drop = packet.BadOffload
		w.refused(e, p, 0)
		return
	}
	for off, n := s.Next(); n > 0; off, n = s.Next() {
		w.fragment(e, p.Buf[off:off+n], p.Ingress, mtu)
	}
}

// fragment seals the fragments of one IPv4 packet.
func (w *worker) fragment(e *tunnelEntry, b []byte, ingress uint32, mtu int) {
	var f wire.Fragmenter
	f.Reset(b, mtu)
	for more := true; more; {
		w.pieces.Reset()
		for more {
			room := w.pieces.Space(mtu)
			if room == nil {
				break
			}
			n := f.Next(room[:mtu])
			if more = n > 0; more {
				piece := w.pieces.Commit(0, n)
				piece.Ingress = ingress
				wire.Parse(piece.Bytes(), &piece.Info, false)
			}
		}
		w.seal(e, w.pieces.Packets())
		w.ctx.Tx.Flush() // the frames stand in the pieces' arena
	}
}

// toPort writes a run out through a port.
func (w *worker) toPort(e *portEntry, run []packet.Packet) {
	if e == nil {
		w.refuseAll(run, packet.PortDown, 0)
		return
	}
	if w.origin.from == e {
		w.refuseAll(run, packet.Hairpin, 0)
		return
	}
	e.writer(w.ctx.Worker).Write(run)
	for i := range run {
		if run[i].Drop != packet.None {
			w.refused(nil, &run[i], 0)
		}
	}
}

// refuseAll drops a run for one reason, but those packets that have a reason already.
func (w *worker) refuseAll(run []packet.Packet, r packet.Reason, hop fib.HopID) {
	for i := range run {
		p := &run[i]
		if p.Drop == packet.None {
			p.Drop = r
		}
		if hop == HopBlackhole {
			w.counters.Drop(p.Drop, p.Ingress, 1)
			continue
		}
		if hop == HopProhibit && p.Drop == packet.Unreachable {
			w.answer(nil, p, wire.ErrProhibited, 0)
			w.counters.Drop(p.Drop, p.Ingress, 1)
			continue
		}
		w.refused(nil, p, 0)
	}
}

// refused counts a packet that went no further, for the tunnel it was going into or else the one it came from, and
// answers its sender where a router does.
func (w *worker) refused(e *tunnelEntry, p *packet.Packet, mtu int) {
	index := p.Ingress
	if e != nil {
		index = e.index
	}
	w.counters.Drop(p.Drop, index, 1)
	switch p.Drop {
	case packet.TooBig:
		w.answer(e, p, wire.ErrTooBig, mtu)
	case packet.TTLExceeded:
		w.answer(e, p, wire.ErrTimeExceeded, 0)
	case packet.NoRoute:
		w.answer(e, p, wire.ErrUnreachable, 0)
	case packet.Unreachable, packet.Hairpin, packet.NoSA, packet.SAExhausted, packet.TunnelDown, packet.PeerUnknown:
		w.answer(e, p, wire.ErrHost, 0)
	case packet.SelectorOut:
		w.answer(e, p, wire.ErrProhibited, 0)
	}
}

// clampMSS lowers the MSS of TCP SYNs to what fits the tunnel.
func (e *tunnelEntry) clampMSS(pkts []packet.Packet) {
	mtu := int(e.mssClamp)
	if mtu < 0 {
		mtu = e.tunnel.InnerMTU()
	}
	for i := range pkts {
		p := &pkts[i]
		if p.Drop == packet.None && p.Info.Proto == wire.ProtoTCP {
			wire.ClampMSS(p.Bytes(), &p.Info, &p.Offload, mtu)
		}
	}
}
