// Package prefetch asks the processor to bring memory into its cache before it is read, which the language has no word for.
//
// A load that misses the cache holds up what comes behind it: some hundred instructions later the processor stands still. A
// prefetch does not, so that the misses of packets to come pass while packets in hand are encrypted. Reading a byte of each line
// in advance instead was tried: it hid the latency of one line behind that of others, and cost 10 ns a line all the same. With
// 10,000 tunnels and a packet of 1400 bytes for each in turn that was 1.6 to 1.75 times what one tunnel takes, and is 1.2 to 1.3
// now.
//
// Of what is left, half is instructions, once a run instead of once in 32 packets, and some 25 ns is the processor's way to the pages,
// for which a prefetch is held up as a load is: where the system gives huge pages to all programs
// (/sys/kernel/mm/transparent_hugepage/enabled: always) it is half of that. So what workers read of each tunnel stands close to what they
// read of others, a cache line or two an object, and what they do not read stands elsewhere: that was worth 4 %. To ask earlier or later
// changed nothing, nor did hints that leave the second level of cache alone (NTA); those that go no further than it (T1) did not help.
//
// Reading order: prefetch.go, a Piece of memory and a List of such; the rest is one instruction for each architecture, and nothing
// where it has no such instruction.
//
// Anybody may ask at any time, for memory of any kind: what is asked for is only a hint. Whoever has a List sees to it that only
// one sets it at a time; that others ask meanwhile does no harm.
package prefetch
