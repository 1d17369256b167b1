// Package wire holds checked views of the headers on the packet path, and the one parser.
//
// Reading order: [Parse] and [Info] (what one pass over a packet finds), [Offload] and [Segmenter] (how a super-packet
// is cut into the packets it stands for), checksum.go, icmp.go (the errors that a router owes), then the small editors:
// [DecrementTTL], [SetTOS], [ClampMSS], [Fragment4].
//
// Every packet is parsed exactly once, where it enters the engine: outbound as the worker takes it from a port, inbound
// as it leaves its tunnel. After that nobody checks again: offsets in [Info] lie within the packet.
//
// # Concurrency
//
// Plain functions over byte slices; nothing is kept.
//
// # RFC coverage
//
// RFC 791 (header, options skipped, fragmentation section 3.2), RFC 8200 (extension headers are walked to the upper
// layer; at most [maxExtensions] of them), RFC 9293 and RFC 768 (ports, segmentation, checksums), RFC 792, RFC 1191 and
// RFC 1812 section 4.3 (ICMP errors), RFC 4443 and RFC 8201 (ICMPv6 errors), RFC 6040 (ECN, both directions), RFC 1624
// (incremental checksums). Not done: jumbograms (RFC 2675), which are refused.
package wire
