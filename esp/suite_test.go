package esp

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// Lengths of outer headers in bytes.
const (
	outer4 = 20
	outer6 = 40
	udp    = 8
)

func TestInnerMTU(t *testing.T) {
	for _, c := range []struct {
		suite              Suite
		v4, v4udp, v6, v6u int // largest inner packet for an outer MTU of 1500
	}{
		{AES128GCM16, 1446, 1438, 1426, 1418},
		{AES192GCM16, 1446, 1438, 1426, 1418},
		{AES256GCM16, 1446, 1438, 1426, 1418},
		{ChaCha20Poly1305, 1446, 1438, 1426, 1418},
		{AES128SHA256, 1438, 1422, 1406, 1406},
		{AES256SHA256, 1438, 1422, 1406, 1406},
	} {
		sa := testOutbound(t, c.suite, false)
		for _, o := range []struct{ outer, want int }{
			{outer4, c.v4}, {outer4 + udp, c.v4udp}, {outer6, c.v6}, {outer6 + udp, c.v6u},
		} {
			if got := sa.MaxInner(1500 - o.outer); got != o.want {
				t.Errorf("%v, %d bytes outside: %d inside, want %d", c.suite, o.outer, got, o.want)
			}
		}
	}
}

// TestLengthsAgree holds the length helpers to each other and to what Seal does, for every length.
func TestLengthsAgree(t *testing.T) {
	for _, s := range Suites() {
		sa, scratch, b := testOutbound(t, s, false), NewScratch(), make([]byte, 512)
		for n := range 300 {
			run := sa.Reserve(1)
			sealed := run.Seal(scratch, b, n, 4)
			run.End()
			if sealed != sa.SealedLen(n) || sealed != sa.HeaderLen()+n+sa.TrailerLen(n) {
				t.Fatalf("%v: %d bytes sealed are %d; SealedLen %d, header %d, trailer %d",
					s, n, sealed, sa.SealedLen(n), sa.HeaderLen(), sa.TrailerLen(n))
			}
			if got := sa.MaxInner(sealed); got < n || sa.SealedLen(got) != sealed {
				t.Fatalf("%v: MaxInner(%d) is %d", s, sealed, got)
			}
		}
		for room := range 600 {
			if n := sa.MaxInner(room); n > 0 && (sa.SealedLen(n) > room || sa.SealedLen(n+1) <= room) {
				t.Fatalf("%v: MaxInner(%d) is %d", s, room, n)
			}
		}
	}
}

func TestParseSuite(t *testing.T) {
	for _, s := range Suites() {
		got, err := ParseSuite(s.String())
		if err != nil || got != s {
			t.Errorf("%q: %v, %v", s.String(), got, err)
		}
	}
	for _, words := range []string{"", "aes", "aes128", "aes128gcm12", "aes256-md5", "AES128GCM16", "aes128gcm16-sha256"} {
		if s, err := ParseSuite(words); err == nil {
			t.Errorf("%q: read as %v", words, s)
		} else if !strings.Contains(err.Error(), fmt.Sprintf("%q", words)) || !strings.Contains(err.Error(), "aes256-sha512") {
			t.Errorf("%q: the error does not say what was offered and what there is: %v", words, err)
		}
	}
	if got := Suite(200).String(); got != "suite 200" || Suite(200).KeyLen() != 0 || Suite(200).AEAD() {
		t.Errorf("a suite that does not exist: %q", got)
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := func() Config {
		return Config{SPI: 256, Suite: AES256GCM16, Key: testKey(AES256GCM16), ReplayWindow: 64}
	}
	for name, c := range map[string]struct {
		change func(*Config)
		says   []string
	}{
		"reserved SPI":    {func(c *Config) { c.SPI = 255 }, []string{"255", "below 256"}},
		"no suite":        {func(c *Config) { c.Suite = 0 }, []string{"suite 0"}},
		"unknown suite":   {func(c *Config) { c.Suite = numSuites }, []string{"suite 17"}},
		"short key":       {func(c *Config) { c.Key = c.Key[:32] }, []string{"32 bytes of key and 4 of salt", "36", "not 32"}},
		"long key":        {func(c *Config) { c.Key = append(c.Key, 0) }, []string{"36", "not 37"}},
		"no key":          {func(c *Config) { c.Key = nil }, []string{"not 0"}},
		"CBC key":         {func(c *Config) { c.Suite = AES128SHA256 }, []string{"16 bytes of encryption key and 32 of integrity key", "48", "not 36"}},
		"negative window": {func(c *Config) { c.ReplayWindow = -1 }, []string{"-1", "8192"}},
		"large window":    {func(c *Config) { c.ReplayWindow = 8193 }, []string{"8193", "8192"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good()
			c.change(&cfg)
			_, errOut := NewOutbound(cfg)
			_, errIn := NewInbound(cfg)
			for _, err := range []error{errOut, errIn} {
				if err == nil {
					t.Fatal("accepted")
				}
				for _, part := range c.says {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("%q does not say %q", err, part)
					}
				}
				if wrong := strings.Contains(name, "key"); wrong != errors.Is(err, ErrKeyLength) {
					t.Errorf("%q: ErrKeyLength is %v", err, !wrong)
				}
			}
		})
	}
	if _, err := NewOutbound(good()); err != nil {
		t.Error(err)
	}
}

// TestErrorsKeepKeysSecret looks for the key in what is printed about SAs and their errors.
func TestErrorsKeepKeysSecret(t *testing.T) {
	for _, s := range Suites() {
		key := bytes.Repeat([]byte("K7q"), s.KeyLen()/3+1)
		_, err := NewOutbound(Config{SPI: 256, Suite: s, Key: key[:s.KeyLen()+1]})
		for _, part := range []string{"K7q", "4b3771", "4B3771", "75 55 113"} {
			if strings.Contains(err.Error(), part) {
				t.Errorf("%v: the error shows the key: %v", s, err)
			}
		}
	}
}

// TestKeyIsCopied changes the key after the SA was made, as who wipes it does.
func TestKeyIsCopied(t *testing.T) {
	for _, s := range Suites() {
		key := testKey(s)
		out, err := NewOutbound(Config{SPI: testSPI, Suite: s, Key: key})
		if err != nil {
			t.Fatal(err)
		}
		in, err := NewInbound(Config{SPI: testSPI, Suite: s, Key: key, ReplayWindow: 64})
		if err != nil {
			t.Fatal(err)
		}
		clear(key)
		packet := sealedRun(t, testOutbound(t, s, false), 1, 30)[0]
		if _, v, _ := openOne(in, NewScratch(), packet); v != OK {
			t.Errorf("%v: inbound: %v", s, v)
		}
		packet = sealedRun(t, out, 1, 30)[0]
		if _, v, _ := openOne(testInbound(t, s, false, 64), NewScratch(), packet); v != OK {
			t.Errorf("%v: outbound: %v", s, v)
		}
	}
}
