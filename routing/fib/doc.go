// Package fib is a longest-prefix-match table for both families with next-hop groups: the routes that won, and forward. It has one
// writer at a time and any number of readers, which look up in batches, never wait and never allocate. It can be used without the
// engine.
//
// Reading order: fib.go (the table as others see it), write.go (a change, and which form the table has), flat.go (the form of large
// tables, and looking up in it), stages.go (changing it), routes.go (the routes themselves), pool.go (the memory of the stages, and
// when it is reused), group.go (several next hops, weights, flow hash), intern.go (many routes share few groups). Package fibtest
// has an Internet table for tests and benchmarks.
//
// # Two forms
//
// Up to 2,000 routes, a table is a bart.Fast: a trie that is small (a hundred routes take some 20 KB), fits the caches, and is
// replaced as a whole, sharing with its predecessor all nodes that a change did not touch.
//
// From there on it is flat, and below 1,000 routes a trie again. The flat form is DIR-24-8 for IPv4, and for IPv6 the same with
// more stages: tables that are indexed with bits of the address and hold the answer for each value, so that a lookup is a few
// loads. The first stage takes 24 bits, in blocks of 256 KiB that exist only for first bytes that have routes; each later one takes
// 8 bits, in chunks of 1 KiB. Prefixes up to /8, and so the default routes, are in an array of their own: in the stages one of them
// could mean millions of entries to change.
//
// The routes themselves are in a hash besides, 8 bytes each for IPv4 and 24 for IPv6, for Get, Lookup and All, and for the writer,
// who must know where a route led before. Which route covers one that is removed can mostly be read from the stages.
//
// A table stays a trie where the flat form would take too much memory. Blocks may take 1 KiB a route, or any amount from 20,000
// routes on, as in a piece of the Internet's table. Chunks may take about 1 KiB a route too, and 128 MiB in all: 100,000 IPv6 hosts
// far apart stay in the trie, so that no neighbour can fill the memory with them. Where 10,000 routes to tunnels lie in two blocks,
// a packet of 1400 bytes to each in turn takes 3 % less time than with a trie, whose nodes and leaves are then in no near cache.
//
// # Concurrency
//
// LookupBatch4, LookupBatch6, Single and Pick take no lock. They begin with a view, loaded once a batch, that is the trie or the
// stages. The trie is immutable. The entries of the stages are words which the writer stores one by one, each after all that it
// leads to. So for one address a reader finds, at any moment, what was before a change or what is after it; but where a change is
// to a short prefix, some addresses may show it earlier than others.
//
// A chunk that is no longer needed, and a number that no longer stands for a group, must not be reused while a reader may hold it.
// Readers hold them no longer than their view. The writer replaces the view from time to time, and learns from the garbage
// collector, by a weak pointer to the old one, when the last reader has let go of it. That costs the readers nothing, not even a
// counter, and a reader that was interrupted in mid-batch is safe for as long as it takes.
//
// A Group that a reader got from a lookup is immutable and stays valid for as long as the reader holds it. Get, Lookup, All and Len
// are for the control side: on a flat table they wait for a change that is being made. All writers wait for each other.
//
// # Groups
//
// Routes are many and groups of next hops are few: groups with the same hops and the same buckets exist once. Which hop has which
// bucket depends on where the route led before (flows stay where they are), so two routes to the same hops may have different
// groups; but routes that moved together share one, and moving a million of them makes one new group.
//
// # What was tried
//
// How many times faster than bart.Fast, for IPv4 and IPv6: an Internet table of 1,062,046 prefixes, 65,536 random covered
// destinations, in batches of 64; rounded, since the machine's speed varies. The last line and what is said of huge pages are from
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
// A flow cache helps only destinations that come again soon, and its entries must be invalidated when routes change. A batch is
// fast because the loads of different addresses do not depend on each other and overlap; the stages that all addresses go through
// together are without branches. With 1,048,576 destinations, most of which are in no cache, it is 10 and 5 times.
//
// A single root of 64 MiB for each family would save one load, but one from a line that is always near, and would always have its
// full size: the six blocks that IPv6 has take 1.6 MB instead. Huge pages are worth 10 to 20 % and were left out: they need memory
// from mmap, which the race detector does not see, or advice about memory that is the Go runtime's.
//
// The routes were in a bart.Table before, through which a change went up to three times. CPU time of a change, in ns, when the
// whole table is entered and taken out (BenchmarkFullLoad, medians on a busy machine): in sorted order, and in the order of BIRD 2,
// which no cache foresees:
//
//	                                            enter            take out
//	bart.Table                                  330   1970       290   1620
//	a hash that spreads neighbours              520    890       580    850
//	neighbours in one cache line                360   1020       310    890
//	and loads for 256 changes at once (here)    420    900       400    760
//
// The whole table takes 128 MB: 56 in IPv4's 215 blocks, 2 in IPv6's, 40 in 38,547 chunks, and 29 in the hash. It accepts more than
// a million changes a second. While it makes 100,000 a second, a reader on another core keeps 94 % of its speed or more; while it
// makes as many as it can, nearly all on a machine that does nothing else, and 60 to 85 % on a busy one.
package fib
