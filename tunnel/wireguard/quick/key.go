package quick

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
)

// ErrKey is the error of what should be a key and is none. It never says what was given.
var ErrKey = errors.New("not a WireGuard key")

// Key is a private or a preshared key. Whatever formats it through package fmt, encoding/json or log/slog gets the word
// "secret" instead; Base64, called by name, gives it out. The zero Key stands for none.
type Key [32]byte

// PublicKey is a peer's public key; it prints as wg(8) prints it.
type PublicKey [32]byte

// GenKey makes a private key, clamped as "wg genkey" clamps it (RFC 7748 section 5).
func GenKey() (Key, error) {
	k, err := GenPSK()
	if err != nil {
		return Key{}, fmt.Errorf("make a private key: %w", err)
	}
	return k.Clamp(), nil
}

// GenPSK makes a preshared key: 32 random octets, as "wg genpsk" makes it.
func GenPSK() (Key, error) {
	var k Key
	if _, err := io.ReadFull(rand.Reader, k[:]); err != nil {
		return Key{}, fmt.Errorf("make a key: %w", err)
	}
	return k, nil
}

// Clamp sets the bits that every X25519 private key has (RFC 7748 section 5).
func (k Key) Clamp() Key {
	k[0] &= 248
	k[31] = k[31]&127 | 64
	return k
}

// Public is the public key of a private key, which need not be clamped.
func (k Key) Public() PublicKey {
	private, err := ecdh.X25519().NewPrivateKey(k[:])
	if err != nil {
		panic("quick: X25519 refuses a key of 32 octets: " + err.Error()) // cannot be: any 32 octets are a private key
	}
	return PublicKey(private.PublicKey().Bytes())
}

// IsZero reports whether there is no key. It takes the same time for every key.
func (k Key) IsZero() bool { return subtle.ConstantTimeCompare(k[:], make([]byte, len(k))) == 1 }

// Base64 is the secret itself, in the form of wg(8).
func (k Key) Base64() string { return base64.StdEncoding.EncodeToString(k[:]) }

// Format implements fmt.Formatter for every verb, so that no %v, %x or %#v shows a secret.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden(k)) }

// MarshalText implements encoding.TextMarshaler; like Format it keeps the secret.
func (k Key) MarshalText() ([]byte, error) { return []byte(hidden(k)), nil }

func hidden(k Key) string {
	if k.IsZero() {
		return "none"
	}
	return "secret"
}

// String is the key in base64, as wg(8) prints it.
func (k PublicKey) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// IsZero reports whether there is no key.
func (k PublicKey) IsZero() bool { return k == PublicKey{} }

// MarshalText implements encoding.TextMarshaler.
func (k PublicKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// ParseKey reads a private or preshared key as wg(8) does: 44 characters of base64, no white space, no stray bits in the last.
func ParseKey(text string) (Key, error) {
	k, err := decode(text)
	return Key(k), err
}

// ParsePublicKey reads a public key as wg(8) does.
func ParsePublicKey(text string) (PublicKey, error) {
	k, err := decode(text)
	return PublicKey(k), err
}

// decode checks the length first: encoding/base64 skips line ends, and its errors quote what they met.
func decode(text string) (k [32]byte, err error) {
	const length = 44
	if len(text) != length {
		return k, fmt.Errorf("%w: %d characters, want %d", ErrKey, len(text), length)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != len(k) {
		return k, fmt.Errorf("%w: not base64 of 32 octets", ErrKey)
	}
	return [32]byte(raw), nil
}
