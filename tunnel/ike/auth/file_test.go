package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLoadPrivateKey(t *testing.T) {
	for name, key := range testKeys() {
		pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		files := []string{write(t, "p8.pem", "PRIVATE KEY", pkcs8), writeRaw(t, "p8.der", pkcs8)}
		switch key := key.(type) {
		case *rsa.PrivateKey:
			der := x509.MarshalPKCS1PrivateKey(key)
			files = append(files, write(t, "p1.pem", "RSA PRIVATE KEY", der), writeRaw(t, "p1.der", der))
		case *ecdsa.PrivateKey:
			der, err := x509.MarshalECPrivateKey(key)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, write(t, "ec.pem", "EC PARAMETERS", []byte{5, 0}, "EC PRIVATE KEY", der), writeRaw(t, "ec.der", der))
		}
		for _, file := range files {
			got, err := LoadPrivateKey(file)
			if name == "RSA-1024" || name == "P-224" {
				if err == nil || !strings.Contains(err.Error(), file) {
					t.Errorf("%s: %v", name, err)
				}
			} else if err != nil || !sameKey(got.Public(), key.Public()) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// Errors name the file, say what is wrong, and show nothing of the key.
func TestLoadPrivateKeyRefuses(t *testing.T) {
	der, err := x509.MarshalPKCS8PrivateKey(testKeys()["P-256"])
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	legacy := "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n" + base64.StdEncoding.EncodeToString(der) + "\n-----END RSA PRIVATE KEY-----\n"
	body := strings.Split(text, "\n")[1]
	for _, c := range []struct{ file, want string }{
		{filepath.Join(t.TempDir(), "missing"), "no such file"},
		{t.TempDir(), "not a regular file"},
		{writeRaw(t, "empty", []byte(" \n")), "empty"},
		{writeRaw(t, "long", []byte(strings.Repeat("x", maxKeyFile+1))), "longer than"},
		{write(t, "certificate", "CERTIFICATE", []byte("x")), `only "CERTIFICATE"`},
		{write(t, "encrypted", "ENCRYPTED PRIVATE KEY", der), "passphrase"},
		{writeRaw(t, "legacy", []byte(legacy)), "passphrase"},
		{write(t, "two", "PRIVATE KEY", der, "PRIVATE KEY", der), "there are 2"},
		{write(t, "cut", "PRIVATE KEY", der[:len(der)-9]), "neither PKCS#8"},
		{writeRaw(t, "damaged", []byte(strings.Replace(text, body, body+"!", 1))), "damaged"},
		{writeRaw(t, "hex", []byte(hex.EncodeToString(der))), "neither PKCS#8"},
		{writeRaw(t, "half", []byte(text[:len(text)-20])), "damaged"},
	} {
		_, err := LoadPrivateKey(c.file)
		if err == nil || !strings.Contains(err.Error(), c.file) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
			continue
		}
		for _, secret := range []string{body, hex.EncodeToString(der), hex.EncodeToString(der[len(der)-20:])} {
			for i := 0; i+12 <= len(secret); i++ {
				if strings.Contains(err.Error(), secret[i:i+12]) {
					t.Fatalf("%v shows key material", err)
				}
			}
		}
	}
}

func TestLoadCertificates(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		file string
		n    int
		want string
	}{
		{write(t, "one", "CERTIFICATE", w.moon.cert.Raw), 1, ""},
		{write(t, "chain", "CERTIFICATE", w.moon.cert.Raw, "EC PARAMETERS", []byte{5, 0}, "CERTIFICATE", w.middle.cert.Raw), 2, ""},
		{writeRaw(t, "der", w.moon.cert.Raw), 1, ""},
		{write(t, "none", "X509 CRL", []byte("x")), 0, `no certificate, only "X509 CRL"`},
		{write(t, "second", "CERTIFICATE", w.moon.cert.Raw, "CERTIFICATE", w.middle.cert.Raw[1:]), 0, "PEM block 2"},
		{writeRaw(t, "text", []byte("hello")), 0, "neither PEM nor certificate in DER"},
		{filepath.Join(t.TempDir(), "missing"), 0, "no such file"},
	} {
		certs, err := LoadCertificates(c.file)
		if len(certs) != c.n || c.want == "" && err != nil {
			t.Errorf("%s: %d certificates, %v", c.file, len(certs), err)
		}
		if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.file)) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
	// A damaged block in a bundle must not be passed over.
	data, err := os.ReadFile(write(t, "bundle", "CERTIFICATE", w.moon.cert.Raw, "CERTIFICATE", w.middle.cert.Raw, "CERTIFICATE", w.root.cert.Raw))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	for i := range lines {
		damaged := strings.Join(append(append(append([]string{}, lines[:i]...), "?"+lines[i]), lines[i+1:]...), "\n")
		certs, err := ParseCertificates([]byte(damaged))
		if len(certs) != 3 && err == nil {
			t.Fatalf("with line %d damaged there are %d certificates", i+1, len(certs))
		}
	}
}

func TestLoadKeyPair(t *testing.T) {
	w := newWorld(t)
	pkcs8 := func(e *entity) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(e.key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	key := write(t, "key", "PRIVATE KEY", pkcs8(w.moon))
	pair, err := LoadKeyPair(write(t, "cert", "CERTIFICATE", w.moon.cert.Raw, "CERTIFICATE", w.root.cert.Raw), key,
		write(t, "middle", "CERTIFICATE", w.evilMiddle.cert.Raw, "CERTIFICATE", w.middle.cert.Raw))
	if err != nil {
		t.Fatal(err)
	}
	// What is sent is the way up, without the root and without what does not belong.
	if sent := pair.sent(); len(sent) != 2 || !sent[0].Equal(w.moon.cert) || !sent[1].Equal(w.middle.cert) {
		t.Errorf("%d certificates are sent", len(sent))
	}
	other := write(t, "other", "PRIVATE KEY", pkcs8(w.middle))
	_, err = LoadKeyPair(write(t, "cert", "CERTIFICATE", w.moon.cert.Raw), other)
	if err == nil || !strings.Contains(err.Error(), other) || !strings.Contains(err.Error(), "not that of the certificate") {
		t.Errorf("a key of another certificate: %v", err)
	}
	if _, err = LoadKeyPair(write(t, "cert", "CERTIFICATE", w.middle.cert.Raw), other); err == nil || !strings.Contains(err.Error(), "digitalSignature") {
		t.Errorf("an authority's certificate: %v", err)
	}
}

func TestLoadAuthorities(t *testing.T) {
	w := newWorld(t)
	root, middle, moon := write(t, "root", "CERTIFICATE", w.root.cert.Raw), write(t, "middle", "CERTIFICATE", w.middle.cert.Raw),
		write(t, "moon", "CERTIFICATE", w.moon.cert.Raw)
	crl := write(t, "crl", "X509 CRL", crlOf(t, w.root, nil), "X509 CRL", crlOf(t, w.middle, revoking(w.moon)))
	a, err := LoadAuthorities([]string{root}, []string{middle}, []string{crl})
	if err != nil {
		t.Fatal(err)
	}
	wantReason(t, a.verify(w.moon.cert, nil, now), Revoked, crl)
	for text, files := range map[string][]string{"no trust anchor": nil, "not that of an authority": {root, moon}} {
		if _, err := LoadAuthorities(files, nil, nil); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v: %v", files, err)
		}
	}
	noSign := issue(t, nil, "root", freshKey(t), func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCRLSign })
	if _, err := NewAuthorities(certsOf(noSign), nil, nil); err == nil || !strings.Contains(err.Error(), "keyCertSign") {
		t.Errorf("an authority that may not sign: %v", err)
	}
}

func TestLoadCRLsRefuses(t *testing.T) {
	w := newWorld(t)
	withExtension := func(id asn1.ObjectIdentifier) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) { l.ExtraExtensions = []pkix.Extension{extension(id)} }
	}
	entry := func(l *x509.RevocationList) {
		revoking(w.moon)(l)
		l.RevokedCertificateEntries[0].ExtraExtensions = []pkix.Extension{extension(asn1.ObjectIdentifier{2, 5, 29, 29})}
	}
	for want, der := range map[string][]byte{
		"delta":            crlOf(t, w.root, withExtension(oidDeltaCRL)),
		"a part":           crlOf(t, w.root, withExtension(oidDistribution)),
		"not known":        crlOf(t, w.root, withExtension(asn1.ObjectIdentifier{1, 2, 3})),
		"indirect":         crlOf(t, w.root, entry),
		"neither PEM nor ": w.root.cert.Raw,
	} {
		file := writeRaw(t, "crl", der)
		if _, err := LoadCRLs(file); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, err := LoadCRLs(filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("a CRL that is not there was read")
	}
}

func TestPublicKeys(t *testing.T) {
	for name, key := range testKeys() {
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		weak := name == "RSA-1024" || name == "P-224"
		for _, file := range []string{write(t, "pem", "PUBLIC KEY", der), writeRaw(t, "der", der)} {
			if got, err := LoadPublicKey(file); (err != nil) != weak || !weak && !sameKey(got, key.Public()) {
				t.Errorf("%s from a file: %v", name, err)
			}
		}
		for _, text := range []string{"0x" + hex.EncodeToString(der), "0s" + base64.StdEncoding.EncodeToString(der)} {
			if got, err := ParsePublicKey(text); (err != nil) != weak || !weak && !sameKey(got, key.Public()) {
				t.Errorf("%s from text: %v", name, err)
			}
		}
	}
	key := testKeys()["RSA"].Public().(*rsa.PublicKey)
	if got, err := LoadPublicKey(write(t, "pkcs1", "RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(key))); err != nil || !sameKey(got, key) {
		t.Errorf("PKCS#1: %v", err)
	}
	for _, text := range []string{"", "0x", "0sAAAA", "0xzz", "abc"} {
		if _, err := ParsePublicKey(text); err == nil {
			t.Errorf("%q is a public key", text)
		}
	}
}

// TestOpenSSL reads what the openssl command makes, for its forms are the ones that people have.
func TestOpenSSL(t *testing.T) {
	path, err := exec.LookPath("openssl")
	if err != nil {
		if os.Geteuid() == 0 {
			t.Fatal("openssl is needed")
		}
		t.Skip("openssl is not installed")
	}
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command(path, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("openssl %v: %v\n%s", args, err, out)
		}
	}
	writeConfig(t, file("openssl.cnf"))
	for name, args := range map[string][]string{
		"rsa": {"genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"}, "ed": {"genpkey", "-algorithm", "ed25519"},
		"p256": {"ecparam", "-name", "prime256v1", "-genkey"}, "p384": {"ecparam", "-name", "secp384r1", "-genkey"},
		"p521": {"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"},
	} {
		run(append(args, "-out", name+".key")...)
		run("req", "-x509", "-config", "openssl.cnf", "-key", name+".key", "-subj", "/C=CH/O=strongSwan/CN="+name+" CA", "-out", name+".ca", "-extensions", "ca", "-days", "2")
		run("req", "-new", "-config", "openssl.cnf", "-key", name+".key", "-subj", "/C=CH/O=strongSwan/CN="+name, "-out", name+".csr")
		run("x509", "-req", "-in", name+".csr", "-CA", name+".ca", "-CAkey", name+".key", "-CAcreateserial", "-extfile", "openssl.cnf", "-extensions", "host", "-days", "1", "-out", name+".crt")
		run("pkey", "-in", name+".key", "-pubout", "-out", name+".pub")
		run("pkcs8", "-topk8", "-in", name+".key", "-passout", "pass:secret", "-out", name+".enc")
		run("x509", "-in", name+".crt", "-outform", "DER", "-out", name+".der")

		for _, crt := range []string{name + ".crt", name + ".der"} {
			pair, err := LoadKeyPair(file(crt), file(name+".key"))
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range []string{"C=CH, O=strongSwan, CN=" + name, "/C=CH/O=strongSwan/CN=" + name, "moon.example.org", "carol@example.org", "192.0.2.1", "2001:db8::1"} {
				if !Confirms(pair.Certificate, mustID(t, id)) {
					t.Errorf("%s does not confirm %s", crt, id)
				}
			}
			a, err := LoadAuthorities([]string{file(name + ".ca")}, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if r := a.verify(pair.Certificate, nil, time.Now()); r != nil {
				t.Errorf("%s: %v", crt, r)
			}
			if pub, err := LoadPublicKey(file(name + ".pub")); err != nil || !sameKey(pub, pair.Key.Public()) {
				t.Errorf("%s.pub: %v", name, err)
			}
		}
		if _, err := LoadPrivateKey(file(name + ".enc")); err == nil || !strings.Contains(err.Error(), "passphrase") {
			t.Errorf("%s.enc: %v", name, err)
		}
	}
	testOpenSSLRevocation(t, run, file)
}

func testOpenSSLRevocation(t *testing.T, run func(...string), file func(string) string) {
	for _, name := range []string{"index.txt", "index.txt.attr"} {
		if err := os.WriteFile(file(name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(file("number"), []byte("01\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ca := []string{"ca", "-config", "openssl.cnf", "-name", "authority", "-cert", "p256.ca", "-keyfile", "p256.key", "-md", "sha256"}
	certs, err := LoadCertificates(file("p256.crt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, revoked := range []bool{false, true} {
		if revoked {
			run(append(ca, "-revoke", "p256.crt")...)
		}
		run(append(ca, "-gencrl", "-crldays", "1", "-out", "crl.pem")...)
		run("crl", "-in", "crl.pem", "-outform", "DER", "-out", "crl.der")
		for _, name := range []string{"crl.pem", "crl.der"} {
			a, err := LoadAuthorities([]string{file("p256.ca")}, nil, []string{file(name)})
			if err != nil {
				t.Fatal(err)
			}
			r := a.verify(certs[0], nil, time.Now().Add(time.Second))
			switch {
			case revoked:
				wantReason(t, r, Revoked, name)
			case r != nil:
				t.Errorf("%s: %v", name, r)
			}
		}
	}
}

func writeConfig(t *testing.T, name string) {
	t.Helper()
	const config = `[req]
distinguished_name = dn
[dn]
[ca]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[host]
basicConstraints = CA:false
keyUsage = digitalSignature
extendedKeyUsage = 1.3.6.1.5.5.7.3.17
subjectAltName = DNS:moon.example.org, email:carol@example.org, IP:192.0.2.1, IP:2001:db8::1
[authority]
database = index.txt
crlnumber = number
default_md = sha256
`
	if err := os.WriteFile(name, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Brainpool's curves and others are refused by name as far as the file says it.
func TestUnsupportedCurve(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkKey(key.Public()); err == nil || !strings.Contains(err.Error(), "P-224") {
		t.Errorf("got %v", err)
	}
}
