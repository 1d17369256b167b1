// Package warren is a VPN engine in userspace: ESP tunnels between hosts without kernel IPsec, through TUN devices or,
// without any privilege, through a TCP/IP stack of its own. A program or a Go service owns an Engine:
//
//	cfg, err := warren.LoadConfig("site.yaml")
//	eng, err := warren.New(cfg, warren.WithLogger(logger))
//	go eng.Run(ctx)                                  // returns when everything it started is gone
//	conn, err := eng.DialContext(ctx, "tcp", "[2001:db8:a3::1]:443")
//
// Reading order: warren.go (the engine's life and its sockets), config.go (what it is told), build.go (how a configuration
// becomes ports, underlays, tunnels and routes), status.go and report.go (what it tells), control.go (the socket by which
// the program asks). Below it: dataplane for packets, tunnel/ipsec and esp for sealing, routing/fib for routes.
//
// # Concurrency
//
// All methods of Engine may be called from any goroutine. New opens nothing; Run opens devices and sockets, owns every
// goroutine, and returns when all are gone. An engine may be run again after Run has returned.
//
// # RFC coverage
//
// See the packages that do the work. Not there yet: IKEv2, WireGuard, BGP, kernel routes, reloading; their keys in a
// configuration are errors that say so.
package warren
