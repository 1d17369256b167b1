package dataplane

import (
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/routing/fib"
)

// worker is one goroutine's state. Nothing in it is shared but the counters, which others may read.
type worker struct {
	plane *Plane
	name  string
	loop  func() error
	ctx   Ctx
	// underlay is what it receives from; nil for a port's.
	underlay Underlay
	// gone is closed when it has ended.
	gone chan struct{}
	// counters is what ctx.Counters points to.
	counters *Counters
	look     lookup
	origin   origin
	upcoming upcoming
	// replies are the ICMP errors that the batch in hand earned. They are sent after it.
	replies *replies
	// offered says that the packets in hand have been on their way into the tunnel before.
	offered bool
	// pieces hold the fragments of one packet.
	pieces *packet.Batch
}

func newWorker(p *Plane, name string) *worker {
	w := &worker{plane: p, name: name, gone: make(chan struct{}), counters: &Counters{tunnels: &p.tunnels}}
	w.ctx = Ctx{Tx: newTx(w.counters), Counters: w.counters}
	w.replies = newReplies(p.now)
	return w
}

func (w *worker) setIndex(i int) { w.ctx.Worker, w.counters.worker = i, i }

// lookup is the scratch of one route lookup: destinations by family, each once for packets that follow each other, where in the
// batch those stand, and what was found.
type lookup struct {
	dst4 [packet.MaxBatch]uint32
	dst6 [packet.MaxBatch]fib.Key6
	got4 [packet.MaxBatch]fib.Group
	got6 [packet.MaxBatch]fib.Group
	same [packet.MaxBatch]stretch
	hops [packet.MaxBatch]fib.HopID
}

// stretch are packets that follow each other to one destination, up to the one before to. Their group is got4[at] or got6[at].
type stretch struct {
	to, at  uint8
	version uint8 // 0 for packets that are routed nowhere
}

// route finds the hop of every packet whose Drop is none; those of the others are 0, as are those without a route.
func (l *lookup) route(t *fib.Table, pkts []packet.Packet) []fib.HopID {
	n4, n6, n := 0, 0, 0
	for i := 0; i < len(pkts); n++ {
		p := &pkts[i]
		s := stretch{version: p.Info.Version}
		if p.Drop != packet.None {
			s.version = 0
		}
		dst := p.Info.Dst
		for i++; i < len(pkts) && pkts[i].Info.Dst == dst && pkts[i].Info.Version == p.Info.Version && pkts[i].Drop == p.Drop; i++ {
		}
		switch s.to = uint8(i); s.version {
		case 4:
			s.at, l.dst4[n4] = uint8(n4), uint32(dst.Lo)
			n4++
		case 6:
			s.at, l.dst6[n6] = uint8(n6), fib.Key6(dst)
			n6++
		}
		l.same[n] = s
	}
	if n4 > 0 {
		t.LookupBatch4(l.dst4[:n4], l.got4[:n4])
	}
	if n6 > 0 {
		t.LookupBatch6(l.dst6[:n6], l.got6[:n6])
	}
	l.pick(t, pkts, l.same[:n])
	return l.hops[:len(pkts)]
}

// pick chooses the member of each group found, by the flow's hash where there is a choice.
func (l *lookup) pick(t *fib.Table, pkts []packet.Packet, same []stretch) {
	i := 0
	for _, s := range same {
		var g fib.Group
		switch s.version {
		case 4:
			g = l.got4[s.at]
		case 6:
			g = l.got6[s.at]
		}
		hop, one := t.Single(g)
		for ; i < int(s.to); i++ {
			if !one {
				hop = t.Pick(g, pkts[i].Info.FlowHash())
			}
			l.hops[i] = hop
		}
	}
}

// forwardable says whether a router may send on a packet with these addresses: not where one is a multicast, broadcast,
// loopback, unspecified or link-local address (RFC 1812 sections 5.3.4 and 5.3.7, RFC 4291 sections 2.5.2, 2.5.3, 2.5.6 and 2.7).
// IPv4's 169.254.0.0/16 is let through: operators number point-to-point tunnels with it.
func forwardable(info *wire.Info) bool {
	if info.Version == 4 {
		return forwardable4(uint32(info.Src.Lo)) && forwardable4(uint32(info.Dst.Lo))
	}
	return forwardable6(info.Src) && forwardable6(info.Dst)
}

func forwardable4(a uint32) bool { return a>>24-1 < 0xe0-1 && a>>24 != 127 }

func forwardable6(a wire.Key6) bool {
	return a.Hi>>56 != 0xff && a.Hi>>54 != 0xfe80>>6 && (a.Hi != 0 || a.Lo > 1)
}
