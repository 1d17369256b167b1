package crypto

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// testKeys are made once, since RSA takes its time.
var testKeys = sync.OnceValue(func() map[string]stdcrypto.Signer {
	keys := make(map[string]stdcrypto.Signer)
	must := func(name string, key stdcrypto.Signer, err error) {
		if err != nil {
			panic(err)
		}
		keys[name] = key
	}
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	must("RSA", k, err)
	for _, c := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		k, err := ecdsa.GenerateKey(c, rand.Reader)
		must(c.Params().Name, k, err)
	}
	_, e, err := ed25519.GenerateKey(rand.Reader)
	must("Ed25519", e, err)
	return keys
})

// The AlgorithmIdentifiers of RFC 7427 appendix A and RFC 8420 appendix A, with their lengths as IKE sends them.
var identifiers = map[string]string{
	"RSASSA-PKCS1-v1_5 with SHA2-256": "0f300d06092a864886f70d01010b0500",
	"RSASSA-PKCS1-v1_5 with SHA2-384": "0f300d06092a864886f70d01010c0500",
	"RSASSA-PKCS1-v1_5 with SHA2-512": "0f300d06092a864886f70d01010d0500",
	"ECDSA with SHA2-256":             "0c300a06082a8648ce3d040302",
	"ECDSA with SHA2-384":             "0c300a06082a8648ce3d040303",
	"ECDSA with SHA2-512":             "0c300a06082a8648ce3d040304",
	"Ed25519":                         "0730050603" + "2b6570",
	"RSASSA-PSS with SHA2-256": "43304106092a864886f70d01010a3034a00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d" +
		"06096086480165030402010500a203020120",
	"RSASSA-PSS with SHA2-384": "43304106092a864886f70d01010a3034a00f300d06096086480165030402020500a11c301a06092a864886f70d010108300d" +
		"06096086480165030402020500a203020130",
	"RSASSA-PSS with SHA2-512": "43304106092a864886f70d01010a3034a00f300d06096086480165030402030500a11c301a06092a864886f70d010108300d" +
		"06096086480165030402030500a203020140",
}

var testOctets = []byte("what a side authenticates")

func TestSignAndVerify(t *testing.T) {
	all := SignatureHashes()
	for _, c := range []struct {
		key    string
		s      Signing
		method AuthMethod
		scheme string // of method 14
	}{
		{"RSA", Signing{}, AuthRSA, ""},
		{"P-256", Signing{}, AuthECDSA256, ""}, {"P-384", Signing{}, AuthECDSA384, ""}, {"P-521", Signing{}, AuthECDSA521, ""},
		{"RSA", Signing{PeerHashes: all}, 14, "RSASSA-PKCS1-v1_5 with SHA2-256"},
		{"RSA", Signing{PeerHashes: []HashID{HashSHA1, HashSHA384}}, 14, "RSASSA-PKCS1-v1_5 with SHA2-384"},
		{"RSA", Signing{PeerHashes: []HashID{HashSHA512}}, 14, "RSASSA-PKCS1-v1_5 with SHA2-512"},
		{"RSA", Signing{PeerHashes: all, PSS: true}, 14, "RSASSA-PSS with SHA2-256"},
		{"RSA", Signing{PeerHashes: []HashID{HashSHA384}, PSS: true}, 14, "RSASSA-PSS with SHA2-384"},
		{"RSA", Signing{PeerHashes: []HashID{HashSHA512}, PSS: true}, 14, "RSASSA-PSS with SHA2-512"},
		{"P-256", Signing{PeerHashes: all}, 14, "ECDSA with SHA2-256"},
		{"P-384", Signing{PeerHashes: all}, 14, "ECDSA with SHA2-384"},
		{"P-521", Signing{PeerHashes: all}, 14, "ECDSA with SHA2-512"},
		{"P-521", Signing{PeerHashes: []HashID{HashSHA256}}, 14, "ECDSA with SHA2-256"},
		{"Ed25519", Signing{PeerHashes: all}, 14, "Ed25519"},
	} {
		t.Run(fmt.Sprint(c.key, c.s), func(t *testing.T) {
			key := testKeys()[c.key]
			method, data, err := Sign(key, testOctets, c.s)
			if err != nil {
				t.Fatal(err)
			}
			if method != c.method {
				t.Errorf("method %d, want %d", method, c.method)
			}
			if id := unhex(t, identifiers[c.scheme]); c.scheme != "" && !bytes.HasPrefix(data, id) {
				t.Errorf("%x does not begin with %x", data, id)
			}
			v := Verifying{SHA1: true}
			if err := Verify(key.Public(), method, data, testOctets, v); err != nil {
				t.Errorf("own signature: %v", err)
			}
			if err := Verify(key.Public(), method, data, append(testOctets, 0), v); !errors.Is(err, ErrSignature) {
				t.Errorf("over other octets: %v", err)
			}
			for name, other := range testKeys() {
				if err := Verify(other.Public(), method, data, testOctets, v); name != c.key && err == nil {
					t.Errorf("accepted with the key %s", name)
				}
			}
			for i := range data {
				data[i] ^= 0x10
				if err := Verify(key.Public(), method, data, testOctets, v); err == nil {
					t.Errorf("accepted with byte %d of %d changed", i, len(data))
				}
				data[i] ^= 0x10
				if err := Verify(key.Public(), method, data[:i], testOctets, v); err == nil {
					t.Errorf("accepted with %d of %d bytes", i, len(data))
				}
			}
		})
	}
}

func TestSchemesRoundTrip(t *testing.T) {
	for name, hex := range identifiers {
		s, err := parseScheme(unhex(t, hex)[1:])
		if err != nil || s.String() != name {
			t.Errorf("%s: %v, %v", name, s, err)
			continue
		}
		der, err := s.marshal(form{true, true})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, name, der, unhex(t, hex)[1:])
		for _, f := range forms {
			if der, err = s.marshal(f); err != nil {
				t.Fatal(err)
			}
			if again, err := parseScheme(der); err != nil || again != s {
				t.Errorf("%s in the form %v: %v, %v", name, f, again, err)
			}
		}
	}
}

func TestSchemesThatAreRefused(t *testing.T) {
	for name, hex := range map[string]string{
		"nothing":                     "",
		"SHA-1 with RSA":              "300d06092a864886f70d0101050500",
		"SHA-1 with ECDSA":            "300906072a8648ce3d0401",
		"PSS with defaults":           "300d06092a864886f70d01010a3000",
		"PSS without parameters":      "300b06092a864886f70d01010a",
		"PSS, MGF1 with another hash": strings.Replace(identifiers["RSASSA-PSS with SHA2-256"][2:], "04020105", "04020205", 1),
		"something behind":            identifiers["Ed25519"][2:] + "00",
		"Ed448":                       "300506032b6571",
	} {
		if s, err := parseScheme(unhex(t, hex)); err == nil {
			t.Errorf("%s: read as %v", name, s)
		}
	}
	short := unhex(t, identifiers["RSASSA-PSS with SHA2-256"])[1:]
	short[len(short)-1] = 0 // no salt, which the library would read as any salt
	data := slices.Concat([]byte{byte(len(short))}, short, fill(256, 1))
	if err := Verify(testKeys()["RSA"].Public(), AuthDigitalSignature, data, testOctets, Verifying{}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("PSS without salt: %v", err)
	}
}

func TestSHA1IsRefusedUnlessAllowed(t *testing.T) {
	key := testKeys()["RSA"]
	_, old, err := Sign(key, testOctets, Signing{})
	if err != nil {
		t.Fatal(err)
	}
	err = Verify(key.Public(), AuthRSA, old, testOctets, Verifying{})
	if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "SHA-1") {
		t.Errorf("SHA-1: %v", err)
	}
	if err := Verify(key.Public(), AuthRSA, old, testOctets, Verifying{SHA1: true}); err != nil {
		t.Errorf("SHA-1 where it is allowed: %v", err)
	}
	for _, h := range []HashID{HashSHA256, HashSHA384, HashSHA512} {
		signature, err := sign(key, scheme{family: pkcs1, hash: h}, testOctets)
		if err != nil {
			t.Fatal(err)
		}
		if err := Verify(key.Public(), AuthRSA, signature, testOctets, Verifying{}); err != nil {
			t.Errorf("%v in method 1: %v", h, err)
		}
	}
}

func TestWhatCannotBeSigned(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		key  stdcrypto.Signer
		s    Signing
		says string
	}{
		"Ed25519 for an old peer":       {testKeys()["Ed25519"], Signing{}, "SIGNATURE_HASH_ALGORITHMS"},
		"PSS for an old peer":           {testKeys()["RSA"], Signing{PSS: true}, "SIGNATURE_HASH_ALGORITHMS"},
		"P-224 for an old peer":         {other, Signing{}, "P-224"},
		"only SHA-1":                    {testKeys()["RSA"], Signing{PeerHashes: []HashID{HashSHA1}}, "[SHA-1]"},
		"Ed25519 without identity hash": {testKeys()["Ed25519"], Signing{PeerHashes: []HashID{HashSHA256}}, "[identity]"},
	} {
		if _, _, err := Sign(c.key, testOctets, c.s); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, m := range []AuthMethod{0, AuthSharedKey, 3, 13, 255} {
		if err := Verify(testKeys()["RSA"].Public(), m, fill(256, 1), testOctets, Verifying{}); !errors.Is(err, ErrUnsupported) {
			t.Errorf("method %d: %v", m, err)
		}
	}
}

func TestKeyOfAnotherKindIsSaid(t *testing.T) {
	for _, c := range []struct {
		key    string
		method AuthMethod
		data   []byte
		says   string
	}{
		{"P-384", AuthECDSA256, fill(64, 1), "ECDSA on P-384"}, {"RSA", AuthECDSA256, fill(64, 1), "RSA with 2048 bits"},
		{"Ed25519", AuthRSA, fill(256, 1), "Ed25519"}, {"Ed25519", 14, unhex(t, identifiers["ECDSA with SHA2-256"]), "Ed25519"},
		{"P-256", 14, unhex(t, identifiers["Ed25519"]), "ECDSA on P-256"},
	} {
		err := Verify(testKeys()[c.key].Public(), c.method, c.data, testOctets, Verifying{})
		if err == nil || !strings.Contains(err.Error(), "does not go with") || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s, %v: %v", c.key, c.method, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	for name, key := range testKeys() {
		method, data, err := Sign(key, testOctets, Signing{PeerHashes: SignatureHashes()})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(name, uint8(method), data)
	}
	f.Fuzz(func(t *testing.T, name string, method uint8, data []byte) {
		key, ok := testKeys()[name]
		if !ok {
			t.Skip("there is no key of that name")
		}
		if err := Verify(key.Public(), AuthMethod(method), data, []byte("other octets"), Verifying{SHA1: true}); err == nil {
			t.Errorf("accepted what nobody signed: %x", data)
		}
	})
}

// TestRFC4754Vector is RFC 4754 section 8.1: ECDSA-256 over "abc".
func TestRFC4754Vector(t *testing.T) {
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), unhex(t, "04"+
		"2442A5CC0ECD015FA3CA31DC8E2BBC70BF42D60CBCA20085E0822CB04235E970"+
		"6FC98BD7E50211A4A27102FA3549DF79EBCB4BF246B80945CDDFE7D509BBFD7D"))
	if err != nil {
		t.Fatal(err)
	}
	signature := unhex(t, "CB28E0999B9C7715FD0A80D8E47A77079716CBBF917DD72E97566EA1C066957C"+
		"86FA3BB4E26CAD5BF90B7F81899256CE7594BB1EA0C89212748BFF3B3D5B0315")
	if err := Verify(public, AuthECDSA256, signature, []byte("abc"), Verifying{}); err != nil {
		t.Error(err)
	}
	if err := Verify(public, AuthECDSA256, signature, []byte("abd"), Verifying{}); !errors.Is(err, ErrSignature) {
		t.Error(err)
	}
}
