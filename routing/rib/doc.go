// Package rib holds what every source offers for each prefix, chooses, and says what changed: for each prefix the paths of
// all peers, best first, and of these the one or the several that win.
//
// Reading order: rib.go (the table, what enters and leaves it, what changed), selection.go (which paths win and why), peers.go
// (what happens to all paths of a peer or of a tunnel at once), show.go (what is there), index.go, offer.go, slab.go
// and queue.go (how it is kept small).
//
// # Choice
//
// Paths whose next hop is down are no candidates, and stale ones only where there is nothing else. Of the rest the
// highest preference wins, whatever the source. Among equals that are not all from BGP the lowest metric wins, and if then
// there still are some from BGP and some not, the source that comes first in package route. Paths from BGP
// go on as RFC 4271 section 9.1.2.2 says: local preference, AS path length, origin, MED within each neighbouring AS, eBGP
// over iBGP. What is left then is equal: of BGP paths up to Options.MultipathMax win together, of others all; and the router
// ID, the length of the cluster list and the address say which is the best of them, the one that is told to others.
//
// Each step removes what is worse than the best of the set that is left, as the RFC words it, and not the loser of each pair.
// MED, which only some pairs can be compared by, therefore gives the same winners in whatever order paths came.
//
// # Concurrency
//
// One goroutine owns a Table; nothing here locks. The Paths and Attrs that go in are shared and never changed.
//
// # Size and speed
//
// A prefix with one path takes a cache line, and its place in the hash that finds it: paths share all that they have in
// common with others of their peer, and carry but two pointers. TestFullTable reports both for an Internet table.
//
// # RFC coverage
//
// RFC 4271 section 9.1.2.2 steps a to d, f and g. Not done: step e, the interior cost to the next hop, since next hops are not
// resolved through other routes: each is a tunnel or a port. RFC 4456 section 9 (ORIGINATOR_ID in place of the router ID,
// shorter CLUSTER_LIST). RFC 4724 section 4.2 as far as it is about routes (stale until refreshed or swept; here they
// also lose against all that are fresh). RFC 5004 (stay with the path that was best before) is not done: it
// would make the choice depend on the order of arrival. RFC 5065 section 5.3 for the length of AS paths; there
// are no confederation peers.
package rib
