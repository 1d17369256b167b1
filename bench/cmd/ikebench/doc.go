// Ikebench measures key exchange: handshakes a second as responder, warren beside charon in one run, and what a thousand tunnels
// take from nothing and in memory. It prints a table.
//
//	ikebench [-rounds 3] [-handshakes 1000] [-tunnels 1000] [-warren PROGRAM]
//
// Reading order: main.go (the command line), initiator.go (the machine of tunnel/ike on a socket, which drives both responders),
// responder.go (warren and charon, each on one core of its own, and what of it they used), thousand.go (many tunnels between two
// warrens), report.go (the table and its targets).
//
// A handshake is an IKE SA with its first child SA, by PSK, from the first IKE_SA_INIT to the installed child. A responder's rate is
// handshakes by the CPU time that its process had, so that a busy machine does not count. charon's half-open limits are turned
// off, its tables of IKE SAs are large, and neither program logs.
//
// It runs as root. Unless -warren names a program it builds cmd/warren from the working directory's module. The exit status is 1
// if something could not be measured; a missed target is in the table only, because a busy machine misses targets too.
package main
