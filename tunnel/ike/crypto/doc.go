// Package crypto holds the cryptography of IKEv2 without its messages: pseudorandom functions, key exchanges, the keys of
// IKE SAs and of their children, the protection of messages, authentication and cookies. It works on bytes and on IANA's
// numbers; the primitives are the standard library's, golang.org/x/crypto's and filippo.io/bigmod's.
//
// Reading order: algorithms.go (the numbers, and what keys an algorithm takes), prf.go and keys.go (prf+, SKEYSEED, SK_d to
// SK_pr, KEYMAT), group.go and modp.go (key exchange methods), seal.go (the body of Encrypted payloads), auth.go (the signed
// octets and shared keys), sign.go, verify.go and algorithmid.go (signatures), cookie.go.
//
// # Who does what
//
// Messages are assembled and taken apart by the caller. Seal gets all that precedes the body of an Encrypted payload, with its
// lengths already final, and appends the body; Open gets a whole message and where the body begins.
//
// # Concurrency
//
// Functions and the methods of values without state (PRFID, Suite, Cipher, Group) may be called from anywhere at once. An
// Exchange, Sealer, Opener, IntAuth or Cookies belongs to one goroutine at a time. Randomness comes from crypto/rand, which a
// test can replace by testing/cryptotest.
//
// # Choices
//
// The IV of an AEAD is a counter from 0, so that it never repeats under a key; that of CBC is random. A private exponent is
// drawn anew for each exchange and never used in another one. MODP groups are computed in constant time, with exponents as
// short as RFC 3526 section 8 allows. Keys hide when printed.
//
// # RFC coverage
//
// Done: RFC 7296 sections 2.6 (cookies), 2.10 (lengths of nonces), 2.13 to 2.15, 2.17, 2.18, 3.8 (methods 1 and 2), 3.14; RFC
// 3526, 5903, 8031 and ML-KEM-768 as key exchange methods, with the checks of RFC 6989; RFC 5282 and 7634 with 16-byte tags,
// RFC 3602 with RFC 2404 and 4868; RFC 4754, 7427 and 8420 as authentication methods; the key derivation of RFC 9370; the
// authentication of RFC 9242. Not done: EAP, AES-CTR, AES-CCM and shorter tags, AES-XCBC and CMAC, brainpool curves, Ed448,
// RSASSA-PSS without salt or with SHA-1.
package crypto
