package dataplane

import "github.com/warrenvpn/warren/routing/fib"

// A fib.HopID says what to do with a packet: the kind in the top four bits, a tunnel's index or a port's number in the others.
const (
	hopKind   = 0xf << 28
	maxTunnel = 1<<28 - 1

	// A tunnel's index says in the low bits where it stands in the table of tunnels, in the others how often that place has
	// been given away: whoever comes late with the index of a tunnel that is gone finds no other in its place.
	slotBits = 20
	maxSlot  = 1<<slotBits - 1

	hopTunnel = 1 << 28

	hopPort = 2 << 28

	// HopUnreachable answers with host unreachable, HopProhibit with administratively prohibited, HopBlackhole not at
	// all; all three drop.
	HopUnreachable fib.HopID = 3 << 28
	HopProhibit    fib.HopID = 4 << 28
	HopBlackhole   fib.HopID = 5 << 28
)

// TunnelHop is the hop into the tunnel of that index.
func TunnelHop(index uint32) fib.HopID { return hopTunnel | fib.HopID(index) }

// PortHop is the hop out through the vrf's port of that number, as AddPort returned it.
func PortHop(number int) fib.HopID { return hopPort | fib.HopID(number) }

// HopPort returns the port's number where the hop leads out through a port.
func HopPort(h fib.HopID) (number int, ok bool) {
	return int(h &^ hopKind), h&hopKind == hopPort
}

// HopTunnel returns the tunnel's index where the hop leads into a tunnel.
func HopTunnel(h fib.HopID) (index uint32, ok bool) {
	return uint32(h &^ hopKind), h&hopKind == hopTunnel
}
