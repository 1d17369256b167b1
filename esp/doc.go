// Package esp is ESP in tunnel mode (RFC 4303) over byte slices: it seals and opens in place, allocates nothing on the
// way, and knows no sockets, goroutines or clocks. It serves alone as well as in the engine.
//
// Reading order: suite.go (what can be negotiated, and its sizes), sa.go (an SA's configuration and its two halves), seal.go
// and open.go (the packet path), window.go (the replay window), cbc.go (the older suites), table.go (from SPI to SA),
// ivstate.go (IVs of keys that outlive the process), prefetch.go (keys that are about to be used).
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
// An Outbound and an Inbound may be used by any number of workers at once. Each worker brings a Scratch of its own. What
// they share is touched once a run: the sequence counter by one atomic addition (Reserve), the replay window under a
// mutex, before and after a batch is decrypted (OpenBatch). A mutex once a batch scales as atomics do and is exact. What
// status shows (Sent, Received ...) may be asked for at any time. Table has any number of readers, which never wait, and
// writers that take turns.
//
// # Choices
//
// The AEAD's IV is the 64-bit sequence number plus a base (RFC 4106 section 3.1 asks only that it never repeats under a
// key), so that it is unique without state of its own and whoever sets keys by hand can start it where no earlier run
// has been: at the clock in nanoseconds, and with an IVState above whatever was written ahead of use to a file. A CBC IV
// is random and new for each packet (RFC 3602 section 3).
//
// Inbound SPIs are random numbers whose remainder names a worker (Table.Allocate), so that a socket filter can hand each
// worker its own packets. An SPI is reserved before its SA is keyed, as IKE needs it.
//
// With extended sequence numbers what lies left of the window stands for a number of the next subspace (RFC 4303 appendix
// A2), so that it is dropped as BadICV rather than as TooOld. Without a window the number nearest to the highest so far is
// meant, so that ESN works there too, which RFC 4303 does not promise.
//
// A packet is checked against the window when its worker takes it up, and again when its ICV was right. Between the two
// others may have moved the window on: what was within it at first is then still accepted if the window's memory, four
// times as long as the window, knows that it is no repetition. So a worker that was descheduled loses no packets.
//
// # RFC coverage
//
// Done: RFC 4303 (tunnel mode; sections 2.2.1 ESN, 2.6 dummy packets, 2.7 TFC padding on receipt, 3.3.3 sequence numbers
// that do not cycle, 3.4.3 replay, appendix A2 on ESN inference), RFC 4106, RFC 7634, RFC 3602, RFC 2404, RFC 4868. Not
// done: TFC padding of our own, transport mode, NULL encryption, combined IVs (RFC 8750).
package esp
