package crypto

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
)

// ErrUnsupported is wrapped by what is said about an algorithm that is not implemented.
var ErrUnsupported = errors.New("not supported")

// EncrID is an encryption algorithm: IANA's Transform Type 1 of IKEv2.
type EncrID uint16

// The encryption algorithms.
const (
	EncrAESCBC           EncrID = 12 // RFC 3602
	EncrAESGCM16         EncrID = 20 // RFC 5282, RFC 4106
	EncrChaCha20Poly1305 EncrID = 28 // RFC 7634
)

// AEAD says whether the algorithm brings its own integrity protection.
func (e EncrID) AEAD() bool { return e == EncrAESGCM16 || e == EncrChaCha20Poly1305 }

// PRFID is a pseudorandom function: IANA's Transform Type 2 of IKEv2.
type PRFID uint16

// The pseudorandom functions.
const (
	PRFHMACSHA1   PRFID = 2 // RFC 2104
	PRFHMACSHA256 PRFID = 5 // RFC 4868
	PRFHMACSHA384 PRFID = 6
	PRFHMACSHA512 PRFID = 7
)

// IntegID is an integrity algorithm: IANA's Transform Type 3 of IKEv2.
type IntegID uint16

// The integrity algorithms.
const (
	IntegNone          IntegID = 0  // with an AEAD
	IntegHMACSHA1_96   IntegID = 2  // RFC 2404
	IntegHMACSHA256128 IntegID = 12 // RFC 4868
	IntegHMACSHA384192 IntegID = 13
	IntegHMACSHA512256 IntegID = 14
)

// GroupID is a key exchange method: IANA's Transform Type 4 of IKEv2.
type GroupID uint16

// The key exchange methods.
const (
	GroupNone  GroupID = 0
	MODP2048   GroupID = 14 // RFC 3526
	MODP3072   GroupID = 15
	MODP4096   GroupID = 16
	ECP256     GroupID = 19 // RFC 5903
	ECP384     GroupID = 20
	ECP521     GroupID = 21
	Curve25519 GroupID = 31 // RFC 8031
	MLKEM768   GroupID = 36 // draft-ietf-ipsecme-ikev2-mlkem
)

// HashID is a hash algorithm of SIGNATURE_HASH_ALGORITHMS (RFC 7427 section 4).
type HashID uint16

// The hash algorithms. HashIdentity stands for schemes which hash by themselves (RFC 8420).
const (
	HashSHA1     HashID = 1
	HashSHA256   HashID = 2
	HashSHA384   HashID = 3
	HashSHA512   HashID = 4
	HashIdentity HashID = 5
)

// AuthMethod is the method of an AUTH payload (RFC 7296 section 3.8).
type AuthMethod uint8

// The authentication methods.
const (
	AuthRSA              AuthMethod = 1
	AuthSharedKey        AuthMethod = 2
	AuthECDSA256         AuthMethod = 9 // RFC 4754
	AuthECDSA384         AuthMethod = 10
	AuthECDSA521         AuthMethod = 11
	AuthDigitalSignature AuthMethod = 14 // RFC 7427
)

// String names the method as its RFC does.
func (m AuthMethod) String() string {
	switch m {
	case AuthRSA:
		return "RSA Digital Signature"
	case AuthSharedKey:
		return "Shared Key Message Integrity Code"
	case AuthECDSA256:
		return "ECDSA with SHA-256 on the P-256 curve"
	case AuthECDSA384:
		return "ECDSA with SHA-384 on the P-384 curve"
	case AuthECDSA521:
		return "ECDSA with SHA-512 on the P-521 curve"
	case AuthDigitalSignature:
		return "Digital Signature"
	}
	return fmt.Sprintf("authentication method %d", uint8(m))
}

// newHash returns the constructor of the hash below the HMAC, or nil if there is none.
func (p PRFID) newHash() func() hash.Hash {
	switch p {
	case PRFHMACSHA1:
		return sha1.New
	case PRFHMACSHA256:
		return sha256.New
	case PRFHMACSHA384:
		return sha512.New384
	case PRFHMACSHA512:
		return sha512.New
	}
	return nil
}

// An integrity describes an HMAC that is cut short: lengths in bytes.
type integrity struct {
	hash     func() hash.Hash
	key, icv int
}

func (i IntegID) describe() (integrity, bool) {
	switch i {
	case IntegHMACSHA1_96:
		return integrity{sha1.New, 20, 12}, true
	case IntegHMACSHA256128:
		return integrity{sha256.New, 32, 16}, true
	case IntegHMACSHA384192:
		return integrity{sha512.New384, 48, 24}, true
	case IntegHMACSHA512256:
		return integrity{sha512.New, 64, 32}, true
	}
	return integrity{}, false
}

// A Cipher is an encryption algorithm with what it needs to protect integrity. It describes what encrypts the messages of
// an IKE SA as well as an ESP SA, whose keys IKE makes.
type Cipher struct {
	Encr    EncrID
	KeyBits int     // AES: 128, 192 or 256; ChaCha20-Poly1305 has no such attribute: 0
	Integ   IntegID // IntegNone for an AEAD, never otherwise
}

// Check says what is wrong with the combination, if anything.
func (c Cipher) Check() error {
	switch {
	case c.Encr == EncrAESCBC, c.Encr == EncrAESGCM16:
		if c.KeyBits != 128 && c.KeyBits != 192 && c.KeyBits != 256 {
			return fmt.Errorf("AES with %d bits of key: %w; there are 128, 192 and 256", c.KeyBits, ErrUnsupported)
		}
	case c.Encr != EncrChaCha20Poly1305:
		return fmt.Errorf("encryption algorithm %d: %w", c.Encr, ErrUnsupported)
	case c.KeyBits != 0:
		return fmt.Errorf("ChaCha20-Poly1305 has keys of one length, so no key length of %d bits: %w", c.KeyBits, ErrUnsupported)
	}
	_, known := c.Integ.describe()
	switch {
	case c.Encr.AEAD() && c.Integ != IntegNone:
		return fmt.Errorf("integrity algorithm %d beside an AEAD, which has its own: %w", c.Integ, ErrUnsupported)
	case !c.Encr.AEAD() && !known:
		return fmt.Errorf("integrity algorithm %d for AES-CBC: %w", c.Integ, ErrUnsupported)
	}
	return nil
}

// EncrLen returns the length of the encryption key in bytes; an AEAD's includes its 4 bytes of salt, which follow the key.
func (c Cipher) EncrLen() int {
	switch c.Encr {
	case EncrAESCBC:
		return c.KeyBits / 8
	case EncrAESGCM16:
		return c.KeyBits/8 + saltLen
	case EncrChaCha20Poly1305:
		return 32 + saltLen
	}
	return 0
}

// IntegLen returns the length of the integrity key in bytes: none for an AEAD.
func (c Cipher) IntegLen() int {
	i, _ := c.Integ.describe()
	return i.key
}
