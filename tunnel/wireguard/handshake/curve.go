package handshake

import (
	"errors"

	"github.com/cloudflare/circl/dh/x25519"
)

// errLowOrder says that a point is of low order: any private key makes the same secret with it.
var errLowOrder = errors.New("the point is of low order")

// multiply writes the secret of a private key and a public one (RFC 7748, section 6.1). Private keys are clamped and the highest
// bit of a point does not count, so that all 32 octets are keys. For a point of low order that is zero, and it fails.
func multiply(secret *[KeySize]byte, private *PrivateKey, public []byte) error {
	point := x25519.Key(public)
	if !x25519.Shared((*x25519.Key)(secret), (*x25519.Key)(private), &point) {
		return errLowOrder
	}
	return nil
}

// multiplyBase is the public key of a private one.
func multiplyBase(private *PrivateKey) (public PublicKey) {
	x25519.KeyGen((*x25519.Key)(&public), (*x25519.Key)(private))
	return public
}
