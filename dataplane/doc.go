// Package dataplane moves packets between ports and the underlay: the workers, the walk, and the interfaces that ports,
// underlays and tunnels implement.
//
// # The walk
//
//	            outbound                                               inbound
//	port   Read ─► parse ─► route ─► Tunnel.Seal ─► Sender.Send    outbound.go
//	                          │ ▲
//	                          │ └── clear packets, parsed and checked against the tunnel's selectors
//	port   Write ◄─ route ◄───┴──── Opener.Open ◄── Receiver.Recv   inbound.go
//	                     walk.go
//
// A worker is a goroutine that owns one receive queue and runs each batch to completion: it reads, does everything,
// sends, and reads again. No packet is handed to another goroutine.
//
// # Reading order
//
// Package packet (who owns which bytes), package wire (the parser), then here port.go, underlay.go and tunnel.go (the interfaces),
// worker.go (what a worker owns, and its route lookup), outbound.go and inbound.go (its two directions), walk.go (what they share),
// upcoming.go (prefetching cold tunnels), replies.go (the ICMP errors that a router owes), tx.go (frames on their way out), loop.go
// (our own frames coming back). Then what is not on the packet path: plane.go (a plane's life), vrf.go, hop.go and tunnels.go (what
// routes lead to), inject.go (packets from the control side), tap.go (copies for captures), counters.go.
//
// # What is owned, what is shared
//
// Owned by the worker: its queue, its batch and arena, the frames in hand (Tx), its sender for each underlay and its
// writer for each port, the scratch that tunnels keep for it (Ctx.Worker is the index), the ICMP token bucket. Shared and
// immutable: the route table's snapshot, the table of tunnels, paths, a tunnel's SAs, the register of peers; each behind an
// atomic pointer with one writer. Shared and written: an SA's sequence counter and replay window, which the tunnel
// touches once a run, and the counters of drops. What a tunnel carried is counted by each worker apart, once a run.
//
// # Choices
//
// Interfaces are called once for a batch, a run or a train; inside, types are concrete. A run is the packets in hand with
// the same next hop, in order: the walk never reorders a flow. A packet that does not fit, or that earns an
// answer, ends the run; the loop over a run only looks.
//
// A port is not a hop: the kernel, or the stack, behind it lowers the TTL of what it forwards. Between two tunnels the
// engine is the router and lowers it (walk.go).
//
// A vrf made by AddLink is no router either, but the wire between a port and a tunnel: what comes out of the tunnel leaves by the
// port without a route lookup, and multicast and link-local packets pass.
//
// ICMP errors leave after the batch that earned them, rate-limited per worker; replies.go says from which address.
//
// The plane trusts nothing from a port or an underlay: every offset is checked once (wire.Parse, Segmenter.Reset, the
// openers), and what fails is counted under one of packet.Reason, for the worker and for the tunnel.
//
// # RFC coverage
//
// Done: RFC 1812 sections 4.2.2.7 (fragmentation), 4.3.2 (ICMP errors and their rate), 5.3.1 (TTL), 5.3.4 and 5.3.7 (what is
// not forwarded); RFC 4443 section 2.4; RFC 8200 section 3 (hop limit); RFC 1191 and RFC 8201 as the router that answers.
// Not done: IPv4 options are forwarded unread, redirects are never sent, multicast is forwarded only on a link.
package dataplane
