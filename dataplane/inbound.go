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
		if n.rx.Lost > 0 {
			n.counters.Drop(packet.UnderlayFull, 0, uint64(n.rx.Lost))
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
	u := n.underlay
	if n.rx.Via != nil {
		u = n.rx.Via
	}
	if ts := n.plane.tunnels.taps.Load(); ts != nil {
		ts.received(n.ctx.Worker, u, n.opener, trains)
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
		n.opener.Open(&n.ctx, u, t, &n.clear)
	}
	n.deliver()
}

// deliver forwards the clear packets, those of one tunnel together.
func (n *inbound) deliver() {
	for pkts := n.clear.Packets(); len(pkts) > 0; {
		e := n.plane.tunnels.get(pkts[0].Ingress)
		run := sameTunnel(pkts, e != nil && !e.vrf.link)
		if e != nil {
			n.tapClear(e.index, false, run)
			n.arrived(e, run)
		} else {
			n.counters.Drop(packet.TunnelDown, 0, uint64(len(run))) // it was taken down since
		}
		pkts = pkts[len(run):]
	}
	n.ctx.Tx.Flush()
	n.sendReplies()
	n.clear.Reset()
}

// sameTunnel returns the packets at the front that came out of one tunnel. Where they go on to be routed, those that no router
// forwards are marked on the way.
func sameTunnel(pkts []packet.Packet, routed bool) []packet.Packet {
	n, ingress := 0, pkts[0].Ingress
	for ; n < len(pkts) && pkts[n].Ingress == ingress; n++ {
		if routed && !forwardable(&pkts[n].Info) {
			pkts[n].Drop = packet.NotForwardable
		}
	}
	return pkts[:n]
}

// arrived forwards packets that came out of one tunnel.
func (n *inbound) arrived(e *tunnelEntry, pkts []packet.Packet) {
	if e.mssClamp != 0 {
		e.clampMSS(pkts)
	}
	n.forward(e.vrf, nil, pkts)
}
