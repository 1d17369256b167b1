//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// TestStrongSwanCertificates: both prove themselves with keys of every kind, each side as initiator and as responder.
func TestStrongSwanCertificates(t *testing.T) {
	s := newSwan(t)
	p := newPKI(t)
	s.must(s.charon.WriteFile("x509ca/root.pem", p.root.pem()))
	for _, c := range []struct{ name, kind, auth, ours string }{
		{"rsa", "rsa", "pubkey", ""},
		{"rsa-pss", "rsa", "ike:rsa/pss-sha384", "pss: yes"},
		{"ecdsa-256", "p256", "pubkey", ""},
		{"ecdsa-384", "p384", "pubkey", ""},
		{"ecdsa-521", "p521", "pubkey", ""},
		{"ed25519", "ed25519", "pubkey", ""},
	} {
		s.run(c.name, func(s *swan) {
			ours, theirs := p.leaf(&p.root, "a.example", newKey(t, c.kind)), p.leaf(&p.root, "b.example", newKey(t, c.kind))
			s.give(c.name, theirs)
			charon, child := oneChild("aes128gcm16")
			s.load(swanctl(fmt.Sprintf("local { auth = %s\ncerts = %s.pem\nid = b.example }\nremote { auth = pubkey\nid = a.example }", c.auth, c.name), charon, ""))
			s.start(s.pemAuth(ours, p.root.pem(), "id: a.example, "+c.ours, `id: "*.example"`) + child)
			s.bothWays([]string{"peer"}, [2]string{"10.1.0.1", "10.2.0.1"})
			if c.ours != "" && strings.Count(s.charonLog(), "with RSA_EMSA_PSS") < 4 {
				t.Error("no RSASSA-PSS")
			}
		})
	}
	s.otherWays(p)
}

// otherWays are identities and chains that are less plain.
func (s *swan) otherWays(p *pki) {
	pair := [2]string{"10.1.0.1", "10.2.0.1"}
	children := []string{"peer"}
	charon, child := oneChild("aes128gcm16")
	s.run("chains", func(s *swan) {
		// Each side has its own intermediate authority, which the other one knows from the exchange only.
		ours, sub := p.leaf(&p.sub, "a.example", newKey(s.t, "p256")), p.authority("Of the peer", &p.root)
		s.give("chain", p.leaf(&sub, "b.example", newKey(s.t, "p256")))
		s.must(s.charon.WriteFile("x509/sub.pem", sub.pem()))
		s.load(swanctl("local { auth = pubkey\ncerts = chain.pem, sub.pem\nid = b.example }\nremote { auth = pubkey\nid = a.example }", charon, ""))
		s.start(s.pemAuth(ours, p.root.pem(), "id: a.example, intermediates: "+s.file("sub.pem", p.sub.pem()), `id: b.example`) + child)
		s.bothWays(children, pair)
	})
	s.run("subjects", func(s *swan) {
		ours := p.leaf(&p.root, "a.example", newKey(s.t, "p256"))
		s.give("subject", p.leaf(&p.root, "b.example", newKey(s.t, "p256")))
		s.load(swanctl("local { auth = pubkey\ncerts = subject.pem }\nremote { auth = pubkey\nid = \"O=Laboratory, CN=a.example\" }", charon, ""))
		s.start(s.pemAuth(ours, p.root.pem(), "", `id: "O=Laboratory, CN=*"`) + child)
		s.bothWays(children, pair)
	})
	s.run("addresses", func(s *swan) {
		ours := p.leaf(&p.root, "192.0.2.1", newKey(s.t, "p256"))
		s.give("addr", p.leaf(&p.root, "192.0.2.2", newKey(s.t, "p256")))
		s.load(swanctl("local { auth = pubkey\ncerts = addr.pem\nid = 192.0.2.2 }\nremote { auth = pubkey\nid = 192.0.2.1 }", charon, ""))
		s.start(s.pemAuth(ours, p.root.pem(), "id: 192.0.2.1", "id: 192.0.2.2") + child)
		s.bothWays(children, pair)
	})
	s.run("secret-and-certificate", func(s *swan) {
		s.give("mixed", p.leaf(&p.root, "b.example", newKey(s.t, "p256")))
		s.load(swanctl("local { auth = pubkey\ncerts = mixed.pem\nid = b.example }\nremote { auth = psk\nid = a.example }", charon, `ike-t { secret = "`+secret+`" }`))
		s.start(fmt.Sprintf("local_id: a.example\npsk: %s\nauth: {remote: {ca: %s, id: b.example}}\n", secret, s.file("ca.pem", p.root.pem())) + child)
		s.bothWays(children, pair)
	})
	for _, kind := range []string{"p256", "ed25519", "rsa"} {
		s.run("raw-"+kind, func(s *swan) {
			ours, theirs := p.leaf(&p.root, "a.example", newKey(s.t, kind)), p.leaf(&p.root, "b.example", newKey(s.t, kind))
			s.must(s.charon.WriteFile("private/raw-"+kind+".key", theirs.key))
			s.must(s.charon.WriteFile("pubkey/raw-b-"+kind+".pem", theirs.public))
			s.must(s.charon.WriteFile("pubkey/raw-a-"+kind+".pem", ours.public))
			s.load(swanctl(fmt.Sprintf("local { auth = pubkey\npubkeys = raw-b-%[1]s.pem\nid = b.example }\nremote { auth = pubkey\npubkeys = raw-a-%[1]s.pem\nid = a.example }", kind), charon, ""))
			s.start(fmt.Sprintf("auth: {local: {id: a.example, key: %s}, remote: {id: b.example, key: %s}}\n", s.file("a.key", ours.key), s.file("b.pub", theirs.public)) + child)
			s.bothWays(children, pair)
		})
	}
}

// give gives charon a certificate with its key.
func (s *swan) give(name string, id identity) {
	s.t.Helper()
	s.must(s.charon.WriteFile("x509/"+name+".pem", id.cert))
	s.must(s.charon.WriteFile("private/"+name+".key", id.key))
}

// pemAuth are the keys of ipsec for certificates; local and remote are more of its keys, as in a flow mapping.
func (s *swan) pemAuth(ours identity, ca []byte, local, remote string) string {
	s.t.Helper()
	return fmt.Sprintf("auth:\n  local: {cert: %s, key: %s, %s}\n  remote: {ca: %s, %s}\n",
		s.file("a.pem", ours.cert), s.file("a.key", ours.key), strings.TrimSuffix(strings.TrimSpace(local), ","), s.file("ca.pem", ca), remote)
}
