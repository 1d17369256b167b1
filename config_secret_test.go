package warren

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestSecretShowsItselfToNobody(t *testing.T) {
	const word = "correcthorse"
	c := good()
	s := c.Tunnels[0].IPsec.Static
	s.Out.Key = Secret(word)
	encoded, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("x", "key", s.Out.Key, "static", *s, "sa", s.Out)
	}
	all := string(encoded) + log.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c", "%U"} {
		all += fmt.Sprintf(verb+"\n", s.Out.Key) + fmt.Sprintf(verb+"\n", *s)
	}
	all += fmt.Sprint(s.Out.Key, c.Validate())
	for _, form := range []string{word, fmt.Sprintf("%x", word), fmt.Sprintf("%X", word), fmt.Sprint([]byte(word)), "0x63, 0x6f", "63 6f", "Y29ycmVj", "143 157"} {
		if strings.Contains(all, form) {
			t.Errorf("the secret is shown as %q in\n%s", form, all)
		}
	}
	if !strings.Contains(string(encoded), hidden) {
		t.Errorf("JSON %s does not say that something is hidden", encoded)
	}
}

// TestMistakesShowNoSecret puts a secret where it belongs and where it does not, with a mistake beside it.
func TestMistakesShowNoSecret(t *testing.T) {
	const word, digits = "hunter2", "0x0102030405060708090a0b0c0d0e0f1011121314"
	const frame = "vrfs: {m: {}}\ntunnels:\n  b:\n    ipsec:\n      remote: 192.0.2.1\n"
	for _, yaml := range []string{
		frame + "      psk: " + word + "\n",
		frame + "      psk: \"" + word + "\"   # and more\n",
		frame + "      psk: a, b} " + word + "\n",
		frame + "      psk: 'it''s " + word + "'\n",
		frame + "      psk: |\n        " + word + "\n        second\n      frob: 1\n",
		frame + "      psk: >-\n        first\n        " + word + "\n",
		frame + "      psk: one\n        " + word + "\n      frob: 1\n",
		frame + "      \"psk\": \"one\n        " + word + "\"\n",
		frame + "      psk: [one, " + word + "]\n",
		frame + "      psk:\n        - " + word + "\n",
		frame + "      PSK: " + word + "\n",
		frame + "      psk: &a " + word + "\n",
		frame + "      psk: !!str " + word + "\n",
		frame + "      kpsk: " + word + "\n",
		frame + "      pskk:\n        deep: {er: " + word + "}\n",
		frame + "      psk: " + word + "\n        x: [\n",
		frame + "      psk: \"" + word + "\n",
		frame + "      \"psk\" : " + word + " ]\n      x: }\n",
		frame + "      static: {esp: x, out: {spi: 1, key: " + digits + "}}\n",
		frame + "      static: {esp: x, out: {key: " + digits + ", spi: 1}}\n",
		frame + "      static: {esp: " + digits + "}\n",
		frame + "      static: {out: {spi: " + digits + ", key: 0x300}}\n",
		frame + "      static: {out: {key: {" + word + ": 1}}}\n",
		frame + "      static: {out: {key: " + word + "}}\n",
		frame + "      static: {out: {key: \"0x" + word + "\"}}\n",
		frame + "      static: {out: " + digits + "}\n",
		frame + "      static: {out: {key_file: " + digits + "}}\n",
		frame + "      static: {out: {spi: 1, key: " + digits + "\n",
		"wireguard: {private_key: " + word + "}\n",
	} {
		_, err := ParseConfig("x.yaml", []byte(yaml))
		if err == nil {
			t.Errorf("no mistake in\n%s", yaml)
			continue
		}
		if s := err.Error(); strings.Contains(s, word) || strings.Contains(s, digits[4:]) {
			t.Errorf("a secret is shown of\n%s\nby\n%s", yaml, s)
		}
	}
}
