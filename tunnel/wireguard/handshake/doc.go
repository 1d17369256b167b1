// Package handshake is WireGuard's protocol as a machine, without sockets, goroutines or clocks: handshakes, cookies, timers
// and the rotation of keys for one private key and its peers. What it makes are keypairs; packets are the transport's.
//
// "The paper" is J. A. Donenfeld, WireGuard: Next Generation Kernel Network Tunnel (NDSS 2017, revised).
//
// Reading order: device.go (a Device, its peers and what it is given), action.go (what it wants done), peer.go (a Peer and
// what the transport tells of it), session.go (a handshake from begin to end, and the rotation), timers.go; then prepare.go
// (the part of the work that may run concurrently), noise.go, curve.go, cookie.go, limit.go, message.go and key.go.
//
//	message | now | what the packet path saw        Device        Actions: Send, Rotate, Erase, SendKeepalive, Roam, GiveUp
//	────────────────────────────────────────>  [ Peer Peer ... ]  ────────────────────────────────────────────────────────>
//
// # Use
//
// After each call the Actions are carried out, in order. Tick is called at Deadline. The packet path tells a Peer only roughly what
// passed: Sent and Received once for a batch or once in some tens of milliseconds, with the time of the last packet, in either
// order; only the first packet by a Next keypair should be told at once. The transport itself must see to three things:
//
//   - It sends by Current only, and counts its own nonces from 0 for each Keypair that it sees for the first time.
//   - It neither sends nor accepts a counter of RejectAfterMessages or more, and refuses what comes in twice.
//   - It drops what a keypair would be used for after Erase. A worker that looks at Created as well is exact to the packet.
//
// # Concurrency
//
// A Device and its Peers have one owner, who makes all calls but Prepare. Prepare may be called from any goroutine: it does the
// costly part of the work on a handshake message, about 140 µs for an initiation, and leaves a few to Commit. HandleMessage is the
// two one after the other.
//
// # Clocks
//
// now need only go forward. Wall is read only for the timestamp of an initiation. A responder answers only initiations that are
// newer than the last it answered, and remembers that one for as long as it runs. A clock that is set back while we run does no
// harm: a timestamp is always later than the one before. But a device that starts again with a clock behind the last timestamp it
// sent (a board without a battery, before it has the time) is refused as a replay until its clock has passed that timestamp, or the
// other side has started again too. Initiations of the other side are answered meanwhile. Where now does not count the time that a
// machine was suspended, sessions live longer by that time, until the other side rejects them.
//
// # Choices
//
// An initiation is answered without touching the state of a handshake that we began. It is answered at once, unless both sides
// began at the same time: then the answer waits for a moment, and is not sent if the other side's comes. If it is sent, there are
// two sessions, and both are accepted. Unlike other implementations we keep the previous session when we answer, and the current
// one when a handshake of ours ends while a session that we answered is not used yet: the other side may still send by them.
//
// Keys are erased at RejectAfterTime, when they can be used no more, and what is left of a handshake when it is given up; so
// nothing is left for the paper's erasure after three times RejectAfterTime. Erasing overwrites our own copies: those that the
// garbage collector or a cipher made are out of reach.
//
// The secret of two static keys is computed once for a peer. Noise comes from a library; it is given its keys as handles, and
// X25519 from another library. Three products and a key pair are three quarters of what an answer costs, and where the standard
// library takes 49 µs for a product and 45 µs for a key pair, github.com/cloudflare/circl takes 32 and 21. What remains is HMACs of
// BLAKE2s, about 18 %.
//
// # Coverage
//
// The paper's sections 5.1 (silence), 5.3 and 5.4.4 to 5.4.7 (MACs, cookies), 5.4.1 to 5.4.3 and 5.4.5 (IKpsk2), 6.1 to 6.6
// (timers, rotation), persistent keepalives, a limit of 20 handshake messages a second for an address under load and of 50
// initiations a second for a peer. Not here: transport data beyond its header (5.4.6), endpoints, allowed addresses.
package handshake
