// Package bgp speaks BGP-4 with neighbours: what they announce goes to a Table, and what they are told comes from it. It can be
// used without the engine: it needs somebody who dials and listens, and somebody who keeps routes.
//
// Reading order: neighbor.go (the configuration), machine.go, states.go, transitions.go and negotiate.go (the session as a
// machine without sockets, goroutines or clocks; action.go is what it wants done), speaker.go, peer.go, obey.go, link.go, intern.go
// and deliver.go (the driver around it), session.go, export.go, attrs.go and ribout.go (what a neighbour is told), status.go and
// command.go. Package message is the codec.
//
// # Concurrency
//
// A Speaker has for each neighbour a goroutine that alone touches the neighbour's machine and waits for nothing but events; for
// each connection one that reads and one that writes; and one that calls the Table. The four never wait for each other's work: a
// busy Table slows the reader and nobody else, and octets that arrive meanwhile still restart the hold timer; KEEPALIVEs go before
// UPDATEs, and wait for one write of some ten kilobytes at most. Session.Advertise never waits: what a slow neighbour has not been
// told yet is kept by prefix, so that it is never more than the table. What is learned is immutable and shared by pointer, as
// package route says.
//
// The Table's methods are called one at a time for one neighbour, and concurrently for different ones. All methods of Speaker and
// Session may be called from any goroutine, but those of Speaker not from within the Table's.
//
// # RFC coverage
//
// RFC 4271: sections 4 and 6 (messages and errors; in package message, and in negotiate.go for OPEN), 5 (attributes), 6.8
// (collisions; a session that the neighbour forgot gives way to its new connection), 8 (the machine; after a loss it goes to Active
// at once instead of Idle, and connects with a back-off; optional: passive mode, an idle hold time that grows with each error, as
// does the time between attempts, which PathUp cuts short; not done: DelayOpen), 9.1.2 (AS loops), 9.2 (no reflection between
// internal neighbours; aggregation is not done, and MinRouteAdvertisementInterval neither: changes go at once, and together while
// the neighbour is slow), 10 (jitter; a quarter at most).
//
// RFC 1997 (NO_EXPORT, NO_ADVERTISE, NO_EXPORT_SUBCONFED), RFC 2545, RFC 2918 (both ways; RFC 7313 is not done), RFC 4456 (our
// ORIGINATOR_ID is a loop; reflecting is not done), RFC 4486, RFC 4724 (helper; restarter only for a planned take-over, by
// HandOver, then Local.Resumed and Keep: the process that takes over has the routes of all neighbours at once, so route selection
// is not deferred; a NOTIFICATION is no restart, RFC 8538 is not done), RFC 4760 (IPv4 and IPv6 unicast), RFC 5492 (what is missing
// is said; a neighbour that refuses OPENs with capabilities is not asked again without), RFC 6286, RFC 6608, RFC 6793, RFC 7606,
// RFC 8212 (Exports; import is the Table's), RFC 8950, RFC 9003, RFC 9384 (sent by PathDown), RFC 9687. Not done: TCP MD5 and
// TCP-AO (RFC 2385, RFC 5925), GTSM (RFC 5082), ADD-PATH (RFC 7911), extended messages (RFC 8654), roles (RFC 9234), confederations
// (RFC 5065).
package bgp
