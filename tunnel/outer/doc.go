// Package outer is what every kind of tunnel does with the outer header of its frames and with the path that they take: it knows
// the path's MTU, believes of ICMP errors what it may, and carries congestion marks over into the packets that were opened.
//
// Reading order: mtu.go (what is known of a path's MTU), senders.go (which tunnel an ICMP error is about), ecn.go.
//
// # Concurrency
//
// An MTU is guarded by the tunnel that owns it and is not on the packet path: the tunnel publishes what workers read of it. Senders
// may be used by any goroutine. DecapECN is for the packet path: it allocates and locks nothing.
//
// # RFC coverage
//
// RFC 1191 and RFC 8201: errors lower the MTU, never below what every host takes; a lowered MTU is forgotten after ten minutes
// (sections 6.3 and 4), and the system is asked again. RFC 4301 section 8.2: an error counts for a tunnel only if it quotes one of
// its frames; what is too large from then on is answered by the data plane. RFC 6040 section 4.2: ECN on decapsulation. Not done:
// probing the path (RFC 8899), guessing from errors that state no MTU (RFC 1191 section 5).
package outer
