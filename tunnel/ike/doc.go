// Package ike is the IKEv2 machine (RFC 7296): all IKE SAs of an engine, as initiator and responder, without sockets,
// goroutines or clocks. Datagrams, commands and the time go in; datagrams to send, child SAs to install and log entries come
// out, as Actions. Nothing of ESP is here: a child SA is emitted as plain values.
//
// Reading order: endpoint.go (inputs), action.go (outputs), config.go and credentials.go (what is configured), sa.go and
// child.go (the two kinds of SA and their states), request.go and receive.go (requests and answers), then one file for each
// exchange: init_initiator.go, init_responder.go, intermediate.go, auth_initiator.go, auth_responder.go, createchild.go,
// rekeychild.go, rekeyike.go, followup.go, informational.go. offer.go and selectors.go negotiate child SAs, lease.go
// addresses; peer.go says what shall be up; lifetime.go has the timers, protect.go sealing and fragments.
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
// about strangers are limited to some a second. Nothing is fetched from anywhere.
//
// # Choices
//
// The window is 1. Repetitions are recognised by their octets, so that answering them costs no cryptography. Where both sides
// initiate at once, the IKE SA with the lowest nonce is deleted by its initiator once the other one has its children, as RFC 7296
// section 2.8.1 does with child SAs. A new child with the name of one that is up takes its place as if it rekeyed it: so
// reauthentication loses no packets. INVALID_IKE_SPI and INVALID_SPI are neither sent nor believed: liveness is checked by
// DPD.
//
// # RFC coverage
//
// Done: RFC 7296 sections 1.2 to 1.4, 2.1 to 2.10, 2.12 to 2.15, 2.17 to 2.19, 2.21 to 2.23, 2.25; RFC 7383; RFC 7427
// section 4; RFC 9242; RFC 9370. Not done: EAP (2.16), IPComp and transport mode (offers are declined), MOBIKE, redirects,
// session resumption, childless initiation.
package ike
