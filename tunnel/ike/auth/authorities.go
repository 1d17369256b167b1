package auth

import (
	"bytes"
	"crypto/sha1"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// What an unauthenticated peer can make us do: certificates to parse, bytes of them, signatures to check between them.
const (
	maxPeerCertificates = 10
	maxPeerBytes        = 64 << 10
	maxPeerChecks       = 32
)

// Authorities are whom certificates are believed from: trust anchors, intermediate certificates that peers need not send,
// and CRLs.
type Authorities struct {
	anchors, intermediates []*x509.Certificate
	crls                   []*CRL
	roots                  *x509.CertPool
}

// NewAuthorities makes certificates trust anchors, whether they signed themselves or not. With any CRL, each certificate
// below an anchor needs one.
func NewAuthorities(anchors, intermediates []*x509.Certificate, crls []*CRL) (*Authorities, error) {
	if len(anchors) == 0 {
		return nil, errors.New("authorities: there is no trust anchor")
	}
	a := &Authorities{slices.Clone(anchors), slices.Clone(intermediates), slices.Clone(crls), x509.NewCertPool()}
	for _, c := range slices.Concat(anchors, intermediates) {
		if c.Version >= 3 && !(c.BasicConstraintsValid && c.IsCA) {
			return nil, fmt.Errorf("authorities: the certificate of %s is not that of an authority (basic constraints)", nameOf(c))
		}
		if c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0 {
			return nil, fmt.Errorf("authorities: the certificate of %s has a key usage without keyCertSign", nameOf(c))
		}
	}
	for _, c := range anchors {
		a.roots.AddCert(c)
	}
	return a, nil
}

// LoadAuthorities reads files: of trust anchors, of intermediate certificates, of CRLs.
func LoadAuthorities(anchors, intermediates, crls []string) (*Authorities, error) {
	top, err := loadAll(anchors, LoadCertificates)
	if err != nil {
		return nil, err
	}
	middle, err := loadAll(intermediates, LoadCertificates)
	if err != nil {
		return nil, err
	}
	lists, err := loadAll(crls, LoadCRLs)
	if err != nil {
		return nil, err
	}
	a, err := NewAuthorities(top, middle, lists)
	if err != nil {
		return nil, inFile(strings.Join(slices.Concat(anchors, intermediates), ", "), err)
	}
	return a, nil
}

// requests is the content of a CERTREQ payload: the SHA-1 hashes of the anchors' SubjectPublicKeyInfo (RFC 7296 section 3.7).
func (a *Authorities) requests() []byte {
	var all []byte
	seen := make(map[[sha1.Size]byte]bool)
	for _, c := range a.anchors {
		if h := keyHash(c); !seen[h] {
			seen[h] = true
			all = append(all, h[:]...)
		}
	}
	return all
}

func keyHash(c *x509.Certificate) [sha1.Size]byte { return sha1.Sum(c.RawSubjectPublicKeyInfo) }

// verify finds a chain from a peer's certificate to an anchor, with what the peer sent along.
func (a *Authorities) verify(leaf *x509.Certificate, sent []*x509.Certificate, now time.Time) *Refusal {
	if r := checkTime(leaf, now); r != nil {
		return r
	}
	below, r := a.vouched(sent)
	if r != nil {
		return r
	}
	pool := x509.NewCertPool()
	for _, c := range below {
		pool.AddCert(c)
	}
	// The library would want one certain extended key usage; checkExtendedUsage wants one of ours.
	chains, err := leaf.Verify(x509.VerifyOptions{Roots: a.roots, Intermediates: pool, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return a.noChain(leaf, sent, now, err)
	}
	for _, chain := range chains {
		if r = a.checkChain(chain, now); r == nil {
			return nil
		}
	}
	return r
}

// vouched returns what of the intermediate certificates has a signature of an anchor, or of one which has. Nobody who is not
// vouched for can make us look for chains.
func (a *Authorities) vouched(sent []*x509.Certificate) ([]*x509.Certificate, *Refusal) {
	good := slices.Clone(a.anchors)
	pending := slices.Concat(a.intermediates, sent)
	checks := 0
	for i := 0; i < len(good); i++ {
		var rest []*x509.Certificate
		for _, c := range pending {
			if !c.IsCA || !issued(good[i], c) {
				rest = append(rest, c)
				continue
			}
			if checks++; checks > maxPeerChecks+len(a.intermediates) {
				return nil, &Refusal{TooMuch, "certificates that take too many signatures to check",
					fmt.Sprintf("a chain that takes at most %d", maxPeerChecks), nil}
			}
			if c.CheckSignatureFrom(good[i]) == nil {
				good = append(good, c)
			} else {
				rest = append(rest, c)
			}
		}
		pending = rest
	}
	return good[len(a.anchors):], nil
}

// issued says whether an authority may have issued a certificate, by their names and key identifiers.
func issued(issuer, c *x509.Certificate) bool {
	return bytes.Equal(issuer.RawSubject, c.RawIssuer) &&
		(len(issuer.SubjectKeyId) == 0 || len(c.AuthorityKeyId) == 0 || bytes.Equal(issuer.SubjectKeyId, c.AuthorityKeyId))
}

// checkChain checks what the library does not: the first certificate is the peer's, the last one an anchor.
func (a *Authorities) checkChain(chain []*x509.Certificate, now time.Time) *Refusal {
	for _, c := range chain[1:] {
		if r := checkExtendedUsage(c); r != nil {
			return r
		}
	}
	if len(a.crls) == 0 {
		return nil
	}
	for i, c := range chain[:len(chain)-1] {
		if r := checkRevocation(a.crls, c, chain[i+1], now); r != nil {
			return r
		}
	}
	return nil
}

// noChain explains why there is none.
func (a *Authorities) noChain(leaf *x509.Certificate, sent []*x509.Certificate, now time.Time, err error) *Refusal {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil {
		if r := checkTime(invalid.Cert, now); r != nil {
			return r
		}
	}
	offered := fmt.Sprintf("the certificate of %s, issued by %s", nameOf(leaf), issuerName(leaf.RawIssuer))
	if len(sent) > 0 {
		offered += fmt.Sprintf(", with %d others", len(sent))
	}
	var names []string
	for _, c := range a.anchors {
		names = append(names, nameOf(c))
	}
	return &Refusal{Untrusted, offered, "a chain to an authority that is trusted: " + orNothing(names), libraryError(err)}
}

// libraryError keeps of the library's errors what is safe to be printed and does not repeat what the refusal says.
func libraryError(err error) error {
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return errors.New("there is no such chain of valid signatures")
	}
	return fmt.Errorf("%s", printable(err.Error()))
}

// printable takes what is not visible out of a text that a peer may have had a part in.
func printable(s string) string {
	const most = 300
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), most)]
}
