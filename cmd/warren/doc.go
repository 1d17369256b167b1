// Command warren is the daemon and the command line of the VPN engine. Of the module it imports package warren alone.
//
// Reading order: main.go (the commands), run.go (run and check), reload.go (SIGHUP and reload), tunnel.go (up, down, rekey),
// show.go, sas.go and routes.go (what a running engine tells), table.go (how it is printed), forward.go, capture.go, wireguard.go
// (keys, wg-quick files), demo.go and demo_sites.go (three sites in one process).
//
// Exit status: 0 for success, 1 for failure, 2 for a command line or a configuration that is wrong.
package main
