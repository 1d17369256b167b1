package auth

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"net/netip"
	"slices"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// subjectOf is the identity that is a certificate's subject.
func subjectOf(c *x509.Certificate) (Identity, error) {
	return OfPayload(message.ID{Type: message.IDDERASN1DN, Data: c.RawSubject})
}

// Confirms says whether a certificate has an identity: as its subject, or as a DNS name, an address or a mail address in its
// subjectAltName, or as its subjectKeyIdentifier (RFC 4945 section 3.1). Patterns are never confirmed, neither the
// certificate's nor the identity's.
func Confirms(c *x509.Certificate, id Identity) bool {
	if id.IsPattern() {
		return false
	}
	same := func(name string) bool { return equalFold(name, id.data) }
	switch id.kind {
	case message.IDFQDN:
		return slices.ContainsFunc(c.DNSNames, same)
	case message.IDRFC822Addr:
		return slices.ContainsFunc(c.EmailAddresses, same)
	case message.IDIPv4Addr, message.IDIPv6Addr:
		want, _ := netip.AddrFromSlice([]byte(id.data))
		for _, ip := range c.IPAddresses {
			if a, ok := netip.AddrFromSlice(ip); ok && a.Unmap() == want {
				return true
			}
		}
		return false
	case message.IDDERASN1DN:
		subject, err := subjectOf(c)
		return err == nil && subject.Equal(id)
	case message.IDKeyID:
		return len(c.SubjectKeyId) > 0 && bytes.Equal(c.SubjectKeyId, []byte(id.data))
	}
	return false
}

// confirm is Confirms as a refusal, which says what identities there are.
func confirm(c *x509.Certificate, id Identity) *Refusal {
	if Confirms(c, id) {
		return nil
	}
	return &Refusal{Unconfirmed, id.describe(), "one that the certificate has: " + orNothing(identitiesOf(c)), nil}
}

func identitiesOf(c *x509.Certificate) []string {
	var all []string
	if id, err := subjectOf(c); err == nil {
		all = append(all, id.String())
	}
	for _, names := range [][]string{c.DNSNames, c.EmailAddresses} {
		for _, name := range names {
			all = append(all, fmt.Sprintf("%q", name))
		}
	}
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	return all
}

var ipsecIKE = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 17} // RFC 4945 section 5.1.3.12

// checkUsage says whether a certificate may be used to authenticate IKE.
func checkUsage(c *x509.Certificate) *Refusal {
	const signs = x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment
	if c.KeyUsage != 0 && c.KeyUsage&signs == 0 {
		return &Refusal{WrongKey, fmt.Sprintf("the certificate of %s with a key usage that has neither", nameOf(c)),
			"digitalSignature or contentCommitment", nil}
	}
	return checkExtendedUsage(c)
}

// checkExtendedUsage is asked of authorities too, whose extended key usage bounds that of the certificates below.
func checkExtendedUsage(c *x509.Certificate) *Refusal {
	if len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 {
		return nil
	}
	for _, u := range c.ExtKeyUsage {
		if u == x509.ExtKeyUsageAny || u == x509.ExtKeyUsageServerAuth || u == x509.ExtKeyUsageClientAuth {
			return nil
		}
	}
	if slices.ContainsFunc(c.UnknownExtKeyUsage, ipsecIKE.Equal) {
		return nil
	}
	return &Refusal{WrongKey, fmt.Sprintf("the certificate of %s with an extended key usage that has none of these", nameOf(c)),
		"serverAuth, clientAuth, ipsecIKE, any, or no extended key usage", nil}
}
