package ike_test

import (
	stdcrypto "crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike"
	"github.com/warrenvpn/warren/tunnel/ike/auth"
	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// The machine with the credentials that an engine gives it.

// must takes what cannot fail here.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// holder is somebody with a certificate.
type holder struct {
	cert *x509.Certificate
	key  stdcrypto.Signer
}

var serial int64

// certify makes a certificate, of an authority or of a host with a name; by is nil for oneself.
func certify(by *holder, name string, key stdcrypto.Signer) *holder {
	serial++
	c := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{Organization: []string{"example"}, CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true}
	if strings.Contains(name, ".") {
		c.DNSNames, c.KeyUsage = []string{name}, x509.KeyUsageDigitalSignature
		c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 3, 6, 1, 4, 1, 99999, 1}, Value: make([]byte, 1200)}} // for fragments
	} else {
		c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	}
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der := must(x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer))
	return &holder{must(x509.ParseCertificate(der)), key}
}

func ecdsaKey(c elliptic.Curve) stdcrypto.Signer { return must(ecdsa.GenerateKey(c, rand.Reader)) }

func ed25519Key() stdcrypto.Signer {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return must(key, err)
}

func identity(s string) auth.Identity { return must(auth.ParseIdentity(s)) }

// Certificates below an intermediate one, and raw public keys, of each kind; the gateway takes whoever has a name of the
// domain, and is asked for by its name in other letters.
func TestCertificatesAndKeys(t *testing.T) {
	root := certify(nil, "root", ecdsaKey(elliptic.P384()))
	middle := certify(root, "middle", ecdsaKey(elliptic.P256()))
	sun := certify(middle, "sun.example.org", ecdsaKey(elliptic.P256()))
	trusted := must(auth.NewAuthorities([]*x509.Certificate{root.cert}, nil, nil))
	chain := []*x509.Certificate{middle.cert}
	for name, key := range map[string]stdcrypto.Signer{
		"RSA": must(rsa.GenerateKey(rand.Reader, 2048)), "ECDSA P-256": ecdsaKey(elliptic.P256()), "ECDSA P-384": ecdsaKey(elliptic.P384()),
		"ECDSA P-521": ecdsaKey(elliptic.P521()), "Ed25519": ed25519Key(),
	} {
		for _, pss := range []bool{false, true} {
			if pss && name != "RSA" {
				continue
			}
			moon := certify(middle, "moon.example.org", key)
			mine := &auth.KeyPair{Certificate: moon.cert, Intermediates: chain, Key: key}
			m := ike.Meet(t, must(auth.New(auth.Config{
				Local:  auth.Local{ID: identity("moon.example.org"), KeyPairs: []*auth.KeyPair{mine}, PSS: pss},
				Remote: auth.Remote{ID: identity("SUN.example.org"), Authorities: trusted},
			})), must(auth.New(auth.Config{
				Local:  auth.Local{KeyPairs: []*auth.KeyPair{{Certificate: sun.cert, Intermediates: chain, Key: sun.key}}, ID: identity("sun.example.org")},
				Remote: auth.Remote{ID: identity("*.example.org"), Authorities: trusted},
			})))
			if !m.Up || m.Fragments < 4 || m.Seen.String() != "moon.example.org" {
				t.Errorf("%s: up %v, %d fragments, %v\nmoon %v\nsun %v", name, m.Up, m.Fragments, m.Seen, m.Moon, m.Sun)
			}
		}
		m := ike.Meet(t, must(auth.New(auth.Config{
			Local:  auth.Local{ID: identity("moon.example.org"), Keys: []stdcrypto.Signer{key}},
			Remote: auth.Remote{ID: identity("sun.example.org"), Keys: []stdcrypto.PublicKey{sun.key.Public()}},
		})), must(auth.New(auth.Config{
			Local:  auth.Local{ID: identity("sun.example.org"), Keys: []stdcrypto.Signer{sun.key}},
			Remote: auth.Remote{ID: identity("moon.example.org"), Keys: []stdcrypto.PublicKey{key.Public()}},
		})))
		if !m.Up {
			t.Errorf("raw %s key: moon %v\nsun %v", name, m.Moon, m.Sun)
		}
	}
}

// claiming is somebody who claims to be another.
type claiming struct {
	*auth.Credentials
	id message.ID
}

func (c claiming) LocalID() message.ID { return c.id }

// Who is refused is told so, and the log of the side that refuses says what was offered and what was wanted.
func TestRefusedCredentials(t *testing.T) {
	root, other := certify(nil, "root", ecdsaKey(elliptic.P256())), certify(nil, "other", ecdsaKey(elliptic.P256()))
	sun := certify(root, "sun.example.org", ecdsaKey(elliptic.P256()))
	revoked := certify(root, "moon.example.org", ecdsaKey(elliptic.P256()))
	list := must(x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour),
		NextUpdate: time.Now().Add(time.Hour), RevokedCertificateEntries: []x509.RevocationListEntry{
			{SerialNumber: revoked.cert.SerialNumber, RevocationTime: time.Now()}}}, root.cert, root.key))
	crls := must(auth.ParseCRLs(list))
	for _, tc := range []struct {
		name, claims, remote string
		moon                 *holder
		want                 []string // in sun's log
	}{
		{"stranger's authority", "moon.example.org", "*.example.org", certify(other, "moon.example.org", ecdsaKey(elliptic.P256())), []string{"other", "root"}},
		{"another's name", "mars.example.org", "*.example.org", certify(root, "moon.example.org", ecdsaKey(elliptic.P256())), []string{"mars.example.org", "moon.example.org"}},
		{"not wanted", "moon.example.org", "*.example.com", certify(root, "moon.example.org", ecdsaKey(elliptic.P256())), []string{"moon.example.org", "*.example.com"}},
		{"revoked", "moon.example.org", "*.example.org", revoked, []string{"revoked"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			moon := must(auth.New(auth.Config{
				Local:  auth.Local{ID: identity("moon.example.org"), KeyPairs: []*auth.KeyPair{{Certificate: tc.moon.cert, Key: tc.moon.key}}},
				Remote: auth.Remote{ID: identity("sun.example.org"), Authorities: must(auth.NewAuthorities([]*x509.Certificate{root.cert}, nil, nil))},
			}))
			m := ike.Meet(t, claiming{moon, must(identity(tc.claims).Payload())}, must(auth.New(auth.Config{
				Local: auth.Local{KeyPairs: []*auth.KeyPair{{Certificate: sun.cert, Key: sun.key}}, ID: identity("sun.example.org")},
				Remote: auth.Remote{ID: identity(tc.remote),
					Authorities: must(auth.NewAuthorities([]*x509.Certificate{root.cert}, nil, crls))},
			})))
			said := func(logs []ike.Log, words ...string) bool {
				return slices.ContainsFunc(logs, func(l ike.Log) bool {
					return l.Err != nil && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(l.Err.Error(), w) })
				})
			}
			if m.Up || !said(m.Sun, tc.want...) || !said(m.Moon, "AUTHENTICATION_FAILED") {
				t.Errorf("up %v, wanted %q of sun\nmoon %v\nsun %v", m.Up, tc.want, m.Moon, m.Sun)
			}
		})
	}
}
