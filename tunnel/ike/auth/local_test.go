package auth

import (
	stdcrypto "crypto"
	"crypto/x509"
	"strings"
	"testing"

	"github.com/warrenvpn/warren/tunnel/ike/crypto"
	"github.com/warrenvpn/warren/tunnel/ike/message"
)

func certReq(e message.CertEncoding, of ...*entity) *message.CertReq {
	r := &message.CertReq{Encoding: e}
	for _, a := range of {
		h := keyHash(a.cert)
		r.Authority = append(r.Authority, h[:]...)
	}
	return r
}

// The peer's CERTREQ and hashes decide between our certificates.
func TestSignChoosesCertificate(t *testing.T) {
	w := newWorld(t)
	other := issue(t, nil, "other root", freshKey(t), authority)
	first := &KeyPair{Certificate: w.moon.cert, Intermediates: certsOf(w.middle, w.root), Key: w.moon.key}
	edKey := issue(t, other, "moon", testKeys()["Ed25519"], host)
	second := &KeyPair{Certificate: edKey.cert, Intermediates: certsOf(other), Key: edKey.key}
	l := &Local{ID: mustID(t, "moon.example.org"), KeyPairs: []*KeyPair{first, second}}
	if err := l.check(); err != nil {
		t.Fatal(err)
	}
	x509sig := message.CertX509Signature
	for _, c := range []struct {
		name     string
		requests []*message.CertReq
		hashes   []crypto.HashID
		want     *KeyPair
	}{
		{"nothing asked", nil, crypto.SignatureHashes(), first},
		{"the root", []*message.CertReq{certReq(x509sig, w.root)}, crypto.SignatureHashes(), first},
		{"the intermediate", []*message.CertReq{certReq(x509sig, w.middle)}, crypto.SignatureHashes(), first},
		{"the other root", []*message.CertReq{certReq(x509sig, w.evilRoot), certReq(x509sig, other)}, crypto.SignatureHashes(), second},
		{"somebody else", []*message.CertReq{certReq(x509sig, w.evilRoot)}, crypto.SignatureHashes(), first},
		{"another encoding", []*message.CertReq{certReq(message.CertCRL, other)}, crypto.SignatureHashes(), first},
		{"the other root, without Ed25519", []*message.CertReq{certReq(x509sig, other)}, []crypto.HashID{crypto.HashSHA256}, first},
		{"no hashes", []*message.CertReq{certReq(x509sig, other)}, nil, first},
	} {
		p := testProof()
		p.requests, p.hashes = c.requests, c.hashes
		auth, certs, err := l.sign(Identity{}, p)
		if err != nil || string(certs[0].Data) != string(c.want.Certificate.Raw) {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		method, data := authData(auth)
		if err := crypto.Verify(c.want.Key.Public(), method, data, p.octets, crypto.Verifying{}); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	l = &Local{ID: l.ID, KeyPairs: l.KeyPairs[1:]}
	if err := l.check(); err != nil {
		t.Fatal(err)
	}
	p := testProof()
	p.hashes = nil
	if _, _, err := l.sign(Identity{}, p); err == nil || !strings.Contains(err.Error(), "SIGNATURE_HASH_ALGORITHMS") {
		t.Errorf("Ed25519 for a peer without RFC 7427: %v", err)
	}
}

func TestSignWithRawKey(t *testing.T) {
	key := testKeys()["Ed25519"]
	l := &Local{ID: mustID(t, "moon"), Keys: []stdcrypto.Signer{key}}
	if err := l.check(); err != nil {
		t.Fatal(err)
	}
	auth, certs, err := l.sign(Identity{}, testProof())
	if err != nil || len(certs) != 1 || certs[0].Encoding != message.CertRawPublicKey {
		t.Fatal(certs, err)
	}
	r := &Remote{ID: l.ID, Keys: []stdcrypto.PublicKey{key.Public()}}
	if err := r.verify(Identity{}, l.ID, auth, certs, testProof(), now); err != nil {
		t.Fatal(err)
	}
}

func TestLocalIdentity(t *testing.T) {
	w := newWorld(t)
	pair := &KeyPair{Certificate: w.moon.cert, Key: w.moon.key}
	for id, want := range map[string]string{"": "C=CH, O=example, CN=moon", "c=ch, O=Example, CN=Moon": "C=CH, O=example, CN=moon", "moon.example.org": "moon.example.org"} {
		l := &Local{ID: mustID(t, id), KeyPairs: []*KeyPair{pair}}
		if err := l.check(); err != nil || l.ID.String() != want {
			t.Errorf("%q became %v, %v", id, l.ID, err)
		}
		if p, err := l.ID.Payload(); err != nil || p.Type == message.IDDERASN1DN && string(p.Data) != string(w.moon.cert.RawSubject) {
			t.Errorf("%q is not encoded as in the certificate, %v", id, err)
		}
	}
	s, err := NewSecrets(SharedSecret{Secret: Secret("x")})
	if err != nil {
		t.Fatal(err)
	}
	mixed := &KeyPair{Certificate: w.moon.cert, Key: w.middle.key}
	for text, l := range map[string]*Local{
		"sun.example.org":       {ID: mustID(t, "sun.example.org"), KeyPairs: []*KeyPair{pair}},
		"not that of":           {KeyPairs: []*KeyPair{mixed}},
		"our identity is %any":  {Secrets: s},
		"our identity is *.org": {ID: mustID(t, "*.org"), Secrets: s},
		"0 ways":                {ID: mustID(t, "moon")},
		"2 ways":                {ID: mustID(t, "moon"), Secrets: s, KeyPairs: []*KeyPair{pair}},
		"P-224":                 {ID: mustID(t, "moon"), Keys: []stdcrypto.Signer{testKeys()["P-224"]}},
	} {
		if err := l.check(); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("got %v, want %q", err, text)
		}
	}
}

func TestRequests(t *testing.T) {
	w := newWorld(t)
	again := &entity{w.root.cert, nil}
	r := &Remote{Authorities: mustAuthorities(t, certsOf(w.root, again, w.evilRoot), nil)}
	got := r.requests()
	if len(got) != 1 || string(got[0].Authority) != string(certReq(message.CertX509Signature, w.root, w.evilRoot).Authority) {
		t.Errorf("got %v", got)
	}
	raw := &Remote{Keys: []stdcrypto.PublicKey{w.moon.key.Public()}}
	if got := raw.requests(); len(got) != 1 || got[0].Encoding != message.CertRawPublicKey || got[0].Authority != nil {
		t.Errorf("got %v", got)
	}
	if got := (&Remote{}).requests(); got != nil {
		t.Errorf("got %v", got)
	}
}

// A stranger who sends many certificates that might be one another's cannot make us look for chains among them.
func TestForgedChainsAreCheap(t *testing.T) {
	w := newWorld(t)
	forger := issue(t, nil, "root", freshKey(t), authority)
	var sent []*x509.Certificate
	for range maxPeerCertificates - 1 {
		sent = append(sent, issue(t, forger, "root", freshKey(t), func(c *x509.Certificate) {
			authority(c)
			c.SubjectKeyId, c.AuthorityKeyId = nil, nil
		}).cert)
	}
	moon := issue(t, forger, "moon", freshKey(t), host)
	a := mustAuthorities(t, certsOf(w.root), nil)
	if got, r := a.vouched(sent); r != nil || len(got) != 0 {
		t.Fatalf("%d forged certificates are vouched for, %v", len(got), r)
	}
	wantReason(t, a.verify(moon.cert, sent, now), Untrusted)

	// Many anchors of one name: the number of checks is what ends it.
	var anchors []*x509.Certificate
	for range 8 {
		anchors = append(anchors, issue(t, nil, "root", freshKey(t), func(c *x509.Certificate) {
			authority(c)
			c.SubjectKeyId = nil
		}).cert)
	}
	for _, c := range anchors {
		c.SubjectKeyId = nil
	}
	_, r := mustAuthorities(t, anchors, nil).vouched(sent)
	wantReason(t, r, TooMuch, "32")
}

func FuzzPeerCertificates(f *testing.F) {
	w := newWorld(f)
	f.Add(uint8(4), w.moon.cert.Raw, w.middle.cert.Raw, uint8(14), []byte{0})
	f.Add(uint8(15), rawPayload(f, w.moon.key).Data, []byte{}, uint8(14), signedBy(f, w.moon.key).Data)
	f.Add(uint8(12), []byte("01234567890123456789http://192.0.2.1/"), w.moon.cert.Raw, uint8(1), []byte{1})
	strict := &Remote{Authorities: mustAuthorities(f, certsOf(w.root), nil, mustCRL(f, w.root, nil))}
	raw := &Remote{ID: mustID(f, "moon"), Keys: []stdcrypto.PublicKey{freshKey(f).Public()}}
	algorithm := signedBy(f, w.moon.key).Algorithm
	f.Fuzz(func(t *testing.T, encoding uint8, first, second []byte, method uint8, data []byte) {
		certs := []*message.Cert{{Encoding: message.CertEncoding(encoding), Data: first}, {Encoding: message.CertX509Signature, Data: second}}
		auth := &message.Auth{Method: message.AuthMethod(method), Algorithm: algorithm, Data: data}
		if auth.Method != message.AuthDigitalSignature {
			auth.Algorithm = nil
		}
		for _, id := range []Identity{mustID(t, "moon.example.org"), mustID(t, "moon")} {
			for _, r := range []*Remote{strict, raw} {
				err := r.verify(Identity{}, id, auth, certs, testProof(), now)
				if err == nil {
					t.Fatal("somebody without a key is believed")
				}
				if !visible(strings.ReplaceAll(err.Error(), " ", "")) {
					t.Fatalf("%q cannot be shown", err.Error())
				}
			}
		}
		// The chain is looked at only behind a good signature; here it is looked at in any case.
		if e, r := gather(certs); r == nil && len(e.certs) > 0 {
			_ = strict.vouch(e.certs[0], e, now)
			_ = strict.Authorities.checkChain(e.certs, now)
			_ = identitiesOf(e.certs[0])
		}
	})
}
