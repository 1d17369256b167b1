package dataplane

import "github.com/warrenvpn/warren/dataplane/packet"

// Driver is a worker of each way that a benchmark drives by hand, without queues or goroutines.
type Driver struct {
	out *outbound
	in  *inbound
}

// NewDriver returns workers of a vrf's port. index must be the driver's own.
func NewDriver(p *Plane, v *VRF, port, index int, u Underlay, o Opener) *Driver {
	d := &Driver{}
	w := newWorker(p, "driven")
	w.setIndex(2 * index)
	d.out = &outbound{worker: w, vrf: v, from: v.portAt(port)}
	w = newWorker(p, "driven")
	w.setIndex(2*index + 1)
	d.in = &inbound{worker: w, underlay: u, opener: o}
	return d
}

// Outbound walks packets that a port might have read.
func (d *Driver) Outbound(pkts []packet.Packet) { d.out.walk(pkts) }

// Inbound walks trains that an underlay might have received.
func (d *Driver) Inbound(trains []Train) { d.in.walk(trains) }

// Drops returns what the driver dropped.
func (d *Driver) Drops() map[packet.Reason]uint64 {
	m := d.out.counters.drops.snapshot()
	for r, n := range d.in.counters.drops.snapshot() {
		m[r] += n
	}
	return m
}
