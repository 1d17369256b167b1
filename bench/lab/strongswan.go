//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// StrongSwanMTU is the MTU that charon gives ipsec0, the TUN device of its userspace ESP.
const StrongSwanMTU = 1400

// charonConfig takes the directory of the daemon's files, and options. The plugin kernel-libipsec does ESP in charon itself, so the
// kernel needs none: always in UDP (connections must say encap = yes), tunnel mode only, no ESN, replay window 128. Marked
// packets keep ESP that charon sends from going into its own tunnel.
const charonConfig = `charon-systemd {
  load = random nonce openssl aes sha1 sha2 hmac kdf gcm chapoly curve25519 x509 pem pubkey pkcs1 pkcs8 constraints revocation kernel-libipsec kernel-netlink socket-default vici updown
  plugins {
    vici { socket = unix://%[1]s/vici }
    kernel-libipsec { allow_peer_ts = yes }
    kernel-netlink { fwmark = !0x42 }
    socket-default { fwmark = 0x42 }
  }
  filelog { log { path = %[1]s/charon.log
      default = 1
      flush_line = yes } }
%[2]s
}
swanctl { load = pem pkcs1 pkcs8 x509 revocation constraints pubkey openssl random }
`

// StrongSwan is a charon with userspace ESP on one host, driven by swanctl.
type StrongSwan struct {
	*Process
	host *Host
	dir  string
}

// StrongSwanPrograms are what [Require] should be given.
var StrongSwanPrograms = []string{"charon-systemd", "swanctl"}

// StartStrongSwan starts charon on the host and loads a configuration in the language of swanctl.conf(5). Several hosts run
// one each; a host runs one at a time. Options are lines for the section charon of strongswan.conf(5), as
// "make_before_break = yes".
func (h *Host) StartStrongSwan(ctx context.Context, swanctlConf string, options ...string) (*StrongSwan, error) {
	dir, err := os.MkdirTemp(h.lab.dir, h.Name+"-charon-")
	if err != nil {
		return nil, fmt.Errorf("make charon's directory: %w", err)
	}
	files := map[string]string{
		"strongswan.conf": fmt.Sprintf(charonConfig, dir, strings.Join(options, "\n")),
		"swanctl.conf":    swanctlConf,
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("write charon's configuration: %w", err)
		}
	}
	s := &StrongSwan{host: h, dir: dir}
	if s.Process, err = h.StartEnv([]string{s.env()}, "charon-systemd"); err != nil {
		return nil, err
	}
	err = s.Wait(ctx, "charon to answer", func() error { // its socket is there before it listens
		if _, err := os.Stat(filepath.Join(dir, "vici")); err != nil {
			return err
		}
		_, err := s.Ctl(ctx, "--version", "--daemon")
		return err
	})
	if err != nil {
		return nil, err
	}
	return s, s.Load(ctx)
}

func (s *StrongSwan) env() string {
	return "STRONGSWAN_CONF=" + filepath.Join(s.dir, "strongswan.conf")
}

// WriteFile gives charon a file below its directory of credentials, for the next Load: "x509/a.pem", "x509ca/ca.pem",
// "x509crl/ca.crl", "private/a.key", "pubkey/b.pub".
func (s *StrongSwan) WriteFile(name string, data []byte) error {
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make charon's directory: %w", err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return fmt.Errorf("write charon's file: %w", err)
	}
	return nil
}

// ConfigPath is the swanctl.conf that Load reads; a test may rewrite it.
func (s *StrongSwan) ConfigPath() string { return filepath.Join(s.dir, "swanctl.conf") }

// Load makes charon read its configuration again.
func (s *StrongSwan) Load(ctx context.Context) error {
	_, err := s.Ctl(ctx, "--load-all", "--file", s.ConfigPath())
	return err
}

// Ctl runs swanctl against this charon and returns what it wrote.
func (s *StrongSwan) Ctl(ctx context.Context, args ...string) (string, error) {
	// env(1) rather than the command's environment, so that [Host.Run] serves as it is.
	argv := append([]string{s.env(), "SWANCTL_DIR=" + s.dir, mustLook("swanctl")}, args...)
	out, err := s.host.Run(ctx, "env", append(argv, "--uri", "unix://"+s.dir+"/vici")...)
	if err != nil {
		return out, fmt.Errorf("%w; charon says:\n%s", err, tail(s.Log(), 2000))
	}
	return out, nil
}

// Initiate brings a child SA up, and its IKE SA where there is none, and returns when it stands.
func (s *StrongSwan) Initiate(ctx context.Context, child string) error {
	_, err := s.Ctl(ctx, "--initiate", "--child", child)
	return err
}

// Log is charon's log file; its console output if there is none.
func (s *StrongSwan) Log() string {
	text, err := os.ReadFile(filepath.Join(s.dir, "charon.log"))
	if errors.Is(err, os.ErrNotExist) {
		return s.Process.Log()
	}
	return string(text)
}
