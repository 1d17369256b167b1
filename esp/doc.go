// Package esp is ESP in tunnel mode (RFC 4303) over byte slices: it seals and opens in place without allocating, and knows no
// sockets, goroutines or clocks. It can be used without the engine.
//
// Reading order: suite.go (what can be negotiated, and its sizes), sa.go (an SA's configuration and its two halves), seal.go
// and open.go (the packet path), window.go (the replay window), cbc.go (the older suites), table.go (from SPI to SA),
// ivstate.go (IVs of keys that outlive the process), prefetch.go (what sealing reads, to be prefetched).
//
//	 0                   8                 8+iv                                    end-icv
//	┌───────────────────┬─────────────────┬──────────────┬──────────────────────┬──────┐
//	│ SPI (4)  seq (4)  │ IV              │ inner packet │ pad  pad len  next   │ ICV  │
//	└───────────────────┴─────────────────┴──────────────┴──────────────────────┴──────┘
//	                                      └──────────── encrypted ──────────────┘
//	└────────────────────────── authenticated (with ESN's upper half) ──────────┘
//
// # Concurrency
//
// An Outbound and an Inbound may be used by any number of workers at once. Each worker brings a Scratch of its own. What they share
// is touched once a run: the sequence counter by one atomic addition (Reserve), the replay window under a mutex, before and after a
// batch is decrypted (OpenBatch). A mutex taken once a batch scales as well as atomics, and the window is exact. Counters (Sent,
// Received ...) may be read at any time. A Table has any number of readers, which never wait, and writers that take turns.
//
// # Choices
//
// An AEAD's IV is the 64-bit sequence number plus a base (RFC 4106 section 3.1 asks only that it never repeats under a key). So
// it is unique without state of its own, and with keys set by hand the base can lie above every IV of earlier runs: it is the clock
// in nanoseconds or, with an IVState, what a file reserved ahead of use, if that is higher. A CBC IV is random and new for each
// packet (RFC 3602 section 3).
//
// Inbound SPIs are random numbers whose remainder names a worker (Table.Allocate), so that a socket filter can hand each
// worker its own packets. An SPI is reserved before its SA is keyed, as IKE needs it.
//
// With extended sequence numbers, a number left of the window is taken for one of the next subspace (RFC 4303 appendix A2), so that
// an old packet is dropped as BadICV rather than as TooOld. Without a window the number nearest to the highest so far is meant, so
// that ESN works there too, which RFC 4303 does not promise.
//
// A packet is checked against the window when its worker takes it up, and again after its ICV was found right. In between other
// workers may have advanced the window. A packet that was within it at first is then still accepted if it is known to be no
// repetition: the window remembers at least four times as many numbers as it is wide. So a worker that was descheduled loses no
// packets.
//
// # RFC coverage
//
// Done: RFC 4303 (tunnel mode; sections 2.2.1 ESN, 2.6 dummy packets, 2.7 TFC padding on receipt, 3.3.3 sequence numbers
// that do not cycle, 3.4.3 replay, appendix A2 on ESN inference), RFC 4106, RFC 7634, RFC 3602, RFC 2404, RFC 4868. Not
// done: TFC padding of our own, transport mode, NULL encryption, combined IVs (RFC 8750).
package esp
