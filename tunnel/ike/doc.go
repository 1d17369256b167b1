// Package ike is the IKEv2 machine (RFC 7296): all IKE SAs of an engine, as initiator and responder, without sockets,
// goroutines or clocks. Datagrams, commands and the time go in; datagrams to send, child SAs to install and log entries come
// out, as Actions. Nothing of ESP is here: a child SA is emitted as plain values.
//
// Reading order: endpoint.go (inputs), action.go (outputs), config.go and credentials.go (what is configured), sa.go and
// child.go (the two kinds of SA and their states), request.go and receive.go (requests and answers), then one file for each
// exchange: init_initiator.go, init_responder.go, intermediate.go, auth_initiator.go, auth_responder.go, createchild.go,
// rekeychild.go, rekeyike.go, followup.go, informational.go, invalidspi.go. offer.go and selectors.go negotiate child SAs, lease.go
// addresses; peer.go says what shall be up, replace.go how one IKE SA gives way to another; lifetime.go has the timers,
// protect.go sealing and fragments; status.go and wireshark.go show what there is. Package proposal chooses algorithms, crypto
// computes, auth authenticates, message is the wire format.
//
// # Who does what
//
// Only ikeSA.become and child.become change states, and what a state's end or beginning entails happens there. A request of
// ours is a value of the interface request, which builds it and takes its answer; a peer's request ends in a function
// handle..., which returns a reply. Both sides of an exchange stand in one file.
//
// A child SA that is replaced carries inbound traffic until Linger after its deletion. Its initiator sends on the new one at
// once, its responder when the first packet arrives on it or the old one is deleted (RFC 7296 section 2.8).
//
// # Concurrency
//
// An Endpoint has one owner: no two of its methods may run at once. Credentials, SPIs and Pool are called by it. What it
// returns is the caller's, but for the octets of a Send, which stay as they are until they need not be sent again.
//
// # Who is not authenticated
//
// IKE_SA_INIT costs one key exchange and one entry that goes after HalfOpenTimeout; from CookieThreshold on only those who can
// receive what is sent to their address get that far, above MaxHalfOpen nobody. Each datagram is answered by at most one
// message. Notifications that are not protected end nothing: an initiator tries on until its request is given up. Log entries
// about strangers are limited to some a second. Nothing is fetched from anywhere. Who is authenticated can make a number of
// child SAs and of rekeyed IKE SAs that it does not delete, and no more.
//
// # Choices
//
// The window is 1. Repetitions are recognised by their octets, so that answering them costs no cryptography. Where both sides
// initiate at once, the IKE SA with the lowest nonce is deleted by its initiator once the other one has its children, as RFC 7296
// section 2.8.1 does with child SAs. A new child with the name of one in another IKE SA takes its place as if it rekeyed it: so
// reauthentication loses no packets, and is what is done in place of rekeying with a peer that answers NO_ADDITIONAL_SAS to that.
// An authentication that was not repeated in the time told ends its IKE SA, on either side. What both sides make at once works
// twice, until it is at rest and that with the lower SPIs gives way. A peer that goes on sending ESP by an SPI that is not ours is
// told INVALID_SPI in its IKE SA, seldom; one that says so of ours has that child rekeyed. Outside of an IKE SA neither this nor
// INVALID_IKE_SPI is sent or believed: liveness is checked by DPD.
//
// Nothing is sent for an IKE SA that its receiver may not know yet, or no more, so that on a network that loses nothing nothing
// is repeated: after rekeying an IKE SA our requests wait until the old one is deleted, or the peer asks something in the new
// one; while a DELETE is out there is no INITIAL_CONTACT; a request that overtakes the answer to IKE_AUTH waits for that.
//
// # Tests
//
// Two machines on a network that delays, loses, doubles and reorders, in time of its own: every pair of exchanges at once
// (collision_test.go), random commands from a seed without loss, where nothing may be sent twice (quiet_test.go), and with
// (sim_test.go: -sim.seed shows one run, -sim.runs makes more). Afterwards both sides agree on all SAs, there is one of each, no
// SPI leaks, and no key was used twice. traffic_test.go sends packets all the while and loses none.
//
// # RFC coverage
//
// Done: RFC 7296 sections 1.2 to 1.4, 1.5 within an IKE SA, 2.1 to 2.10, 2.12 to 2.15, 2.17 to 2.19, 2.21 to 2.23, 2.25; RFC
// 4478; RFC 7383; RFC 7427 section 4; RFC 9242; RFC 9370. Not done: a window of more than 1 (2.3), EAP (2.16), IPComp and transport mode (offers are
// declined), ADDITIONAL_TS_POSSIBLE (2.9), MOBIKE, redirects, session resumption, childless initiation, post-quantum preshared
// keys (RFC 8784).
package ike
