// Package wireguard makes WireGuard tunnels out of package handshake: one private key and any number of peers on any number
// of underlays, each peer a tunnel of its own that routes choose.
//
// "The paper" is J. A. Donenfeld, WireGuard: Next Generation Kernel Network Tunnel (NDSS 2017, revised).
//
// Reading order: device.go (a Device is the data plane's Opener; its underlays and its key), peer.go (a Peer is a dataplane.Tunnel:
// the cold side), keypair.go (what workers need of a session), seal.go and open.go (the packet path, both directions), wait.go
// (packets without a session), source.go (which source addresses a peer may use), mtu.go; then control.go (what runs beside the
// workers), inbox.go and hands.go (handshake messages), notes.go (how workers tell control what they saw), status.go and find.go
// (whose a datagram is, for captures).
//
//	worker   Seal: current keypair, nonces in runs, in place ─► frames          Open: index ─► keypair ─► clear packets
//	           │ notes: sent, came in, waits                                      │ handshake messages, copied
//	           ▼                                                                  ▼
//	control  notes 40 times a second at most, timers, events                    bounded queue ─► handshakers
//	           └──────────────► handshake.Device ─► Rotate, Send, Erase ... ◄─────┘
//
// # Use
//
// The package's Example shows all of this as a program.
//
// A Device is one private key: New, then Run in a goroutine until the end. It is the data plane's Opener for each of its UDP
// underlays: open one for each address family, give it to Plane.AddUnderlay together with the device, and to Device.AddUnderlay.
// Options.Peers is Plane.Peers. A tunnel with a key and a port of its own is a Device of its own, with its own underlays.
//
// A peer is a tunnel: Plane.AddTunnel gives an index, and its callback calls Device.AddPeer with it. Routes lead to it as to any
// tunnel, by dataplane.TunnelHop, alone or in a group with tunnels of other kinds. To remove a peer withdraw its routes, then call
// Peer.Close, then Plane.RemoveTunnel. Everything but its name, its public key and OnState can be changed by the Set methods,
// without an effect on its sessions; a pre-shared key is used from the next handshake on.
//
// Nothing here makes routes of AllowedIPs. They filter the source addresses of what a peer sends: nil lets all pass, an empty list
// none. For wg's meaning (peers of wg-quick files and of the configuration protocol, whose uapi.State.Apply says which prefix
// belongs to whom) enter the peer's prefixes into the route table too, and call SetAllowedIPs when a prefix moves from one peer to
// another: first for the peer that loses it. A SourceCheck is a further filter, called by workers for each packet that came in and
// was parsed. "feasible" is one that looks Info.Src up in the vrf's table by LookupBatch4 or LookupBatch6, which do not allocate,
// and says whether TunnelHop of the peer's index is among the next hops. The callback of AddTunnel is told the index.
//
// To change the key call SetPrivateKey. To change the port add the new underlay to plane and device, RemoveUnderlay the old one,
// then close it; packets under way still come in. An endpoint by name is looked up by whoever has the name, and set by SetEndpoint.
// To look it up again makes sense where OnState said Down, or where a state other than Up lasts: a peer that is Up has shown where
// it is. A device that has no key yet may be given a random one, which nobody answers to.
//
// Peer.Status and Device.Status are what wg(8) shows, the counters of messages included; packets and drops by reason are in
// Plane.TunnelStats, those of handshake messages in HandshakeDrops. The KeyLog option, which logs a warning when it is set, gets
// each handshake's EphemeralKeys, whose KeyLog method writes them in Wireshark's format.
//
// # Concurrency
//
// Workers read immutable snapshots: the index table, a peer's current keypair, its path. What they share and write is a
// keypair's counter (once a run), its replay window (once a run) and a peer's notes (when they change). They never wait for
// control: handshake messages are copied into a bounded queue, packets without a session into one of their peer.
//
// Device.mu makes one owner at a time of the handshake machine: the control goroutine, a handshaker that has done the costly
// part of a message without it, or whoever configures. Peer.mu guards path and MTU, Peer.waiting has a mutex of its own. Device.mu
// is taken before these two, which are the only ones that workers take.
//
// # Choices
//
// Routes choose the peer, so the allowed addresses of peers may overlap: they only say what a peer may send. A peer that has not
// answered for RekeyAttemptTime is Down, one whose keys expired because nobody used them is Idle.
//
// A device is under load, and asks for cookies, while handshake messages queue up or many of them come to nothing, and for a second
// longer. Handshakes then take up to a millisecond longer, since messages are taken in batches: otherwise each message of a flood
// would wake a goroutine.
//
// A packet that waits for a session is a copy, and is sealed before anything newer for its peer; where too many wait the oldest is
// dropped. It is counted when it is sealed, by the peer and not by the data plane.
//
// A peer's endpoint moves only with the newest packet of the current session or a newer one, so that an old packet that somebody
// held back moves nothing.
//
// # Coverage
//
// The paper's sections 2.1 (roaming), 5.4.6 (transport data, padding that never exceeds the MTU, window of 8128), 6.1 (message
// limits), 6.5 (keepalives), 6.7 (what waits for a session). RFC 6040 (ECN, normal mode), RFC 2983 section 4 (DSCP is copied to the
// outer header and not back); handshake messages are marked AF41 as Linux does. RFC 1191 and RFC 8201 (path MTU within floors).
// Handshakes and timers: package handshake. Not here: names of endpoints, routes, the configuration protocol of wg(8).
package wireguard
