// Package ipsec makes ESP tunnels (RFC 4303 tunnel mode) out of package esp: it chooses the child SA by traffic selectors,
// seals and opens runs of packets for the data plane, and knows where the peer is and how large a packet may be.
//
// Reading order: gateway.go (one Gateway serves all ESP tunnels of an engine: it is the data plane's Opener), tunnel.go (a
// Tunnel, its children and its path: the cold side), seal.go and open.go (the packet path, both directions), selector.go,
// mtu.go (how large a packet may be), trap.go (packets that wait for their SA), early.go (packets that arrive before their SA is
// installed), find.go (whose a datagram is, for captures).
//
// # Concurrency
//
// Workers read immutable snapshots: the SPI table, a tunnel's list of outbound children, its path. Whoever keys the
// tunnel (static configuration, IKE) calls the methods of Gateway and Tunnel from any goroutine; they take the tunnel's
// mutex and publish. What workers share and write is inside esp: a sequence counter, a replay window.
//
// Workers that seal with one SA at the same time take few numbers at once (seal.go), so that a peer whose window is 128, as that of
// strongSwan's own ESP, loses next to nothing when a worker has to wait for a processor. With eight flows on two busy processors
// 0.03 % of the packets come too late for such a window; it was 3 % over IP as long as a worker that had been alone for 16 turns
// counted as alone, and 1 % until frames of a shared SA left one by one.
//
// # RFC coverage
//
// RFC 4301: section 5.1 (outbound: the first child whose selectors match; none: the packet is discarded), 5.2 (inbound:
// the inner packet must match the SA's selectors), 7 (what ports decide about is sealed whole), 8.1 (DF), 8.2 (path MTU, by package outer). RFC 3948 section 2 (ESP in UDP;
// the keepalives are sent here and swallowed by the underlay). RFC 6040 (ECN, normal mode; on the way in by package outer).
// RFC 2983 section 4 (DSCP is copied to the outer header and not back). Not done: transport mode, copying DSCP from the outer
// header, bypass and discard policies (routes take their place).
package ipsec
