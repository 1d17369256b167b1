// Package udp is the underlay of ESP in UDP (RFC 3948) and of WireGuard: one socket for each worker on one address and
// port.
//
// Reading order: socket.go (opening, the sockets of one underlay and their options), recv.go and send.go (the packet path),
// group.go (which frames leave together), steer.go (which worker a datagram comes to). What raw sockets need too is in
// dataplane/internal/sock.
//
// # How it is fast
//
// Frames that follow one another to the same peer with equal size leave in one system call as one buffer that the kernel
// or the card cuts (UDP_SEGMENT, 64 at the most); what arrives so comes as one train (UDP_GRO). Calls that
// cannot block are raw system calls; a busy worker sleeps in poll(2), and only one with little to do in Go's poller.
// On loopback a frame of 1400 bytes costs about 100 ns to send that way, and 1.2 µs or more by sendmmsg alone.
//
// # Don't fragment
//
// IPv4 has no don't-fragment flag per datagram, only per socket. So there are two sockets on the port: the workers' own,
// which set DF and ignore the kernel's path MTU (the engine keeps its own), and one that is only sent from, which leaves
// DF clear. The steering program never selects it. IPv6's counterpart is fragmentation at the source.
//
// # Steering
//
// The first four bytes of an ESP packet are its SPI; a program in the kernel (SO_ATTACH_REUSEPORT_CBPF) delivers SPI mod N
// to worker N. Everything else comes to the first worker. Any worker takes anything, so that a kernel without steering
// costs speed only.
//
// # Concurrency
//
// A Receiver and a Sender belong to one worker each. The sockets beneath are shared, which the kernel allows.
//
// # RFC coverage
//
// RFC 3948: section 2.3 keepalives are swallowed and counted here; the non-ESP marker is the opener's business. RFC 6040
// and RFC 2983 need the outer TOS: it is sent and received per datagram. RFC 768 and RFC 8200: UDP checksums are the
// kernel's. With an unspecified local address the system chooses the source of each frame by its routes; hosts with
// several addresses should name the one their peers know.
package udp
