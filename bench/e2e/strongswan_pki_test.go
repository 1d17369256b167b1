//go:build linux

package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"
)

// pki is an authority with one authority below it.
type pki struct {
	t         testing.TB
	root, sub issuer
	serial    int64
}

type issuer struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// identity is a certificate and its key, each in PEM.
type identity struct {
	cert, key, public []byte
	x509              *x509.Certificate
}

func newPKI(t testing.TB) *pki {
	p := &pki{t: t}
	p.root = p.authority("Root", nil)
	p.sub = p.authority("Intermediate", &p.root)
	return p
}

func (p *pki) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *pki) authority(name string, by *issuer) issuer {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p.must(err)
	p.serial++
	template := &x509.Certificate{SerialNumber: big.NewInt(p.serial), Subject: pkix.Name{Organization: []string{"Laboratory"}, CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	if by == nil {
		by = &issuer{cert: template, key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, key.Public(), by.key)
	p.must(err)
	cert, err := x509.ParseCertificate(der)
	p.must(err)
	return issuer{cert: cert, key: key}
}

// leaf makes a certificate for a name and, if it is one, an address.
func (p *pki) leaf(by *issuer, name string, key crypto.Signer) identity {
	p.t.Helper()
	return p.until(by, name, key, time.Now().Add(time.Hour))
}

// until is a leaf that is valid up to a time.
func (p *pki) until(by *issuer, name string, key crypto.Signer, end time.Time) identity {
	p.t.Helper()
	p.serial++
	template := &x509.Certificate{SerialNumber: big.NewInt(p.serial), Subject: pkix.Name{Organization: []string{"Laboratory"}, CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: end, KeyUsage: x509.KeyUsageDigitalSignature}
	if addr := net.ParseIP(name); addr != nil {
		template.IPAddresses = []net.IP{addr}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, key.Public(), by.key)
	p.must(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	p.must(err)
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	p.must(err)
	cert, err := x509.ParseCertificate(der)
	p.must(err)
	return identity{cert: inPEM("CERTIFICATE", der), key: inPEM("PRIVATE KEY", private), public: inPEM("PUBLIC KEY", public), x509: cert}
}

// revoke makes an authority's list of what it has revoked.
func (p *pki) revoke(by *issuer, certs ...*x509.Certificate) []byte {
	p.t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	for _, c := range certs {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: time.Now().Add(-time.Minute)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, by.cert, by.key)
	p.must(err)
	return inPEM("X509 CRL", der)
}

func (i *issuer) pem() []byte { return inPEM("CERTIFICATE", i.cert.Raw) }

func inPEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// newKey makes a private key: "rsa", "ed25519", "p256", "p384" or "p521".
func newKey(t testing.TB, kind string) (key crypto.Signer) {
	t.Helper()
	var err error
	switch kind {
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		curves := map[string]elliptic.Curve{"p256": elliptic.P256(), "p384": elliptic.P384(), "p521": elliptic.P521()}
		key, err = ecdsa.GenerateKey(curves[kind], rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}
