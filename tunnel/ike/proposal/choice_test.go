package proposal

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/warrenvpn/warren/tunnel/ike/crypto"
	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// espSuites are the names that package esp gives its suites, with the bytes of key that each needs.
var espSuites = map[string]int{
	"aes128gcm16": 20, "aes192gcm16": 28, "aes256gcm16": 36, "chacha20poly1305": 36,
	"aes128-sha1": 36, "aes192-sha1": 44, "aes256-sha1": 52,
	"aes128-sha256": 48, "aes192-sha256": 56, "aes256-sha256": 64,
	"aes128-sha384": 64, "aes192-sha384": 72, "aes256-sha384": 80,
	"aes128-sha512": 80, "aes192-sha512": 88, "aes256-sha512": 96,
}

func TestEverySuiteOfESPIsNegotiable(t *testing.T) {
	for name, length := range espSuites {
		l := mustESP(t, name)
		c, err := Select(l, l.Offer(nil))
		if err != nil {
			t.Fatal(err)
		}
		if suite, err := c.ESPSuite(); err != nil || suite != name {
			t.Errorf("%s becomes %s, %v", name, suite, err)
		}
		keys, err := crypto.Child(crypto.PRFHMACSHA256, &crypto.Keys{D: make([]byte, 32)}, c.Cipher(), nil, crypto.Nonces{})
		if err != nil || len(keys.Initiator) != length || len(keys.Responder) != length {
			t.Errorf("%s: %d and %d bytes of key, want %d: %v", name, len(keys.Initiator), len(keys.Responder), length, err)
		}
	}
	if s, err := (Choice{}).ESPSuite(); !errors.Is(err, crypto.ErrUnsupported) {
		t.Errorf("nothing becomes %s, %v", s, err)
	}
}

func TestChoiceForCrypto(t *testing.T) {
	l := mustIKE(t, "aes256-sha384-prfsha512-ecp521-ke1_mlkem768-ke2_none-ke3_curve25519")
	c, err := Select(l, l.Offer([]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	want := crypto.Suite{PRF: crypto.PRFHMACSHA512, Cipher: crypto.Cipher{Encr: crypto.EncrAESCBC, KeyBits: 256, Integ: crypto.IntegHMACSHA384192}}
	if c.Suite() != want {
		t.Errorf("%+v", c.Suite())
	}
	if c.KE() != crypto.ECP521 || !slices.Equal(c.AdditionalKE(), []crypto.GroupID{crypto.MLKEM768, crypto.Curve25519}) {
		t.Errorf("%v, %v", c.KE(), c.AdditionalKE())
	}
}

func TestGuessAndInvalidKE(t *testing.T) {
	l := mustESP(t, "aes128gcm16,aes256gcm16-none-ecp384-curve25519,aes256-sha256-modp2048")
	if got := l.Guess(); got != crypto.ECP384 {
		t.Errorf("the guess is %v", got)
	}
	if got := mustESP(t, "aes128gcm16").Guess(); got != crypto.GroupNone {
		t.Errorf("the guess without PFS is %v", got)
	}
	for _, c := range []struct {
		sent, want crypto.GroupID
		says       string
	}{
		{crypto.ECP384, crypto.Curve25519, ""}, {crypto.ECP384, crypto.MODP2048, ""},
		{crypto.ECP384, crypto.ECP384, "ecp384, which it was sent"}, {crypto.ECP384, 2, "MODP_1024, which is not among aes128gcm16,"},
		{crypto.ECP384, crypto.GroupNone, "none, which is not among"},
	} {
		if err := l.Retry(c.sent, c.want); (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v after %v: %v", c.want, c.sent, err)
		}
	}

	chosen, err := Select(mustESP(t, "aes256gcm16-curve25519"), l.Offer(nil))
	if err != nil {
		t.Fatal(err)
	}
	var invalid *InvalidKE
	if err := chosen.CheckKE(crypto.ECP384); !errors.As(err, &invalid) || *invalid != (InvalidKE{crypto.ECP384, crypto.Curve25519}) ||
		!strings.Contains(err.Error(), "ecp384, wanted is curve25519") {
		t.Errorf("%v", err)
	}
	if err := chosen.CheckKE(crypto.GroupNone); !errors.As(err, &invalid) {
		t.Errorf("no KE payload: %v", err)
	}
	if err := chosen.CheckKE(crypto.Curve25519); err != nil {
		t.Error(err)
	}
	without := Choice{Protocol: message.ProtocolESP}
	if err := without.CheckKE(crypto.ECP384); err != nil {
		t.Errorf("a KE payload that nobody needs: %v", err)
	}
}
