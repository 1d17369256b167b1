// Package peers measures tunnels end to end, side by side with other programs that do the same job on the same machine: two
// network namespaces, one tunnel between them, real traffic through it.
//
// Reading order: [Contender] (what is compared), wireguard.go, strongswan.go and warren.go (who takes part), [Measure] (how
// rounds are interleaved), [Results.Write] (the table).
//
// # How fair it is
//
// Both ends of every tunnel and the traffic generators share the machine's cores, and its speed wanders. So all contenders
// of a round are up at once, the idle ones asleep, and each quantity is measured on all of them in turn before the next one
// is; their order moves by one every round. Ratios are formed within a round, and the median of those is what counts.
// Each contender keeps the MTU it would choose itself, because that choice is part of what it does for its user.
//
// # Concurrency
//
// None: two measurements at once would measure each other.
//
// Linux only, and root; see bench/lab.
package peers
