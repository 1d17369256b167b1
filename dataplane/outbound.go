package dataplane

import (
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
)

// The way of a packet from a port to the underlay, in the order of the functions of this file:
//
//	run      read a batch from the port's queue (own: the queue, the batch, its arena)
//	parse    look at every packet once, refuse what is no packet
//	         then walk.go: route, into the tunnel or back with an ICMP error
//	flush    send the frames (own: the sender; shared: the socket)

// batchArena holds four super-packets, so that one wake-up can drain several.
const batchArena = 4 * (packet.HeadRoom + packet.MaxSize + packet.TailRoom + 64)

// outbound is the worker of one of a port's receive queues.
type outbound struct {
	*worker
	vrf       *VRF
	from      *portEntry
	reader    PortReader
	batch     *packet.Batch
	ownPieces ownPieces
}

func (o *outbound) run() error {
	o.batch = packet.NewBatch(batchArena)
	for {
		if err := o.reader.Read(o.batch); err != nil {
			return err
		}
		if o.batch.Lost > 0 {
			o.counters.Drop(packet.PortFull, 0, uint64(o.batch.Lost))
		}
		o.walk(o.batch.Packets())
	}
}

// walk takes the packets of one batch to the end.
func (o *outbound) walk(pkts []packet.Packet) {
	o.parse(pkts)
	o.forward(o.vrf, o.from, pkts)
	o.ctx.Tx.Flush()
	o.sendReplies()
}

func (o *outbound) parse(pkts []packet.Packet) {
	for i := range pkts {
		p := &pkts[i]
		if p.Drop != packet.None {
			continue // the port's reader refused it
		}
		super := p.Offload.GSO != wire.GSONone
		if v := wire.Parse(p.Bytes(), &p.Info, super); v != wire.OK {
			p.Drop = packet.Malformed
			if v == wire.NotIP {
				p.Drop = packet.NotIP
			}
			continue
		}
		if !super {
			p.Len = int(p.Info.Len)
		}
		if p.Offload.NeedsCsum && !p.Offload.Within(&p.Info, p.Len) {
			p.Drop = packet.BadOffload
			continue
		}
		if !forwardable(&p.Info) && !o.vrf.link {
			p.Drop = packet.NotForwardable
		} else if o.plane.own.may(&p.Info) && o.own(p) {
			p.Drop = packet.Loop
		}
	}
}

// own says whether a packet is a frame of ours that came back, or a fragment of one.
func (o *outbound) own(p *packet.Packet) bool {
	if p.Info.Flags&wire.FlagFragment != 0 {
		return o.ownPieces.is(&o.plane.own, p.Bytes(), &p.Info)
	}
	return o.plane.own.is(&p.Info)
}
