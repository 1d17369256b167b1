package crypto

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestSignedOctetsAndSharedKey(t *testing.T) {
	message, nonce, skp, id := fill(300, 1), fill(32, 2), fill(20, 3), []byte{2, 0, 0, 0, 'a', '.', 'b'}
	for prf, slow := range slowPRFs {
		octets := SignedOctets(prf, message, nonce, skp, id, nil)
		equal(t, "octets", octets, slices.Concat(message, nonce, slow.prf(skp, id)))
		auth := SharedKey(prf, []byte("secret"), octets)
		equal(t, "AUTH", auth, slow.prf(slow.prf([]byte("secret"), []byte("Key Pad for IKEv2")), octets))
		if !VerifySharedKey(prf, []byte("secret"), octets, auth) {
			t.Error("the right secret is refused")
		}
		for _, bad := range []bool{
			VerifySharedKey(prf, []byte("Secret"), octets, auth), VerifySharedKey(prf, []byte("secret"), octets[1:], auth),
			VerifySharedKey(prf, []byte("secret"), octets, auth[1:]), VerifySharedKey(prf, []byte("secret"), octets, nil),
		} {
			if bad {
				t.Error("something wrong is accepted")
			}
		}
	}
}

func TestIntAuthAgainstModel(t *testing.T) {
	const prf = PRFHMACSHA384
	slow := slowPRFs[prf]
	var a IntAuth
	if a.Octets(1) != nil {
		t.Error("an SA without IKE_INTERMEDIATE has octets of it")
	}
	part := func(b byte) []byte { return fill(int(b), b) }
	a.Request(prf, part(1), part(2), part(3))
	a.Response(prf, part(4), part(5), part(6))
	a.Request(prf, part(7), part(8), part(9))
	a.Response(prf, part(10), part(11), nil)
	i := slow.prf(part(7), slow.prf(part(1), part(2), part(3)), part(8), part(9))
	r := slow.prf(part(10), slow.prf(part(4), part(5), part(6)), part(11))
	want := slices.Concat(i, r, binary.BigEndian.AppendUint32(nil, 3))
	equal(t, "IntAuth", a.Octets(3), want)
	equal(t, "octets", SignedOctets(prf, part(1), part(2), part(3), part(4), a.Octets(3)), slices.Concat(part(1), part(2), slow.prf(part(3), part(4)), want))
}

func TestCookies(t *testing.T) {
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	from, nonce := netip.MustParseAddr("192.0.2.1"), fill(32, 7)
	const spi = 0x0102030405060708

	var c Cookies
	cookie := c.Make(at(0), from, spi, nonce)
	if len(cookie) != CookieLen {
		t.Fatalf("%d bytes", len(cookie))
	}
	valid := func(c *Cookies, now time.Time) bool { return c.Valid(now, cookie, from, spi, nonce) }
	for name, bad := range map[string]bool{
		"another address": c.Valid(at(1), cookie, netip.MustParseAddr("192.0.2.2"), spi, nonce),
		"another SPI":     c.Valid(at(1), cookie, from, spi+1, nonce),
		"another nonce":   c.Valid(at(1), cookie, from, spi, fill(33, 7)),
		"nothing":         c.Valid(at(1), nil, from, spi, nonce),
		"cut short":       c.Valid(at(1), cookie[:CookieLen-1], from, spi, nonce),
		"longer":          c.Valid(at(1), append(slices.Clone(cookie), 0), from, spi, nonce),
		"other engine":    valid(new(Cookies), at(1)),
		"number 0":        c.Valid(at(1), make([]byte, CookieLen), from, spi, nonce),
		"no secret":       c.Valid(at(1), new(cookieSecret).cookie(from, spi, nonce), from, spi, nonce),
	} {
		if bad {
			t.Errorf("%s is accepted", name)
		}
	}
	for i := range cookie {
		changed := slices.Clone(cookie)
		changed[i] ^= 1
		if c.Valid(at(1), changed, from, spi, nonce) {
			t.Errorf("byte %d changed is accepted", i)
		}
	}
	if !valid(&c, at(-5)) || !valid(&c, at(29)) || !valid(&c, at(31)) || !valid(&c, at(59)) {
		t.Error("a fresh cookie is refused")
	}
	second := c.Make(at(59), from, spi, nonce)
	if slices.Equal(second, cookie) {
		t.Error("the secret was not changed")
	}
	if valid(&c, at(60)) {
		t.Error("a cookie of two lifetimes ago is accepted")
	}
	if !c.Valid(at(60), second, from, spi, nonce) || !c.Valid(at(59+30), second, from, spi, nonce) {
		t.Error("the second cookie is refused")
	}
	if valid(&c, at(100)) {
		t.Error("an old cookie is accepted")
	}

	var idle Cookies
	cookie = idle.Make(at(0), from, spi, nonce)
	if valid(&idle, at(60)) {
		t.Error("an old cookie is accepted after silence")
	}
	for i := range 600 { // numbers of secrets come around
		if got := idle.Make(at(100+31*i), from, spi, nonce); !idle.Valid(at(100+31*i+20), got, from, spi, nonce) {
			t.Fatalf("rotation %d: a fresh cookie is refused", i)
		}
	}
}
