package router

import (
	"net/netip"

	"github.com/warrenvpn/warren/routing/kernel"
	"github.com/warrenvpn/warren/routing/rib"
	"github.com/warrenvpn/warren/routing/route"
)

// Kernel is the kernel's route table, as a kernel.Table is.
type Kernel interface {
	Set(prefix netip.Prefix, hops []kernel.Hop) error
	Delete(prefix netip.Prefix) error
}

// KernelConfig says what is exchanged with the kernel.
type KernelConfig struct {
	// Table takes what Export lets through; nil where nothing is exported.
	Table Kernel
	// Port is the way out through the vrf's port, and where routes that were learned from the kernel lead.
	Port *route.Via
	// Import decides what of the kernel's routes enters the rib, Export which winners the kernel is told. Nil lets nothing
	// through.
	Import, Export Policy
}

// kernelSide is what the Router keeps for the kernel.
type kernelSide struct {
	KernelConfig
	peer *route.Peer
}

// SetKernel begins the exchange with the kernel. It may be called again with other policies: that of export counts at once, that
// of import for what is learned from then on.
func (r *Router) SetKernel(c KernelConfig) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kernel == nil {
		r.kernel = &kernelSide{peer: &route.Peer{Source: route.Kernel, Name: "kernel"}}
	}
	r.kernel.KernelConfig = c
	var at rib.Cursor
	for more := true; more; {
		at, more = r.rib.Scan(at, atOnce, func(c rib.Change) { r.kernel.install(r, &c) })
	}
	r.flush()
}

// install tells the kernel of a prefix. Both calls only queue.
func (k *kernelSide) install(r *Router, c *rib.Change) {
	if k.Table == nil {
		return
	}
	hops := k.hops(r, c)
	var err error
	if len(hops) > 0 {
		err = k.Table.Set(c.Prefix, hops)
	} else {
		err = k.Table.Delete(c.Prefix)
	}
	if err != nil {
		r.log.Warn("kernel route", "prefix", c.Prefix, "error", err)
	}
}

// hops are the devices through which the kernel reaches a prefix: the vrf's port, since all tunnels are behind it. None for
// what is to stay here, and for what leads out of the port: it came from there.
func (k *kernelSide) hops(r *Router, c *rib.Change) []kernel.Hop {
	best := r.exportable(c)
	if best == nil || k.Export == nil || k.Port == nil || best.Via == k.Port {
		return nil
	}
	if _, ok := k.Export.Apply(c.Prefix, *best); !ok {
		return nil
	}
	return []kernel.Hop{{Device: k.Port.Device}}
}

// Learn takes what the kernel's routes are, as kernel.Config.Learn gives it. Routes to the port itself are left out: they lead
// to us.
func (r *Router) Learn(news []kernel.Learned) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.kernel
	if k == nil || k.Port == nil {
		return
	}
	for i := range news {
		in := &news[i]
		path := route.Path{Peer: k.peer, Via: k.Port, Metric: in.Metric, Preference: route.Kernel.Preference(), Device: in.Device,
			Protocol: in.Protocol}
		accepted := !in.Withdrawn && in.Device != k.Port.Device && k.Import != nil
		if accepted {
			path, accepted = k.Import.Apply(in.Prefix, path)
		}
		if accepted {
			r.rib.Set(in.Prefix, path)
		} else {
			r.rib.Remove(in.Prefix, k.peer)
		}
	}
	r.flush()
}
