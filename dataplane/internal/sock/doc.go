// Package sock is what the underlays' sockets have in common, whatever they carry: how they are made and placed, lent to
// workers and closed, waited for, received from in batches, and asked for the ICMP errors that came for what they sent.
//
// Reading order: place.go (making a socket), set.go (the sockets of one underlay and their end), message.go (struct mmsghdr,
// socket addresses, control messages, sending), queue.go (receiving), errqueue.go (ICMP errors).
//
// It knows nothing of packets: what a message means is the underlay's business. The descriptors are outside Go's poller;
// calls that cannot block are raw system calls. Nothing on the packet path allocates.
//
// # Concurrency
//
// A Set may be used by all. A Queue belongs to one worker. A User is held by its worker for the length of one call that
// uses the descriptors; Close waits for it.
package sock
