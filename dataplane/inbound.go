package dataplane

import "github.com/warrenvpn/warren/dataplane/packet"

// The way of a packet from the underlay to a port, in the order of the functions of this file:
//
//	run      receive trains of datagrams (own: the socket's queue, its buffers)
//	Open     the opener finds the tunnel, opens in place, parses and checks the clear packets (shared: the SA's window)
//	deliver  then walk.go: route, out through the port or into another tunnel
//	flush    send what goes on through another tunnel

// inbound is the worker of one of an underlay's receive queues.
type inbound struct {
	*worker
	underlay Underlay
	opener   Opener
	receiver Receiver
	rx       Rx
	clear    packet.Batch
}

func (n *inbound) run() error {
	for {
		if err := n.receiver.Recv(&n.rx); err != nil {
			return err
		}
		if n.rx.Malformed > 0 {
			n.counters.Drop(packet.Malformed, 0, uint64(n.rx.Malformed))
		}
		for i := range n.rx.Errors {
			n.opener.PathError(n.underlay, &n.rx.Errors[i])
		}
		n.walk(n.rx.Trains)
	}
}

// walk takes the datagrams of one receive to the end. The clear packets stand in the receiver's buffers, which are good
// until the next Recv.
func (n *inbound) walk(trains []Train) {
	if ts := n.plane.tunnels.taps.Load(); ts != nil {
		ts.received(n.ctx.Worker, n.underlay, n.opener, trains)
	}
	for i := range trains {
		t := &trains[i]
		if t.Count() > packet.MaxBatch {
			n.counters.Drop(packet.Malformed, 0, uint64(t.Count()))
			continue
		}
		if n.clear.Room() < t.Count() {
			n.deliver()
		}
		n.opener.Open(&n.ctx, n.underlay, t, &n.clear)
	}
	n.deliver()
}

// deliver forwards the clear packets, those of one vrf together.
func (n *inbound) deliver() {
	pkts := n.clear.Packets()
	for lo := 0; lo < len(pkts); {
		ingress := pkts[lo].Ingress
		hi := lo + 1
		for hi < len(pkts) && pkts[hi].Ingress == ingress {
			hi++
		}
		if e := n.plane.tunnels.get(ingress); e != nil {
			n.tapClear(ingress, false, pkts[lo:hi])
			n.arrived(e, pkts[lo:hi])
		} else {
			n.counters.Drop(packet.TunnelDown, 0, uint64(hi-lo)) // it was taken down since
		}
		lo = hi
	}
	n.ctx.Tx.Flush()
	n.sendReplies()
	n.clear.Reset()
}

// arrived forwards packets that came out of one tunnel.
func (n *inbound) arrived(e *tunnelEntry, pkts []packet.Packet) {
	for i := range pkts {
		if !forwardable(&pkts[i].Info) && !e.vrf.link {
			pkts[i].Drop = packet.NotForwardable
		}
	}
	if e.mssClamp != 0 {
		e.clampMSS(pkts)
	}
	n.forward(e.vrf, nil, pkts)
}
