package crypto

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"slices"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func equal(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s:\n got %x\nwant %x", what, got, want)
	}
}

// NIST CAVP, IKEv2 key derivation, SHA-1: 132 bytes of keying material each.
const (
	cavpNi       = "32b50d5f4a3763f3"
	cavpNr       = "9206a04b26564cb1"
	cavpShared   = "4b2c1f971981a8ad8d0abeafabf38cf75fc8349c148142465ed9c8b516b8be52"
	cavpFresh    = "863f3c9d06efd39d2b907b97f8699e5dd5251ef64a2a176f36ee40c87d4f9330"
	cavpSPIi     = 0x34c9e7c188868785
	cavpSPIr     = 0x3ff77d760d2b2199
	cavpSkeyseed = "a9a7b222b59f8f48645f28a1db5b5f5d7479cba7"
	cavpRekey    = "63e81194946ebd05df7df5ebf5d8750056bf1f1d"
	cavpKeys     = "a14293677cc80ff8f9cc0eee30d895da9d8f405666e30ef0dfcb63c634a46002a2a63080e514a062768b76606f9fa5e9" +
		"92204fc5a670bde3f10d6b027113936a5c55b648a194ae587b0088d52204b702c979fa280870d2ed41efa9c549fd1119" +
		"8af1670b143d384bd275c5f594cf266b05ebadca855e4249520a441a81157435a7a56cc4"
	cavpChild = "8059e3ee8810e6c3a91bc8bcd2a7a41151b8d0e6ae239c7b38093ad85ef4c5811a8e7b5d1cdabd9560b2d5e092d1f24e" +
		"2d4b85eccdf0ad0dc9abd94b51ee71814ca6dbc8bb51b6309f5b9545c7eb35cf5580b1e521a8fe20754a2d883ba0c2cf" +
		"285f524aea6545b33106bc03e614296d319d41d4b50b3f510b1c0a22f3e664994d234cb4"
	cavpChildPFS = "bb43244c1860ad65ee1e211ffe8bb3661750c8f89cb9f547df7f4fa61d37301628190e38c66232eab4b3ab14c400a519" +
		"7dd3730ed4820a8a10394d51e1c0400052f63ebd36b0e7ef53aaed31eba4a5080d7d4b5666023a8bbb5ffb7857240f9a" +
		"05884d1b7d2f933708450b7b3288f1fc863ab49fa901227cffc06e27899c7054d56fd74c"
)

func TestKeysAgainstCAVP(t *testing.T) {
	n := Nonces{unhex(t, cavpNi), unhex(t, cavpNr)}
	spis := SPIs{cavpSPIi, cavpSPIr}
	suite := Suite{PRFHMACSHA1, Cipher{Encr: EncrAESCBC, KeyBits: 128, Integ: IntegHMACSHA1_96}}
	keys, err := suite.Initial(unhex(t, cavpShared), n, spis)
	if err != nil {
		t.Fatal(err)
	}
	stream := unhex(t, cavpKeys) // exactly as long as the keys of this suite
	for _, k := range []struct {
		name     string
		got      []byte
		from, to int
	}{
		{"SK_d", keys.D, 0, 20}, {"SK_ai", keys.AI, 20, 40}, {"SK_ar", keys.AR, 40, 60}, {"SK_ei", keys.EI, 60, 76},
		{"SK_er", keys.ER, 76, 92}, {"SK_pi", keys.PI, 92, 112}, {"SK_pr", keys.PR, 112, 132},
	} {
		equal(t, k.name, k.got, stream[k.from:k.to])
	}
	equal(t, "SKEYSEED", PRFHMACSHA1.Sum(n.joined(), unhex(t, cavpShared)), unhex(t, cavpSkeyseed))

	cipher := Cipher{Encr: EncrAESCBC, KeyBits: 256, Integ: IntegHMACSHA256128} // 64 bytes each way
	for name, c := range map[string]struct {
		shared [][]byte
		want   string
	}{
		"without PFS": {nil, cavpChild},
		"with PFS":    {[][]byte{unhex(t, cavpFresh)}, cavpChildPFS},
	} {
		child, err := Child(PRFHMACSHA1, keys, cipher, c.shared, n)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, name+", initiator", child.Initiator, unhex(t, c.want)[:64])
		equal(t, name+", responder", child.Responder, unhex(t, c.want)[64:128])
	}

	rekeyed, err := suite.Rekeyed(PRFHMACSHA1, keys, [][]byte{unhex(t, cavpFresh)}, n, spis)
	if err != nil {
		t.Fatal(err)
	}
	want, err := PRFHMACSHA1.Plus(unhex(t, cavpRekey), spis.seed(n), 20)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "SK_d after rekeying", rekeyed.D, want)
}

// A slowPRF is HMAC and prf+ written down from RFC 2104 and RFC 7296 section 2.13.
type slowPRF struct {
	new   func() hash.Hash
	block int
}

var slowPRFs = map[PRFID]slowPRF{
	PRFHMACSHA1: {sha1.New, 64}, PRFHMACSHA256: {sha256.New, 64}, PRFHMACSHA384: {sha512.New384, 128}, PRFHMACSHA512: {sha512.New, 128},
}

func (s slowPRF) digest(parts ...[]byte) []byte {
	h := s.new()
	h.Write(slices.Concat(parts...))
	return h.Sum(nil)
}

func (s slowPRF) prf(key []byte, parts ...[]byte) []byte {
	if len(key) > s.block {
		key = s.digest(key)
	}
	inner, outer := bytes.Repeat([]byte{0x36}, s.block), bytes.Repeat([]byte{0x5c}, s.block)
	for i, b := range key {
		inner[i] ^= b
		outer[i] ^= b
	}
	return s.digest(outer, s.digest(append([][]byte{inner}, parts...)...))
}

func (s slowPRF) plus(key, seed []byte, n int) []byte {
	var out, last []byte
	for i := byte(1); len(out) < n; i++ {
		last = s.prf(key, last, seed, []byte{i})
		out = append(out, last...)
	}
	return out[:n]
}

func fill(n int, b byte) []byte { return bytes.Repeat([]byte{b}, n) }

// everyCipher lists what IKE and ESP can be keyed for, with the lengths of their keys in bytes.
var everyCipher = []struct {
	Cipher
	encr, integ int
}{
	{Cipher{EncrAESGCM16, 128, 0}, 20, 0}, {Cipher{EncrAESGCM16, 192, 0}, 28, 0}, {Cipher{EncrAESGCM16, 256, 0}, 36, 0},
	{Cipher{EncrChaCha20Poly1305, 0, 0}, 36, 0},
	{Cipher{EncrAESCBC, 128, IntegHMACSHA1_96}, 16, 20}, {Cipher{EncrAESCBC, 192, IntegHMACSHA1_96}, 24, 20},
	{Cipher{EncrAESCBC, 256, IntegHMACSHA1_96}, 32, 20}, {Cipher{EncrAESCBC, 128, IntegHMACSHA256128}, 16, 32},
	{Cipher{EncrAESCBC, 256, IntegHMACSHA256128}, 32, 32}, {Cipher{EncrAESCBC, 256, IntegHMACSHA384192}, 32, 48},
	{Cipher{EncrAESCBC, 256, IntegHMACSHA512256}, 32, 64},
}

func TestKeysAgainstModel(t *testing.T) {
	n := Nonces{fill(32, 1), fill(48, 2)}
	spis := SPIs{0x0102030405060708, 0x1112131415161718}
	seed := slices.Concat(n.Initiator, n.Responder, binary.BigEndian.AppendUint64(nil, spis.Initiator), binary.BigEndian.AppendUint64(nil, spis.Responder))
	a, b, c := fill(32, 3), fill(256, 4), fill(66, 5)
	for id, slow := range slowPRFs {
		for _, cipher := range everyCipher {
			t.Run(fmt.Sprint(id, cipher.Cipher), func(t *testing.T) {
				s := Suite{id, cipher.Cipher}
				check := func(what string, k *Keys, err error, skeyseed []byte) {
					t.Helper()
					if err != nil {
						t.Fatal(err)
					}
					h := slow.new().Size()
					equal(t, what, slices.Concat(k.D, k.AI, k.AR, k.EI, k.ER, k.PI, k.PR), slow.plus(skeyseed, seed, 3*h+2*cipher.encr+2*cipher.integ))
					if len(k.D) != h || len(k.AI) != cipher.integ || len(k.AR) != cipher.integ || len(k.EI) != cipher.encr || len(k.ER) != cipher.encr {
						t.Errorf("%s: lengths %d %d %d %d %d", what, len(k.D), len(k.AI), len(k.AR), len(k.EI), len(k.ER))
					}
				}
				first, err := s.Initial(a, n, spis)
				check("IKE_SA_INIT", first, err, slow.prf(slices.Concat(n.Initiator, n.Responder), a))
				second, err := s.Additional(first, b, n, spis)
				check("additional key exchange", second, err, slow.prf(first.D, b, n.Initiator, n.Responder))
				old := Keys{D: fill(20, 9)}
				third, err := s.Rekeyed(PRFHMACSHA1, &old, [][]byte{a, b, c}, n, spis)
				check("rekeying", third, err, slowPRFs[PRFHMACSHA1].prf(old.D, a, n.Initiator, n.Responder, b, c))

				child, err := Child(id, first, cipher.Cipher, [][]byte{a, b, c}, n)
				if err != nil {
					t.Fatal(err)
				}
				each := cipher.encr + cipher.integ
				want := slow.plus(first.D, slices.Concat(a, n.Initiator, n.Responder, b, c), 2*each)
				equal(t, "initiator's ESP key", child.Initiator, want[:each])
				equal(t, "responder's ESP key", child.Responder, want[each:])
			})
		}
	}
}

func TestUnsupportedIsSaid(t *testing.T) {
	good := Cipher{EncrAESGCM16, 256, IntegNone}
	for _, s := range []Suite{
		{0, good}, {1, good}, {PRFHMACSHA256, Cipher{}}, {PRFHMACSHA256, Cipher{EncrAESGCM16, 64, 0}},
		{PRFHMACSHA256, Cipher{EncrAESGCM16, 128, IntegHMACSHA256128}}, {PRFHMACSHA256, Cipher{EncrAESCBC, 128, IntegNone}},
		{PRFHMACSHA256, Cipher{EncrAESCBC, 128, 1}}, {PRFHMACSHA256, Cipher{EncrChaCha20Poly1305, 256, 0}},
		{PRFHMACSHA256, Cipher{99, 128, 0}},
	} {
		if _, err := s.Initial(fill(32, 1), Nonces{}, SPIs{}); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%+v: %v", s, err)
		}
		if _, err := Child(s.PRF, &Keys{D: fill(32, 1)}, s.Cipher, nil, Nonces{}); !errors.Is(err, ErrUnsupported) {
			t.Errorf("child of %+v: %v", s, err)
		}
	}
	if _, err := (Suite{PRFHMACSHA256, good}).Rekeyed(PRFHMACSHA256, &Keys{}, nil, Nonces{}, SPIs{}); err == nil {
		t.Error("an IKE SA was rekeyed without a key exchange")
	}
	if _, err := PRFHMACSHA1.Plus(fill(20, 1), nil, 255*20+1); err == nil {
		t.Error("prf+ went beyond its 255 blocks")
	}
}

func TestNonceLengths(t *testing.T) {
	for _, c := range []struct {
		prf  PRFID
		n    int
		fine bool
	}{
		{PRFHMACSHA1, 15, false}, {PRFHMACSHA1, 16, true}, {PRFHMACSHA512, 31, false}, {PRFHMACSHA512, 32, true},
		{PRFHMACSHA256, 256, true}, {PRFHMACSHA256, 257, false},
	} {
		if err := CheckNonce(c.prf, make([]byte, c.n)); (err == nil) != c.fine {
			t.Errorf("PRF %d, %d bytes: %v", c.prf, c.n, err)
		}
	}
}

func TestKeysHide(t *testing.T) {
	k, c := &Keys{D: fill(20, 0xab), PI: fill(20, 0xab)}, &ChildKeys{Initiator: fill(20, 0xab)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		for _, s := range []string{fmt.Sprintf(verb, k), fmt.Sprintf(verb, c)} {
			if s != "keys of an IKE SA" && s != "keys of a child SA" {
				t.Errorf("%s prints %s", verb, s)
			}
		}
	}
	k.Wipe()
	equal(t, "wiped", slices.Concat(k.D, k.PI), make([]byte, 40))
}
