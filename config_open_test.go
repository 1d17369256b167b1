package warren

import (
	"crypto/ed25519"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSecretsThatEverybodyReads: whoever lets everybody read a secret is told so, once for each file that names it, and nobody else is.
func TestSecretsThatEverybodyReads(t *testing.T) {
	const key = "0xa1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4"
	wg, err := GenKey()
	if err != nil {
		t.Fatal(err)
	}
	tunnels := func(ipsec string) string {
		return "underlay: {addresses: [192.0.2.1]}\nvrfs: {main: {}}\n" + ipsec
	}
	for _, c := range []struct {
		name, yaml, secret string
		want               string // in the one warning; it stands where the yaml says HERE
	}{
		{"a secret", tunnels("tunnels: {a: {ipsec: {remote: 192.0.2.2, psk_file: HERE}}}\n"), "correct horse", "SECRET: want chmod 600"},
		{"a secret for all", tunnels("defaults: {ipsec: {psk_file: HERE}}\ntunnels: {a: {ipsec: {remote: 192.0.2.2}}, b: {ipsec: {remote: 192.0.2.3}}}\n"), "correct horse", "SECRET: want chmod 600"},
		{"a key by hand", tunnels("tunnels: {a: {ipsec: {remote: 192.0.2.2, static: {esp: aes128-sha256, out: {spi: 300, key: \"0x" + strings.Repeat("07", 48) +
			"\"}, in: {spi: 301, key_file: HERE}}}}}\n"), "0x" + strings.Repeat("08", 48), "SECRET: want chmod 600"},
		{"a private key", "vrfs: {main: {}}\nwireguard: {private_key_file: HERE}\n", wg, "SECRET: want chmod 600"},
		{"a private key in the file itself", "vrfs: {main: {}}\nwireguard: {private_key: HERE}\n", "", "the secret in FILE: want chmod 600"},
		{"a secret in the file itself", tunnels("tunnels: {a: {ipsec: {remote: 192.0.2.2, psk: HERE}}}\n"), "", "the secret in FILE: want chmod 600"},
		{"a key by hand in the file itself", tunnels("tunnels: {a: {ipsec: {remote: 192.0.2.2, static: {esp: aes128gcm16, out: {spi: 300, key: HERE}, in: {spi: 301, key: \"0x0909090909090909090909090909090909090909\"}}}}}\n"),
			"", "the secret in FILE: want chmod 600"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			file, secret := filepath.Join(dir, "site.yaml"), filepath.Join(dir, "secret")
			value := "secret"
			if c.secret == "" {
				value = `"` + key + `"`
				if strings.Contains(c.yaml, "private_key") {
					value = `"` + wg + `"`
				}
			}
			for name, text := range map[string]string{file: strings.Replace(c.yaml, "HERE", value, 1), secret: c.secret} {
				if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			about := func(mode os.FileMode) (found []string) {
				t.Helper()
				opened := secret
				if c.secret == "" {
					opened = file
				}
				if err := os.Chmod(opened, mode); err != nil {
					t.Fatal(err)
				}
				cfg, err := LoadConfig(file)
				if err != nil {
					t.Fatal(err)
				}
				for _, w := range cfg.Warnings {
					if strings.Contains(w.String(), "everybody") {
						found = append(found, w.String())
					}
				}
				return found
			}
			if got := about(0o640); len(got) > 0 {
				t.Errorf("closed: %q", got)
			}
			got := about(0o644)
			want := strings.NewReplacer("SECRET", secret, "FILE", file).Replace("everybody may read " + c.want)
			line, column := 0, 0
			for i, l := range strings.Split(c.yaml, "\n") {
				if at := strings.Index(l, "HERE"); at >= 0 {
					line, column = i+1, at+1
				}
			}
			if len(got) != 1 || !strings.HasSuffix(got[0], want) || !strings.HasPrefix(got[0], at(file, line, column)) {
				t.Errorf("got %q, want one at %d:%d with %q", got, line, column, want)
			}
		})
	}
}

// TestKeysThatEverybodyReads: so it is with the keys of certificates, and with files of wg-quick.
func TestKeysThatEverybodyReads(t *testing.T) {
	dir := t.TempDir()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	wg, err := GenKey()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"our.der": ours, "their.der": theirs, "wg0.conf": []byte("[Interface]\nPrivateKey = " + wg + "\n"),
		"site.yaml": []byte("underlay: {addresses: [192.0.2.1]}\nvrfs: {main: {}}\ntunnels: {a: {ipsec: {remote: 192.0.2.2, auth: {local: {id: a, key: our.der}, remote: {id: b, key: their.der}}}}}\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for file, secret := range map[string]string{"site.yaml": "our.der", "wg0.conf": "wg0.conf"} {
		for _, mode := range []os.FileMode{0o600, 0o604} {
			if err := os.Chmod(filepath.Join(dir, secret), mode); err != nil {
				t.Fatal(err)
			}
			cfg, err := LoadConfig(filepath.Join(dir, file))
			if err != nil {
				t.Fatal(err)
			}
			told := 0
			for _, w := range cfg.Warnings {
				if strings.Contains(w.String(), "everybody may read") && strings.Contains(w.String(), secret) {
					told++
				}
			}
			if want := int(mode & 0o004 / 0o004); told != want {
				t.Errorf("%s with %s of mode %o: %d warnings, want %d: %v", file, secret, mode, told, want, cfg.Warnings)
			}
		}
	}
}

// TestKeyInPlaceOfAFile: a key that stands where the path of its file should is not shown.
func TestKeyInPlaceOfAFile(t *testing.T) {
	for _, key := range []string{"|\n        -----BEGIN PRIVATE KEY-----\n        MC4CAQAwBQ\n        -----END PRIVATE KEY-----\n", `"-----BEGIN PRIVATE KEY----- MC4CAQAwBQ"`} {
		_, err := ParseConfig("x.yaml", []byte("vrfs: {main: {}}\ntunnels:\n  a:\n    ipsec:\n      remote: 192.0.2.2\n      psk_file: "+key))
		if err == nil || strings.Contains(err.Error(), "MC4CAQ") || !strings.Contains(err.Error(), "this is no path; want the path of a file") {
			t.Errorf("%v", err)
		}
	}
}

// TestOwnAddress: a peer that is ourselves is a mistake, but not an engine beside us that has other ports.
func TestOwnAddress(t *testing.T) {
	const static = "static: {esp: aes128-sha256, out: {spi: 300, key: \"0x" + "0707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707aa" +
		"\"}, in: {spi: 301, key: \"0x" + "0808080808080808080808080808080808080808080808080808080808080808080808080808080808080808080808bb" + "\"}}"
	for _, c := range []struct {
		underlay, ipsec string
		ourselves       bool
	}{
		{"", "psk: x", true},
		{"", static, true},
		{"udp_port: 4501", static, false},
		{"udp_port: 4501", static + ", remote_port: 4501", true},
		{"udp_port: 4501", static + ", encap: never", true},
		{"", static + ", remote_port: 4501", false},
		{"udp_port: 4501, ike_port: 501", "psk: x", false},
		{"udp_port: 4501, ike_port: 501", "psk: x, remote_port: 501", true},
		{"udp_port: 4501, ike_port: none", "psk: x", false},
		{"", "psk: x, remote_port: 501", false},
	} {
		yaml := "underlay: {addresses: [192.0.2.1], " + c.underlay + "}\nvrfs: {main: {}}\ntunnels: {a: {ipsec: {remote: 192.0.2.1, " + c.ipsec + "}}}\n"
		_, err := ParseConfig("x.yaml", []byte(yaml))
		if told := err != nil && strings.Contains(err.Error(), "tunnels.a.ipsec.remote: 192.0.2.1 is our own address"); told != c.ourselves || err != nil && !told {
			t.Errorf("%s\n%v", yaml, err)
		}
	}
}
