// Package netstack is a port whose far side is a TCP/IP stack inside the process: gVisor's, of which this package is the
// only importer. It needs no privilege and no device.
//
//	application ── DialContext, Listen, ListenPacket, Ping, HandleTCP
//	     │
//	gVisor: sockets, TCP, UDP, ICMP, IPv4, IPv6
//	     │                     ▲
//	link.WritePackets     DeliverNetworkPacket
//	     ▼                     │
//	queue ── reader.Read    writer.Write ── coalesce
//	     ▼                     │
//	            worker
//
// Reading order: [Config] and [New] (config.go, port.go), link.go and queue.go (what the stack sends), writer.go and coalesce.go
// (what it receives), dial.go, conn.go, udpconn.go, listener.go and errors.go (sockets as package net has them), take.go
// (datagrams that bypass the stack), ttl.go (UDP with hop limits), ping.go, forward.go.
//
// # Offloads
//
// TCP leaves segmentation and checksums to us: its packets are read as super-packets of up to 64 KiB with a partial
// checksum. Everything else comes complete. In the other direction segments of one flow that follow one another within
// a Write go to the stack as one packet; their checksums are joined, not computed, and the stack verifies them.
//
// # Concurrency
//
// The application's side may be used by any goroutine, each reader and each writer by one worker. The stack sends while
// it holds locks that a worker needs to deliver, so that sending never waits: a full queue drops, counts and lets TCP
// slow down. What a worker writes is processed in its own goroutine up to the socket; TCP does the rest in goroutines of
// the stack, one for each processor.
//
// # Allocation
//
// Read allocates nothing, and Write nothing of its own: packets are copied into buffers of the stack's pools. The stack
// itself allocates, for each TCP segment that it keeps and each answer that it makes, at times when a pool is empty.
//
// # Known of the stack
//
// gVisor discards a whole segment, with its acknowledgment, that starts behind the receive window, and rounds the window
// that it offers down: an application that does not read on until it has written may stall when both directions are
// full. Read and write from different goroutines.
//
// # RFC coverage
//
// gVisor's: RFC 9293 with window scaling and timestamps (7323), SACK (2018, 6675), CUBIC (9438); RFC 768;
// RFC 791 and 8200 with reassembly; ICMP echo and errors (792, 4443), path MTU discovery (1191, 8201) for TCP. Not done,
// since there is no link layer and addresses are given: ARP, neighbour and router discovery, SLAAC, DHCP, MLD and IGMP.
// gVisor has no TCP MD5 (2385), no TCP-AO (5925) and no minimum TTL (5082). Names are not resolved: addresses are
// numeric.
package netstack
