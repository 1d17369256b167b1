//go:build linux

package e2e

import (
	"strings"
	"testing"
)

// TestStrongSwanSuites: warren and charon agree on the same suites, each as initiator and as responder, and packets cross.
func TestStrongSwanSuites(t *testing.T) {
	s := newSwan(t)
	for _, c := range []struct{ name, ike, esp, suite string }{
		{"gcm-ecp384", "aes256gcm16-prfsha384-ecp384", "aes256gcm16-ecp384", "aes256gcm16"},
		{"cbc-modp2048", "aes256-sha256-modp2048", "aes256-sha256-modp2048", "aes256-sha256"},
		{"chacha-curve25519", "chacha20poly1305-prfsha256-curve25519", "chacha20poly1305", "chacha20poly1305"},
	} {
		s.run(c.name, func(s *swan) {
			charon, ours := oneChild(c.esp)
			s.load(swanctlPSK("proposals = "+c.ike, charon))
			s.start(oursPSK + "proposals: " + c.ike + "\n" + ours)
			s.bothWays([]string{"peer"}, [2]string{"10.1.0.1", "10.2.0.1"})
			if !strings.Contains(s.warren.Log(), c.ike) {
				t.Errorf("the log does not tell that %s was agreed on", c.ike)
			}
		})
	}
}
