// Package rib holds what every source offers, chooses, and says what changed: for each prefix the paths of all peers, best first,
// and which one or more of them win.
//
// Reading order: rib.go (the table, what enters and leaves it, what changed), selection.go (which paths win and why), peers.go
// (what happens to all paths of a peer or of a tunnel at once), show.go and paths.go (what is there), index.go, offer.go, slab.go
// and queue.go (how it is kept small).
//
// # Choice
//
// Paths whose next hop is down are no candidates, and stale ones are candidates only where there are no others. The highest
// preference wins, whatever the source. Among equals that are not all from BGP the lowest metric wins, and if some of these are
// from BGP and some not, the source that comes first in package route. Among paths from BGP alone RFC 4271 section 9.1.2.2 decides:
// local preference, AS path length, origin, MED within each neighbouring AS, eBGP over iBGP. Paths that are still equal win
// together: of BGP paths up to Options.MultipathMax, of others all. The router ID, the length of the cluster list and the address
// say which of them is the best, the one that is told to others.
//
// Each step removes what is worse than the best of the set that is left, as the RFC words it, and not the loser of each pair. So
// the winners do not depend on the order in which paths came, although MED compares only some pairs.
//
// # Concurrency
//
// One goroutine owns a Table; nothing here locks. The Paths and Attrs that go in are shared and never changed.
//
// # Size and speed
//
// A prefix with one path takes a cache line and a place in the hash that finds it: a path shares all that it has in common with
// others of its peer, and itself is two pointers. TestFullTable reports the size and the speed for an Internet table.
//
// # RFC coverage
//
// RFC 4271 section 9.1.2.2 steps a to d, f and g. Not done: step e, the interior cost to the next hop, since next hops are not
// resolved through other routes: each is a tunnel or a port. RFC 4456 section 9 (ORIGINATOR_ID in place of the router ID, shorter
// CLUSTER_LIST). RFC 4724 section 4.2 as far as it is about routes (stale until refreshed or swept; here they also lose against all
// fresh ones). RFC 5065 section 5.3 for the length of AS paths; there are no confederation peers. Not done: RFC 5004 (stay with the
// path that was best before), which would make the choice depend on the order of arrival.
package rib
