// Package bfd is Bidirectional Forwarding Detection between neighbours on one link or at the ends of one tunnel: RFC 5880 in
// asynchronous mode over UDP as RFC 5881 has it.
//
// Reading order: packet.go (the control packet), machine.go and timing.go (one session, as a machine without sockets and
// clock), manager.go (the sessions of a transport), udp_linux.go (the transport over the kernel's sockets).
//
// # Concurrency
//
// A Machine belongs to one goroutine at a time. All methods of a Manager may be called by any number of goroutines. Run ticks
// the machines on its caller's goroutine and calls ManagerConfig.Event from one of its own, which is gone when it returns: to act
// on the end of a tunnel that a full table leads through takes seconds. Packets are sent by whoever caused them, one at a time.
// Offer, with which a worker brings what arrives, never waits for another goroutine.
//
// # Choices
//
// A session that would expire because the process itself was late (the timer fired more than 5 ms after its time) gets 10 ms
// more, so that packets which wait in a socket are read first: a busy machine is no dead neighbour.
//
// A Poll Sequence is begun for each change of the intervals once the neighbour is known, and followed by another if they
// change while it goes on: a Final may answer the Poll before. The detection time that the neighbour's slow start gives
// (seconds) ends with the first packet that announces its faster rate.
//
// A change of state is announced at once, so that two active neighbours are Up within a few round trips and not, as with
// periodic packets alone, in three seconds.
//
// Of up to 16 sessions that may send, because three quarters of their intervals are over, all do when one does, and share its
// jitter from then on: at 3 x 100 ms, eight sessions wake the process 11 times a second and not 91. Jitter is to keep systems from
// falling into step with one another, and other systems draw their own.
//
// UDP takes the zone of a link-local address by the names of the devices in the namespace of the process; elsewhere only
// the device's number means the same.
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
// RFC 5882: section 4.2, in so far as a Change says that the neighbour is AdminDown. Not done: RFC 5883 (multihop), RFC
// 7130 (on LAG members), RFC 7880 (seamless).
package bfd
