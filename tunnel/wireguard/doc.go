// Package wireguard makes WireGuard tunnels out of package handshake: one private key and any number of peers on any number
// of underlays, each peer a tunnel of its own that routes choose.
//
// "The paper" is J. A. Donenfeld, WireGuard: Next Generation Kernel Network Tunnel (NDSS 2017, revised).
//
// Reading order: device.go (a Device is the data plane's Opener; its underlays and its key), peer.go (a Peer is a
// dataplane.Tunnel: the cold side), keypair.go (what workers need of a session), seal.go and open.go (the packet path, both
// ways), wait.go (packets without a session), source.go (what a peer may send), mtu.go; then control.go (what runs beside the
// workers), inbox.go and hands.go (handshake messages), notes.go (how workers tell control what they saw) and status.go.
//
//	worker   Seal: current keypair, nonces in runs, in place ─► frames          Open: index ─► keypair ─► clear packets
//	           │ notes: sent, came in, waits                                      │ handshake messages, copied
//	           ▼                                                                  ▼
//	control  notes 40 times a second at most, timers, events                    bounded queue ─► handshakers
//	           └──────────────► handshake.Device ─► Rotate, Send, Erase ... ◄─────┘
//
// # Use
//
// The package's Example is all of this as a program.
//
// A Device is one private key: New, then Run in a goroutine until the end. It is the data plane's Opener, for each of its UDP
// underlays: open one (one for a family), give it to Plane.AddUnderlay together with the device, and to Device.AddUnderlay.
// Options.Peers is Plane.Peers. A tunnel with a key and a port of its own is a Device of its own, with its own underlays.
//
// A peer is a tunnel: Plane.AddTunnel gives an index, and its callback calls Device.AddPeer with it. Routes lead to it as to any
// tunnel, by dataplane.TunnelHop, alone or in a group with tunnels of other kinds. To remove a peer withdraw its routes, then
// Peer.Close, then Plane.RemoveTunnel. All but its name, its public key and OnState changes in place, without an effect on its
// sessions, by the Set methods; a pre-shared key takes part from the next handshake on.
//
// Nothing here makes routes of AllowedIPs. They filter what a peer sends: nil lets all pass, an empty list nothing. Who wants wg's
// meaning (peers of wg-quick files and of the configuration protocol, whose uapi.State.Apply says which prefix belongs to whom)
// enters the peer's prefixes into the route table too, and calls SetAllowedIPs where they move; to be exact between the two,
// take them from the one who loses them first. A SourceCheck is asked besides, for each packet that came in and was parsed,
// by workers: "feasible" is one that looks Info.Src up in the vrf's table by LookupBatch4 or LookupBatch6, which do not allocate,
// and says whether TunnelHop of the peer's index is among the next hops. The index is known when the callback of AddTunnel
// makes it.
//
// Change of key: SetPrivateKey. Change of port: add the new underlay to plane and device, RemoveUnderlay the old one, then
// close it; packets under way still come in. An endpoint by name is looked up by whoever has the name, and set by SetEndpoint.
// Looking it up again makes sense where OnState said Down, or where a state that is not Up lasts, since a peer that is Up
// has said itself where it is. A device that has no key yet may be given a random one, which nobody answers to.
//
// Peer.Status and Device.Status are what wg(8) shows, the counters of messages included; packets and drops by reason are in
// Plane.TunnelStats, handshake messages in HandshakeDrops. KeyLog, which warns when it is set, is called with what
// EphemeralKeys.KeyLog writes in Wireshark's format.
//
// # Concurrency
//
// Workers read immutable snapshots: the index table, a peer's current keypair, its path. What they share and write is a
// keypair's counter (once a run), its replay window (once a run) and a peer's notes (where they change). They never wait for
// control: handshake messages are copied into a bounded queue, packets without a session into their peer's.
//
// Device.mu makes one owner at a time of the handshake machine: the control goroutine, a handshaker that has done the costly
// part of a message without it, or whoever configures. Peer.mu guards path and MTU, Peer.waiting has its own. Device.mu comes
// before these; workers take only these.
//
// # Choices
//
// Routes choose the peer, so allowed addresses of peers may overlap: they only say what a peer may send. A peer that nothing
// is heard of for RekeyAttemptTime is Down, one whose keys expired since nobody used them is Idle.
//
// A device is under load, and asks for cookies, where handshake messages wait for others or many of them come to nothing. It goes on
// refusing until that has been over for a second. Handshakes take up to a millisecond longer then, since messages are taken
// together: a flood that comes in ones wakes somebody for each.
//
// A packet that waits is a copy, sealed in order before anything newer of its peer; where too many wait the oldest goes.
// It is counted when it is sealed, by the peer and not by the data plane.
//
// A peer's endpoint follows what is newest by the current session or a newer one, so that an old packet that was held
// back moves nothing.
//
// # Coverage
//
// The paper's sections 2.1 (roaming), 5.4.6 (transport data, padding that never exceeds the MTU, window of 8128), 6.1 (message
// limits), 6.5 (keepalives), 6.7 (what waits for a session). RFC 6040 (ECN, normal mode), RFC 2983 section 4 (DSCP copied out,
// not in); handshake messages are marked AF41 as Linux does it. RFC 1191 and RFC 8201 (path MTU within floors). Handshakes and
// timers: package handshake. Not here: names of endpoints, routes, the configuration protocol of wg(8).
package wireguard
