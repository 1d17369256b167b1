// Package message is the codec of IKEv2 messages (RFC 7296 section 3): bytes to typed payloads, checked, and back. It does no
// cryptography: of encrypted payloads it gives and takes the boundaries.
//
// Reading order: types.go, transform.go and notify_type.go (the registries), payload.go (all payloads), message.go (header,
// Parse, Append), protected.go (how the crypto layer opens and builds SK and SKF), chain.go (payload chains), then one file
// for each payload's body. errors.go has what the machine answers to what cannot be parsed.
//
// A received message goes through Parse, which stops at an SK or SKF payload; the crypto layer decrypts it and gives the
// inside to ParsePayloads. A message to send is Message.Append in the clear; or AppendPayloads for the inside, AppendSK for
// everything up to the initialization vector, and then as many octets as were announced to it.
//
// What was parsed does not alias the datagram, except SK.Body and SKF.Body. Payloads of one call may share memory with each
// other; none has spare capacity into another's.
//
// Work and memory are bounded by the length of the datagram and by the limits in chain.go.
//
// # Concurrency
//
// Functions without state: values may be used by whoever owns them.
//
// # RFC coverage
//
// RFC 7296 section 3 but 3.16's inside (EAP is opaque). RFC 7383 section 2.5 (SKF; reassembly is elsewhere). RFC 7427 section 3
// (the Digital Signature format of AUTH). RFC 7670 (raw public keys). RFC 9242 and 9370 (exchange types, transform types and
// notifications). Not done: the payloads of RFC 6467 (GSPM), RFC 8019 (PS) and RFC 9838 (group keys): they are Unknown.
package message
