package esp

import (
	"fmt"
	"strings"
)

// Suite is an encryption algorithm, with an integrity algorithm where it does not bring its own.
type Suite uint8

// The suites.
const (
	AES128GCM16      Suite = iota + 1 // RFC 4106
	AES192GCM16                       // RFC 4106
	AES256GCM16                       // RFC 4106
	ChaCha20Poly1305                  // RFC 7634
	AES128SHA1                        // RFC 3602 with HMAC-SHA1-96 (RFC 2404)
	AES192SHA1
	AES256SHA1
	AES128SHA256 // with HMAC-SHA2-256-128 (RFC 4868)
	AES192SHA256
	AES256SHA256
	AES128SHA384 // with HMAC-SHA2-384-192
	AES192SHA384
	AES256SHA384
	AES128SHA512 // with HMAC-SHA2-512-256
	AES192SHA512
	AES256SHA512
	numSuites
)

// sizes of a suite in bytes.
type sizes struct {
	name   string
	cipher int // encryption key
	salt   int // implicit part of an AEAD's nonce, behind its key
	auth   int // integrity key
	iv     int
	icv    int
	block  int // what ciphertext is padded to (RFC 4303 section 2.4)
}

var suites = [numSuites]sizes{
	AES128GCM16:      {"aes128gcm16", 16, 4, 0, 8, 16, 4},
	AES192GCM16:      {"aes192gcm16", 24, 4, 0, 8, 16, 4},
	AES256GCM16:      {"aes256gcm16", 32, 4, 0, 8, 16, 4},
	ChaCha20Poly1305: {"chacha20poly1305", 32, 4, 0, 8, 16, 4},
	AES128SHA1:       {"aes128-sha1", 16, 0, 20, 16, 12, 16},
	AES192SHA1:       {"aes192-sha1", 24, 0, 20, 16, 12, 16},
	AES256SHA1:       {"aes256-sha1", 32, 0, 20, 16, 12, 16},
	AES128SHA256:     {"aes128-sha256", 16, 0, 32, 16, 16, 16},
	AES192SHA256:     {"aes192-sha256", 24, 0, 32, 16, 16, 16},
	AES256SHA256:     {"aes256-sha256", 32, 0, 32, 16, 16, 16},
	AES128SHA384:     {"aes128-sha384", 16, 0, 48, 16, 24, 16},
	AES192SHA384:     {"aes192-sha384", 24, 0, 48, 16, 24, 16},
	AES256SHA384:     {"aes256-sha384", 32, 0, 48, 16, 24, 16},
	AES128SHA512:     {"aes128-sha512", 16, 0, 64, 16, 32, 16},
	AES192SHA512:     {"aes192-sha512", 24, 0, 64, 16, 32, 16},
	AES256SHA512:     {"aes256-sha512", 32, 0, 64, 16, 32, 16},
}

// Suites returns all suites.
func Suites() []Suite {
	all := make([]Suite, 0, numSuites-1)
	for s := Suite(1); s < numSuites; s++ {
		all = append(all, s)
	}
	return all
}

// ParseSuite reads a suite in strongSwan's words: "aes128gcm16", "chacha20poly1305", "aes256-sha256".
func ParseSuite(words string) (Suite, error) {
	names := make([]string, 0, numSuites-1)
	for s := Suite(1); s < numSuites; s++ {
		if suites[s].name == words {
			return s, nil
		}
		names = append(names, suites[s].name)
	}
	return 0, fmt.Errorf("no ESP suite %q; there are %s", words, strings.Join(names, ", "))
}

// String returns the suite in strongSwan's words.
func (s Suite) String() string {
	if !s.valid() {
		return fmt.Sprintf("suite %d", uint8(s))
	}
	return suites[s].name
}

func (s Suite) valid() bool { return s > 0 && s < numSuites }

// AEAD says whether the suite's nonce is built from a counter, which must never repeat under a key.
func (s Suite) AEAD() bool { return s.valid() && suites[s].salt > 0 }

// KeyLen returns the length of the keying material in bytes: the encryption key, then the salt of an AEAD or the
// integrity key of the others.
func (s Suite) KeyLen() int {
	if !s.valid() {
		return 0
	}
	z := &suites[s]
	return z.cipher + z.salt + z.auth
}

// KeyParts says what KeyLen is made of, for messages: "32 bytes of key and 4 of salt".
func (s Suite) KeyParts() string {
	z := &suites[s]
	if z.salt > 0 {
		return fmt.Sprintf("%d bytes of key and %d of salt", z.cipher, z.salt)
	}
	return fmt.Sprintf("%d bytes of encryption key and %d of integrity key", z.cipher, z.auth)
}

// header is the length of what stands in front of the inner packet: SPI, sequence number, IV.
func (z *sizes) header() int { return 8 + z.iv }

// pad returns how many bytes of padding follow n bytes of inner packet (RFC 4303 section 2.4): pad, pad length and next
// header fill the ciphertext up to a multiple of the block.
func (z *sizes) pad(n int) int { return -(n + 2) & (z.block - 1) }

// sealed is the length of the ESP packet that holds n bytes of inner packet.
func (z *sizes) sealed(n int) int { return z.header() + n + z.pad(n) + 2 + z.icv }

// maxInner is the length of the largest inner packet whose ESP packet is at most room bytes long.
func (z *sizes) maxInner(room int) int {
	return max(0, (room-z.header()-z.icv)&^(z.block-1)-2)
}
