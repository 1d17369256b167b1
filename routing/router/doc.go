// Package router joins the routing of one vrf: what static configuration, BGP neighbours and the kernel offer goes through
// import policies into the rib, and what wins goes from there into the fib, and through export policies to neighbours and
// to the kernel.
//
// Reading order: router.go (Config, Router, what offers routes), flush.go (what won, to all who are told), neighbors.go
// (BGP: implements bgp.Table), kernel.go (the kernel's routes, both directions), show.go (what is there and why), takeover.go (from
// one process to the next).
//
// # What is told to whom
//
// Only winners are exported. What lost against a better source stays here, so that a route of ours which comes back over another
// protocol is not exported again. Of several winners the best is told to neighbours, all to the kernel. A path that leads out of
// the vrf's port is not told to the kernel: packets would come straight back. A protected prefix is told to nobody while there is
// nothing but its protection.
//
// # Fail closed
//
// Protect enters a path of the lowest preference that leads to Config.Unreachable. Packets for a prefix whose tunnels are all down
// are therefore refused, and not routed by a shorter prefix.
//
// # Concurrency
//
// All methods may be called by any number of goroutines. One mutex guards the rib and what was told to whom; the fib's readers
// never see it. A change to a full table is made in pieces, and changes of others are made in between. Nothing waits while the
// mutex is held: the adj-RIB-outs and the kernel's table queue what they are told.
package router
