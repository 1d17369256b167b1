package auth

import (
	stdcrypto "crypto"
	"crypto/sha1"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/warrenvpn/warren/tunnel/ike/crypto"
	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// Local is who we are to a peer, and how we prove it: with exactly one of secrets, certificates and raw public keys.
type Local struct {
	// ID is our identity. The zero Identity takes the subject of the first certificate; a peer may then ask for any identity that
	// all certificates have.
	ID Identity
	// Secrets has the secret that we share with the peer.
	Secrets *Secrets
	// KeyPairs are certificates that have the identity. The peer's CERTREQ and SIGNATURE_HASH_ALGORITHMS decide between them;
	// where they do not, the first is taken.
	KeyPairs []*KeyPair
	// Keys are private keys whose public halves the peer knows (RFC 7670).
	Keys []stdcrypto.Signer
	// PSS asks for RSASSA-PSS in place of RSASSA-PKCS1-v1_5 with RSA keys; a peer must know RFC 7427 then.
	PSS bool

	candidates []candidate // of KeyPairs or Keys, made by check
	bySubject  bool        // ID was not configured
}

// A candidate is a key that we could sign with.
type candidate struct {
	key   stdcrypto.Signer
	certs []*message.Cert // to be sent with it
	// leadsTo are the hashes by which a peer may say that it trusts an authority of the chain; none for a raw public key.
	leadsTo map[[sha1.Size]byte]bool
}

// check completes a Local.
func (l *Local) check() error {
	ways := 0
	for _, there := range []bool{l.Secrets != nil, len(l.KeyPairs) > 0, len(l.Keys) > 0} {
		if there {
			ways++
		}
	}
	if ways != 1 {
		return fmt.Errorf("our side has %d ways to prove itself, wanted one of secrets, certificates and raw public keys", ways)
	}
	l.candidates = nil
	for _, key := range l.Keys {
		if err := checkKey(key.Public()); err != nil {
			return fmt.Errorf("our raw public key: %w", err)
		}
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			return fmt.Errorf("our raw public key: %w", err)
		}
		l.candidates = append(l.candidates, candidate{key: key, certs: []*message.Cert{{Encoding: message.CertRawPublicKey, Data: der}}})
	}
	for _, p := range l.KeyPairs {
		if err := p.check(); err != nil {
			return fmt.Errorf("our side: %w", err)
		}
		l.candidates = append(l.candidates, p.candidate())
	}
	if len(l.KeyPairs) > 0 {
		if err := l.identify(); err != nil {
			return err
		}
	}
	if l.ID.IsPattern() {
		return fmt.Errorf("our identity is %v, wanted one that is no pattern", l.ID)
	}
	return nil
}

// identify sees that all certificates have our identity: the peer would refuse us otherwise. A distinguished name gets the
// encoding which it has in the certificate.
func (l *Local) identify() error {
	l.bySubject = l.bySubject || l.ID.IsAny()
	if subject, err := subjectOf(l.KeyPairs[0].Certificate); l.ID.IsAny() || err == nil && subject.Equal(l.ID) {
		if err != nil {
			return errors.New("our identity is to be our certificate's subject, which is empty; wanted a local identity")
		}
		l.ID = subject
	}
	for _, p := range l.KeyPairs {
		if r := confirm(p.Certificate, l.ID); r != nil {
			return fmt.Errorf("our side: %w", r)
		}
	}
	return nil
}

// is says whether an identity is ours.
func (l *Local) is(id Identity) bool {
	if id.Equal(l.ID) {
		return true
	}
	return l.bySubject && !slices.ContainsFunc(l.KeyPairs, func(p *KeyPair) bool { return confirm(p.Certificate, id) != nil })
}

// sign proves our identity to a peer, which may be a pattern where it is not known.
func (l *Local) sign(peer Identity, p proof) (*message.Auth, []*message.Cert, error) {
	if l.Secrets != nil {
		secret, err := l.Secrets.Find(l.ID, peer)
		if err != nil {
			return nil, nil, err
		}
		return &message.Auth{Method: message.AuthSharedKey, Data: crypto.SharedKey(p.prf, secret, p.octets)}, nil, nil
	}
	var failures []error
	for _, c := range l.preferred(p.requests) {
		method, data, err := crypto.Sign(c.key, p.octets, crypto.Signing{PeerHashes: p.hashes, PSS: l.PSS})
		if err == nil {
			return authPayload(method, data), c.certs, nil
		}
		failures = append(failures, err)
	}
	return nil, nil, fmt.Errorf("proving %v: %w", l.ID, errors.Join(failures...))
}

// preferred are the candidates, first those whose certificates lead to an authority that the peer trusts.
func (l *Local) preferred(requests []*message.CertReq) []candidate {
	var first, others []candidate
	for _, c := range l.candidates {
		if c.answers(requests) {
			first = append(first, c)
		} else {
			others = append(others, c)
		}
	}
	return append(first, others...)
}

func (c *candidate) answers(requests []*message.CertReq) bool {
	for _, r := range requests {
		if r.Encoding != message.CertX509Signature {
			continue
		}
		for _, h := range r.Hashes() {
			if c.leadsTo[h] {
				return true
			}
		}
	}
	return false
}

func (p *KeyPair) candidate() candidate {
	c := candidate{key: p.Key, leadsTo: make(map[[sha1.Size]byte]bool)}
	sent := p.sent()
	for _, cert := range sent {
		c.certs = append(c.certs, &message.Cert{Encoding: message.CertX509Signature, Data: cert.Raw})
		c.leadsTo[keyHash(cert)] = true
	}
	if top := p.issuerOf(sent[len(sent)-1]); top != nil {
		c.leadsTo[keyHash(top)] = true
	}
	return c
}
