package route

import (
	"fmt"
	"net/netip"

	"github.com/warrenvpn/warren/routing/fib"
)

// Source says where a route comes from.
type Source uint8

// The sources, in the order in which they are preferred unless configured otherwise.
const (
	// Connected routes lead to the addresses of ports and of tunnels.
	Connected Source = iota + 1
	// Static routes are configured.
	Static
	// IPsec routes follow from negotiated traffic selectors and from addresses given to clients.
	IPsec
	// BGP routes were learned from neighbours.
	BGP
	// Kernel routes were learned from the kernel's table in the port's namespace.
	Kernel
)

var sourceNames = [...]string{Connected: "connected", Static: "static", IPsec: "ipsec", BGP: "bgp", Kernel: "kernel"}

// Sources are the names of all sources, as in the configuration, best preference first.
func Sources() []string { return sourceNames[Connected:] }

// String is the name in the configuration and in tables.
func (s Source) String() string {
	if int(s) < len(sourceNames) && s != 0 {
		return sourceNames[s]
	}
	return fmt.Sprintf("source %d", uint8(s))
}

// ParseSource is the inverse of String.
func ParseSource(name string) (Source, bool) {
	for s := Connected; int(s) < len(sourceNames); s++ {
		if sourceNames[s] == name {
			return s, true
		}
	}
	return 0, false
}

// Preference is the preference of the source's routes unless set: more wins.
func (s Source) Preference() uint32 {
	switch s {
	case Connected:
		return 240
	case Static, IPsec:
		return 200
	case BGP:
		return 100
	default:
		return 10
	}
}

// Peer is who offers routes: a BGP neighbour, the static routes of a tunnel, the kernel's table. The pointer is its
// identity: one Peer has at most one Path to a prefix.
type Peer struct {
	Source Source
	// Name is the neighbour's, the tunnel's or the port's name, for people.
	Name string
	// Address and RouterID decide between equal BGP paths (RFC 4271 section 9.1.2.2).
	Address  netip.Addr
	RouterID uint32
	// AS is the neighbour's autonomous system. IBGP says that it is ours too.
	AS   uint32
	IBGP bool
	// Local routes lead to the engine's own ends of tunnels. No neighbour is told of them, or it would find the other end of its own
	// tunnel by a way around, where a session that wants one hop does not work.
	Local bool
}

// Via is where a path leads. The pointer is its identity; whether it is up is known to who uses it.
type Via struct {
	// Name is the tunnel's or the port's name.
	Name string
	// Hop is what the fib is told.
	Hop fib.HopID
	// Device is the kernel's name of the port, if it has one.
	Device string
}

// Path is what a Peer offers for one prefix.
type Path struct {
	Peer *Peer
	Via  *Via
	// Attrs are nil unless the source is BGP or a policy set some.
	Attrs *Attrs
	// Preference compares sources, more wins. Metric compares paths of the same preference that are not both from BGP,
	// less wins.
	Preference uint32
	Metric     uint32
	// Weight is the share of flows among several paths that win together; 0 counts as 1.
	Weight uint16
	// Stale paths are kept for a neighbour that restarts (RFC 4724); they lose against all that are not.
	Stale bool
	// Device is the device that a kernel route leads out of, Protocol who entered it (RTPROT_* of rtnetlink(7)); for policies.
	Device   string
	Protocol uint8
}
