package esp

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"hash"
	"sync"
)

// cbcMode is what crypto/cipher's CBC modes offer beside cipher.BlockMode: a new IV without a new object.
type cbcMode interface {
	cipher.BlockMode
	SetIV([]byte)
}

// cbcContext is AES-CBC and HMAC keyed for one SA. It keeps state while a packet passes, so that each worker borrows one
// of its own for a run.
type cbcContext struct {
	mode cbcMode
	mac  hash.Hash
	icv  int
}

// cbcContexts lends contexts: one mutex a run.
type cbcContexts struct {
	mu    sync.Mutex
	free  []*cbcContext
	build func() *cbcContext
}

func newCBCContexts(s Suite, key, auth []byte, decrypt bool) (*cbcContexts, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	newMode := cipher.NewCBCEncrypter
	if decrypt {
		newMode = cipher.NewCBCDecrypter
	}
	zero := make([]byte, aes.BlockSize)
	if _, ok := newMode(block, zero).(cbcMode); !ok {
		return nil, fmt.Errorf("this Go's %T cannot take a new IV", newMode(block, zero))
	}
	// One HMAC is keyed here and copied for each context, so that no copy of the key itself is kept.
	keyed, ok := hmac.New(hashOf(s), auth).(hash.Cloner)
	if !ok {
		return nil, fmt.Errorf("this Go's HMAC of %v cannot be copied", s)
	}
	if _, err := keyed.Clone(); err != nil {
		return nil, fmt.Errorf("copy the HMAC of %v: %w", s, err)
	}
	return &cbcContexts{build: func() *cbcContext {
		mac, _ := keyed.Clone() // as it did above
		return &cbcContext{mode: newMode(block, zero).(cbcMode), mac: mac, icv: suites[s].icv}
	}}, nil
}

// hashOf returns the hash under a suite's HMAC. Its output is as long as the integrity key (RFC 4868 section 2.1.1).
func hashOf(s Suite) func() hash.Hash {
	switch suites[s].auth {
	case sha1.Size:
		return sha1.New
	case sha256.Size:
		return sha256.New
	case sha512.Size384:
		return sha512.New384
	default:
		return sha512.New
	}
}

func (c *cbcContexts) get() *cbcContext {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.free); n > 0 {
		ctx := c.free[n-1]
		c.free = c.free[:n-1]
		return ctx
	}
	return c.build()
}

func (c *cbcContexts) put(ctx *cbcContext) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.free = append(c.free, ctx)
}

// seal writes IV, ciphertext and ICV of the ESP packet b, whose first eight bytes stand (RFC 3602, RFC 4868).
func (c *cbcContext) seal(s *Scratch, sa *Outbound, b, plain []byte, high uint32) {
	iv := b[8:24]
	copy(iv, s.fresh(16))
	c.mode.SetIV(iv)
	c.mode.CryptBlocks(b[24:24+len(plain)], plain)
	c.authenticate(s, sa, b[:24+len(plain)], high)
}

// authenticate writes the ICV behind b, which has room for it.
func (c *cbcContext) authenticate(s *Scratch, sa *Outbound, b []byte, high uint32) {
	copy(b[len(b):len(b)+c.icv], c.sum(s, b, sa.esn, high))
}

// open decrypts the ESP packet b in place if its ICV is right, and returns the plaintext, or nil.
func (c *cbcContext) open(s *Scratch, b []byte, esn bool, high uint32) []byte {
	end := len(b) - c.icv
	if subtle.ConstantTimeCompare(c.sum(s, b[:end], esn, high)[:c.icv], b[end:]) != 1 {
		return nil
	}
	c.mode.SetIV(b[8:24])
	c.mode.CryptBlocks(b[24:end], b[24:end])
	return b[24:end]
}

// sum returns the HMAC over b and, with ESN, the upper half of the sequence number that is not sent (RFC 4303 section
// 2.2.1).
func (c *cbcContext) sum(s *Scratch, b []byte, esn bool, high uint32) []byte {
	c.mac.Reset()
	c.mac.Write(b)
	if esn {
		binary.BigEndian.PutUint32(s.aad[:4], high)
		c.mac.Write(s.aad[:4])
	}
	return c.mac.Sum(s.mac[:0])
}

// fresh returns n bytes that nobody can predict. They are drawn in blocks, so that few packets pay for a system call.
func (s *Scratch) fresh(n int) []byte {
	if s.used+n > len(s.random) {
		rand.Read(s.random[:]) // never fails (Go 1.24)
		s.used = 0
	}
	s.used += n
	return s.random[s.used-n : s.used]
}
