// Package kernel keeps the kernel's route table and ours in step over rtnetlink, in a network namespace of choice: it
// tells which routes others installed, installs ours, and lets protected prefixes stand as `unreachable` so that nothing
// meant for a tunnel leaves in the clear.
//
// Reading order: table.go (Config, Table, its life), hops.go (where a route leads, and which of its devices are up),
// place.go (what is wanted and what stands, by prefix and metric), install.go (the writer), watch.go (notifications),
// resync.go (dumps), learn.go (routes of others), protect.go, rules.go (policy routing). Below them codec.go (messages), socket.go
// (netlink sockets).
//
// # Ownership
//
// A route is ours if its protocol number is Config.Protocol (201 unless set; `ip route show proto 201`). Every route that
// bears it in the table is adopted by New, whoever wrote it, and removed after Settled unless it was wanted again by then.
// So two tables in one namespace need different protocol numbers or different table ids. A place (prefix and metric) where
// somebody else's route stands is never taken: that counts as a failure, and is tried again. A place that we held and that somebody
// replaced is taken back. Both wait longer each time, from 20 ms up to 30 s, so that a fight with another program costs
// little; after a minute of peace the waits begin anew.
//
// # Fail closed
//
// Protect returns when its `unreachable` routes stand, at metric 4294967295, the worst, in both families (IPv6 accepts it too,
// where its own null entry has the same and still loses). They outlive the process: both kill -9 and a regular exit leave them, and
// New adopts them. Unprotect removes them, and Settled those that the new configuration does not name.
//
// # Concurrency
//
// All methods may be called by any number of goroutines. Set, Delete and Settled queue and return; the queue holds one
// entry per place however often it changed. Protect and Unprotect write at once. Run owns two goroutines, one that reads
// notifications and calls Config.Learn, one that writes; both are gone when it returns. A dump stops the writer meanwhile.
//
// # Choices
//
// The sockets are our own rather than those of vishvananda/netlink, which waits for the answer to each route and allocates 64
// kB for each notification: here 256 changes are one system call, only the last asks for an answer (the kernel reports errors
// anyway), and a socket filter on the sender's port id drops the notifications of our own changes. Rules are few, and go
// through that library. A million routes of two hops were installed in 7.7 s, adopted in 1.6 s and removed in 3.6 s, nearly
// all of it the kernel's own time, with 143 MB of heap (BenchmarkFullTable, two cores).
//
// A place is taken back through a second socket, which the filter does not drop, since the change displaces what was learned
// meanwhile.
//
// IPv4 routes disappear without notification when their device goes down, and multipath hops come back without one; so a device
// that goes down or comes up causes a new dump. Dumps take a fifth of the time at most. IPv6 knows no multipath over bare
// devices; on devices without neighbour discovery (tunnels) such hops get the gateway fe80::ffff:ffff:ffff:fffe, which nobody
// resolves.
//
// A hop is used while its device is up and has carrier. Routes over devices that do not exist yet wait for them.
//
// # Not done
//
// Routes by type of service, by source prefix, with MPLS or other encapsulations, nexthop objects of our own (those of
// others are read through the kernel's compatible form), other kernels than Linux.
package kernel
