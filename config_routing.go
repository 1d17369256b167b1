package warren

import (
	"cmp"
	"net/netip"
	"time"
)

// BGPConfig makes a vrf a BGP speaker. Its sessions run on the engine's own stack: towards neighbours behind tunnels from the
// tunnels' own addresses, towards those behind the port from Addresses.
type BGPConfig struct {
	LocalAS uint32
	// RouterID is the BGP identifier, written as an IPv4 address.
	RouterID netip.Addr
	// Addresses are the engine's own, for neighbours behind the port.
	Addresses []netip.Addr
	// Multipath is how many equal paths may be used together; 0 for 1. MultipathAcrossAS lets paths from different
	// neighbouring ASes be equal.
	Multipath         int
	MultipathAcrossAS bool
	// Import and Export are for neighbours that have none of their own. A neighbour in another AS without a policy exchanges
	// nothing that way (RFC 8212); one in our own AS exchanges everything.
	Import, Export *PolicyConfig
	// Session is for neighbours that do not say otherwise.
	Session BGPSession
	// Neighbors behind the port.
	Neighbors []NeighborConfig
	// Drain is how long the engine goes on forwarding after it has withdrawn its routes, before it leaves.
	Drain time.Duration
}

// BGPSession is how sessions are held. A parsed configuration has DefaultBGPSession where it says nothing.
type BGPSession struct {
	// HoldTime in whole seconds from 3, or 0 for no keepalives at all.
	HoldTime time.Duration
	// ConnectRetry is the longest wait between two attempts.
	ConnectRetry time.Duration
	// GracefulRestart keeps the routes of a neighbour that restarts and asked for it (RFC 4724, helper).
	GracefulRestart bool
	// RestartTime is for how long the neighbour is asked to keep our routes while another process takes over from ours, in whole
	// seconds to 4095; 0 does not ask. It is also for how long that process keeps those of the neighbour. See Engine.HandOver.
	RestartTime time.Duration
	// EnforceFirstAS treats announcements of an external neighbour whose AS path does not begin with its AS as withdrawals (RFC 4271
	// section 6.3). A route server's do not.
	EnforceFirstAS bool
	// NextHopSelf announces our own next hop to neighbours of our own AS too.
	NextHopSelf bool
	// PrefixLimit is how many prefixes of a family a neighbour may announce; 0 for any number.
	PrefixLimit int
	// BFD watches the way to the neighbour; nil for none.
	BFD *BFDConfig
}

// Defaults of BGP.
const (
	DefaultHoldTime     = 90 * time.Second
	DefaultConnectRetry = 30 * time.Second
	DefaultDrain        = 2 * time.Second
	DefaultRestartTime  = 120 * time.Second
)

// DefaultBGPSession is what a session is unless the configuration says otherwise.
func DefaultBGPSession() BGPSession {
	return BGPSession{HoldTime: DefaultHoldTime, ConnectRetry: DefaultConnectRetry, GracefulRestart: true,
		RestartTime: DefaultRestartTime}
}

// BFDConfig are the timers of a BFD session (RFC 5880).
type BFDConfig struct {
	// MinTx and MinRx are the desired and the required interval, Multiplier how many of them may be missed.
	MinTx, MinRx time.Duration
	Multiplier   int
}

// DefaultBFD is what `bfd: yes` says: dead after 0.9 s.
func DefaultBFD() BFDConfig {
	return BFDConfig{MinTx: 300 * time.Millisecond, MinRx: 300 * time.Millisecond, Multiplier: 3}
}

// NeighborConfig is a BGP neighbour.
type NeighborConfig struct {
	// Name for people; the address, or the tunnel's name, unless set.
	Name string
	// Address is the neighbour's. For a neighbour behind a tunnel it may be left out: it is the other address of each of the
	// tunnel's point-to-point pairs then, one session each.
	Address netip.Addr
	// Port that the neighbour listens on; 0 for 179.
	Port       uint16
	NeighborAS uint32
	// LocalAS replaces the vrf's towards this neighbour unless 0.
	LocalAS uint32
	// Passive waits for the neighbour to connect.
	Passive bool
	// Import and Export replace the vrf's.
	Import, Export *PolicyConfig
	// Session replaces the vrf's.
	Session *BGPSession
}

// KernelConfig says what a vrf exchanges with the kernel's route table in its port's namespace.
type KernelConfig struct {
	// Export decides which winners become kernel routes to the port, Import which of the kernel's routes enter the rib; nil
	// for none.
	Export, Import *PolicyConfig
	// Table is the route table's number; 0 for the main one. Metric of our routes, and the number that marks them as ours; 0
	// for the defaults of package kernel.
	Table, Metric uint32
	Protocol      uint8
	// Keep leaves our routes when the engine ends.
	Keep bool
	// PolicyRouting is a firewall mark, 0 for none. With it all traffic of the namespace follows our routes, default routes
	// included, as with wg-quick(8): they stand in Table, or in the table that has the mark's number, and the rules `from all
	// lookup main suppress_prefixlength 0` and `not from all fwmark MARK lookup TABLE` lead there. The engine's own sealed packets
	// must bear the mark, so as not to follow them. Default routes into tunnels are protected too. The rules go when the engine
	// leaves; after kill -9 they stay, and nothing leaves in the clear.
	PolicyRouting uint32
}

// table is the number of the route table; 0 for the main one.
func (c *KernelConfig) table() uint32 { return cmp.Or(c.Table, c.PolicyRouting) }
