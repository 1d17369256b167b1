//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// refusal is a disagreement between charon's configuration and ours, and charon's configuration without it. When we initiate, charon
// refuses, or we refuse its answer; when charon initiates it is the other way around. Each time our log is to have certain words.
type refusal struct {
	name, charon, fixed, ours string
	initiating, responding    []string
}

// pskRefusals are those with a shared secret.
func pskRefusals() []refusal {
	children, child := oneChild("aes128gcm16")
	good := swanctlPSK("", children)
	without := func(old, with string) string { return strings.Replace(good, old, with, 1) }
	ours := func(old, with string) string { return strings.Replace(oursPSK+child, old, with, 1) }
	const wanted = "aes256gcm16-prfsha384-ecp384"
	oursIKE := oursPSK + "proposals: " + wanted + "\n" + child
	return []refusal{
		{"secret", without(secret, "something else"), good, ours("", ""),
			[]string{"AUTHENTICATION_FAILED; offered was a.example to b.example"}, []string{"shared secret", "b.example", "the two differ"}},
		{"our-identity", good, without("id = a.example", "id = c.example"), ours("a.example", "c.example"),
			[]string{"AUTHENTICATION_FAILED"}, []string{"our identity: asked for a.example, wanted c.example"}},
		{"its-identity", good, without("id = b.example", "id = c.example"), ours("b.example", "c.example"),
			[]string{"AUTHENTICATION_FAILED"}, []string{"identity: offered b.example (ID_FQDN), wanted c.example"}},
		{"its-identity-by-pattern", good, without("id = b.example", "id = b.other"), ours("b.example", `"*.other"`),
			[]string{"identity: offered b.example (ID_FQDN), wanted *.other"}, []string{"identity: offered b.example (ID_FQDN), wanted *.other"}},
		{"ike-cipher", without("encap", "proposals = aes128-sha1-modp2048\nencap"), good, oursIKE,
			[]string{"NO_PROPOSAL_CHOSEN", "offered was " + wanted}, []string{"offered was aes128-sha1-modp2048, wanted is " + wanted}},
		{"ike-group", without("encap", "proposals = aes256gcm16-prfsha384-ecp256\nencap"), good, oursIKE,
			[]string{"NO_PROPOSAL_CHOSEN", "offered was " + wanted}, []string{"offered was aes256gcm16-prfsha384-ecp256, wanted is " + wanted, "differ in key exchange method"}},
		{"esp-cipher", good, without("aes128gcm16", "aes256gcm16"), ours("aes128gcm16", "aes256gcm16"),
			[]string{"NO_PROPOSAL_CHOSEN", "offered was aes256gcm16"}, []string{"offered was aes128gcm16-noesn, wanted is aes256gcm16", "differ in encryption algorithm"}},
		{"esn", good, "", ours("aes128gcm16", "aes128gcm16-esn"),
			[]string{"NO_PROPOSAL_CHOSEN", "offered was aes128gcm16-esn"}, []string{"offered was aes128gcm16-noesn, wanted is aes128gcm16-esn", "differ in esn or noesn"}},
		{"selectors", good, without("10.2.0.0/16", "10.22.0.0/16"), ours("10.2.0.0/16", "10.22.0.0/16"),
			[]string{"TS_UNACCEPTABLE", "offered was [10.1.0.0/16] to [10.22.0.0/16]"}, []string{"offered [10.1.0.0/16] from [10.2.0.0/16]", "[10.1.0.0/16] from [10.22.0.0/16]"}},
	}
}

// TestStrongSwanRefusals: whoever refuses, our log says why, nothing is left of it on either side, and once the reason is gone the
// same processes agree.
func TestStrongSwanRefusals(t *testing.T) {
	s := newSwan(t)
	for _, c := range pskRefusals() {
		s.run(c.name, func(s *swan) { s.disagree(&c) })
	}
	s.run("no-storm", (*swan).noStorm)
	s.run("no-leak", (*swan).noLeak)
	s.certificateRefusals()
}

func (s *swan) disagree(c *refusal) {
	s.load(c.charon)
	s.start(c.ours)
	s.warrenSays("up", "peer")
	s.eventuallyLog(0, c.initiating)
	s.warrenSays("down", "peer")
	s.awaitDown("peer")
	before := len(s.warren.Log())
	if out, err := s.charon.Ctl(s.ctx, "--initiate", "--child", "peer", "--timeout", "3"); err == nil {
		s.t.Errorf("charon came up: %s", out)
	}
	s.eventuallyLog(before, c.responding)
	_, _ = s.charon.Ctl(s.ctx, "--terminate", "--ike", "t") // there is one where only the child was refused
	s.awaitDown("peer")
	if c.fixed == "" {
		return
	}
	s.load(c.fixed)
	s.warrenSays("up", "peer")
	s.awaitUp("peer", 1)
}

// eventuallyLog waits until warren's log has all words behind an offset.
func (s *swan) eventuallyLog(from int, words []string) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("%q in the log", words), func() error {
		if !containsAll(s.warren.Log()[from:], words...) {
			return errors.New("not there")
		}
		return nil
	})
}

// noStorm: a peer that refuses is asked again, but ever more rarely.
func (s *swan) noStorm() {
	children, child := oneChild("aes128gcm16")
	s.load(strings.Replace(swanctlPSK("", children), secret, "something else", 1))
	begun := time.Now()
	s.startConfig(strings.Replace(s.config(oursPSK+child), "start_action: none", "start_action: start", 1))
	tries := func() int { return strings.Count(s.charonLog(), "is initiating an IKE_SA") }
	s.eventually("a second try", func() error {
		if n := tries(); n < 2 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	if took := time.Since(begun); took < time.Second/4 {
		s.t.Errorf("two tries in %v", took)
	}
	s.load(swanctlPSK("", children))
	s.awaitUp("peer", 1) // by itself
	if n, took := tries(), time.Since(begun); n > 4+int(took/(4*time.Second)) {
		s.t.Errorf("%d tries in %v", n, took)
	}
}

// noLeak: a peer that is refused over and over costs nothing that stays.
func (s *swan) noLeak() {
	children, child := oneChild("aes128gcm16")
	s.load(strings.Replace(swanctlPSK("", children), secret, "something else", 1))
	s.start(oursPSK + child)
	refuse := func(times int) {
		for range times {
			if _, err := s.charon.Ctl(s.ctx, "--initiate", "--child", "peer", "--timeout", "20"); err == nil {
				s.t.Fatal("charon came up")
			}
		}
	}
	refuse(2)
	files, memory := s.uses()
	refuse(15)
	s.eventually("little to stay of 15 more refusals", func() error {
		if f, m := s.uses(); f > files || m > memory+16<<10 {
			return fmt.Errorf("%d open files and %d KiB, before %d and %d", f, m, files, memory)
		}
		return nil
	})
	refusals := func() int { return strings.Count(s.warren.Log(), "the two differ") }
	s.eventually("17 refusals in the log", func() error {
		if n := refusals(); n < 17 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	if n := refusals(); n != 17 {
		s.t.Errorf("%d refusals are logged, want 17", n)
	}
}

// uses are warren's open files and memory in KiB.
func (s *swan) uses() (files, memory int) {
	s.t.Helper()
	proc := fmt.Sprintf("/proc/%d", s.warren.PID())
	open, err := os.ReadDir(proc + "/fd")
	s.must(err)
	status, err := os.ReadFile(proc + "/status")
	s.must(err)
	_, rss, _ := strings.Cut(string(status), "VmRSS:")
	if _, err := fmt.Sscan(rss, &memory); err != nil {
		s.t.Fatal(err)
	}
	return len(open), memory
}

// certificateRefusals are what can be wrong with a certificate.
func (s *swan) certificateRefusals() {
	p, strangers := newPKI(s.t), newPKI(s.t)
	s.must(s.charon.WriteFile("x509ca/root.pem", p.root.pem()))
	_, child := oneChild("aes128gcm16")
	good, revoked, ours := p.leaf(&p.root, "b.example", newKey(s.t, "p256")), p.leaf(&p.root, "b.example", newKey(s.t, "p256")), p.leaf(&p.root, "a.example", newKey(s.t, "p256"))
	expired := p.until(&p.root, "b.example", newKey(s.t, "p256"), time.Now().Add(-time.Minute))
	s.give("good", good)
	s.give("revoked", revoked)
	s.give("expired", expired)
	s.give("stranger", strangers.leaf(&strangers.root, "b.example", newKey(s.t, "p256")))
	s.give("other-name", p.leaf(&p.root, "c.example", newKey(s.t, "p256")))
	crl := p.revoke(&p.root, revoked.x509)
	with := func(cert, id string) string {
		children, _ := oneChild("aes128gcm16")
		return swanctl(fmt.Sprintf("local { auth = pubkey\ncerts = %s.pem\nid = %s }\nremote { auth = pubkey\nid = a.example }", cert, id), children, "")
	}
	failed := []string{"AUTHENTICATION_FAILED"}
	for _, c := range []struct {
		name, cert, id         string
		ours                   identity
		initiating, responding []string
	}{
		{"unknown-authority", "stranger", "b.example", ours, []string{"Root"}, []string{"Root"}},
		{"revoked", "revoked", "b.example", ours, []string{"revoked"}, []string{"revoked"}},
		{"expired", "expired", "b.example", ours, []string{"valid until", "wanted one that is valid now"}, []string{"valid until", "wanted one that is valid now"}},
		{"name", "other-name", "c.example", ours, failed, []string{"offered c.example", "wanted b.example"}},
		{"our-authority", "good", "b.example", strangers.leaf(&strangers.root, "a.example", newKey(s.t, "p256")), failed, failed},
	} {
		s.run("certificate-"+c.name, func(s *swan) {
			d := refusal{charon: with(c.cert, c.id), fixed: with("good", "b.example"), initiating: c.initiating, responding: c.responding,
				ours: s.pemAuth(c.ours, p.root.pem(), "id: a.example", "id: b.example, crl: "+s.file("crl.pem", crl)) + child}
			if c.cert == "good" {
				d.fixed = "" // the mistake is ours
			}
			s.disagree(&d)
		})
	}
}
