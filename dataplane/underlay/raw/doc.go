// Package raw is the underlay of ESP without UDP: raw sockets of IP protocol 50 over IPv4 or IPv6.
//
// It is for peers that do not speak RFC 3948. It is slower than UDP: the kernel cuts and joins nothing for it.
//
// Reading order: socket.go (opening and the filters), recv.go, send.go. What UDP sockets need too is in
// dataplane/internal/sock.
//
// # Sharding
//
// Every raw socket gets a copy of every packet of its protocol, and SO_REUSEPORT does not share them out. So each worker's
// socket has a filter in the kernel (SO_ATTACH_FILTER) that lets through only the packets whose SPI modulo the number of
// workers is the worker's own, and the first worker's also what is too short to have one.
//
// # Don't fragment
//
// As with UDP (see that package), DF is an option of the socket: one more socket leaves it clear and is only sent from; its filter
// lets nothing through.
//
// # Concurrency
//
// A Receiver and a Sender belong to one worker each. The sockets beneath are shared, which the kernel allows.
//
// # RFC coverage
//
// RFC 4303 section 3.1.2 (tunnel mode's outer header is the kernel's). ICMP errors are read from the sockets' error
// queues. Not done: fragments of outer packets are put together by the kernel before they come here.
package raw
