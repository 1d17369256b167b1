// Package router joins the routing of one vrf: what static configuration, BGP neighbours and the kernel offer goes through
// import policies into the rib, and what wins goes from there into the fib, and through export policies to neighbours and
// to the kernel.
//
// Reading order: router.go (Config, Router, what offers routes), flush.go (what won, to all who are told), neighbors.go
// (BGP: implements bgp.Table), kernel.go (both ways), show.go (what is there and why), takeover.go (from one process to the next).
//
// # What is told to whom
//
// Only winners are told to anybody: what lost against a better source stays here, so that a route which comes back over another
// protocol is not told again as if it were ours. Of several winners the best is told to neighbours, all to the kernel. A path
// that leads out of the vrf's port is not told to the kernel: it would come straight back. Prefixes that are protected are told
// to nobody while nothing but the protection stands.
//
// # Fail closed
//
// Protect enters a path of the least preference that leads to Config.Unreachable. A prefix whose tunnels are all down is
// therefore refused, not routed by what covers it.
//
// # Concurrency
//
// All methods may be called by any number of goroutines. One mutex guards the rib and what was told to whom; the fib's readers
// never see it. Who has a full table to change lets others in between, whose changes overtake it. Nothing below waits while it is held: adj-RIB-outs and the kernel's table queue.
package router
