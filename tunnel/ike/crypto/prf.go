package crypto

import (
	"crypto/hkdf"
	"crypto/hmac"
	"fmt"
)

// Check says whether the function is implemented.
func (p PRFID) Check() error {
	if p.newHash() == nil {
		return fmt.Errorf("PRF %d: %w", p, ErrUnsupported)
	}
	return nil
}

// Len returns the length in bytes of what the function gives and of the keys it prefers; 0 for one that is not implemented.
func (p PRFID) Len() int {
	if h := p.newHash(); h != nil {
		return h().Size()
	}
	return 0
}

// Sum is prf(key, parts[0] | parts[1] | ...). The function must be one that Check accepts.
func (p PRFID) Sum(key []byte, parts ...[]byte) []byte {
	mac := hmac.New(p.newHash(), key)
	for _, part := range parts {
		mac.Write(part)
	}
	return mac.Sum(nil)
}

// Plus is prf+(key, seed), n bytes of it (RFC 7296 section 2.13). For an HMAC it is the expansion of HKDF, which ends after 255
// blocks as prf+ does.
func (p PRFID) Plus(key, seed []byte, n int) ([]byte, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	out, err := hkdf.Expand(p.newHash(), key, string(seed), n)
	if err != nil {
		return nil, fmt.Errorf("deriving %d bytes of keys: %w", n, err)
	}
	return out, nil
}
