package auth

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"
)

// A CRL is a certificate revocation list (RFC 5280 section 5): a complete one, of the authority that issued the certificates.
type CRL struct {
	list    *x509.RevocationList
	from    string // the file's name
	revoked map[string]time.Time

	mu sync.Mutex
	// signed remembers for public keys of authorities whether it is their signature, since a list may be long. Only
	// authorities that are trusted are asked for, so that the map stays small.
	signed map[[sha256.Size]byte]bool
}

// LoadCRLs reads one CRL in DER or any number in PEM. Whether they are current is seen when they are used.
func LoadCRLs(name string) ([]*CRL, error) {
	data, err := readFile(name, maxCRLFile)
	if err != nil {
		return nil, fmt.Errorf("CRL: %w", err)
	}
	crls, err := ParseCRLs(data)
	if err != nil {
		return nil, inFile(name, err)
	}
	for _, c := range crls {
		c.from = name
	}
	return crls, nil
}

// ParseCRLs reads what LoadCRLs reads.
func ParseCRLs(data []byte) ([]*CRL, error) {
	return ofType(data, "CRL", []string{"X509 CRL", "CRL"}, parseCRL)
}

var (
	oidCRLNumber     = asn1.ObjectIdentifier{2, 5, 29, 20}
	oidDeltaCRL      = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidAuthorityKey  = asn1.ObjectIdentifier{2, 5, 29, 35}
	oidDistribution  = asn1.ObjectIdentifier{2, 5, 29, 28}
	oidReason        = asn1.ObjectIdentifier{2, 5, 29, 21}
	oidInvalidity    = asn1.ObjectIdentifier{2, 5, 29, 24}
	errCRLPart       = errors.New("it lists a part of what is revoked only (an issuing distribution point), wanted a complete one")
	errCRLDelta      = errors.New("it is a delta CRL, wanted a complete one")
	errCRLIndirect   = errors.New("it is an indirect CRL or has critical extensions that are not known, wanted one of the issuer itself")
	errCRLNextUpdate = errors.New("it does not say its next update")
)

func parseCRL(der []byte) (*CRL, error) {
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, err
	}
	if list.NextUpdate.IsZero() {
		return nil, errCRLNextUpdate
	}
	for _, e := range list.Extensions {
		switch {
		case e.Id.Equal(oidDeltaCRL):
			return nil, errCRLDelta
		case e.Id.Equal(oidDistribution):
			return nil, errCRLPart
		case e.Critical && !e.Id.Equal(oidCRLNumber) && !e.Id.Equal(oidAuthorityKey):
			return nil, errCRLIndirect
		}
	}
	c := &CRL{list: list, from: "CRL", revoked: make(map[string]time.Time), signed: make(map[[sha256.Size]byte]bool)}
	for i := range list.RevokedCertificateEntries {
		entry := &list.RevokedCertificateEntries[i]
		for _, e := range entry.Extensions {
			if e.Critical && !e.Id.Equal(oidReason) && !e.Id.Equal(oidInvalidity) {
				return nil, errCRLIndirect
			}
		}
		c.revoked[serial(entry.SerialNumber)] = entry.RevocationTime
	}
	return c, nil
}

func serial(n *big.Int) string { return n.String() }

// isBy says whether an authority made the list.
func (c *CRL) isBy(issuer *x509.Certificate) bool {
	if !bytes.Equal(c.list.RawIssuer, issuer.RawSubject) {
		return false
	}
	id := sha256.Sum256(issuer.Raw)
	c.mu.Lock()
	defer c.mu.Unlock()
	is, known := c.signed[id]
	if !known {
		is = c.list.CheckSignatureFrom(issuer) == nil
		c.signed[id] = is
	}
	return is
}

// newer says which of two lists of an authority counts.
func (c *CRL) newer(o *CRL) bool {
	if c.list.Number != nil && o.list.Number != nil {
		if d := c.list.Number.Cmp(o.list.Number); d != 0 {
			return d > 0
		}
	}
	return c.list.ThisUpdate.After(o.list.ThisUpdate)
}

// checkRevocation says whether the issuer's CRL has a certificate.
func checkRevocation(crls []*CRL, cert, issuer *x509.Certificate, now time.Time) *Refusal {
	var current *CRL
	for _, c := range crls {
		if c.isBy(issuer) && (current == nil || c.newer(current)) {
			current = c
		}
	}
	offered := fmt.Sprintf("the certificate of %s, serial number %x", nameOf(cert), cert.SerialNumber)
	wanted := "a current CRL of its issuer " + nameOf(issuer)
	if current == nil {
		return &Refusal{Unknown, offered, wanted, errors.New("none is configured")}
	}
	// That a list is old hides nothing of what it has.
	if at, ok := current.revoked[serial(cert.SerialNumber)]; ok {
		return &Refusal{Revoked, offered, "one that is not revoked", fmt.Errorf("%s: revoked at %s", current.from, stamp(at))}
	}
	switch {
	case now.Before(current.list.ThisUpdate):
		return &Refusal{Unknown, offered, wanted, fmt.Errorf("%s: it is of %s, and now is %s", current.from, stamp(current.list.ThisUpdate), stamp(now))}
	case now.After(current.list.NextUpdate):
		return &Refusal{Unknown, offered, wanted, fmt.Errorf("%s: it is stale: its next update was due at %s, and now is %s", current.from, stamp(current.list.NextUpdate), stamp(now))}
	}
	return nil
}
