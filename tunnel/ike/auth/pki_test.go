package auth

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike/crypto"
	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// The tests' clock.
var now = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

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
	k, err = rsa.GenerateKey(rand.Reader, 1024)
	must("RSA-1024", k, err)
	for _, c := range []elliptic.Curve{elliptic.P224(), elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		k, err := ecdsa.GenerateKey(c, rand.Reader)
		must(c.Params().Name, k, err)
	}
	_, e, err := ed25519.GenerateKey(rand.Reader)
	must("Ed25519", e, err)
	return keys
})

// freshKey is one of its own.
func freshKey(t testing.TB) stdcrypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var serials atomic.Int64

// entity is somebody with a certificate.
type entity struct {
	cert *x509.Certificate
	key  stdcrypto.Signer
}

// issue makes a certificate; by nil is oneself. mod changes the ordinary.
func issue(t testing.TB, by *entity, cn string, key stdcrypto.Signer, mod func(*x509.Certificate)) *entity {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serials.Add(1)), Subject: pkix.Name{Country: []string{"CH"}, Organization: []string{"example"}, CommonName: cn},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), BasicConstraintsValid: true,
	}
	if mod != nil {
		mod(template)
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &entity{c, key}
}

func authority(c *x509.Certificate) {
	c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
}

// host gives a certificate the usual names.
func host(c *x509.Certificate) {
	c.KeyUsage = x509.KeyUsageDigitalSignature
	c.DNSNames = []string{"moon.example.org"}
	c.EmailAddresses = []string{"carol@example.org"}
	c.IPAddresses = []net.IP{net.IPv4(192, 0, 2, 1), net.ParseIP("2001:db8::1")}
}

// crlOf makes a CRL with what mod says.
func crlOf(t testing.TB, by *entity, mod func(*x509.RevocationList)) []byte {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(time.Hour)}
	if mod != nil {
		mod(list)
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, by.cert, by.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func mustCRL(t testing.TB, by *entity, mod func(*x509.RevocationList)) *CRL {
	t.Helper()
	crls, err := ParseCRLs(crlOf(t, by, mod))
	if err != nil {
		t.Fatal(err)
	}
	return crls[0]
}

func revoking(who ...*entity) func(*x509.RevocationList) {
	return func(l *x509.RevocationList) {
		for _, e := range who {
			l.RevokedCertificateEntries = append(l.RevokedCertificateEntries,
				x509.RevocationListEntry{SerialNumber: e.cert.SerialNumber, RevocationTime: now.Add(-time.Minute)})
		}
	}
}

func certsOf(of ...*entity) (certs []*x509.Certificate) {
	for _, e := range of {
		certs = append(certs, e.cert)
	}
	return certs
}

func payloads(of ...*entity) (certs []*message.Cert) {
	for _, e := range of {
		certs = append(certs, &message.Cert{Encoding: message.CertX509Signature, Data: e.cert.Raw})
	}
	return certs
}

func mustAuthorities(t testing.TB, anchors, intermediates []*x509.Certificate, crls ...*CRL) *Authorities {
	t.Helper()
	a, err := NewAuthorities(anchors, intermediates, crls)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func testProof() proof {
	return proof{prf: crypto.PRFHMACSHA256, octets: []byte("what a side authenticates"), hashes: crypto.SignatureHashes()}
}

// signedBy is an AUTH payload by a key.
func signedBy(t testing.TB, key stdcrypto.Signer) *message.Auth {
	t.Helper()
	p := testProof()
	method, data, err := crypto.Sign(key, p.octets, crypto.Signing{PeerHashes: p.hashes})
	if err != nil {
		t.Fatal(err)
	}
	return authPayload(method, data)
}

// wantReason wants a refusal with a reason and a text in it.
func wantReason(t testing.TB, err error, reason Reason, texts ...string) {
	t.Helper()
	var r *Refusal
	if !errors.As(err, &r) || r.Reason != reason || !errors.Is(err, reason) {
		t.Fatalf("got %v, want a refusal because of %v", err, reason)
	}
	if r.Offered == "" || r.Wanted == "" {
		t.Errorf("%v does not say what was offered and wanted", err)
	}
	for _, text := range texts {
		if !bytes.Contains([]byte(err.Error()), []byte(text)) {
			t.Errorf("%v does not say %q", err, text)
		}
	}
}

// write makes a file of PEM blocks, alternating type and content.
func write(t testing.TB, name string, blocks ...any) string {
	t.Helper()
	var b bytes.Buffer
	for i := 0; i < len(blocks); i += 2 {
		if err := pem.Encode(&b, &pem.Block{Type: blocks[i].(string), Bytes: blocks[i+1].([]byte)}); err != nil {
			t.Fatal(err)
		}
	}
	return writeRaw(t, name, b.Bytes())
}

func writeRaw(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// extension is a critical extension that nobody knows.
func extension(id asn1.ObjectIdentifier) pkix.Extension {
	return pkix.Extension{Id: id, Critical: true, Value: []byte{0x05, 0x00}}
}
