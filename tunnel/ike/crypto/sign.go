package crypto

import (
	stdcrypto "crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
)

// SignatureHashes is what to announce in SIGNATURE_HASH_ALGORITHMS: the hashes that Verify accepts in method 14.
func SignatureHashes() []HashID { return []HashID{HashSHA256, HashSHA384, HashSHA512, HashIdentity} }

// A Signing says how to sign.
type Signing struct {
	// PeerHashes is what the peer announced in SIGNATURE_HASH_ALGORITHMS: empty if it announced nothing, so that it may not
	// know method 14.
	PeerHashes []HashID
	// PSS asks for RSASSA-PSS in place of RSASSA-PKCS1-v1_5 with an RSA key. It needs method 14.
	PSS bool
}

// Sign makes the data of an AUTH payload with a private key: method 14 for a peer that knows it (RFC 7427), else the method
// that goes with the key: 1 with SHA-1 for RSA, as peers without RFC 7427 expect (RFC 7296 section 3.8), 9 to 11 for ECDSA.
func Sign(key stdcrypto.Signer, octets []byte, s Signing) (AuthMethod, []byte, error) {
	if len(s.PeerHashes) == 0 {
		return signClassic(key, octets, s)
	}
	scheme, err := chooseScheme(key.Public(), s)
	if err != nil {
		return 0, nil, err
	}
	id, err := scheme.marshal(form{true, true})
	if err != nil {
		return 0, nil, err
	}
	signature, err := sign(key, scheme, octets)
	if err != nil {
		return 0, nil, err
	}
	return AuthDigitalSignature, slices.Concat([]byte{byte(len(id))}, id, signature), nil
}

// chooseScheme picks the scheme of method 14: the hash that fits the key's strength, else the next stronger one, else a
// weaker one, as far as the peer knows it.
func chooseScheme(public stdcrypto.PublicKey, s Signing) (scheme, error) {
	var f family
	var hashes []HashID
	switch key := public.(type) {
	case *rsa.PublicKey:
		f, hashes = pkcs1, byStrength(key.N.BitLen(), 3072, 7680)
		if s.PSS {
			f = pss
		}
	case *ecdsa.PublicKey:
		f, hashes = ecdsaDER, byStrength(key.Params().BitSize, 256, 384)
	case ed25519.PublicKey:
		f, hashes = ed25519Pure, []HashID{HashIdentity}
	default:
		return scheme{}, fmt.Errorf("signing with a key of type %T: %w", public, ErrUnsupported)
	}
	for _, h := range hashes {
		if slices.Contains(s.PeerHashes, h) {
			return scheme{family: f, hash: h, salt: saltOf(h)}, nil
		}
	}
	return scheme{}, fmt.Errorf("the peer verifies signatures with %v, and a key for %v needs one of %v", s.PeerHashes, f, hashes)
}

func saltOf(h HashID) int {
	if std := h.std(); std != 0 {
		return std.Size()
	}
	return 0
}

// byStrength orders the hashes for a key: SHA2-256 up to the first number of bits, SHA2-384 up to the second.
func byStrength(bits, upTo256, upTo384 int) []HashID {
	switch {
	case bits <= upTo256:
		return []HashID{HashSHA256, HashSHA384, HashSHA512}
	case bits <= upTo384:
		return []HashID{HashSHA384, HashSHA512, HashSHA256}
	}
	return []HashID{HashSHA512, HashSHA384, HashSHA256}
}

func signClassic(key stdcrypto.Signer, octets []byte, s Signing) (AuthMethod, []byte, error) {
	switch public := key.Public().(type) {
	case *rsa.PublicKey:
		if s.PSS {
			return 0, nil, fmt.Errorf("the peer announced no SIGNATURE_HASH_ALGORITHMS, which RSASSA-PSS needs")
		}
		signature, err := sign(key, scheme{family: pkcs1, hash: HashSHA1}, octets)
		return AuthRSA, signature, err
	case *ecdsa.PublicKey:
		for method, c := range classicECDSA {
			if c.curve != public.Curve {
				continue
			}
			der, err := sign(key, scheme{family: ecdsaDER, hash: c.hash}, octets)
			if err != nil {
				return 0, nil, err
			}
			raw, err := rawECDSA(der, c.size())
			return method, raw, err
		}
		return 0, nil, fmt.Errorf("signing on the curve %s: %w", public.Params().Name, ErrUnsupported)
	case ed25519.PublicKey:
		return 0, nil, fmt.Errorf("the peer announced no SIGNATURE_HASH_ALGORITHMS, which Ed25519 needs")
	default:
		return 0, nil, fmt.Errorf("signing with a key of type %T: %w", public, ErrUnsupported)
	}
}

// sign signs octets. ECDSA signatures have their DER form.
func sign(key stdcrypto.Signer, s scheme, octets []byte) (signature []byte, err error) {
	digest, opts := octets, stdcrypto.SignerOpts(stdcrypto.Hash(0))
	if h := s.hash.std(); h != 0 {
		digest, opts = digestOf(h, octets), h
		if s.family == pss {
			opts = &rsa.PSSOptions{SaltLength: s.salt, Hash: h}
		}
	}
	if signature, err = key.Sign(rand.Reader, digest, opts); err != nil {
		return nil, fmt.Errorf("signing %v: %w", s, err)
	}
	return signature, nil
}

func digestOf(h stdcrypto.Hash, octets []byte) []byte {
	d := h.New()
	d.Write(octets)
	return d.Sum(nil)
}

// A fixedECDSA is a method of RFC 4754, whose signatures are r and s side by side, each as long as the curve's order.
type fixedECDSA struct {
	curve elliptic.Curve
	hash  HashID
}

func (f fixedECDSA) size() int { return (f.curve.Params().N.BitLen() + 7) / 8 }

var classicECDSA = map[AuthMethod]fixedECDSA{
	AuthECDSA256: {elliptic.P256(), HashSHA256},
	AuthECDSA384: {elliptic.P384(), HashSHA384},
	AuthECDSA521: {elliptic.P521(), HashSHA512},
}

type ecdsaSignature struct{ R, S *big.Int }

func rawECDSA(der []byte, size int) ([]byte, error) {
	var rs ecdsaSignature
	if rest, err := asn1.Unmarshal(der, &rs); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("the signer made a malformed ECDSA signature")
	}
	raw := make([]byte, 2*size)
	rs.R.FillBytes(raw[:size])
	rs.S.FillBytes(raw[size:])
	return raw, nil
}
