package uapi

import (
	"crypto/ecdh"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
)

// Key is a private or a preshared key; the zero Key is none. Whatever formats it through package fmt, encoding/json or log/slog
// gets the word "secret" instead.
type Key [32]byte

// PublicKey is a peer's public key; it prints as wg(8) prints it.
type PublicKey [32]byte

// IsZero reports whether there is no key. It takes the same time for every key.
func (k Key) IsZero() bool { return subtle.ConstantTimeCompare(k[:], make([]byte, len(k))) == 1 }

// Format implements fmt.Formatter for every verb, so that no %v, %x or %#v shows a secret.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.hidden()) }

// MarshalText implements encoding.TextMarshaler; like Format it keeps the secret.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.hidden()), nil }

func (k Key) hidden() string {
	if k.IsZero() {
		return "none"
	}
	return "secret"
}

// clamp sets the bits that every X25519 private key has (RFC 7748 section 5).
func (k Key) clamp() Key {
	k[0] &= 248
	k[31] = k[31]&127 | 64
	return k
}

func (k Key) public() PublicKey {
	private, err := ecdh.X25519().NewPrivateKey(k[:])
	if err != nil {
		panic("uapi: X25519 refuses a key of 32 octets: " + err.Error()) // cannot be: any 32 octets are a private key
	}
	return PublicKey(private.PublicKey().Bytes())
}

// String is the key in base64.
func (k PublicKey) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// MarshalText implements encoding.TextMarshaler.
func (k PublicKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// parseKey reads 64 hexadecimal digits.
func parseKey(text string) (k [32]byte, ok bool) {
	if len(text) != hex.EncodedLen(len(k)) {
		return k, false
	}
	_, err := hex.Decode(k[:], []byte(text))
	return k, err == nil
}
