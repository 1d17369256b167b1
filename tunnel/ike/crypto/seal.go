package crypto

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"

	"golang.org/x/crypto/chacha20poly1305"
)

var (
	// ErrIntegrity says that a message is not the peer's: too short, damaged or forged.
	ErrIntegrity = errors.New("integrity check failed")
	// ErrPadding says that the peer protected a message whose padding is longer than its content.
	ErrPadding = errors.New("padding exceeds the encrypted content")
	// ErrExhausted says that a key has protected as many messages as it may.
	ErrExhausted = errors.New("the key has no initialisation vectors left")
)

const (
	saltLen   = 4 // implicit part of an AEAD's nonce (RFC 5282 section 4, RFC 7634 section 2)
	aeadIVLen = 8
)

// half is what the two directions share. Exactly one of aead and block is set.
type half struct {
	aead  cipher.AEAD
	nonce [saltLen + aeadIVLen]byte // the salt, and room for the IV behind it

	block cipher.Block
	mac   hash.Hash
	icv   int // bytes of it that are sent
}

func newHalf(c Cipher, encr, integ []byte) (half, error) {
	if err := c.Check(); err != nil {
		return half{}, err
	}
	if len(encr) != c.EncrLen() || len(integ) != c.IntegLen() {
		return half{}, fmt.Errorf("keys of %d and %d bytes for an algorithm whose keys have %d and %d",
			len(encr), len(integ), c.EncrLen(), c.IntegLen())
	}
	if c.Encr == EncrAESCBC {
		block, err := aes.NewCipher(encr)
		if err != nil {
			return half{}, err
		}
		i, _ := c.Integ.describe()
		return half{block: block, mac: hmac.New(i.hash, integ), icv: i.icv}, nil
	}
	key := encr[:len(encr)-saltLen]
	aead, err := newAEAD(c.Encr, key)
	if err != nil {
		return half{}, err
	}
	h := half{aead: aead, icv: aead.Overhead()}
	copy(h.nonce[:], encr[len(key):])
	return h, nil
}

func newAEAD(id EncrID, key []byte) (cipher.AEAD, error) {
	if id == EncrChaCha20Poly1305 {
		return chacha20poly1305.New(key)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// padded is how long n bytes become with padding and the pad length behind them. An AEAD needs no padding.
func (h *half) padded(n int) int {
	if h.aead != nil {
		return n + 1
	}
	return (n + aes.BlockSize) / aes.BlockSize * aes.BlockSize
}

func (h *half) ivLen() int {
	if h.aead != nil {
		return aeadIVLen
	}
	return aes.BlockSize
}

// sum appends the ICV of the message to dst.
func (h *half) sum(dst, message []byte) []byte {
	h.mac.Reset()
	h.mac.Write(message)
	return h.mac.Sum(dst)[:len(dst)+h.icv]
}

// A Sealer protects the messages that one side of an IKE SA sends. It is not safe for concurrent use.
type Sealer struct {
	half
	sent uint64 // IVs used: an AEAD's is a counter, which never repeats under the key
}

// NewSealer takes SK_ei and SK_ai, or SK_er and SK_ar. No two Sealers may have the same keys.
func NewSealer(c Cipher, encr, integ []byte) (*Sealer, error) {
	h, err := newHalf(c, encr, integ)
	if err != nil {
		return nil, err
	}
	return &Sealer{half: h}, nil
}

// BodyLen returns the length in bytes of the body of an Encrypted payload with n bytes of payloads: IV, ciphertext with
// padding and pad length, ICV.
func (s *Sealer) BodyLen(n int) int { return s.ivLen() + s.padded(n) + s.icv }

// MaxContent returns how many bytes of payloads the body of an Encrypted payload can hold that is at most room bytes long;
// negative if not even an empty one fits.
func (s *Sealer) MaxContent(room int) int {
	room -= s.ivLen() + s.icv
	if s.aead == nil && room >= 0 {
		room -= room % aes.BlockSize
	}
	return room - 1
}

// Seal appends the body of an Encrypted payload (RFC 7296 section 3.14) that holds content to message and returns the
// whole. message is all that precedes the body: the IKE header, any payloads before, and the Encrypted payload's generic
// header, with the fragment header where it is an Encrypted Fragment (RFC 7383 section 2.5). All of it is authenticated, so
// its lengths must be final: the body adds BodyLen(len(content)). content must not overlap what is behind message.
func (s *Sealer) Seal(message, content []byte) ([]byte, error) {
	if s.sent+1 == 0 {
		return nil, ErrExhausted
	}
	plain := make([]byte, s.padded(len(content)))
	copy(plain, content)
	plain[len(plain)-1] = byte(len(plain) - len(content) - 1)
	if s.aead != nil {
		iv := s.nonce[saltLen:]
		binary.BigEndian.PutUint64(iv, s.sent)
		s.sent++
		aad := message[:len(message):len(message)]
		return s.aead.Seal(append(message, iv...), s.nonce[:], plain, aad), nil
	}
	s.sent++
	var iv [aes.BlockSize]byte
	_, _ = rand.Read(iv[:]) // does not fail: it ends the program instead
	message = append(message, iv[:]...)
	start := len(message)
	message = append(message, plain...)
	cipher.NewCBCEncrypter(s.block, iv[:]).CryptBlocks(message[start:], message[start:])
	return s.sum(message, message), nil
}

// An Opener opens the messages that the other side of an IKE SA sends. It is not safe for concurrent use.
type Opener struct{ half }

// NewOpener takes SK_ei and SK_ai, or SK_er and SK_ar.
func NewOpener(c Cipher, encr, integ []byte) (*Opener, error) {
	h, err := newHalf(c, encr, integ)
	if err != nil {
		return nil, err
	}
	return &Opener{h}, nil
}

// Open returns the payloads inside the Encrypted payload whose body is message[at:], where message is the whole message
// and nothing may follow the body. message is not changed and the result is not part of it. The error is ErrIntegrity or,
// of an authentic message, ErrPadding.
func (o *Opener) Open(message []byte, at int) ([]byte, error) {
	if at < 0 || at > len(message) || len(message)-at < o.ivLen()+o.padded(0)+o.icv {
		return nil, ErrIntegrity
	}
	iv, rest := message[at:at+o.ivLen()], message[at+o.ivLen():]
	var plain []byte
	if o.aead != nil {
		copy(o.nonce[saltLen:], iv)
		var err error
		if plain, err = o.aead.Open(nil, o.nonce[:], rest, message[:at]); err != nil {
			return nil, ErrIntegrity
		}
	} else {
		signed := message[:len(message)-o.icv]
		if !hmac.Equal(o.sum(nil, signed), message[len(signed):]) {
			return nil, ErrIntegrity
		}
		encrypted := rest[:len(rest)-o.icv]
		if len(encrypted)%aes.BlockSize != 0 {
			return nil, ErrPadding
		}
		plain = make([]byte, len(encrypted))
		cipher.NewCBCDecrypter(o.block, iv).CryptBlocks(plain, encrypted)
	}
	pad := int(plain[len(plain)-1])
	if pad >= len(plain) {
		return nil, ErrPadding
	}
	return plain[:len(plain)-1-pad], nil
}
