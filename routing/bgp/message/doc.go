// Package message is the codec of BGP-4 messages: between octets on the wire and the values of package route.
//
// Reading order: message.go (the header, and the messages that are little more), notification.go (codes, and the error that
// every parser returns), family.go, open.go (OPEN and capabilities), update.go (what an UPDATE is to the session), parse.go (its
// fields, and what becomes of errors), decode.go (its attributes, as a table), aspath.go, nexthop.go, prefix.go, encode.go.
//
// A session that has read HeaderLength octets learns from Length how many follow, and hands the body to the parser of its type. A
// parser returns a *NotificationError where the session must send it and close. ParseUpdate returns none for what RFC 7606
// wants survived: then the Update says what was done and why, and its fields are what is left to apply.
//
// # Concurrency
//
// There is no state but the caller's. An Update is used again for the next message; what it points to in package route is new
// for each message, shares no memory with the message, and may be kept and shared.
//
// # Choices
//
// The codec is our own because a full table has to be read in a fraction of a second of CPU; the one of GoBGP is the second
// opinion in the tests. A message costs two allocations for its attributes, three with both families or large communities and
// the like, and none for its prefixes.
//
// An attribute that appears again, that an external neighbour must not send, or AS4_PATH where AS numbers have four octets, is
// reported as discarded. A well-known attribute of unknown type resets the session, since RFC 7606 left that sentence of RFC
// 4271 as it was.
//
// # RFC coverage
//
// Done: RFC 4271 section 4 (formats) and 6.1 to 6.4 (errors) but for the AS loop, which is policy; RFC 2545 and what is seen of
// link-local next hops beside it; RFC 2918; RFC 1997, 4360, 8092 (communities); RFC 4456 section 8 (attributes of
// reflection); RFC 4486, 8538, 9003, 9384 (reasons for leaving); RFC 4724 sections 2 and 3; RFC 4760; RFC 5492; RFC 6286; RFC
// 6608; RFC 6793; RFC 7606; RFC 7607; RFC 8950 for unicast; RFC 9072 on receipt; RFC 9687 section 5.
//
// Not done: families other than unicast, ADD-PATH (RFC 7911), extended messages (RFC 8654), enhanced route refresh (RFC 7313, whose
// messages are ignored), roles (RFC 9234, whose attribute is passed on as unknown), confederations beyond accepting their segments from
// internal neighbours (RFC 5065). Which communities stay within an AS is for the policy.
package message
