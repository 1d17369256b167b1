package warren_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/dataplane/underlay/sim"
)

// shown is all that engines say, at the level at which they say most.
type shown struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *shown) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

// has says in which form a secret is in it, or "". The secret is hexadecimal, base64, or a word.
func (s *shown) has(secret string) string {
	raw, err := hex.DecodeString(secret)
	if err != nil {
		if raw, err = base64.StdEncoding.DecodeString(secret); err != nil {
			raw = []byte(secret)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := strings.ToLower(s.text.String())
	for _, form := range []string{secret, hex.EncodeToString(raw), base64.StdEncoding.EncodeToString(raw), strings.Trim(fmt.Sprint(raw), "[]"), string(raw)} {
		if strings.Contains(all, strings.ToLower(form)) {
			return form
		}
	}
	return ""
}

// secretTunnels are an IKE tunnel and one keyed by hand, beside the WireGuard one of wgSites.
const secretTunnels = `
  ike:
    ipsec: {remote: 192.0.2.%[2]d, psk: "psk-of-the-test-%[3]s", proposals: aes256gcm16-prfsha384-ecp384, esp_proposals: aes256gcm16, start_action: start}
    routes: [172.16.%[2]d.0/24]
  hand:
    ipsec:
      remote: 192.0.2.%[2]d
      static: {esp: aes128gcm16, out: {spi: 0x10%[1]d, key: "0x%[3]s0%[1]d"}, in: {spi: 0x10%[2]d, key: "0x%[3]s0%[2]d"}}
    routes: [172.17.%[2]d.0/24]
`

// exported are the keys of sessions that were exported to a directory.
func exported(t *testing.T, dir string) (keys []string) {
	t.Helper()
	material := regexp.MustCompile(`[0-9a-fA-F]{32,}|[0-9A-Za-z+/]{43}=`)
	for _, file := range []string{"ikev2_decryption_table", "esp_sa", "wireguard.keys"} {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		before := len(keys)
		for line := range strings.Lines(string(text)) {
			if !strings.Contains(line, "PUBLIC") {
				keys = append(keys, material.FindAllString(line, -1)...)
			}
		}
		if len(keys) == before {
			t.Errorf("no keys are in %s:\n%s", file, text)
		}
	}
	return keys
}

// TestNothingShowsSecrets: neither the log at its most talkative nor anything that can be asked of an engine shows a configured
// secret or a key of a session, of any kind of tunnel, also after new keys and a changed configuration.
func TestNothingShowsSecrets(t *testing.T) {
	dir := t.TempDir()
	sites := wgSites(t, secretTunnels, "key_export: "+dir+"\n")
	log, network := new(shown), sim.New(sim.Config{})
	everything := warren.WithLogger(slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	var e [2]*warren.Engine
	for i := range e {
		e[i], _ = start(t, siteConfig(t, sites[i], i), warren.WithNetwork(network), everything)
	}
	eventually(t, "the tunnel by IKE is up", patience, func() bool {
		up, _, _ := state(e[0], "ike")
		return up
	})
	if err := ping(t, e[0], "10.2.0.1", patience); err != nil {
		t.Fatal(err)
	}
	for _, tunnel := range []string{"peer", "ike"} {
		if err := e[0].Rekey(t.Context(), tunnel, ""); err != nil {
			t.Fatal(err)
		}
	}
	changed, err := warren.ParseConfig("site.yaml", fmt.Appendf(nil, strings.Replace(sites[0], "172.17.%[2]d.0/24", "172.18.%[2]d.0/24", 1), 1, 2, "0102030405060708090a0b0c0d0e0f10111213", 0))
	if err != nil {
		t.Fatal(err)
	}
	if err := e[0].Apply(changed); err != nil {
		t.Fatal(err)
	}
	for i := range e {
		why, err := e[i].Explain("", netip.MustParseAddr(fmt.Sprintf("10.%d.0.1", i+1)), netip.MustParseAddr(fmt.Sprintf("10.%d.0.1", 2-i)))
		if err != nil {
			t.Fatal(err)
		}
		for _, answer := range []any{e[i].Status(), e[i].Routes(netip.Prefix{}), e[i].Neighbors(), why} {
			encoded, err := json.Marshal(answer)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(log, "%s\n%+v\n", encoded, answer)
		}
	}
	secrets := append(exported(t, dir), "psk-of-the-test-0102030405060708090a0b0c0d0e0f10111213", "0102030405060708090a0b0c0d0e0f10111213")
	for _, site := range sites {
		secrets = append(secrets, regexp.MustCompile(`private_key: "([^"]+)"`).FindStringSubmatch(site)[1])
	}
	for _, secret := range secrets {
		if form := log.has(secret); form != "" {
			t.Errorf("a secret is shown, as %q", form)
		}
	}
	for _, public := range []string{"established", "public_key", "172.18.2.0/24"} { // so that there was something to look at
		if log.has(public) == "" {
			t.Errorf("nothing says %q in\n%s", public, log.text.String())
		}
	}
}
