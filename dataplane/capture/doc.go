// Package capture copies packets into a pcapng file that Wireshark and tcpdump read, without holding them up.
//
//	worker ── tap ── ring ─┐
//	worker ── tap ── ring ─┼─► the writer's goroutine ─► io.Writer
//	worker ── tap ── ring ─┘
//
// Reading order: [NewWriter], [TapPort] and [TapUnderlay] (what is copied and how it appears), ring.go (how it gets off
// the packet path), block.go (the file's format).
//
// Each tapped port or underlay is one interface of link type RAW in the file. Every packet carries its direction as
// pcapng has it: inbound is what the engine received there, a port's reader or an underlay's receiver; outbound what it
// sent. What a port or an underlay refused is in the file too, since the copy is taken before.
//
// Clear packets are recorded as they are in hand: a super-packet as one packet, longer than any MTU, and where a
// checksum is left to be completed it is still incomplete. Sealed frames get the outer headers that the kernel puts in
// front of them, made up from what is known: addresses, ports, TOS and DF are true, TTL and identification are not.
//
// # Concurrency
//
// A tapped reader, writer, receiver or sender belongs to its worker as the one beneath it does, and has a ring of its
// own, which no one else fills. The worker copies, moves an index and wakes the writer once a batch; it takes no lock,
// allocates nothing and never waits. A copy for which the ring has no room is dropped and counted. Where the io.Writer
// fails, the capture ends, [Writer.Err] says why, and packets go on as if there had been no tap.
//
// # Coverage
//
// draft-ietf-opsawg-pcapng: section header, interface description, enhanced packet with epb_flags, interface statistics.
package capture
