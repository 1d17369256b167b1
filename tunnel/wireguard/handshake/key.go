package handshake

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
)

// KeySize is the size in octets of every key here.
const KeySize = 32

// The keys of WireGuard. Those that are secret print as a fixed text, so that they stay out of logs; Base64 shows them.
type (
	PrivateKey   [KeySize]byte
	PublicKey    [KeySize]byte
	PresharedKey [KeySize]byte // all zero: none
)

// The decisions on keys.
var (
	// ErrKey says that a text is not the base64 of 32 octets.
	ErrKey = errors.New("a key is 32 octets in base64")
	// ErrOwnKey says that a peer has the device's own public key.
	ErrOwnKey = errors.New("the peer's public key is the device's own")
	// ErrPeerExists says that there is a peer with this public key already.
	ErrPeerExists = errors.New("there is a peer with this public key")
	// ErrWeakKey says that a public key is of low order: every secret shared with it would be the same.
	ErrWeakKey = errors.New("the public key is of low order")
	// ErrNoKey says that a private or public key is all zero.
	ErrNoKey = errors.New("the key is all zero")
)

// NewPrivateKey makes a private key, clamped as wg genkey does it.
func NewPrivateKey() PrivateKey {
	k := PrivateKey(NewPresharedKey())
	k[0] &= 248
	k[31] = k[31]&127 | 64
	return k
}

// NewPresharedKey makes a pre-shared key.
func NewPresharedKey() (k PresharedKey) {
	_, _ = rand.Read(k[:]) // it never fails: it would end the process
	return k
}

// Public is the public key of k.
func (k PrivateKey) Public() PublicKey { return multiplyBase(&k) }

// ParseKey reads any of the keys from base64: PrivateKey(k) and so on say which it is. The error does not tell the text.
func ParseKey(s string) (k [KeySize]byte, err error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != KeySize || len(s) != base64.StdEncoding.EncodedLen(KeySize) { // the decoder skips line ends
		return k, fmt.Errorf("%w: this text has %d characters, which are not that", ErrKey, len(s))
	}
	return [KeySize]byte(b), nil
}

// String is the key in base64.
func (k PublicKey) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// String does not show the key.
func (PrivateKey) String() string { return "(private key)" }

// GoString does not show the key.
func (PrivateKey) GoString() string { return "(private key)" }

// Base64 shows the key.
func (k PrivateKey) Base64() string { return base64.StdEncoding.EncodeToString(k[:]) }

// IsZero says that k is no key.
func (k PrivateKey) IsZero() bool { return zero(k[:]) }

// String does not show the key.
func (PresharedKey) String() string { return "(pre-shared key)" }

// GoString does not show the key.
func (PresharedKey) GoString() string { return "(pre-shared key)" }

// Base64 shows the key.
func (k PresharedKey) Base64() string { return base64.StdEncoding.EncodeToString(k[:]) }

// IsZero says that k is no key.
func (k PresharedKey) IsZero() bool { return zero(k[:]) }

// IsZero says that k is no key.
func (k PublicKey) IsZero() bool { return zero(k[:]) }

func zero(b []byte) bool {
	var zeros [KeySize]byte
	return subtle.ConstantTimeCompare(b, zeros[:len(b)]) == 1
}
