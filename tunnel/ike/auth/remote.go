package auth

import (
	stdcrypto "crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike/crypto"
	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// Remote is who a peer may be and how it has to prove it: with secrets, or with keys that authorities, certificates or the
// configuration itself vouch for.
type Remote struct {
	// ID is the peer's identity or a pattern; the zero Identity accepts everybody who can prove who he is.
	ID Identity
	// Secrets has the secrets that peers share with us; nothing else is there then.
	Secrets *Secrets
	// Authorities vouch for peers' certificates.
	Authorities *Authorities
	// Certificates are the only ones that a peer may use. Without Authorities they need no chain.
	Certificates []*x509.Certificate
	// Keys are raw public keys, of which the peer has one (RFC 7670). As they name nobody, ID must not be a pattern.
	Keys []stdcrypto.PublicKey
	// SHA1 accepts signatures over SHA-1 of peers that do not know RFC 7427.
	SHA1 bool
}

// maxKeys bounds the signatures to check of a peer that does not say which key it has.
const maxKeys = 8

func (r *Remote) check() error {
	certified := r.Authorities != nil || len(r.Certificates) > 0
	switch keys := len(r.Keys); {
	case r.Secrets == nil && !certified && keys == 0:
		return errors.New("the peer has no way to prove itself, wanted secrets, authorities, certificates or raw public keys")
	case r.Secrets != nil && (certified || keys > 0):
		return errors.New("the peer is to prove itself with secrets and with keys, wanted one of them")
	case certified && keys > 0:
		return errors.New("the peer is to prove itself with certificates and with raw public keys, wanted one of them")
	case keys > 0 && r.ID.IsPattern():
		return fmt.Errorf("a raw public key names nobody: the peer's identity is %v, wanted one that is no pattern", r.ID)
	case keys > maxKeys || len(r.Certificates) > maxKeys:
		return fmt.Errorf("more than %d certificates or raw public keys of a peer", maxKeys)
	}
	for _, key := range r.Keys {
		if err := checkKey(key); err != nil {
			return fmt.Errorf("the peer's raw public key: %w", err)
		}
	}
	for _, c := range r.Certificates {
		if err := checkKey(c.PublicKey); err != nil {
			return fmt.Errorf("the peer's certificate of %s: %w", nameOf(c), err)
		}
	}
	return nil
}

// accepts says whether somebody may be the peer.
func (r *Remote) accepts(id Identity) error {
	if r.ID.Match(id) == NoMatch {
		return &Refusal{WrongIdentity, id.describe(), r.ID.describe(), nil}
	}
	return nil
}

func (r *Remote) requests() []*message.CertReq {
	switch {
	case r.Authorities != nil:
		return []*message.CertReq{{Encoding: message.CertX509Signature, Authority: r.Authorities.requests()}}
	case len(r.Keys) > 0:
		return []*message.CertReq{{Encoding: message.CertRawPublicKey}}
	}
	return nil
}

// verify checks a peer's proof of an identity. own is ours.
func (r *Remote) verify(own, id Identity, auth *message.Auth, certs []*message.Cert, p proof, now time.Time) error {
	if err := r.accepts(id); err != nil {
		return err
	}
	if r.Secrets != nil {
		return r.verifySecret(own, id, auth, p)
	}
	switch auth.Method {
	case message.AuthRSA, message.AuthECDSA256, message.AuthECDSA384, message.AuthECDSA521, message.AuthDigitalSignature:
	default:
		return &Refusal{WrongMethod, auth.Method.String(), "a digital signature (methods 1, 9, 10, 11 and 14)", nil}
	}
	e, refusal := gather(certs)
	if refusal != nil {
		return refusal
	}
	if len(r.Keys) > 0 {
		return r.verifyRaw(e, auth, p)
	}
	leaf, refusal := r.leaf(id, e)
	if refusal != nil {
		return refusal
	}
	if refusal = r.verifySignature(leaf.PublicKey, nameOf(leaf), auth, p); refusal != nil {
		return refusal
	}
	if refusal = r.vouch(leaf, e, now); refusal != nil {
		return refusal
	}
	return nil
}

func (r *Remote) verifySecret(own, id Identity, auth *message.Auth, p proof) error {
	if auth.Method != message.AuthSharedKey {
		return &Refusal{WrongMethod, auth.Method.String(), message.AuthSharedKey.String(), nil}
	}
	secret, err := r.Secrets.Find(own, id)
	if err != nil {
		return err
	}
	if !crypto.VerifySharedKey(p.prf, secret, p.octets, auth.Data) {
		return &Refusal{WrongSecret, "that of " + id.describe(), "ours for it: the two differ", nil}
	}
	return nil
}

// leaf finds the certificate that the peer signs with, and checks what is cheap to check. The first one that it sent must be
// that (RFC 7296 section 3.6); if it sent none it is one that is configured.
func (r *Remote) leaf(id Identity, e *evidence) (*x509.Certificate, *Refusal) {
	certs := e.certs
	if len(certs) == 0 && len(e.keys) == 0 && !e.broken {
		certs = r.Certificates
		for i, c := range certs {
			if Confirms(c, id) {
				certs = certs[i:]
				break
			}
		}
	}
	if len(certs) == 0 || e.broken {
		offered := e.unusable
		for _, key := range e.keys {
			offered = append(offered, "raw: "+describeKey(key))
		}
		return nil, &Refusal{NoCertificate, orNothing(offered), "an X.509 certificate", nil}
	}
	leaf := certs[0]
	if len(r.Certificates) > 0 && !containsCert(r.Certificates, leaf) {
		var names []string
		for _, c := range r.Certificates {
			names = append(names, describeCert(c))
		}
		return nil, &Refusal{Untrusted, describeCert(leaf), "one that is configured: " + orNothing(names), nil}
	}
	if err := checkKey(leaf.PublicKey); err != nil {
		return nil, &Refusal{WrongKey, "the certificate of " + nameOf(leaf), "a key that is accepted", err}
	}
	if refusal := confirm(leaf, id); refusal != nil {
		return nil, refusal
	}
	return leaf, checkUsage(leaf)
}

func containsCert(certs []*x509.Certificate, c *x509.Certificate) bool {
	for _, one := range certs {
		if one.Equal(c) {
			return true
		}
	}
	return false
}

func describeCert(c *x509.Certificate) string {
	return fmt.Sprintf("the certificate of %s with the SHA-256 fingerprint %x", nameOf(c), sha256.Sum256(c.Raw))
}

// vouch says whether a certificate may be believed.
func (r *Remote) vouch(leaf *x509.Certificate, e *evidence, now time.Time) *Refusal {
	if r.Authorities == nil {
		return checkTime(leaf, now)
	}
	var others []*x509.Certificate
	if len(e.certs) > 0 {
		others = e.certs[1:]
	}
	refusal := r.Authorities.verify(leaf, others, now)
	if refusal != nil && refusal.Reason == Untrusted && len(e.unusable) > 0 {
		refusal.Offered += ", beside what is of no use: " + orNothing(e.unusable)
	}
	return refusal
}

func (r *Remote) verifySignature(key stdcrypto.PublicKey, whose string, auth *message.Auth, p proof) *Refusal {
	method, data := authData(auth)
	err := crypto.Verify(key, method, data, p.octets, crypto.Verifying{SHA1: r.SHA1})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, crypto.ErrSignature):
		return &Refusal{WrongSignature, "one that is not by the key of " + whose, "its signature of this exchange", err}
	}
	return &Refusal{WrongMethod, auth.Method.String() + " with the key of " + whose, "one that is accepted", err}
}

// verifyRaw checks a signature by one of the raw public keys.
func (r *Remote) verifyRaw(e *evidence, auth *message.Auth, p proof) error {
	offered := e.keys
	if len(offered) == 0 && len(e.certs) > 0 {
		// A certificate around the same key proves no less.
		offered = []stdcrypto.PublicKey{e.certs[0].PublicKey}
	}
	var refusal *Refusal
	for _, key := range r.Keys {
		if len(offered) > 0 && !sameKey(offered[0], key) {
			continue
		}
		if refusal = r.verifySignature(key, describeKey(key), auth, p); refusal == nil {
			return nil
		}
	}
	if refusal != nil {
		return refusal
	}
	var wanted []string
	for _, key := range r.Keys {
		wanted = append(wanted, describeKey(key))
	}
	return &Refusal{Untrusted, describeKey(offered[0]), "a key that is configured: " + orNothing(wanted), nil}
}

func describeKey(key stdcrypto.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return fmt.Sprintf("a key of type %T", key)
	}
	return fmt.Sprintf("the public key with the SHA-256 fingerprint %x", sha256.Sum256(der))
}

// evidence is what a peer sent in CERT payloads.
type evidence struct {
	certs []*x509.Certificate
	keys  []stdcrypto.PublicKey
	// unusable says what else there was.
	unusable []string
	// broken: the first certificate, which is to be the peer's, is among what is not usable.
	broken bool
}

// gather parses CERT payloads, within bounds.
func gather(certs []*message.Cert) (*evidence, *Refusal) {
	size := 0
	for _, c := range certs {
		size += len(c.Data)
	}
	if len(certs) > maxPeerCertificates || size > maxPeerBytes {
		return nil, &Refusal{TooMuch, fmt.Sprintf("%d CERT payloads with %d bytes", len(certs), size),
			fmt.Sprintf("at most %d with %d bytes", maxPeerCertificates, maxPeerBytes), nil}
	}
	e := &evidence{}
	for _, c := range certs {
		if problem := e.add(c); problem != "" {
			carriesKey := c.Encoding != message.CertCRL && c.Encoding != message.CertOCSP
			e.broken = e.broken || carriesKey && len(e.certs) == 0
			e.unusable = append(e.unusable, problem)
		}
	}
	return e, nil
}

// add takes in one payload, or says why not.
func (e *evidence) add(c *message.Cert) (problem string) {
	switch c.Encoding {
	case message.CertX509Signature:
		cert, err := x509.ParseCertificate(c.Data)
		if err != nil {
			return "a certificate that is malformed (" + printable(err.Error()) + ")"
		}
		if key, ok := oversized(cert); ok {
			return fmt.Sprintf("a certificate with an RSA key of %d bits, over %d", key, maxRSA)
		}
		e.certs = append(e.certs, cert)
	case message.CertRawPublicKey:
		key, err := publicKeyOf(c.Data)
		if err != nil {
			return "a raw public key that is refused (" + printable(err.Error()) + ")"
		}
		e.keys = append(e.keys, key)
	case message.CertHashAndURL, message.CertHashAndURLBundle:
		return c.Encoding.String() + ", which is never fetched"
	default:
		return c.Encoding.String()
	}
	return ""
}
