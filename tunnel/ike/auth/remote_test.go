package auth

import (
	stdcrypto "crypto"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike/crypto"
	"github.com/warrenvpn/warren/tunnel/ike/message"
)

func TestVerifyEachKindOfKey(t *testing.T) {
	root := issue(t, nil, "root", freshKey(t), authority)
	for _, name := range []string{"RSA", "P-256", "P-384", "P-521", "Ed25519"} {
		key := testKeys()[name]
		peer := issue(t, root, "moon", key, host)
		r := &Remote{Authorities: mustAuthorities(t, certsOf(root), nil)}
		for _, pss := range []bool{false, true} {
			l := &Local{ID: mustID(t, "moon.example.org"), KeyPairs: []*KeyPair{{Certificate: peer.cert, Key: key}}, PSS: pss}
			if err := l.check(); err != nil {
				t.Fatal(name, err)
			}
			auth, certs, err := l.sign(Identity{}, testProof())
			if err != nil {
				t.Fatal(name, err)
			}
			if err := r.verify(Identity{}, l.ID, auth, certs, testProof(), now); err != nil {
				t.Errorf("%s, PSS %v: %v", name, pss, err)
			}
			auth.Data = slices.Clone(auth.Data)
			auth.Data[len(auth.Data)-1] ^= 1
			wantReason(t, r.verify(Identity{}, l.ID, auth, certs, testProof(), now), WrongSignature, "CN=moon")
		}
	}
}

// A peer without RFC 7427 and with an RSA key can only use SHA-1.
func TestVerifySHA1(t *testing.T) {
	root := issue(t, nil, "root", freshKey(t), authority)
	peer := issue(t, root, "moon", testKeys()["RSA"], host)
	method, data, err := crypto.Sign(peer.key, testProof().octets, crypto.Signing{})
	if err != nil {
		t.Fatal(err)
	}
	r := &Remote{Authorities: mustAuthorities(t, certsOf(root), nil)}
	verify := func() error {
		return r.verify(Identity{}, mustID(t, "moon.example.org"), authPayload(method, data), payloads(peer), testProof(), now)
	}
	wantReason(t, verify(), WrongMethod, "SHA-1")
	r.SHA1 = true
	if err := verify(); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyIdentity(t *testing.T) {
	w := newWorld(t)
	star := issue(t, w.root, "*", freshKey(t), func(c *x509.Certificate) { host(c); c.DNSNames = []string{"*.example.org"} })
	bare := issue(t, w.root, "", freshKey(t), func(c *x509.Certificate) { host(c); c.Subject = pkix.Name{} })
	for _, c := range []struct {
		pattern string
		claimed Identity
		peer    *entity
		reason  Reason
	}{
		{"", mustID(t, "moon.example.org"), w.moon, 0},
		{"", mustID(t, "MOON.example.org"), w.moon, 0},
		{"*@example.org", mustID(t, "carol@example.org"), w.moon, 0},
		{"192.0.2.0/24", mustID(t, "192.0.2.1"), w.moon, 0},
		{"", mustID(t, "2001:db8::1"), w.moon, 0},
		{"C=CH, O=example, CN=*", mustID(t, "C=CH, O=example, CN=moon"), w.moon, 0},
		{"", payloadOf(t, message.IDKeyID, string(w.middle.cert.SubjectKeyId)), w.moon, Unconfirmed},
		{"sun.example.org", mustID(t, "moon.example.org"), w.moon, WrongIdentity},
		{"", mustID(t, "sun.example.org"), w.moon, Unconfirmed},
		{"", mustID(t, "fqdn:moon"), w.moon, Unconfirmed},
		{"", mustID(t, "fqdn:192.0.2.1"), w.moon, Unconfirmed},
		{"", mustID(t, "dave@example.org"), w.moon, Unconfirmed},
		{"", mustID(t, "192.0.2.2"), w.moon, Unconfirmed},
		{"", mustID(t, "C=CH, O=example, CN=sun"), w.moon, Unconfirmed},
		{"", mustID(t, "CN=moon"), w.moon, Unconfirmed},
		// A web server's certificate with a wildcard is nobody in particular.
		{"", mustID(t, "moon.example.org"), star, Unconfirmed},
		{"*.example.org", payloadOf(t, message.IDFQDN, "*.example.org"), w.moon, Unconfirmed},
		{"", mustID(t, "moon.example.org"), bare, 0},
	} {
		r := &Remote{ID: mustID(t, c.pattern), Authorities: mustAuthorities(t, certsOf(w.root), certsOf(w.middle))}
		err := r.verify(Identity{}, c.claimed, signedBy(t, c.peer.key), payloads(c.peer), testProof(), now)
		switch {
		case c.reason != 0:
			wantReason(t, err, c.reason)
		case err != nil:
			t.Errorf("%v of %v: %v", c.claimed, nameOf(c.peer.cert), err)
		}
	}
	r := &Remote{Authorities: mustAuthorities(t, certsOf(w.root), nil)}
	err := r.verify(Identity{}, mustID(t, "sun.example.org"), signedBy(t, bare.key), payloads(bare), testProof(), now)
	wantReason(t, err, Unconfirmed, "sun.example.org", "moon.example.org", "carol@example.org", "192.0.2.1")
	// Empty subjects would all be the same.
	if _, err := OfPayload(message.ID{Type: message.IDDERASN1DN, Data: bare.cert.RawSubject}); err == nil {
		t.Error("an empty subject is an identity")
	}
}

func TestPatternsAreNotConfirmed(t *testing.T) {
	w := newWorld(t)
	for _, pattern := range []string{"%any", "*.example.org", "*@example.org", "192.0.2.0/24", "C=CH, O=example, CN=*"} {
		if Confirms(w.moon.cert, mustID(t, pattern)) {
			t.Errorf("%s is confirmed", pattern)
		}
	}
}

// publicOnly has a public key to put into a certificate.
type publicOnly struct {
	stdcrypto.Signer
	public stdcrypto.PublicKey
}

func (p publicOnly) Public() stdcrypto.PublicKey { return p.public }

// A long modulus would make each signature expensive to check, so that such certificates are not looked at.
func TestVerifyOversizedKey(t *testing.T) {
	w := newWorld(t)
	huge := publicOnly{public: &rsa.PublicKey{N: new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), maxRSA), big.NewInt(1)), E: 65537}}
	peer, above := issue(t, w.middle, "moon", huge, host), issue(t, w.root, "huge", huge, authority)
	r := &Remote{Authorities: mustAuthorities(t, certsOf(w.root), nil)}
	verify := func(signer *entity, sent ...*entity) error {
		return r.verify(Identity{}, mustID(t, "moon.example.org"), signedBy(t, signer.key), payloads(sent...), testProof(), now)
	}
	wantReason(t, verify(w.moon, peer, w.middle), NoCertificate, "8193 bits")
	wantReason(t, verify(w.moon, w.moon, above), Untrusted, "8193 bits")
	if err := verify(w.moon, w.moon, above, w.middle); err != nil {
		t.Error(err)
	}
	wantReason(t, verify(w.moon, w.moon, w.evilMiddle), Untrusted)
	der, err := x509.MarshalPKIXPublicKey(huge.public)
	if err != nil {
		t.Fatal(err)
	}
	raw := &Remote{ID: mustID(t, "moon"), Keys: []stdcrypto.PublicKey{w.moon.key.Public()}}
	err = raw.verify(Identity{}, mustID(t, "moon"), signedBy(t, w.evilMoon.key), []*message.Cert{{Encoding: message.CertRawPublicKey, Data: der}}, testProof(), now)
	wantReason(t, err, WrongSignature)
}

func TestVerifyKeyIdentifier(t *testing.T) {
	root := issue(t, nil, "root", freshKey(t), authority)
	peer := issue(t, root, "moon", freshKey(t), func(c *x509.Certificate) { host(c); c.SubjectKeyId = []byte{1, 2, 3} })
	r := &Remote{ID: mustID(t, "@#010203"), Authorities: mustAuthorities(t, certsOf(root), nil)}
	if err := r.verify(Identity{}, mustID(t, "@#010203"), signedBy(t, peer.key), payloads(peer), testProof(), now); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyMethodsAndPayloads(t *testing.T) {
	w := newWorld(t)
	moon := mustID(t, "moon.example.org")
	good := signedBy(t, w.moon.key)
	cert := func(e message.CertEncoding, data string) *message.Cert {
		return &message.Cert{Encoding: e, Data: []byte(data)}
	}
	hashAndURL := cert(message.CertHashAndURL, strings.Repeat("h", 20)+"http://192.0.2.9/moon.der")
	many := slices.Repeat(payloads(w.middle), maxPeerCertificates)
	for _, c := range []struct {
		name   string
		auth   *message.Auth
		certs  []*message.Cert
		reason Reason
		text   string
	}{
		{"shared key", &message.Auth{Method: message.AuthSharedKey}, payloads(w.moon, w.middle), WrongMethod, "Shared Key"},
		{"NULL", &message.Auth{Method: message.AuthNull}, payloads(w.moon, w.middle), WrongMethod, "NULL"},
		{"DSS", &message.Auth{Method: message.AuthDSS}, payloads(w.moon, w.middle), WrongMethod, "14"},
		{"method of another key", &message.Auth{Method: message.AuthRSA, Data: make([]byte, 256)}, payloads(w.moon, w.middle), WrongMethod, "ECDSA"},
		{"empty", &message.Auth{Method: message.AuthDigitalSignature}, payloads(w.moon, w.middle), WrongMethod, ""},
		{"signature of another", signedBy(t, w.evilMoon.key), payloads(w.moon, w.middle), WrongSignature, "CN=moon"},
		{"no certificate", good, nil, NoCertificate, "nothing"},
		{"hash and URL", good, []*message.Cert{hashAndURL}, NoCertificate, "never fetched"},
		{"hash and URL before a certificate", good, append([]*message.Cert{hashAndURL}, payloads(w.moon, w.middle)...), NoCertificate, "never fetched"},
		{"hash and URL of the intermediate", good, append(payloads(w.moon), hashAndURL), Untrusted, "never fetched"},
		{"a CRL before the certificate", good, append([]*message.Cert{cert(message.CertCRL, "x")}, payloads(w.moon, w.middle)...), 0, ""},
		{"malformed", good, []*message.Cert{cert(message.CertX509Signature, "0\x82")}, NoCertificate, "malformed"},
		{"PGP", good, []*message.Cert{cert(2, "x")}, NoCertificate, "encoding 2"},
		{"raw key", good, []*message.Cert{rawPayload(t, w.moon.key)}, NoCertificate, "raw"},
		{"broken raw key", good, []*message.Cert{cert(message.CertRawPublicKey, "x")}, NoCertificate, "raw public key"},
		{"too many", good, append(payloads(w.moon), many...), TooMuch, "11 CERT payloads"},
		{"too long", good, append(payloads(w.moon, w.middle), cert(message.CertCRL, strings.Repeat("x", maxPeerBytes))), TooMuch, "bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &Remote{Authorities: mustAuthorities(t, certsOf(w.root), nil)}
			err := r.verify(Identity{}, moon, c.auth, c.certs, testProof(), now)
			if c.reason != 0 {
				wantReason(t, err, c.reason, c.text)
			} else if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func rawPayload(t testing.TB, key stdcrypto.Signer) *message.Cert {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return &message.Cert{Encoding: message.CertRawPublicKey, Data: der}
}

func TestVerifyRawKeys(t *testing.T) {
	moon, other, third := freshKey(t), freshKey(t), freshKey(t)
	self := issue(t, nil, "whoever", moon, nil)
	r := &Remote{ID: mustID(t, "moon"), Keys: []stdcrypto.PublicKey{other.Public(), moon.Public()}}
	if err := r.check(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		id     string
		key    stdcrypto.Signer
		certs  []*message.Cert
		reason Reason
	}{
		{"sent", "moon", moon, []*message.Cert{rawPayload(t, moon)}, 0},
		{"not sent", "moon", moon, nil, 0},
		{"in a certificate", "moon", moon, payloads(self), 0},
		{"another identity", "sun", moon, nil, WrongIdentity},
		{"a stranger", "moon", third, []*message.Cert{rawPayload(t, third)}, Untrusted},
		{"a stranger who sends nothing", "moon", third, nil, WrongSignature},
		{"another's key", "moon", third, []*message.Cert{rawPayload(t, moon)}, WrongSignature},
		{"the other one's signature", "moon", other, []*message.Cert{rawPayload(t, moon)}, WrongSignature},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := r.verify(Identity{}, mustID(t, c.id), signedBy(t, c.key), c.certs, testProof(), now)
			if c.reason != 0 {
				wantReason(t, err, c.reason)
			} else if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestVerifyConfiguredCertificate(t *testing.T) {
	w := newWorld(t)
	self := issue(t, nil, "moon", freshKey(t), host)
	for _, c := range []struct {
		name   string
		remote Remote
		peer   *entity
		certs  []*message.Cert
		reason Reason
		at     time.Time
	}{
		{"self-signed", Remote{Certificates: certsOf(self)}, self, payloads(self), 0, now},
		{"not sent", Remote{Certificates: certsOf(w.root, self)}, self, nil, 0, now},
		{"old", Remote{Certificates: certsOf(self)}, self, payloads(self), NotValid, now.Add(2 * time.Hour)},
		{"another", Remote{Certificates: certsOf(self)}, w.moon, payloads(w.moon), Untrusted, now},
		{"with a chain", Remote{Certificates: certsOf(w.moon), Authorities: mustAuthorities(t, certsOf(w.root), nil)}, w.moon, payloads(w.moon, w.middle), 0, now},
		{"without the chain that is wanted", Remote{Certificates: certsOf(self), Authorities: mustAuthorities(t, certsOf(w.root), nil)}, self, payloads(self), Untrusted, now},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.remote.check(); err != nil {
				t.Fatal(err)
			}
			err := c.remote.verify(Identity{}, mustID(t, "moon.example.org"), signedBy(t, c.peer.key), c.certs, testProof(), c.at)
			if c.reason != 0 {
				wantReason(t, err, c.reason)
			} else if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestRemoteCheck(t *testing.T) {
	w := newWorld(t)
	s, err := NewSecrets(SharedSecret{Secret: Secret("x")})
	if err != nil {
		t.Fatal(err)
	}
	keys := []stdcrypto.PublicKey{w.moon.key.Public()}
	for text, r := range map[string]*Remote{
		"no way":               {},
		"secrets and with key": {Secrets: s, Certificates: certsOf(w.moon)},
		"certificates and":     {ID: mustID(t, "moon"), Keys: keys, Certificates: certsOf(w.moon)},
		"names nobody":         {Keys: keys},
		"P-224":                {ID: mustID(t, "moon"), Keys: []stdcrypto.PublicKey{testKeys()["P-224"].Public()}},
		"more than 8":          {ID: mustID(t, "moon"), Keys: slices.Repeat(keys, 9)},
	} {
		if err := r.check(); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("got %v, want an error with %q", err, text)
		}
	}
}
