// Package warren is a VPN engine in userspace: ESP tunnels keyed by IKEv2 or by hand, and WireGuard, through TUN devices or,
// without any privilege, through a TCP/IP stack of its own; its own route table picks the tunnel, and BGP, BFD and the kernel
// program that table. A program or a Go service owns an Engine:
//
//	cfg, err := warren.LoadConfig("site.yaml")
//	eng, err := warren.New(cfg, warren.WithLogger(logger))
//	go eng.Run(ctx)                                  // returns when everything it started is gone
//	conn, err := eng.DialContext(ctx, "tcp", "[2001:db8:a3::1]:443")
//
// Reading order: warren.go (the engine's life and its sockets), config.go and its like (what it is told; config_read files make it of
// YAML, config_check files see that it is right), build.go (how a configuration becomes ports, underlays, tunnels and routes), vrf.go
// and tunnels.go (what these are), run.go (all parts at once, and in which order they leave); keying.go (the goroutine that drives
// IKE) with its like, wireguard.go with its like, bgp.go, bfd.go, kernelroutes.go, forward.go; status.go and report.go (what the engine
// tells), explain.go, control.go (the socket by which the program asks), takeover.go and
// takeover_control.go (one engine in the place of another). Below it: dataplane for packets, tunnel/ipsec and
// tunnel/wireguard for sealing, tunnel/ike for keys, routing for routes.
//
// # Concurrency
//
// All methods of Engine may be called from any goroutine. New opens nothing; Run opens devices and sockets, owns every
// goroutine, and returns when all are gone. An engine may be run again after Run has returned.
//
// A site is what one Run has opened. site.mu guards what changes while it runs and others look at: the list of tunnels, and what is
// known of IKE SAs. The IKE machine belongs to one goroutine, which is reached by keying.call; each WireGuard device has a lock of its
// own for what wg(8) changes; routers and speakers lock themselves. Nothing here is on the packets' path.
//
// # Fail closed
//
// Routes are entered last and taken out first. What the configuration leads into a tunnel is protected: in the engine's table it is
// unreachable while no tunnel has it, and beside a TUN device in the kernel's table too, from before the device is there until it is
// configured no more, also when the process is killed.
//
// # RFC coverage
//
// See the packages that do the work. Not here: GRE, source NAT, multicast routing, MOBIKE, IKEv1, names as ESP peers; their keys in a
// configuration are errors that say so.
package warren
