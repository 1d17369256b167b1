// Sidebyside measures warren's tunnel next to those of other programs and prints a table; see package bench/peers for how.
//
//	sidebyside [-contenders wireguard-go,strongswan,warren] [-rounds 3] [-tcp 5s] [-udp 2s] [-sizes 1300,64] …
//
// It runs as root, in network namespaces of its own. Unless -warren names a program it builds cmd/warren from the working
// directory's module. The exit status is 1 if a contender could not be measured; a missed target is in the table only,
// because a busy machine misses targets too.
package main
