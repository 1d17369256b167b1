package auth

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The lengths of RSA moduli that are accepted, in bits.
const (
	minRSA = 2048
	maxRSA = 8192
)

// checkKey says what is wrong with a public key: nil if signatures can be verified with it.
func checkKey(key crypto.PublicKey) error {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if n := key.N.BitLen(); n < minRSA || n > maxRSA {
			return fmt.Errorf("RSA with %d bits, wanted %d to %d", n, minRSA, maxRSA)
		}
		return nil
	case *ecdsa.PublicKey:
		if !slices.Contains([]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}, key.Curve) {
			return fmt.Errorf("ECDSA on %s, wanted P-256, P-384 or P-521", key.Params().Name)
		}
		return nil
	case ed25519.PublicKey:
		return nil
	}
	return fmt.Errorf("a key of type %T, wanted RSA, ECDSA or Ed25519", key)
}

// LoadPrivateKey reads a private key: PKCS#8, PKCS#1 or SEC 1, PEM or DER, without a passphrase. Errors name the file and
// show nothing of the key.
func LoadPrivateKey(name string) (crypto.Signer, error) {
	data, err := readFile(name, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	key, err := ParsePrivateKey(data)
	if err != nil {
		return nil, inFile(name, err)
	}
	return key, nil
}

// ParsePrivateKey reads what LoadPrivateKey reads.
func ParsePrivateKey(data []byte) (crypto.Signer, error) {
	blocks, err := pemBlocks(data)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	if blocks == nil {
		return signerOf(data)
	}
	var keys []*pem.Block
	for _, b := range blocks {
		switch {
		case b.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(b.Headers["Proc-Type"], "ENCRYPTED"):
			return nil, errors.New("private key: it has a passphrase, wanted one without (openssl pkey -in ... -out ...)")
		case b.Type == "PRIVATE KEY" || b.Type == "RSA PRIVATE KEY" || b.Type == "EC PRIVATE KEY":
			keys = append(keys, b)
		}
	}
	switch len(keys) {
	case 0:
		return nil, fmt.Errorf("private key: there is none, %s; wanted PKCS#8, PKCS#1 or SEC 1", holdings(blocks))
	case 1:
		return signerOf(keys[0].Bytes)
	}
	return nil, fmt.Errorf("private key: there are %d, wanted one", len(keys))
}

var errNoPrivateKey = errors.New("private key: neither PKCS#8, nor PKCS#1, nor SEC 1, or of a kind that is not supported; " +
	"wanted RSA, ECDSA on P-256, P-384 or P-521, or Ed25519")

// signerOf parses DER. The library's errors are left out, for they are about the bytes of the key.
func signerOf(der []byte) (crypto.Signer, error) {
	var key any
	var err error
	if key, err = x509.ParsePKCS8PrivateKey(der); err != nil {
		if key, err = x509.ParsePKCS1PrivateKey(der); err != nil {
			if key, err = x509.ParseECPrivateKey(der); err != nil {
				return nil, errNoPrivateKey
			}
		}
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errNoPrivateKey
	}
	if err := checkKey(signer.Public()); err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	return signer, nil
}

// LoadPublicKey reads a raw public key: SubjectPublicKeyInfo or PKCS#1, PEM or DER.
func LoadPublicKey(name string) (crypto.PublicKey, error) {
	data, err := readFile(name, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	keys, err := ofType(data, "public key", []string{"PUBLIC KEY", "RSA PUBLIC KEY"}, publicKeyOf)
	switch {
	case err != nil:
		return nil, inFile(name, err)
	case len(keys) > 1:
		return nil, inFile(name, fmt.Errorf("%d public keys, wanted one", len(keys)))
	}
	return keys[0], nil
}

// ParsePublicKey reads a raw public key written into a configuration: SubjectPublicKeyInfo as 0x and hexadecimal digits or
// as 0s and Base64.
func ParsePublicKey(text string) (crypto.PublicKey, error) {
	var der []byte
	var err error
	if digits, ok := strings.CutPrefix(text, "0x"); ok {
		der, err = hex.DecodeString(digits)
	} else if chars, ok := strings.CutPrefix(text, "0s"); ok {
		der, err = base64.StdEncoding.DecodeString(chars)
	} else {
		err = errors.New("it begins neither with 0x nor with 0s")
	}
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	return publicKeyOf(der)
}

func publicKeyOf(der []byte) (crypto.PublicKey, error) {
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		rsaKey, rsaErr := x509.ParsePKCS1PublicKey(der)
		if rsaErr != nil {
			return nil, fmt.Errorf("public key: %w", err)
		}
		key = rsaKey
	}
	if err := checkKey(key); err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	return key, nil
}

// sameKey compares public keys by their SubjectPublicKeyInfo.
func sameKey(a, b crypto.PublicKey) bool {
	x, errX := x509.MarshalPKIXPublicKey(a)
	y, errY := x509.MarshalPKIXPublicKey(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// oversized says whether checking a signature with a certificate's key would be too much work.
func oversized(c *x509.Certificate) (bits int, is bool) {
	key, ok := c.PublicKey.(*rsa.PublicKey)
	if !ok {
		return 0, false
	}
	return key.N.BitLen(), key.N.BitLen() > maxRSA
}
