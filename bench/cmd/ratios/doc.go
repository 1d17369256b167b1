// Ratios runs benchmarks of the module in interleaved rounds and prints their medians, and the ratios that warren promises.
//
//	ratios [-count 5] [-benchtime TIME] [-bench REGEXP] [PACKAGE …]
//
// Without arguments it runs what the table in table.go names; with packages it runs their benchmarks and prints the ratios
// whose two sides were among them. Each package's test binary is built once and run once a round, or where it matters several times
// for each ratio (see pairwise), so that a machine whose speed wanders slows both sides of a ratio alike; ratios are formed within
// a run, and their median counts.
//
// The exit status is 1 if a ratio of the table could not be measured, or a benchmark failed. A missed target is in the table
// only, because a busy machine misses targets too.
//
// Reading order: main.go, table.go (the ratios), run.go, parse.go, report.go.
package main
