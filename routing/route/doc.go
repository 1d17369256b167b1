// Package route has the plain values that the routing packages hand to each other: what a source offers for a prefix
// (Path), who offers it (Peer), where it leads (Via), and the attributes that BGP carries with it (Attrs).
//
// Reading order: path.go, attrs.go.
//
// # Concurrency
//
// All values are immutable once they were handed on, and shared by pointer: a full table of a million prefixes has a
// million Paths of a cache line each, but only as many Attrs as there were different UPDATE messages. To change a value, copy it.
//
// # RFC coverage
//
// RFC 4271 section 5 (path attributes), RFC 1997 (communities), RFC 4360 (extended communities), RFC 4456 (ORIGINATOR_ID,
// CLUSTER_LIST), RFC 6793 (4-octet AS numbers), RFC 8092 (large communities). Unknown attributes are kept as they came where
// RFC 4271 section 5 wants them passed on.
package route
