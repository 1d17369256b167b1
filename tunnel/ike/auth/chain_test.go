package auth

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// world is a hierarchy: root above middle above moon, and a stranger's that has the same names.
type world struct{ root, middle, moon, evilRoot, evilMiddle, evilMoon *entity }

func newWorld(t testing.TB) *world {
	w := &world{}
	w.root = issue(t, nil, "root", freshKey(t), authority)
	w.middle = issue(t, w.root, "middle", freshKey(t), authority)
	w.moon = issue(t, w.middle, "moon", freshKey(t), host)
	w.evilRoot = issue(t, nil, "root", freshKey(t), authority)
	w.evilMiddle = issue(t, w.evilRoot, "middle", freshKey(t), authority)
	w.evilMoon = issue(t, w.evilMiddle, "moon", freshKey(t), host)
	return w
}

func TestVerifyChains(t *testing.T) {
	w := newWorld(t)
	moon := mustID(t, "moon.example.org")
	byMiddle := func(mod func(*x509.Certificate)) *entity {
		return issue(t, w.middle, "moon", freshKey(t), func(c *x509.Certificate) { host(c); mod(c) })
	}
	usage := func(eku ...x509.ExtKeyUsage) *entity {
		return byMiddle(func(c *x509.Certificate) { c.ExtKeyUsage = eku })
	}
	ipsec := byMiddle(func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{ipsecIKE} })
	unknownUsage := byMiddle(func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}} })
	narrow := issue(t, w.root, "narrow", freshKey(t), func(c *x509.Certificate) {
		authority(c)
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	})
	elsewhere := issue(t, w.root, "elsewhere", freshKey(t), func(c *x509.Certificate) {
		authority(c)
		c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"example.net"}
	})
	short := issue(t, w.root, "short", freshKey(t), func(c *x509.Certificate) { authority(c); c.MaxPathLenZero = true })
	under := func(by *entity) *entity { return issue(t, by, "moon", freshKey(t), host) }
	belowShort := issue(t, short, "below", freshKey(t), authority)
	noCA := issue(t, w.middle, "not an authority", freshKey(t), host)
	oldCA := issue(t, w.root, "old", freshKey(t), func(c *x509.Certificate) { authority(c); c.NotAfter = now.Add(-time.Minute) })
	late := byMiddle(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Minute) })
	old := byMiddle(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) })
	encipher := byMiddle(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment })
	commitment := byMiddle(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageContentCommitment })
	noUsage := byMiddle(func(c *x509.Certificate) { c.KeyUsage = 0 })
	critical := byMiddle(func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{extension(asn1.ObjectIdentifier{1, 2, 3, 4})}
	})
	weak := issue(t, w.middle, "moon", testKeys()["RSA-1024"], host)
	p224 := issue(t, w.middle, "moon", testKeys()["P-224"], host)

	for _, c := range []struct {
		name   string
		peer   *entity
		sent   []*entity
		reason Reason // 0 for accepted
		text   string
	}{
		{"chain", w.moon, []*entity{w.middle}, 0, ""},
		{"chain with the root and what does not belong", w.moon, []*entity{w.evilMiddle, w.evilRoot, w.root, w.middle, w.moon}, 0, ""},
		{"directly under the root", under(w.root), nil, 0, ""},
		{"no intermediate", w.moon, nil, Untrusted, "CN=root"},
		{"a stranger with the same names", w.evilMoon, []*entity{w.evilMiddle, w.evilRoot}, Untrusted, "CN=middle"},
		{"a stranger below the true middle", w.evilMoon, []*entity{w.middle}, Untrusted, ""},
		{"issuer is no authority", under(noCA), []*entity{noCA, w.middle}, Untrusted, ""},
		{"path too long", under(belowShort), []*entity{belowShort, short}, Untrusted, "too many intermediates"},
		{"name constraints", under(elsewhere), []*entity{elsewhere}, Untrusted, "not permitted"},
		{"authority for other uses", under(narrow), []*entity{narrow}, WrongKey, "CN=narrow"},
		{"authority that is too old", under(oldCA), []*entity{oldCA}, NotValid, "CN=old"},
		{"not valid yet", late, []*entity{w.middle}, NotValid, "2030-01-02T03:05:05Z"},
		{"no longer valid", old, []*entity{w.middle}, NotValid, "2030-01-02T03:04:04Z"},
		{"key usage", encipher, []*entity{w.middle}, WrongKey, "digitalSignature"},
		{"contentCommitment", commitment, []*entity{w.middle}, 0, ""},
		{"no key usage", noUsage, []*entity{w.middle}, 0, ""},
		{"serverAuth", usage(x509.ExtKeyUsageServerAuth), []*entity{w.middle}, 0, ""},
		{"clientAuth", usage(x509.ExtKeyUsageCodeSigning, x509.ExtKeyUsageClientAuth), []*entity{w.middle}, 0, ""},
		{"any", usage(x509.ExtKeyUsageAny), []*entity{w.middle}, 0, ""},
		{"ipsecIKE", ipsec, []*entity{w.middle}, 0, ""},
		{"codeSigning", usage(x509.ExtKeyUsageCodeSigning), []*entity{w.middle}, WrongKey, "ipsecIKE"},
		{"a usage nobody knows", unknownUsage, []*entity{w.middle}, WrongKey, "ipsecIKE"},
		{"a critical extension nobody knows", critical, []*entity{w.middle}, Untrusted, "critical"},
		{"weak key", weak, []*entity{w.middle}, WrongKey, "1024 bits"},
		{"curve", p224, []*entity{w.middle}, WrongKey, "P-224"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &Remote{ID: mustID(t, "*.example.org"), Authorities: mustAuthorities(t, certsOf(w.root), nil)}
			auth := &message.Auth{Method: message.AuthDigitalSignature}
			if checkKey(c.peer.key.Public()) == nil {
				auth = signedBy(t, c.peer.key)
			}
			err := r.verify(Identity{}, moon, auth, payloads(append([]*entity{c.peer}, c.sent...)...), testProof(), now)
			if c.reason == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantReason(t, err, c.reason, c.text)
		})
	}
}

func TestVerifyIntermediateFromConfiguration(t *testing.T) {
	w := newWorld(t)
	r := &Remote{Authorities: mustAuthorities(t, certsOf(w.root), certsOf(w.middle))}
	if err := r.verify(Identity{}, mustID(t, "moon.example.org"), signedBy(t, w.moon.key), payloads(w.moon), testProof(), now); err != nil {
		t.Fatal(err)
	}
	// An intermediate alone may be the anchor.
	r = &Remote{Authorities: mustAuthorities(t, certsOf(w.middle), nil)}
	if err := r.verify(Identity{}, mustID(t, "moon.example.org"), signedBy(t, w.moon.key), payloads(w.moon), testProof(), now); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyRevocation(t *testing.T) {
	w := newWorld(t)
	good := func() []*CRL { return []*CRL{mustCRL(t, w.root, nil), mustCRL(t, w.middle, nil)} }
	number := func(n int64, mod func(*x509.RevocationList)) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) {
			if mod != nil {
				mod(l)
			}
			l.Number = big.NewInt(n)
		}
	}
	stale := func(l *x509.RevocationList) {
		l.ThisUpdate, l.NextUpdate = now.Add(-2*time.Hour), now.Add(-time.Second)
	}
	early := func(l *x509.RevocationList) { l.ThisUpdate = now.Add(time.Second) }
	for _, c := range []struct {
		name   string
		crls   []*CRL
		reason Reason
		text   string
	}{
		{"none", nil, 0, ""},
		{"nothing revoked", good(), 0, ""},
		{"others revoked", []*CRL{mustCRL(t, w.root, revoking(w.moon)), mustCRL(t, w.middle, revoking(w.middle))}, 0, ""},
		{"revoked", []*CRL{mustCRL(t, w.root, nil), mustCRL(t, w.middle, revoking(w.moon))}, Revoked, "CN=moon"},
		{"issuer revoked", []*CRL{mustCRL(t, w.root, revoking(w.middle)), mustCRL(t, w.middle, nil)}, Revoked, "CN=middle"},
		{"stale", []*CRL{mustCRL(t, w.root, nil), mustCRL(t, w.middle, stale)}, Unknown, "stale"},
		{"from the future", []*CRL{mustCRL(t, w.root, nil), mustCRL(t, w.middle, early)}, Unknown, "now is"},
		{"none of the issuer", []*CRL{mustCRL(t, w.root, nil)}, Unknown, "CN=middle"},
		{"none of the root", []*CRL{mustCRL(t, w.middle, nil)}, Unknown, "CN=root"},
		{"forged", []*CRL{mustCRL(t, w.root, nil), mustCRL(t, w.evilMiddle, nil)}, Unknown, "none is configured"},
		{"forged beside the true one", append(good(), mustCRL(t, w.evilMiddle, number(9, revoking(w.moon)))), 0, ""},
		{"newer one revokes", append(good(), mustCRL(t, w.middle, number(2, revoking(w.moon)))), Revoked, ""},
		{"older one revoked", append(good(), mustCRL(t, w.middle, number(0, revoking(w.moon)))), 0, ""},
		{"stale but revoked", []*CRL{mustCRL(t, w.root, nil), mustCRL(t, w.middle, func(l *x509.RevocationList) { stale(l); revoking(w.moon)(l) })}, Revoked, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &Remote{Authorities: mustAuthorities(t, certsOf(w.root), nil, c.crls...)}
			for range 2 { // the second time it is remembered whose CRL it is
				err := r.verify(Identity{}, mustID(t, "moon.example.org"), signedBy(t, w.moon.key), payloads(w.moon, w.middle), testProof(), now)
				if c.reason != 0 {
					wantReason(t, err, c.reason, c.text)
				} else if err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
