//go:build linux

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// swanSuites pair each suite of ESP, with and without a key exchange of its own, with the IKE suites: each cipher, integrity
// algorithm, PRF and group is there at least once.
var swanSuites = []struct{ ike, esp string }{
	{"aes256gcm16-prfsha384-ecp384", "aes256gcm16-ecp384"},
	{"aes256-sha256-modp2048", "aes256-sha256-modp2048"},
	{"chacha20poly1305-prfsha256-curve25519", "chacha20poly1305-curve25519"},
	{"aes128gcm16-prfsha1-ecp256", "aes128gcm16"},
	{"aes192gcm16-prfsha512-ecp521", "aes192gcm16-ecp521"},
	{"aes128-sha1-modp3072", "aes128-sha1-modp3072"},
	{"aes192-sha384-curve25519", "aes192-sha384-ecp256"},
	{"aes256-sha512-ecp256", "aes256-sha512"},
	{"aes128-sha256-prfsha512-ecp256", "aes128-sha256-curve25519"},
	{"aes256-sha1-modp4096", "aes256-sha1-modp4096"},
	{"aes128gcm16-prfsha256-curve25519", "aes192-sha1"},
	{"aes128gcm16-prfsha256-curve25519", "aes192-sha256-curve25519"},
	{"aes128gcm16-prfsha256-curve25519", "aes128-sha384"},
	{"aes128gcm16-prfsha256-curve25519", "aes256-sha384"},
	{"aes128gcm16-prfsha256-curve25519", "aes128-sha512-curve25519"},
	{"aes128gcm16-prfsha256-curve25519", "aes192-sha512"},
}

// TestStrongSwanSuites: warren and charon agree on the same suites, each as initiator and as responder; packets cross, also
// after each has rekeyed the child and the IKE SA.
func TestStrongSwanSuites(t *testing.T) {
	s := newSwan(t)
	for i, c := range swanSuites {
		s.run(c.ike+","+c.esp, func(s *swan) {
			charon, ours := oneChild(c.esp)
			s.load(swanctlPSK("proposals = "+c.ike, charon))
			s.start(oursPSK + "proposals: " + c.ike + "\n" + ours)
			pair := [2]string{"10.1.0.1", "10.2.0.1"}
			s.bothWays([]string{"peer"}, pair)
			if n := strings.Count(s.warren.Log(), "suite="+c.ike); n != 2 {
				s.t.Errorf("the log tells %d times that %s was agreed on, want 2", n, c.ike)
			}
			if i >= 10 {
				return // the rest repeats the IKE suite, and rekeying does not depend on the cipher
			}
			s.warrenSays("up", "peer")
			s.awaitUp("peer", 1)
			s.rekeys(pair)
		})
	}
}

// rekeys has each side rekey the child and the IKE SA, with pings after each.
func (s *swan) rekeys(pair [2]string) {
	s.t.Helper()
	for _, rekey := range []func() error{
		func() error { s.warrenSays("rekey", "peer", "--child", "peer"); return nil },
		func() error { _, err := s.charon.Ctl(s.ctx, "--rekey", "--child", "peer"); return err },
		func() error { s.warrenSays("rekey", "peer"); return nil },
		func() error { _, err := s.charon.Ctl(s.ctx, "--rekey", "--ike", "t"); return err },
	} {
		before := s.otherThan(nil)
		s.must(rekey())
		s.otherThan(before)
		s.pings(pair[0], pair[1])
	}
}

// otherThan waits until there are one IKE SA and one child with other SPIs than before.
func (s *swan) otherThan(before []string) (now []string) {
	s.t.Helper()
	s.eventually("new keys", func() error {
		if now = s.spis(); len(now) != 2 || slices.Equal(now, before) {
			return fmt.Errorf("%v, before %v", now, before)
		}
		return nil
	})
	return now
}

// spis are those of the tunnel's IKE SAs and of the child by which packets leave.
func (s *swan) spis() (all []string) {
	s.t.Helper()
	t, err := s.tunnel("peer")
	s.must(err)
	for _, i := range established(&t) {
		all = append(all, i.SPIInitiator)
	}
	if len(t.Children) > 0 {
		all = append(all, t.Children[0].SPIOut) // those that it has replaced come after it
	}
	return all
}
