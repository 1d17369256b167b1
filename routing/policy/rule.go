package policy

import "github.com/warrenvpn/warren/routing/route"

// Rule is one rule as people write it. All its conditions must hold; an empty one always holds.
type Rule struct {
	// From is the source of the route: connected, static, ipsec, bgp or kernel.
	From string
	// Device is a pattern for the device that a kernel route leads out of, and for the port of any other.
	Device string
	// Protocol is that of a kernel route: a number, or a name as `ip route` prints it.
	Protocol string
	// Prefixes are the ranges that the prefix must be in one of.
	Prefixes []string
	// Community is one that the route must carry.
	Community string
	// ASPathLength compares the length of the AS path: "<=5", ">2", "3".
	ASPathLength string
	// Neighbor is a pattern for the name of the BGP neighbour that announced the route, or the neighbour's address.
	Neighbor string

	// Reject rejects what the rule matches, and goes without Set.
	Reject bool
	// Set is what changes of a route that the rule accepts.
	Set Set
}

// Set is what a rule changes. Nil and empty are left as they are.
type Set struct {
	// Preference decides among sources, more wins; Metric among routes not from BGP, less wins.
	Preference, Metric *uint32
	// MED and LocalPref are the attributes of BGP.
	MED, LocalPref *uint32
	// RemoveCommunities may be patterns, and go before AddCommunities come.
	RemoveCommunities, AddCommunities []string
	// NextHopSelf removes the next hop, so that the speaker puts its own address there.
	NextHopSelf bool
	// Prepend is how many times more than usual our AS goes in front of the AS path.
	Prepend int
}

// Direction is whether routes come or go.
type Direction uint8

// The directions.
const (
	Import Direction = iota + 1
	Export
)

// String is the word in the configuration.
func (d Direction) String() string {
	if d == Import {
		return "import"
	}
	return "export"
}

// Options say what a policy is for.
type Options struct {
	Direction Direction
	// With is whom the routes come from or go to: route.BGP or route.Kernel.
	With route.Source
	// LocalAS is prepended where a rule says so: ours, as that neighbour knows it.
	LocalAS uint32
}

// MaxPrepend is the most that a rule may prepend.
const MaxPrepend = 32
