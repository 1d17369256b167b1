// Package packet says who owns which bytes on the packet path.
//
// Reading order: [Batch] (the arena and its packets), [Packet] (one clear IP packet in hand), [Offload] (what a port's
// checksum and segmentation offload left to do), [Reason] (why a packet went no further).
//
// # Ownership
//
// A [Batch] owns its arena. A worker owns the batch; nobody else may touch it. A [Packet] borrows a slot of the arena
// (or, inbound, of the underlay's receive buffer) from the moment its reader filled it until the batch is Reset, which
// is the only release point. To keep a packet for longer, copy it.
//
// A slot has room in front of the packet (at least [HeadRoom] bytes) and behind it (at least [TailRoom]), so that a
// tunnel can seal in place. Packets that come out of a tunnel have only the room that the opened frame left; the
// accessors [Packet.Head] and [Packet.Tail] say how much there is.
//
// # Concurrency
//
// None: a batch belongs to one goroutine.
package packet
