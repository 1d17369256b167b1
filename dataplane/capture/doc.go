// Package capture copies packets into a pcapng file that Wireshark and tcpdump read, without holding them up.
//
//	worker ── tap ── ring ─┐
//	worker ── tap ── ring ─┼─► the writer's goroutine ─► io.Writer
//	worker ── tap ── ring ─┘
//
// Reading order: [NewWriter], [TapPort] and [TapUnderlay], which stand in a port's or an underlay's place from the beginning, and
// [TapTunnel], which comes and goes while the data plane runs (what is copied and how it appears), outer.go (the outer headers of
// sealed frames), ring.go (how copies get off the packet path), block.go (the file's format).
//
// Each tapped port or underlay, and each side of a tunnel, is one interface of link type RAW in the file. Every packet carries its
// direction as pcapng has it: inbound is what the engine received there, a port's reader or an underlay's receiver; outbound what
// it sent. What a port, an underlay or a tunnel refused is in the file too, since the copy is taken before; so is what came in for
// a tunnel and proved to be no packet of its peer.
//
// Clear packets are recorded as they are in hand: a super-packet as one packet, longer than any MTU, and where a
// checksum is left to be completed it is still incomplete. Sealed frames get the outer headers that the kernel puts in
// front of them, made up from what is known: addresses, ports, TOS and DF are true, TTL and identification are not, nor
// is DF of what came in; an address of ours that the system chooses is unspecified. Of a tunnel there are what its SAs or sessions
// seal, WireGuard's handshakes and keepalives; not IKE, cookie replies and NAT keepalives, which are no tunnel's.
//
// Times in a file never go back: they are those of a clock that does not, and a copy that comes late bears the time of the one
// before it.
//
// # Concurrency
//
// A tapped reader, writer, receiver or sender belongs to its worker as the one beneath it does, and has a ring of its own, which no
// one else fills; a tap of tunnels makes a worker's ring when it first comes by. The worker copies, moves an index and wakes the
// writer once a batch; it takes no lock, allocates nothing and never waits. A copy for which the ring has no room is dropped and
// counted. Where the io.Writer fails, the capture ends, [Writer.Err] says why, and packets go on as if there had been no tap.
//
// # Coverage
//
// draft-ietf-opsawg-pcapng: section header, interface description, enhanced packet with epb_flags, interface statistics.
package capture
