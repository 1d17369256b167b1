package crypto

import (
	stdcrypto "crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
)

// ErrSignature says that a signature is not that of the key over these octets.
var ErrSignature = errors.New("the signature is wrong")

// maxRSA bounds the work of a verification, in bits of modulus.
const maxRSA = 8192

// A Verifying says what Verify accepts beyond the ordinary.
type Verifying struct {
	// SHA1 accepts signatures over SHA-1 in method 1, which peers without RFC 7427 make. RFC 8247 section 3.2 says MUST NOT.
	SHA1 bool
}

// Verify checks the data of an AUTH payload with a public key: methods 1, 9, 10, 11 and 14. Method 14 is accepted with the
// hashes of SignatureHashes. The error says what was used and what would do; it is an ErrSignature if the method was fine.
func Verify(key stdcrypto.PublicKey, method AuthMethod, data, octets []byte, v Verifying) error {
	switch method {
	case AuthDigitalSignature:
		return verifyNamed(key, data, octets)
	case AuthRSA:
		return verifyRSA(key, data, octets, v)
	case AuthECDSA256, AuthECDSA384, AuthECDSA521:
		return verifyClassicECDSA(key, method, data, octets)
	}
	return fmt.Errorf("%v is no method with a public key that is known: %w; there are 1, 9, 10, 11 and 14", method, ErrUnsupported)
}

func mismatch(what fmt.Stringer, key stdcrypto.PublicKey) error {
	return fmt.Errorf("%v does not go with the peer's key, which is %s", what, describeKey(key))
}

func describeKey(key stdcrypto.PublicKey) string {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA with %d bits", key.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA on " + key.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return fmt.Sprintf("a %T", key)
}

// verifyNamed takes method 14's data apart: the length of the AlgorithmIdentifier in one byte, the identifier, the
// signature (RFC 7427 section 3).
func verifyNamed(key stdcrypto.PublicKey, data, octets []byte) error {
	if len(data) < 1 || len(data) < 1+int(data[0]) {
		return fmt.Errorf("the signature's AlgorithmIdentifier is cut short")
	}
	s, err := parseScheme(data[1 : 1+int(data[0])])
	if err != nil {
		return err
	}
	signature := data[1+int(data[0]):]
	valid := false
	switch key := key.(type) {
	case *rsa.PublicKey:
		if s.family != pkcs1 && s.family != pss {
			return mismatch(s, key)
		}
		return verifyRSAScheme(key, s, octets, signature)
	case *ecdsa.PublicKey:
		if s.family != ecdsaDER {
			return mismatch(s, key)
		}
		valid = ecdsa.VerifyASN1(key, digestOf(s.hash.std(), octets), signature)
	case ed25519.PublicKey:
		if s.family != ed25519Pure {
			return mismatch(s, key)
		}
		valid = ed25519.Verify(key, octets, signature)
	default:
		return mismatch(s, key)
	}
	if !valid {
		return fmt.Errorf("%v: %w", s, ErrSignature)
	}
	return nil
}

func verifyRSAScheme(key *rsa.PublicKey, s scheme, octets, signature []byte) error {
	if key.N.BitLen() > maxRSA {
		return fmt.Errorf("an RSA key of %d bits: %w; at most %d", key.N.BitLen(), ErrUnsupported, maxRSA)
	}
	h := s.hash.std()
	digest := digestOf(h, octets)
	var err error
	if s.family == pss {
		// A salt length of 0 means "any" to the library; no salt at all is nothing that RFC 7427 needs.
		if s.salt == 0 {
			return fmt.Errorf("RSASSA-PSS without salt: %w", ErrUnsupported)
		}
		err = rsa.VerifyPSS(key, h, digest, signature, &rsa.PSSOptions{SaltLength: s.salt, Hash: h})
	} else {
		err = rsa.VerifyPKCS1v15(key, h, digest, signature)
	}
	if err != nil {
		return fmt.Errorf("%v: %w", s, ErrSignature)
	}
	return nil
}

// verifyRSA checks method 1, which does not say its hash.
func verifyRSA(key stdcrypto.PublicKey, signature, octets []byte, v Verifying) error {
	public, ok := key.(*rsa.PublicKey)
	if !ok {
		return mismatch(AuthRSA, key)
	}
	var err error
	for _, h := range []HashID{HashSHA256, HashSHA384, HashSHA512, HashSHA1} {
		if err = verifyRSAScheme(public, scheme{family: pkcs1, hash: h}, octets, signature); err == nil {
			if h == HashSHA1 && !v.SHA1 {
				return fmt.Errorf("the signature of method 1 uses SHA-1, which is refused unless it is allowed: %w; "+
					"a peer that knows RFC 7427 would use SHA-2", ErrUnsupported)
			}
			return nil
		}
		if !errors.Is(err, ErrSignature) {
			return err
		}
	}
	return fmt.Errorf("RSASSA-PKCS1-v1_5 (method 1): %w", ErrSignature)
}

func verifyClassicECDSA(key stdcrypto.PublicKey, method AuthMethod, signature, octets []byte) error {
	c := classicECDSA[method]
	public, ok := key.(*ecdsa.PublicKey)
	if !ok || public.Curve != c.curve {
		return mismatch(method, key)
	}
	size := c.size()
	if len(signature) != 2*size {
		return fmt.Errorf("%v: a signature of %d bytes in place of %d: %w", method, len(signature), 2*size, ErrSignature)
	}
	der, err := asn1.Marshal(ecdsaSignature{new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])})
	if err != nil {
		return fmt.Errorf("%v: %w", method, err)
	}
	if !ecdsa.VerifyASN1(public, digestOf(c.hash.std(), octets), der) {
		return fmt.Errorf("%v: %w", method, ErrSignature)
	}
	return nil
}
