// Package fib is a longest-prefix-match table for both families with next-hop groups: what won and forwards. One writer at a
// time, any number of readers of batches that never wait and never allocate. It serves alone as well as in the engine.
//
// Reading order: fib.go (the table as others see it), write.go (a change, and which form the table has), flat.go (the form of
// large tables, and looking up in it), stages.go (changing it), routes.go (what it holds), pool.go (what it is made of, and how that
// is used again), group.go (several next hops, weights, flow hash), intern.go (many routes share few groups). Package fibtest has an Internet
// table for tests and benchmarks.
//
// # Two forms
//
// Up to 2,000 routes, a table is a bart.Fast: a trie that is small (a hundred routes take some 20 KB), fits the caches, and is
// replaced as a whole, sharing with its predecessor all nodes that a change did not touch.
//
// From there on it is flat, and below 1,000 routes a trie again. Flat means stages that are indexed with the address and
// hold the answer for each value, so that a lookup is a few loads: bits 0 to 24 in one, whose blocks of 256 KiB exist only
// for first bytes that have routes, and then chunks of 8 bits each. Where those first bytes are many, as in a piece of the Internet's
// table, 20,000 routes are wanted for it; fewer take no more than 1 KiB of blocks each. With routes to 10,000 tunnels in two blocks,
// a packet of 1400 bytes to each in turn takes 3 % less time than with a trie, whose nodes and leaves are in no near cache then. That is DIR-24-8 for IPv4, and for IPv6 the same and
// further down. Prefixes up to /8, and so the default routes, are in an array of their own, or one of them could mean millions of
// entries to change. The routes themselves are in a hash besides, 8 bytes each for IPv4 and 24 for IPv6, for Get, Lookup and All,
// and for the writer, who must know where a route led before. What covers a route that goes, the stages mostly say themselves.
// Routes for which chunks cost more than they are worth, such as 100,000 IPv6 hosts far apart,
// stay in the trie, so that no neighbour can fill the memory with them: each route may cost about one chunk (1 KiB), and all together
// 128 MiB.
//
// # Concurrency
//
// LookupBatch4, LookupBatch6, Single and Pick take no lock. They begin with a view, loaded once a batch, that is the trie or
// the stages. The trie is immutable. The entries of the stages are words which the writer stores one by one, each after all
// that it leads to; so for one address a reader finds what was before a change or what is after it, and at every moment in
// between, but of a change to a short prefix some addresses may show the effect earlier than others.
//
// A chunk that is no longer needed, and a number that no longer stands for a group, must not be used again while a reader may
// hold it. Readers hold them no longer than their view. The writer replaces the view from time to time, and by a weak
// pointer to the old one learns from the garbage collector when the last reader has let go of it: it costs the readers
// nothing, not even a counter, and a reader that was interrupted in mid-batch is safe for as long as it takes.
//
// A Group that a reader got from a lookup is immutable and stays valid for as long as the reader holds it. Get, Lookup, All and
// Len are for control: of a flat table, they wait for a change that is being made. All writers wait for each other.
//
// # Groups
//
// Routes are many and what they lead to is little: groups with the same hops and the same buckets are there once. Which hop has
// which bucket depends on where the route led before (flows stay where they are), so two routes to the same hops may have
// different groups; but routes that moved together share one, and to move a million of them makes one new group.
//
// # What was tried
//
// The real table of 1,062,046 prefixes, 65,536 random covered destinations, in batches of 64; how many times faster than
// bart.Fast, for IPv4 and IPv6, rounded, since the machine wandered. The last line and what is said of huge pages are from
// prototypes that are not here; the others were measured side by side:
//
//	bart.Table                                                      1     1.2
//	bart.Fast behind a flow cache, 4,096 entries a worker           0.9   1.1
//	the same, 65,536 entries (1 MB, IPv6 1.5 MB)                    1.6   1.5
//	the same, 262,144 entries                                       5.5   4.5
//	flat, one address at a time                                    10     4.5
//	flat, IPv6 in groups of four held in registers                        9
//	flat, the batch stage by stage (what is here)                  25    11
//	IPv6 in compressed nodes of one cache line                            4.5
//
// A cache helps only who comes again soon, and what it holds must be taken out again when routes change. A batch is fast
// because the loads of different addresses do not depend on each other and are under way at the same time; the stages
// that all addresses go through together are without branches. With 1,048,576 destinations, most of which are in no cache, it is
// 10 and 5 times.
//
// One root of 64 MiB a family needs one load less, but that is one from a line that is always near, and such a root cannot be
// small: the six blocks that IPv6 has take 1.6 MB instead. Huge pages are worth 10 to 20 % and were left out: they want
// memory from mmap, which the race detector does not see, or advice about memory that is the Go runtime's.
//
// The routes were in a bart.Table before, through which a change went up to three times. CPU time for a change of the whole table, in
// ns, on a busy machine (BenchmarkFullLoad, medians), sorted and in an order that no cache foresees, which is that of BIRD 2:
//
//	                                            enter            take out
//	bart.Table                                  330   1970       290   1620
//	a hash that spreads neighbours              520    890       580    850
//	neighbours in one cache line                360   1020       310    890
//	and loads for 256 changes at once (here)    420    900       400    760
//
// The whole table takes 128 MB: 56 in IPv4's 215 blocks, 2 in IPv6's, 40 in 38,547 chunks, and 29 in the hash. It
// accepts about a million changes a second. While it makes 100,000, a reader on another core keeps 94 % of its speed; while it
// makes as many as it can, nearly all on a machine that does nothing else, and 60 to 85 % where others want the cores too.
package fib
