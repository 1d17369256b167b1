// Package proposal negotiates algorithms: it reads proposals in strongSwan's words, offers them, and chooses from what a
// peer offers.
//
// Reading order: words.go (the algorithms that there are), parse.go (from words to proposals, and what a proposal must
// have), proposal.go (what a proposal is, and its words), selection.go (the responder's choice, and the initiator's check of
// it), choice.go (what was chosen, for package crypto and for ESP), ke.go (which key exchange method to begin with, and
// INVALID_KE_PAYLOAD).
//
// # Words
//
// A proposal is words joined by "-", several proposals are separated by commas, in order of preference, as are the words of
// one kind. aes256gcm16-prfsha384-ecp384 and aes256-sha256-modp2048 are proposals for IKE, aes256gcm16-ecp384 is one for ESP
// with PFS, aes256gcm16 one without; ke1_mlkem768 is an additional key exchange, "default" stands for the default proposals.
//
//   - IKE needs an encryption algorithm, a PRF and a key exchange method. With AES-CBC it needs an integrity algorithm too,
//     and the PRF follows that unless it is named. With an AEAD the PRF must be named.
//   - ESP needs an encryption algorithm, and an integrity algorithm with AES-CBC. A PRF is ignored with a warning. Without esn
//     and noesn both are offered and ESN is preferred; with one of them it is exactly that.
//   - AEADs and others do not share a proposal (RFC 5282 section 8), and an AEAD has no integrity algorithm beside it.
//   - "none" in place of a key exchange method makes PFS optional, "ke1_none" an additional exchange.
//
// # Choosing
//
// A choice is exact: for each type of transform that either side names both must name the same algorithm (or one side says
// that it does without). The responder's order of preference decides, first among proposals, then among algorithms. It does
// not look at the KE payload that came along: a wrong guess costs a round trip and no preference.
//
// # Concurrency
//
// Everything here is a value or a function without state.
//
// # RFC coverage
//
// Done: RFC 7296 sections 2.7, 3.3 (3.3.6: what is not understood is never chosen) and the choice of section 1.2's and 1.3's
// INVALID_KE_PAYLOAD; RFC 5282 section 8; RFC 9370 section 2.2.1 (no method twice in one choice). Not done: AH.
package proposal
