package dataplane

import (
	"net/netip"
	"sync/atomic"

	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/routing/fib"
)

// VRF is one routing domain: its ports, its tunnels, its routes.
type VRF struct {
	name  string
	table *fib.Table
	link  bool // see AddLink
	// ports by number; a snapshot that workers read. There are one or two: the device, and the engine's own stack.
	ports atomic.Pointer[[]*portEntry]
}

// portEntry is one of the vrf's ports and each worker's way out through it.
type portEntry struct {
	port Port
	// addrs are the addresses on the port's far side (the kernel's, the stack's): as a source of ICMP errors they make
	// sense to peers behind tunnels, and never to the port's own side, which would take such packets for forged.
	addrs []netip.Addr
	// writers is indexed by worker; each worker makes its own when it first needs it.
	writers [MaxWorkers]PortWriter
}

func (e *portEntry) writer(worker int) PortWriter {
	if w := e.writers[worker]; w != nil {
		return w
	}
	w := e.port.NewWriter()
	e.writers[worker] = w
	return w
}

// arriveAtPort is for what comes out of a link's tunnels: unless a route leads to one of the ports, it goes out of the first.
func arriveAtPort(pkts []packet.Packet, hops []fib.HopID) {
	for i := range pkts {
		if _, ok := HopPort(hops[i]); !ok && pkts[i].Drop == packet.None {
			hops[i] = PortHop(0)
		}
	}
}

// portAt returns the vrf's port of that number, or nil.
func (v *VRF) portAt(number int) *portEntry {
	if ports := v.ports.Load(); ports != nil && number < len(*ports) {
		return (*ports)[number]
	}
	return nil
}

// Name returns the vrf's name.
func (v *VRF) Name() string { return v.name }

// Table returns the vrf's route table. Hops are made by TunnelHop and PortHop, or are HopUnreachable
// and its like.
func (v *VRF) Table() *fib.Table { return v.table }
