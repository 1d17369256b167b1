// Package bfd is Bidirectional Forwarding Detection between neighbours on one link or at the ends of one tunnel: the asynchronous
// mode of RFC 5880, over UDP as RFC 5881 says.
//
// Reading order: packet.go (the control packet), machine.go and timing.go (one session, as a machine without sockets and
// clock), manager.go (the sessions of a transport), udp_linux.go (the transport over the kernel's sockets).
//
// # Concurrency
//
// A Machine belongs to one goroutine at a time. All methods of a Manager may be called by any number of goroutines. Run ticks the
// machines on its caller's goroutine and calls ManagerConfig.Event from a goroutine of its own, which is gone when Run returns: an
// event may take seconds to act on, where a full table leads through a tunnel that has gone down. Packets are sent by whoever
// caused them, one at a time. Offer, by which a worker passes on what arrives, never waits for another goroutine.
//
// # Choices
//
// A session that would expire because the process itself was late (the timer fired more than 5 ms after its time) gets 10 ms
// more, so that packets which wait in a socket are read first: a busy machine here is no dead neighbour.
//
// A Poll Sequence is begun for each change of the intervals once the neighbour is known, and followed by another if they
// change while it goes on: a Final may answer the Poll before. The long detection time of a neighbour that starts slowly (seconds)
// ends with the first packet that announces its faster rate.
//
// A change of state is announced at once, so that two active neighbours are Up within a few round trips and not, as with
// periodic packets alone, in three seconds.
//
// When one session sends, up to 15 others whose intervals are three quarters over send with it, and share its jitter from then on:
// at 3 x 100 ms, eight sessions wake the process 11 times a second and not 91. Jitter is there to keep systems from falling into
// step with one another, and other systems draw their own.
//
// UDP understands the zone of a link-local address as the name of a device in the namespace of the process; for a socket in another
// namespace it must be the device's number.
//
// # RFC coverage
//
// RFC 5880: 4.1 (format), 6.1 (active and passive role), 6.2 (states), 6.3 (demultiplexing), 6.5 (Poll Sequences), 6.6
// (demand mode: we do not ask for it; a neighbour's wish is honoured), 6.8.1 to 6.8.4, 6.8.6, 6.8.7, 6.8.10 to 6.8.12
// (parameters that change), 6.8.16 (administrative control) are done, and the code Path Down. Not done: 6.6 for our own
// part, 6.7 (authentication: such packets are discarded, with that reason), 6.4, 6.8.5, 6.8.8 and 6.8.9 (Echo: Required
// Min Echo RX is 0), 6.8.17 (concatenated paths), 6.8.18 (holding down).
//
// RFC 5881: sections 3 (demultiplexing of first packets by address), 4 (port 3784, source ports from 49152), 5 (TTL 255 sent
// and required, GTSM). Not done: Echo (port 3785), sections 6 and 7 are up to whoever routes.
//
// RFC 5882: section 4.2, as far as a Change says that the neighbour is AdminDown. Not done: RFC 5883 (multihop), RFC
// 7130 (on LAG members), RFC 7880 (seamless).
package bfd
