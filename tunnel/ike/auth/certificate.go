package auth

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"fmt"
	"time"
)

// LoadCertificates reads one certificate in DER or any number in PEM, in the order of the file. Other blocks in a PEM file
// are passed over.
func LoadCertificates(name string) ([]*x509.Certificate, error) {
	data, err := readFile(name, maxCertFile)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	certs, err := ParseCertificates(data)
	if err != nil {
		return nil, inFile(name, err)
	}
	return certs, nil
}

// ParseCertificates reads what LoadCertificates reads.
func ParseCertificates(data []byte) ([]*x509.Certificate, error) {
	return ofType(data, "certificate", []string{"CERTIFICATE", "X509 CERTIFICATE"}, x509.ParseCertificate)
}

func loadAll[T any](names []string, load func(string) ([]T, error)) (all []T, err error) {
	for _, name := range names {
		some, err := load(name)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// A KeyPair is a certificate of ours, its private key, and the certificates that a peer may need to get from it to an
// authority it trusts.
type KeyPair struct {
	Certificate   *x509.Certificate
	Intermediates []*x509.Certificate
	Key           crypto.Signer
}

// LoadKeyPair reads a certificate, which may have others behind it in its file, its private key, and files with more
// intermediate certificates.
func LoadKeyPair(certificate, key string, intermediates ...string) (*KeyPair, error) {
	certs, err := LoadCertificates(certificate)
	if err != nil {
		return nil, err
	}
	signer, err := LoadPrivateKey(key)
	if err != nil {
		return nil, err
	}
	more, err := loadAll(intermediates, LoadCertificates)
	if err != nil {
		return nil, err
	}
	pair := &KeyPair{Certificate: certs[0], Intermediates: append(certs[1:], more...), Key: signer}
	if err := pair.check(); err != nil {
		return nil, fmt.Errorf("%s and %s: %w", certificate, key, err)
	}
	return pair, nil
}

func (p *KeyPair) check() error {
	if p.Certificate == nil || p.Key == nil {
		return fmt.Errorf("a certificate and its private key are needed")
	}
	if err := checkKey(p.Certificate.PublicKey); err != nil {
		return fmt.Errorf("the certificate of %s: %w", nameOf(p.Certificate), err)
	}
	if !sameKey(p.Certificate.PublicKey, p.Key.Public()) {
		return fmt.Errorf("the private key is not that of the certificate of %s", nameOf(p.Certificate))
	}
	if r := checkUsage(p.Certificate); r != nil {
		return r
	}
	return nil
}

// sent are the certificates to send: ours first, then those that lead upwards, in that order as far as their names say it;
// nothing that signed itself, for a peer takes its trust anchors from nobody.
func (p *KeyPair) sent() []*x509.Certificate {
	sent := []*x509.Certificate{p.Certificate}
	for len(sent) < maxPeerCertificates {
		next := p.issuerOf(sent[len(sent)-1])
		if next == nil || bytes.Equal(next.RawSubject, next.RawIssuer) {
			break
		}
		sent = append(sent, next)
	}
	return sent
}

func (p *KeyPair) issuerOf(c *x509.Certificate) *x509.Certificate {
	for _, i := range p.Intermediates {
		if bytes.Equal(i.RawSubject, c.RawIssuer) && !i.Equal(c) && c.CheckSignatureFrom(i) == nil {
			return i
		}
	}
	return nil
}

// nameOf says whose a certificate is, safe to be printed.
func nameOf(c *x509.Certificate) string {
	if id, err := subjectOf(c); err == nil {
		return fmt.Sprintf("%q", id.String())
	}
	for _, name := range c.DNSNames {
		return fmt.Sprintf("%q", name)
	}
	return fmt.Sprintf("serial number %x", c.SerialNumber)
}

// issuerName says who made a certificate or a CRL.
func issuerName(raw []byte) string {
	if text := textOfDN(string(raw)); text != "" {
		return fmt.Sprintf("%q", text)
	}
	return fmt.Sprintf("issuer %x", raw)
}

// checkTime says whether a certificate is valid at a time.
func checkTime(c *x509.Certificate, now time.Time) *Refusal {
	switch {
	case now.Before(c.NotBefore):
		return &Refusal{NotValid, fmt.Sprintf("%s, valid from %v", nameOf(c), stamp(c.NotBefore)), "one that is valid now, at " + stamp(now), nil}
	case now.After(c.NotAfter):
		return &Refusal{NotValid, fmt.Sprintf("%s, valid until %v", nameOf(c), stamp(c.NotAfter)), "one that is valid now, at " + stamp(now), nil}
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
