package auth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/warrenvpn/warren/tunnel/ike/crypto"
	"github.com/warrenvpn/warren/tunnel/ike/message"
)

func TestParseSecret(t *testing.T) {
	for text, want := range map[string]string{
		"PSK-TO-CONFIGURE":    "PSK-TO-CONFIGURE",
		`"quoted"`:            "quoted",
		`"0x41"`:              "0x41",
		`"`:                   `"`,
		"0x4142":              "AB",
		"0x41:42":             "AB",
		"0sQUI=":              "AB",
		"0sQUI":               "AB",
		"an example, with =0": "an example, with =0",
		" blanks ":            " blanks ",
		"ünïcode":             "ünïcode",
		"0":                   "0",
	} {
		if got, err := ParseSecret(text); err != nil || string(got) != want {
			t.Errorf("%q is %q (%v), want %q", text, []byte(got), err, want)
		}
	}
	for _, text := range []string{"", `""`, "0x", "0xabc", "0xHUSHHUSH", "0s", "0sHUSH!HUSH", "0sQUJ"} {
		if got, err := ParseSecret(text); err == nil || len(text) > 3 && strings.Contains(err.Error(), text[2:]) {
			t.Errorf("%q is %q, %v", text, []byte(got), err)
		}
	}
}

func TestLoadSecret(t *testing.T) {
	for data, want := range map[string]string{"secret\n": "secret", "secret\r\n": "secret", "secret": "secret", "0x4142\n": "AB", "\"0x41\"\n": "0x41"} {
		if got, err := LoadSecret(writeRaw(t, "psk", []byte(data))); err != nil || string(got) != want {
			t.Errorf("%q is %q, %v", data, []byte(got), err)
		}
	}
	for data, want := range map[string]string{"": "empty", "hush\nhush\n": "several lines", "0xhush\n": "hexadecimal", strings.Repeat("hush", 2000): "longer than"} {
		file := writeRaw(t, "psk", []byte(data))
		if _, err := LoadSecret(file); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%.20q: %v", data, err)
		}
	}
}

func TestSecretHides(t *testing.T) {
	s := Secret("hush")
	var b bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&b, verb+" "+verb+"\n", s, SharedSecret{Secret: s})
	}
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "secret", s)
	if err := json.NewEncoder(&b).Encode(s); err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{"hush", "68757368", "68 75", "104", "aHVzaA"} {
		if strings.Contains(b.String(), shown) {
			t.Errorf("it is shown: %s", &b)
		}
	}
}

func TestFindSecret(t *testing.T) {
	entry := func(secret string, ids ...string) SharedSecret {
		s := SharedSecret{Secret: Secret(secret)}
		for _, id := range ids {
			s.IDs = append(s.IDs, mustID(t, id))
		}
		return s
	}
	all := []SharedSecret{entry("any"), entry("wild", "*.example.org"), entry("deep", "*.a.example.org"), entry("exact", "moon.example.org"),
		entry("pair", "me", "sun.example.org"), entry("other pair", "you", "sun.example.org"), entry("dn", "C=CH, CN=*"), entry("net", "192.0.2.0/24"),
		entry("two of others", "one", "two")}
	s, err := NewSecrets(all...)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ own, peer, want string }{
		{"me", "moon.example.org", "exact"}, {"me", "x.example.org", "wild"}, {"me", "x.a.example.org", "deep"},
		{"me", "sun.example.org", "pair"}, {"you", "sun.example.org", "other pair"}, {"they", "sun.example.org", "pair"},
		{"me", "C=CH, CN=moon", "dn"}, {"me", "192.0.2.9", "net"}, {"me", "198.51.100.1", "any"}, {"one", "elsewhere", "any"},
		{"one", "two", "two of others"}, {"me", "%any", "any"}, {"me", "*.example.org", "wild"},
	} {
		if got, err := s.Find(mustID(t, c.own), mustID(t, c.peer)); err != nil || string(got) != c.want {
			t.Errorf("%s with %s: %q, %v; want %q", c.own, c.peer, []byte(got), err, c.want)
		}
	}
	s, err = NewSecrets(entry("mine", "me"), entry("pair", "me", "moon"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Find(mustID(t, "me"), mustID(t, "anybody")); err != nil || string(got) != "mine" {
		t.Errorf("a secret of ours alone: %q, %v", []byte(got), err)
	}
	_, err = s.Find(mustID(t, "you"), mustID(t, "stranger"))
	wantReason(t, err, NoSecret, "stranger", "you", "moon")
	for _, bad := range [][]SharedSecret{nil, {{}}} {
		if _, err := NewSecrets(bad...); err == nil {
			t.Error("no secret is a secret")
		}
	}
}

func TestVerifySecret(t *testing.T) {
	s, err := NewSecrets(SharedSecret{IDs: []Identity{mustID(t, "moon"), mustID(t, "sun")}, Secret: Secret("hush")})
	if err != nil {
		t.Fatal(err)
	}
	moon, sun, p := mustID(t, "moon"), mustID(t, "sun"), testProof()
	l := &Local{ID: sun, Secrets: s}
	if err := l.check(); err != nil {
		t.Fatal(err)
	}
	auth, certs, err := l.sign(moon, p)
	if err != nil || certs != nil {
		t.Fatal(err)
	}
	r := &Remote{Secrets: s}
	if err := r.check(); err != nil {
		t.Fatal(err)
	}
	if err := r.verify(moon, sun, auth, nil, p, now); err != nil {
		t.Fatal(err)
	}
	wrong := &message.Auth{Method: message.AuthSharedKey, Data: crypto.SharedKey(p.prf, []byte("guess"), p.octets)}
	wantReason(t, r.verify(moon, sun, wrong, nil, p, now), WrongSecret, "sun")
	wantReason(t, r.verify(moon, mustID(t, "mars"), auth, nil, p, now), NoSecret, "mars")
	wantReason(t, r.verify(moon, sun, signedBy(t, freshKey(t)), nil, p, now), WrongMethod, "Digital Signature", "Shared Key")
	if _, _, err := l.sign(mustID(t, "mars"), p); err == nil {
		t.Error("a secret for somebody who has none")
	}
}
