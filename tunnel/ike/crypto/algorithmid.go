package crypto

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
)

// Object identifiers of signature schemes and hashes (RFC 7427 appendix A, RFC 8410, RFC 4055).
var (
	oidEd25519 = asn1.ObjectIdentifier{1, 3, 101, 112}
	oidPSS     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}
	oidMGF1    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 8}
)

// A family is a kind of signature that method 14 names with a hash.
type family uint8

const (
	pkcs1 family = iota + 1
	pss
	ecdsaDER
	ed25519Pure
)

func (f family) String() string {
	return [...]string{pkcs1: "RSASSA-PKCS1-v1_5", pss: "RSASSA-PSS", ecdsaDER: "ECDSA", ed25519Pure: "Ed25519"}[f]
}

// A scheme is what an AlgorithmIdentifier says.
type scheme struct {
	family family
	hash   HashID
	salt   int // length in bytes, of PSS
}

func (s scheme) String() string {
	if s.family == ed25519Pure {
		return s.family.String()
	}
	return fmt.Sprintf("%v with %v", s.family, s.hash)
}

// String names the hash.
func (h HashID) String() string {
	switch h {
	case HashSHA1:
		return "SHA-1"
	case HashSHA256:
		return "SHA2-256"
	case HashSHA384:
		return "SHA2-384"
	case HashSHA512:
		return "SHA2-512"
	case HashIdentity:
		return "identity"
	}
	return fmt.Sprintf("hash %d", uint16(h))
}

// std returns Go's name of the hash; zero for one that is not implemented and for the identity.
func (h HashID) std() stdcrypto.Hash {
	switch h {
	case HashSHA1:
		return stdcrypto.SHA1
	case HashSHA256:
		return stdcrypto.SHA256
	case HashSHA384:
		return stdcrypto.SHA384
	case HashSHA512:
		return stdcrypto.SHA512
	}
	return 0
}

// The identifiers of SHA-2 hashes and of the schemes that end in a number for the hash.
var named = []struct {
	hash                  HashID
	digest, pkcs1, ecdsaW asn1.ObjectIdentifier
}{
	{HashSHA256, sha2OID(1), pkcs1OID(11), ecdsaOID(2)},
	{HashSHA384, sha2OID(2), pkcs1OID(12), ecdsaOID(3)},
	{HashSHA512, sha2OID(3), pkcs1OID(13), ecdsaOID(4)},
}

func sha2OID(n int) asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, n}
}
func pkcs1OID(n int) asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, n} }
func ecdsaOID(n int) asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, n} }

// pssParameters are RFC 4055's. What is left out means SHA-1, which is refused.
type pssParameters struct {
	Hash    pkix.AlgorithmIdentifier `asn1:"optional,explicit,tag:0"`
	MGF     pkix.AlgorithmIdentifier `asn1:"optional,explicit,tag:1"`
	Salt    int                      `asn1:"optional,explicit,tag:2,default:20"`
	Trailer int                      `asn1:"optional,explicit,tag:3,default:1"`
}

// A form says whether the parameters of RSA's and the hashes' identifiers are NULL or left out. RFC 4055 section 2.1 has both
// accepted and NULL sent.
type form struct{ outer, inner bool }

var forms = []form{{true, true}, {true, false}, {false, true}, {false, false}}

func identifier(id asn1.ObjectIdentifier, null bool) pkix.AlgorithmIdentifier {
	if null {
		return pkix.AlgorithmIdentifier{Algorithm: id, Parameters: asn1.NullRawValue}
	}
	return pkix.AlgorithmIdentifier{Algorithm: id}
}

// marshal gives the AlgorithmIdentifier of a scheme with a SHA-2 hash, in a form of RFC 7427 appendix A.
func (s scheme) marshal(f form) ([]byte, error) {
	if s.family == ed25519Pure {
		return asn1.Marshal(identifier(oidEd25519, false))
	}
	for _, n := range named {
		if n.hash != s.hash {
			continue
		}
		switch s.family {
		case pkcs1:
			return asn1.Marshal(identifier(n.pkcs1, f.outer))
		case ecdsaDER:
			return asn1.Marshal(identifier(n.ecdsaW, false))
		case pss:
			return marshalPSS(identifier(n.digest, f.outer), identifier(n.digest, f.inner), s.salt)
		}
	}
	return nil, fmt.Errorf("signing %v: %w", s, ErrUnsupported)
}

func marshalPSS(digest, mask pkix.AlgorithmIdentifier, salt int) ([]byte, error) {
	m, err := asn1.Marshal(mask)
	if err != nil {
		return nil, err
	}
	p, err := asn1.Marshal(pssParameters{
		Hash: digest,
		MGF:  pkix.AlgorithmIdentifier{Algorithm: oidMGF1, Parameters: asn1.RawValue{FullBytes: m}},
		Salt: salt, Trailer: 1,
	})
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(pkix.AlgorithmIdentifier{Algorithm: oidPSS, Parameters: asn1.RawValue{FullBytes: p}})
}

// parseScheme reads an AlgorithmIdentifier. Schemes with SHA-1 are not among those it knows. What it says is held against the
// bytes that say so, since the library overlooks some that are wrong.
func parseScheme(der []byte) (scheme, error) {
	s, err := readScheme(der)
	if err != nil {
		return scheme{}, err
	}
	for _, f := range forms {
		if b, err := s.marshal(f); err == nil && bytes.Equal(b, der) {
			return s, nil
		}
	}
	return scheme{}, fmt.Errorf("the AlgorithmIdentifier of %v is malformed", s)
}

func readScheme(der []byte) (scheme, error) {
	var id pkix.AlgorithmIdentifier
	if rest, err := asn1.Unmarshal(der, &id); err != nil || len(rest) > 0 {
		return scheme{}, fmt.Errorf("the signature's AlgorithmIdentifier is malformed")
	}
	switch {
	case id.Algorithm.Equal(oidEd25519):
		return scheme{family: ed25519Pure, hash: HashIdentity}, nil
	case id.Algorithm.Equal(oidPSS):
		return parsePSS(id.Parameters.FullBytes)
	}
	for _, n := range named {
		switch {
		case id.Algorithm.Equal(n.pkcs1):
			return scheme{family: pkcs1, hash: n.hash}, nil
		case id.Algorithm.Equal(n.ecdsaW):
			return scheme{family: ecdsaDER, hash: n.hash}, nil
		}
	}
	return scheme{}, fmt.Errorf("signature algorithm %v: %w", id.Algorithm, ErrUnsupported)
}

func parsePSS(der []byte) (scheme, error) {
	var p pssParameters
	if rest, err := asn1.Unmarshal(der, &p); err != nil || len(rest) > 0 {
		return scheme{}, fmt.Errorf("the parameters of RSASSA-PSS are malformed")
	}
	var inner pkix.AlgorithmIdentifier
	if !p.MGF.Algorithm.Equal(oidMGF1) || p.Trailer != 1 || p.Salt < 0 {
		return scheme{}, fmt.Errorf("RSASSA-PSS with mask generation function %v, trailer %d and %d bytes of salt: %w",
			p.MGF.Algorithm, p.Trailer, p.Salt, ErrUnsupported)
	}
	if _, err := asn1.Unmarshal(p.MGF.Parameters.FullBytes, &inner); err != nil || !inner.Algorithm.Equal(p.Hash.Algorithm) {
		return scheme{}, fmt.Errorf("RSASSA-PSS whose mask generation function uses another hash: %w", ErrUnsupported)
	}
	for _, n := range named {
		if p.Hash.Algorithm.Equal(n.digest) {
			return scheme{family: pss, hash: n.hash, salt: p.Salt}, nil
		}
	}
	return scheme{}, fmt.Errorf("RSASSA-PSS with hash %v: %w; there are SHA2-256, SHA2-384 and SHA2-512", p.Hash.Algorithm, ErrUnsupported)
}
