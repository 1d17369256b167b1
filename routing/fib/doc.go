// Package fib is a longest-prefix-match table for both families with next-hop groups: what won and forwards. One writer,
// any number of readers that never wait and never allocate. It serves alone as well as in the engine.
//
// Reading order: fib.go (the table, its writer and its readers), group.go (several next hops, weights, flow hash).
//
// # Concurrency
//
// Readers look into an immutable snapshot behind an atomic pointer: a routing trie that shares with its predecessor all
// nodes that a change did not touch, and the groups, which are never changed once published. A reader sees the table as
// it was before a change or after it. A Group that a reader got from a lookup is immutable too and stays valid for as
// long as the reader holds it.
package fib
