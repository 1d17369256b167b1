package crypto

import (
	"crypto/hmac"
	"encoding/binary"
	"slices"
)

// SignedOctets returns what a side authenticates in its AUTH payload (RFC 7296 section 2.15): its own first message as
// it was sent, the other side's nonce, prf(SK_p, ID) with its own SK_pi or SK_pr, and what IKE_INTERMEDIATE exchanges add.
//
// id is the body of its ID payload behind the generic header. intermediate may be nil.
func SignedOctets(prf PRFID, message, peerNonce, skp, id []byte, intermediate []byte) []byte {
	return slices.Concat(message, peerNonce, prf.Sum(skp, id), intermediate)
}

// An IntAuth gathers what the IKE_INTERMEDIATE exchanges of an IKE SA contribute to its authentication (RFC 9242 section
// 3.3.2), on either side. The zero value is that of an SA without any.
type IntAuth struct{ initiator, responder []byte }

// Request takes in the request of an exchange, Response its response. skp is SK_pi or SK_pr respectively as it was before
// the exchange. header is the message from its IKE header to the end of the Encrypted payload's generic header, with the
// lengths of an unprotected message: without IV, padding, pad length and ICV. content is what the Encrypted payload holds in
// the clear. A message that was fragmented counts as if it had not been.
func (a *IntAuth) Request(prf PRFID, skp, header, content []byte) {
	a.initiator = prf.Sum(skp, a.initiator, header, content)
}

// Response is the other half of Request.
func (a *IntAuth) Response(prf PRFID, skp, header, content []byte) {
	a.responder = prf.Sum(skp, a.responder, header, content)
}

// Octets returns what SignedOctets takes as intermediate. messageID is that of the first IKE_AUTH exchange.
func (a *IntAuth) Octets(messageID uint32) []byte {
	if a.initiator == nil && a.responder == nil {
		return nil
	}
	return binary.BigEndian.AppendUint32(slices.Concat(a.initiator, a.responder), messageID)
}

// keyPad keeps a shared secret out of the PRF's key, so that the PRF's output may be stored in its place.
const keyPad = "Key Pad for IKEv2"

// SharedKey returns the AUTH data of AuthSharedKey: prf(prf(secret, "Key Pad for IKEv2"), octets).
func SharedKey(prf PRFID, secret, octets []byte) []byte {
	return prf.Sum(prf.Sum(secret, []byte(keyPad)), octets)
}

// VerifySharedKey compares AUTH data with what the secret gives, in constant time.
func VerifySharedKey(prf PRFID, secret, octets, auth []byte) bool {
	return hmac.Equal(SharedKey(prf, secret, octets), auth)
}
