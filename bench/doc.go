// Package bench holds what is measured and tested across packages: benchmarks of the whole walk in memory, against the bare
// primitives it stands on, and tests of the daemon from end to end.
//
// Reading order: the benchmarks here; cmd/ratios, which runs them and prints the ratios that warren promises; lab, networks of
// namespaces with real programs in them; peers and cmd/sidebyside, which measure warren next to other programs in such a
// network; cmd/ikebench, key exchange beside charon; cmd/fulltable, the Internet's route table beside BIRD; stat, the medians,
// spreads and verdicts that all print; program, how all of them run.
//
// Nothing outside of bench imports it but tests, which may use lab.
package bench
