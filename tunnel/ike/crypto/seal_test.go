package crypto

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
)

func pair(t testing.TB, c Cipher) (*Sealer, *Opener) {
	t.Helper()
	encr, integ := fill(c.EncrLen(), 0x5a), fill(c.IntegLen(), 0xa5)
	s, err := NewSealer(c, encr, integ)
	if err != nil {
		t.Fatal(err)
	}
	o, err := NewOpener(c, encr, integ)
	if err != nil {
		t.Fatal(err)
	}
	return s, o
}

// TestRFC7634Vector is appendix B of RFC 7634: a notification in an IKE message.
func TestRFC7634Vector(t *testing.T) {
	key := unhex(t, "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3")
	s, err := NewSealer(Cipher{Encr: EncrChaCha20Poly1305}, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.sent = 0x1011121314151617
	header := unhex(t, "c0c1c2c3c4c5c6c7d0d1d2d3d4d5d6d72e202500000000090000004529000029")
	content := unhex(t, "0000000c000040010000000a")
	message, err := s.Seal(bytes.Clone(header), content)
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Concat(header, unhex(t, "1011121314151617"), unhex(t, "610394701f8d017f7c129248896b71bfe25236efd7cdc67066906315b2"))
	equal(t, "message", message, want)
	if len(message) != 0x45 || s.BodyLen(len(content)) != 0x29-4 {
		t.Errorf("%d bytes, body %d", len(message), s.BodyLen(len(content)))
	}
}

func TestSealAndOpen(t *testing.T) {
	header := fill(32, 7)
	for _, c := range everyCipher {
		t.Run(fmt.Sprint(c.Cipher), func(t *testing.T) {
			s, o := pair(t, c.Cipher)
			var previous []byte
			for n := range 70 {
				content := fill(n, byte(n))
				message, err := s.Seal(bytes.Clone(header), content)
				if err != nil {
					t.Fatal(err)
				}
				if len(message) != len(header)+s.BodyLen(n) || !bytes.HasPrefix(message, header) {
					t.Fatalf("%d bytes become %d, want %d", n, len(message)-len(header), s.BodyLen(n))
				}
				before := bytes.Clone(message)
				got, err := o.Open(message, len(header))
				if err != nil || !bytes.Equal(got, content) {
					t.Fatalf("%d bytes: %x, %v", n, got, err)
				}
				equal(t, "the message that was opened", message, before)
				iv := message[len(header) : len(header)+o.ivLen()]
				if bytes.Equal(iv, previous) {
					t.Fatalf("the IV %x came twice", iv)
				}
				previous = bytes.Clone(iv)
			}
		})
	}
}

// TestCBCAgainstModel opens what Seal made by the words of RFC 7296 section 3.14.
func TestCBCAgainstModel(t *testing.T) {
	for _, c := range everyCipher {
		if c.Encr != EncrAESCBC {
			continue
		}
		icv := map[IntegID]int{IntegHMACSHA1_96: 12, IntegHMACSHA256128: 16, IntegHMACSHA384192: 24, IntegHMACSHA512256: 32}[c.Integ]
		prf := map[IntegID]PRFID{IntegHMACSHA1_96: 2, IntegHMACSHA256128: 5, IntegHMACSHA384192: 6, IntegHMACSHA512256: 7}[c.Integ]
		s, _ := pair(t, c.Cipher)
		message, err := s.Seal(fill(32, 7), fill(21, 3))
		if err != nil {
			t.Fatal(err)
		}
		signed := message[:len(message)-icv]
		equal(t, "ICV", message[len(signed):], slowPRFs[prf].prf(fill(c.integ, 0xa5), signed)[:icv])
		block, err := aes.NewCipher(fill(c.encr, 0x5a))
		if err != nil {
			t.Fatal(err)
		}
		plain := bytes.Clone(signed[48:])
		cipher.NewCBCDecrypter(block, signed[32:48]).CryptBlocks(plain, plain)
		equal(t, "plaintext", plain, append(append(fill(21, 3), make([]byte, 10)...), 10))
	}
}

func TestForgeriesAreNotOpened(t *testing.T) {
	for _, c := range everyCipher {
		s, o := pair(t, c.Cipher)
		message, err := s.Seal(fill(32, 7), fill(20, 3))
		if err != nil {
			t.Fatal(err)
		}
		for i := range message {
			forged := bytes.Clone(message)
			forged[i] ^= 0x40
			if _, err := o.Open(forged, 32); !errors.Is(err, ErrIntegrity) {
				t.Errorf("%v, byte %d changed: %v", c.Cipher, i, err)
			}
			if _, err := o.Open(message[:i], 32); !errors.Is(err, ErrIntegrity) {
				t.Errorf("%v, cut to %d bytes: %v", c.Cipher, i, err)
			}
		}
		if _, err := o.Open(append(message, 0), 32); !errors.Is(err, ErrIntegrity) {
			t.Errorf("%v, one byte more: %v", c.Cipher, err)
		}
		for _, at := range []int{-1, len(message) + 2} {
			if _, err := o.Open(message, at); !errors.Is(err, ErrIntegrity) {
				t.Errorf("%v, at %d: %v", c.Cipher, at, err)
			}
		}
	}
}

// TestPaddingOfAnAuthenticPeer plays a peer that has the keys and pads in its own way.
func TestPaddingOfAnAuthenticPeer(t *testing.T) {
	for _, c := range everyCipher {
		s, o := pair(t, c.Cipher)
		seal := func(plain []byte) []byte {
			if s.aead != nil {
				return s.aead.Seal(append(fill(32, 7), s.nonce[saltLen:]...), s.nonce[:], plain, fill(32, 7))
			}
			message := append(fill(32, 7), make([]byte, 16)...)
			encrypted := bytes.Clone(plain)
			cipher.NewCBCEncrypter(s.block, message[32:]).CryptBlocks(encrypted[:len(plain)/16*16], encrypted[:len(plain)/16*16])
			message = append(message, encrypted...)
			return s.sum(message, message)
		}
		if got, err := o.Open(seal(append(fill(32, 9), 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15)), 32); err != nil || !bytes.Equal(got, fill(32, 9)) {
			t.Errorf("%v: more padding than needed: %x, %v", c.Cipher, got, err)
		}
		if got, err := o.Open(seal(fill(32, 31)), 32); err != nil || len(got) != 0 {
			t.Errorf("%v: nothing but padding: %x, %v", c.Cipher, got, err)
		}
		if _, err := o.Open(seal(fill(32, 32)), 32); !errors.Is(err, ErrPadding) {
			t.Errorf("%v: padding beyond the content: %v", c.Cipher, err)
		}
		if s.aead == nil {
			if _, err := o.Open(seal(fill(33, 0)), 32); !errors.Is(err, ErrPadding) {
				t.Errorf("%v: no whole blocks: %v", c.Cipher, err)
			}
		}
	}
}

func TestMaxContent(t *testing.T) {
	for _, c := range everyCipher {
		s, _ := pair(t, c.Cipher)
		for room := range 200 {
			n := s.MaxContent(room)
			if n >= 0 && s.BodyLen(n) > room || s.BodyLen(max(n+1, 0)) <= room {
				t.Errorf("%v: %d bytes of content for %d of room", c.Cipher, n, room)
			}
		}
	}
}

func TestIVsEnd(t *testing.T) {
	s, _ := pair(t, Cipher{Encr: EncrAESGCM16, KeyBits: 256})
	s.sent = math.MaxUint64 - 1
	if _, err := s.Seal(nil, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Seal(nil, nil); !errors.Is(err, ErrExhausted) {
		t.Errorf("a counter that came around: %v", err)
	}
}

func TestKeysOfWrongLength(t *testing.T) {
	for _, c := range everyCipher {
		for _, l := range [][2]int{{c.encr - 1, c.integ}, {c.encr + 1, c.integ}, {c.encr, c.integ + 1}, {0, 0}} {
			if _, err := NewSealer(c.Cipher, fill(l[0], 1), fill(l[1], 1)); err == nil {
				t.Errorf("%v: sealer with keys of %v bytes", c.Cipher, l)
			}
			if _, err := NewOpener(c.Cipher, fill(l[0], 1), fill(l[1], 1)); err == nil {
				t.Errorf("%v: opener with keys of %v bytes", c.Cipher, l)
			}
		}
	}
	if _, err := NewSealer(Cipher{}, nil, nil); !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
}

func FuzzOpen(f *testing.F) {
	for i, c := range everyCipher {
		s, _ := pair(f, c.Cipher)
		message, err := s.Seal(fill(32, 7), fill(20, 3))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(i, message, 32)
		f.Add(i, message[:40], 32)
	}
	f.Fuzz(func(t *testing.T, which int, message []byte, at int) {
		if which < 0 || which >= len(everyCipher) {
			t.Skip("there is no cipher of that number")
		}
		s, o := pair(t, everyCipher[which].Cipher)
		plain, err := o.Open(message, at)
		if err != nil {
			return
		}
		if s.BodyLen(len(plain)) > len(message)-at {
			t.Errorf("%d bytes came out of %d", len(plain), len(message)-at)
		}
	})
}
