package crypto

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"time"
)

// CookieLifetime is how long a secret makes new cookies. A cookie is valid until its secret is two lifetimes old.
const CookieLifetime = 30 * time.Second

// CookieLen is the length of a cookie in bytes.
const CookieLen = 1 + sha256.Size

// Cookies makes and checks the cookies of IKE_SA_INIT without keeping anything about those who ask (RFC 7296 section 2.6): a
// cookie is the number of a secret and HMAC-SHA-256(secret, IPi | SPIi | Ni). It is not safe for concurrent use. The zero
// value is ready: secrets are made when they are needed.
type Cookies struct {
	current, previous cookieSecret
}

type cookieSecret struct {
	number byte
	key    [32]byte
	born   time.Time // zero: there is none, and so its age exceeds every bound
}

// rotate brings the secrets to the time now. A clock that goes back keeps them.
func (c *Cookies) rotate(now time.Time) {
	age := now.Sub(c.current.born)
	if !c.current.born.IsZero() && age < CookieLifetime {
		return
	}
	c.previous = c.current
	if age >= 2*CookieLifetime {
		c.previous.born = time.Time{}
	}
	c.current.number++
	c.current.born = now
	_, _ = rand.Read(c.current.key[:]) // does not fail: it ends the program instead
}

// Make returns the cookie for an initiator's address, SPI and nonce.
func (c *Cookies) Make(now time.Time, from netip.Addr, spi uint64, nonce []byte) []byte {
	c.rotate(now)
	return c.current.cookie(from, spi, nonce)
}

// Valid says whether Make gave this cookie to the initiator less than two lifetimes ago.
func (c *Cookies) Valid(now time.Time, cookie []byte, from netip.Addr, spi uint64, nonce []byte) bool {
	c.rotate(now)
	if len(cookie) != CookieLen {
		return false
	}
	for _, s := range []*cookieSecret{&c.current, &c.previous} {
		if s.number == cookie[0] {
			return now.Sub(s.born) < 2*CookieLifetime && hmac.Equal(cookie, s.cookie(from, spi, nonce))
		}
	}
	return false
}

func (s *cookieSecret) cookie(from netip.Addr, spi uint64, nonce []byte) []byte {
	address := from.As16()
	mac := hmac.New(sha256.New, s.key[:])
	mac.Write(address[:])
	mac.Write(binary.BigEndian.AppendUint64(nil, spi))
	mac.Write(nonce)
	return mac.Sum([]byte{s.number})
}
