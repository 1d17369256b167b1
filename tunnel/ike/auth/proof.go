package auth

import (
	"slices"

	"github.com/warrenvpn/warren/tunnel/ike/crypto"
	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// proof is what both sides know when one proves itself.
type proof struct {
	prf      crypto.PRFID
	octets   []byte // what AUTH covers (RFC 7296 section 2.15)
	hashes   []crypto.HashID
	requests []*message.CertReq
}

// authPayload makes a payload of what crypto.Sign gives, whose data of method 14 have the AlgorithmIdentifier before the
// signature (RFC 7427 section 3).
func authPayload(method crypto.AuthMethod, data []byte) *message.Auth {
	auth := &message.Auth{Method: message.AuthMethod(method), Data: data}
	if method == crypto.AuthDigitalSignature {
		n := 1 + int(data[0])
		auth.Algorithm, auth.Data = data[1:n], data[n:]
	}
	return auth
}

// authData is the reverse, as crypto.Verify takes it.
func authData(auth *message.Auth) (crypto.AuthMethod, []byte) {
	method := crypto.AuthMethod(auth.Method)
	if method != crypto.AuthDigitalSignature {
		return method, auth.Data
	}
	return method, slices.Concat([]byte{byte(len(auth.Algorithm))}, auth.Algorithm, auth.Data)
}
