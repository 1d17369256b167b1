// Package warren is a VPN engine in userspace. It joins networks by ESP tunnels, keyed by IKEv2 or by hand, and by WireGuard; clear
// packets enter through TUN devices or, without any privilege, through a TCP/IP stack of its own. Its own route table picks the
// tunnel, and BGP, BFD and the kernel's routes program that table. A program or a Go service owns an Engine:
//
//	cfg, err := warren.LoadConfig("site.yaml")
//	eng, err := warren.New(cfg, warren.WithLogger(logger))
//	go eng.Run(ctx)                                  // returns when everything it started is gone
//	conn, err := eng.DialContext(ctx, "tcp", "[2001:db8:a3::1]:443")
//
// # Reading order
//
// First the engine: warren.go (its life and its sockets), build.go (how a configuration becomes a site: ports, underlays, tunnels
// and routes), vrf.go and tunnels.go (what these are), run.go (what runs side by side, and in which order it ends).
//
// Then what it is told: config.go and the other config files (config_read files turn YAML into a Config, config_check files check
// it), reload.go and its like (a changed configuration for a running engine).
//
// Then its parts, each with the files that begin with its name: keying.go (the goroutine that drives IKE), wireguard.go, bgp.go,
// bfd.go, kernelroutes.go and policyrouting.go, forward.go, keyexport.go, simulation.go.
//
// Last what it tells: status.go and report.go, explain.go, capture.go, control.go and control_listen.go (the socket on which the
// program asks), takeover.go (a new process in the place of the old one). A file named ..._control.go is its subject's part of the
// control socket, at both ends.
//
// Below this package: dataplane for packets, tunnel/ipsec and tunnel/wireguard for sealing, tunnel/ike for keys, routing for
// routes.
//
// # Concurrency
//
// All methods of Engine may be called from any goroutine. New opens nothing; Run opens devices and sockets, owns every
// goroutine, and returns when all are gone. An engine may be run again after Run has returned.
//
// A site is what one Run has opened. site.mu guards what changes while it runs and others look at: the lists of tunnels, WireGuard
// devices and kernel tables, and what is known of IKE SAs. The IKE machine belongs to one goroutine, which others reach by
// keying.call; each WireGuard device has a lock of its own for what wg(8) changes; routers and speakers lock themselves. Nothing
// here is on the packet path.
//
// # Fail closed
//
// Routes are added last and removed first. What the configuration routes into a tunnel is protected: the engine's table has it as
// unreachable while no tunnel for it is up. Beside a TUN device the kernel's table has it as unreachable too, from before the
// device exists until the prefix is no longer configured, also when the process is killed.
//
// # RFC coverage
//
// See the packages that do the work. Not done: GRE, source NAT, multicast routing, MOBIKE, IKEv1, names as ESP peers. A
// configuration that asks for one of them is refused with an error that says so.
package warren
