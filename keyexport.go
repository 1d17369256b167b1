package warren

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

// Files of a Wireshark profile, and the one that its preference of WireGuard's key log is pointed to.
const (
	ikeKeys       = "ikev2_decryption_table"
	espKeys       = "esp_sa"
	wireGuardKeys = "wireguard.keys"
)

// keyExport writes session keys where Wireshark finds them: into a directory that is one of its profiles. It is made only for
// who asks for it; a nil one writes nothing.
type keyExport struct {
	dir string
	log *slog.Logger

	mu sync.Mutex
	// failed: that it fails was said.
	failed bool
}

// openKeyExport sees that the directory can be written to, and warns.
func (s *site) openKeyExport() error {
	dir := s.cfg.KeyExport
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("export keys: %w", err)
	}
	s.export = &keyExport{dir: dir, log: s.log}
	for _, file := range []string{ikeKeys, espKeys, wireGuardKeys} {
		if err := s.export.append(file, ""); err != nil {
			return fmt.Errorf("export keys: %w", err)
		}
	}
	s.log.Warn("session keys are exported: who reads them can decrypt the traffic", "directory", dir)
	return nil
}

func (x *keyExport) append(file, line string) error {
	f, err := os.OpenFile(filepath.Join(x.dir, file), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line)
	return errors.Join(err, f.Close())
}

// write adds lines to a file. That it fails is said once, without them.
func (x *keyExport) write(file string, lines ...string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, line := range lines {
		err := x.append(file, line+"\n")
		if err != nil && !x.failed {
			x.log.Error("keys cannot be exported", "error", err)
		}
		x.failed = err != nil
	}
}

// wireGuard returns who is told of WireGuard's keys, nil for nobody.
func (x *keyExport) wireGuard() func(handshake.EphemeralKeys) {
	if x == nil {
		return nil
	}
	return func(k handshake.EphemeralKeys) { x.write(wireGuardKeys, strings.TrimSuffix(k.KeyLog(), "\n")) }
}
