// Package fibtest has an Internet table for tests and benchmarks: the prefixes of a real one where its file is at hand, and
// otherwise as many made up from a seed, with the same distribution of lengths.
//
// The file is ../shared/data/prefixes.txt.gz, as seen from the top of the repository: one prefix a line. It is not part of
// the repository.
//
// Reading order: fibtest.go (Internet, Destinations), generate.go (the table that is made up).
package fibtest
