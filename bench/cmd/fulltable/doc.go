// Fulltable measures what warren needs to learn the Internet's table from BIRD 2 over one session, to forget it again, and to
// announce it to another BIRD, and prints a table.
//
//	fulltable [-rounds 3] [-prefixes N] [-share 8] [-warren PROGRAM]
//
// Reading order: main.go (the command line), world.go (what there is to be learned), site.go (the network namespace, the two BIRDs
// and warren, a process like any other: its sessions run on its own stack, behind its TUN device), measure.go (one round),
// report.go (the table and its targets).
//
// The prefixes are those of routing/fib/fibtest: the real ones where their file is at hand, and otherwise as many that are made
// up. Their attributes are made up: so many consecutive prefixes as -share says have the same AS path and community, which is
// about what the Internet's table has.
//
// It runs as root. Unless -warren names a program it builds cmd/warren from the working directory's module. The exit
// status is 1 if something could not be measured; a missed target is in the table only, because a busy machine misses targets
// too.
package main
