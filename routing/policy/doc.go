// Package policy decides which routes are imported and exported, and changes them on the way: from a BGP neighbour or the kernel
// into the rib (import), and the winners from there to a neighbour or the kernel (export).
//
// Reading order: rule.go (what people write), policy.go (what is made of it), check.go (what is refused when it is loaded), set.go
// (what a rule changes), prefix.go, community.go, length.go and protocol.go (the forms of strings), advertise.go (what BGP itself
// forbids or leaves out).
//
// # Rules
//
// A policy is "all", "none", or a list of rules. The first rule whose conditions all hold decides: it accepts the route, changed as
// its "set" says, or rejects it. A route that no rule matches is rejected. A rule without conditions matches every route.
//
//	export:
//	  - {from: kernel, device: "eth*", protocol: ospf}
//	  - {from: bgp, prefixes: ["10.0.0.0/8 le 24"], as_path_length: "<=5", set: {med: 10}}
//	import:
//	  - {prefixes: ["0.0.0.0/0", "::/0"], reject: true}
//	  - {community: "65001:100", set: {local_pref: 200}}
//	  - {}
//
// Prefixes are written as BIRD or as other routers do:
//
//	10.0.0.0/8             this one
//	10.0.0.0/8+            this one and all within
//	10.0.0.0/8-            this one and all that contain it
//	10.0.0.0/8{16,24}      of these lengths, within it or containing it
//	10.0.0.0/8 le 24       within it, no longer than /24
//	10.0.0.0/8 ge 16 le 24 within it, of these lengths
//
// Communities are "65001:100", "65001:*", large ones "65001:1:2", or a name: no-export, no-advertise, no-export-subconfed,
// no-peer, blackhole, graceful-shutdown, accept-own, llgr-stale, no-llgr. A device and a neighbor may have * and ? and [a-z].
//
// # Sharing
//
// A path is given and returned by value. Its Attrs are copied only when a rule changes them. Paths that come one after the other
// with the same Attrs share the changed Attrs too, so that a full table stays small and its prefixes can be announced together.
//
// # Concurrency
//
// A Policy is immutable, and any number of goroutines may use it.
//
// # RFC coverage
//
// RFC 1997 (matching, adding and removing; NO_EXPORT, NO_ADVERTISE and NO_EXPORT_SUBCONFED in Withheld), RFC 8092, RFC 8212
// (Default), RFC 4271 section 9.2 as far as it says to whom a route is not told. RFC 3765, RFC 7611, RFC 7999, RFC 8326 and RFC
// 9494 as names of communities: what they ask for is written as a rule, as {community: graceful-shutdown, set: {local_pref: 0}}.
// Not done: extended communities (RFC 4360) as conditions, patterns for AS paths, several communities in one condition.
package policy
