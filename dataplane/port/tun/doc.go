// Package tun is a port that is a Linux TUN device.
//
//	kernel ─► read(2) ─► vnet header ─► Offload, checked      reader.go, vnet.go   (own: a queue's descriptor)
//	kernel ◄─ write(2), writev(2) ◄─ runs of one flow joined  writer.go, join.go   (shared: the descriptor)
//
// Reading order: [Config] and [Open] (device.go: life of a device), attach.go (what is asked of /dev/net/tun), link.go (addresses,
// MTU), take.go (a device that another process made), errors.go, then vnet.go (the virtio network header in both directions),
// reader.go, moderation.go (pauses where packets come densely), join.go (which neighbours may leave as one super-packet, and its
// headers), writer.go.
//
// # What the kernel lends, and without what it still works
//
// A queue for each worker (IFF_MULTI_QUEUE), the virtio network header (IFF_VNET_HDR) and with it partial checksums, TCP
// segmentation (TSO) and UDP segmentation (USO, Linux 6.2). Where one of them is missing the device works without; one
// line in the log says so, and names them all.
//
// # Joining
//
// Neighbours of one TCP or UDP flow are handed to the kernel as one super-packet by writev(2): headers of the first with
// lengths fixed up, payloads where they stand. What is joined is what Linux's GRO would join, so that segmenting it again
// gives the packets that were written: every checksum has been verified, since the kernel takes a super-packet's on
// trust. The one thing that is not kept is the identification of IPv4 packets that carry DF, which nobody reads (RFC
// 6864 section 4.1).
//
// # Concurrency
//
// A reader and a writer belong to one worker each; Close and SetMTU may be called by anybody at any time. A busy worker sleeps in
// ppoll(2) itself, and only one with little to do in Go's poller; one that reads a few packets at a time, many times, pauses before
// it reads. Each reader and writer holds its own mutex for one call (a batch, and the sleep or pause before it), so that Close knows
// when the descriptors are out of use; nobody else ever waits for it.
//
// # Coverage
//
// Virtio 1.2 section 5.1.6 (the header; not: receive-side coalescing, hash reports, UDP fragmentation offload). RFC 9293,
// RFC 768 and RFC 3168 as far as segmenting goes. IPv6 extension headers and IPv4 options are carried, never joined.
package tun
