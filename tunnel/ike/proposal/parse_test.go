package proposal

import (
	"slices"
	"strings"
	"testing"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// transforms are given as {type, ID, key length}.
func transforms(all ...[3]uint16) []message.Transform {
	out := make([]message.Transform, len(all))
	for i, t := range all {
		out[i] = message.Transform{Type: message.TransformType(t[0]), ID: t[1], KeyLength: t[2]}
	}
	return out
}

func TestParseIKE(t *testing.T) {
	for s, want := range map[string][]message.Transform{
		"aes256gcm16-prfsha384-ecp384":          transforms([3]uint16{1, 20, 256}, [3]uint16{2, 6}, [3]uint16{4, 20}),
		"aes256-sha256-modp2048":                transforms([3]uint16{1, 12, 256}, [3]uint16{3, 12}, [3]uint16{4, 14}, [3]uint16{2, 5}),
		"aes128-sha1-prfsha512-modp4096":        transforms([3]uint16{1, 12, 128}, [3]uint16{3, 2}, [3]uint16{2, 7}, [3]uint16{4, 16}),
		"chacha20poly1305-prfsha256-curve25519": transforms([3]uint16{1, 28}, [3]uint16{2, 5}, [3]uint16{4, 31}),
		"aes256gcm16-prfsha384-ecp384-ke1_mlkem768": transforms([3]uint16{1, 20, 256}, [3]uint16{2, 6}, [3]uint16{4, 20},
			[3]uint16{6, 36}),
		"aes256gcm16-prfsha384-ecp384-ke2_mlkem768-ke2_none": transforms([3]uint16{1, 20, 256}, [3]uint16{2, 6}, [3]uint16{4, 20},
			[3]uint16{7, 36}, [3]uint16{7, 0}),
		"aes256-aes128-sha384-sha1-ecp521-modp3072": transforms([3]uint16{1, 12, 256}, [3]uint16{1, 12, 128}, [3]uint16{3, 13},
			[3]uint16{3, 2}, [3]uint16{4, 21}, [3]uint16{4, 15}, [3]uint16{2, 6}, [3]uint16{2, 2}),
	} {
		l, err := ParseIKE(s)
		if err != nil || len(l) != 1 || l[0].Protocol != message.ProtocolIKE {
			t.Errorf("%s: %v, %v", s, l, err)
			continue
		}
		if !same(l[0].Transforms, want) {
			t.Errorf("%s:\n got %v\nwant %v", s, l[0].Transforms, want)
		}
		if l.String() != s {
			t.Errorf("%s is spelled %s", s, l)
		}
	}
	for s, want := range map[string]string{
		"aes-sha-modp2048": "aes128-sha1-modp2048", "aes256gcm-prfsha256-x25519": "aes256gcm16-prfsha256-curve25519",
		"aes192gcm128-prfsha1-mlkem768":                 "aes192gcm16-prfsha1-mlkem768",
		"modp2048-sha2_512-aes256":                      "aes256-sha512-modp2048",
		"aes256-sha256-prfsha256-modp2048":              "aes256-sha256-modp2048",
		"aes256-aes256-sha256-modp2048-modp2048":        "aes256-sha256-modp2048",
		" aes256-sha256-ecp256 , aes128-sha384-ecp384 ": "aes256-sha256-ecp256,aes128-sha384-ecp384",
	} {
		if l, err := ParseIKE(s); err != nil || l.String() != want {
			t.Errorf("%s: %v, %v; want %s", s, l, err, want)
		}
	}
}

func TestParseESP(t *testing.T) {
	sn := map[string][]message.Transform{"": transforms([3]uint16{5, 1}, [3]uint16{5}), "esn": transforms([3]uint16{5, 1}), "noesn": transforms([3]uint16{5})}
	for s, c := range map[string]struct {
		want    []message.Transform
		sn      string
		warning string
		spelled string
	}{
		"aes256gcm16-ecp384":           {transforms([3]uint16{1, 20, 256}, [3]uint16{4, 20}), "", "", "aes256gcm16-ecp384"},
		"aes256gcm16-prfsha384-ecp384": {transforms([3]uint16{1, 20, 256}, [3]uint16{4, 20}), "", `"prfsha384" is ignored`, "aes256gcm16-ecp384"},
		"chacha20poly1305":             {transforms([3]uint16{1, 28}), "", "", "chacha20poly1305"},
		"aes128-sha256-esn":            {transforms([3]uint16{1, 12, 128}, [3]uint16{3, 12}), "esn", "", "aes128-sha256-esn"},
		"aes128-sha256-noesn-modp2048": {transforms([3]uint16{1, 12, 128}, [3]uint16{3, 12}, [3]uint16{4, 14}), "noesn", "", "aes128-sha256-modp2048-noesn"},
		"aes128gcm16-esn-noesn":        {transforms([3]uint16{1, 20, 128}), "", "", "aes128gcm16"},
		"aes128gcm16-modp2048-none":    {transforms([3]uint16{1, 20, 128}, [3]uint16{4, 14}, [3]uint16{4, 0}), "", "", "aes128gcm16-modp2048-none"},
	} {
		l, warnings, err := ParseESP(s)
		if err != nil || len(l) != 1 || l[0].Protocol != message.ProtocolESP {
			t.Errorf("%s: %v, %v", s, l, err)
			continue
		}
		rest := slices.DeleteFunc(slices.Clone(l[0].Transforms), func(t message.Transform) bool { return t.Type == message.TransformSN })
		if !same(rest, c.want) || !same(of(l[0].Transforms, message.TransformSN), sn[c.sn]) {
			t.Errorf("%s: %v", s, l[0].Transforms)
		}
		if l.String() != c.spelled {
			t.Errorf("%s is spelled %s, want %s", s, l, c.spelled)
		}
		if said := strings.Join(warnings, "\n"); !strings.Contains(said, c.warning) || (c.warning == "") != (said == "") || said != "" && !strings.Contains(said, s) {
			t.Errorf("%s: warnings %q", s, said)
		}
	}
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	for _, c := range []struct {
		esp  bool
		s    string
		says []string
	}{
		{false, "aes256gcm16-ecp384", []string{`"aes256gcm16-ecp384"`, "PRF", "aes256gcm16", "prfsha384"}},
		{false, "aes256gcm16-sha384-ecp384", []string{`write "prfsha384" in place of "sha384"`}},
		{false, "aes256gcm16-sha384-prfsha384-ecp384", []string{`leave out "sha384"`}},
		{true, "aes256gcm16-sha256", []string{`leave out "sha256"`}},
		{false, "aes256-modp2048", []string{"aes256 needs an integrity algorithm", "sha256"}},
		{true, "aes256", []string{"aes256 needs an integrity algorithm", "sha256"}},
		{true, "sha256-modp2048", []string{"encryption algorithm is missing", "aes256gcm16"}},
		{false, "aes256-sha256", []string{"key exchange method", "curve25519"}},
		{false, "aes256-sha256-none", []string{"key exchange method", "curve25519"}},
		{false, "aes256-sha256-modp2048-esn", []string{`"esn" is for ESP only`}},
		{false, "aes256-aes256gcm16-sha256-prfsha256-modp2048", []string{"aes256gcm16 has", "aes256 has not", "two proposals"}},
		{false, "aes256-sha256-modp1024", []string{`key exchange method "modp1024"`, "modp2048", "ecp384"}},
		{false, "3des-sha256-modp2048", []string{`encryption algorithm "3des"`, "aes256"}},
		{false, "aes128ctr-sha256-modp2048", []string{`encryption algorithm "aes128ctr"`, "aes128gcm16"}},
		{false, "aes128-md5-modp2048", []string{`integrity algorithm "md5"`, "sha256"}},
		{false, "aes128-aesxcbc-modp2048", []string{`integrity algorithm "aesxcbc"`, "sha256"}},
		{false, "aes256gcm16-prfmd5-ecp384", []string{`PRF "prfmd5"`, "prfsha256"}},
		{false, "aes256gcm16-prfsha384-ecp384-ke8_mlkem768", []string{`"ke8_mlkem768"`, "ke1_", "ke7_"}},
		{false, "aes256gcm16-prfsha384-ecp384-ke1_kyber3", []string{`"ke1_kyber3"`, "mlkem768"}},
		{false, "aes256gcm16-prfsha384-ecp384-ke1_sha256", []string{`"ke1_sha256"`, "mlkem768"}},
		{false, "aes256gcm16-prfsha384-ke1_mlkem768", []string{"key exchange method"}},
		{true, "aes256gcm16-ke1_mlkem768", []string{`"ke1_mlkem768"`, "first one"}},
		{false, "aes256gcm16-prfsha384-ecp384-ke1_ecp384", []string{"twice", "RFC 9370"}},
		{false, "AES256-sha256-modp2048", []string{`"AES256" is written "aes256"`}},
		{false, "aes256-sha256-modp2048!", []string{`"modp2048!"`}},
		{false, "foo-sha256-modp2048", []string{`"foo" is no algorithm`, "aes256gcm16", "prfsha256", "sha256", "modp2048", "esn"}},
		{false, "aes256--modp2048", []string{`"" is no algorithm`}},
		{false, "", []string{"empty", "aes256gcm16-prfsha384-ecp384"}},
		{true, "aes256gcm16,,aes128gcm16", []string{"empty", "aes256gcm16-ecp384"}},
		{true, strings.Repeat("aes256gcm16,", 255) + "aes256gcm16", []string{"256", "255"}},
	} {
		_, err := ParseIKE(c.s)
		if c.esp {
			_, _, err = ParseESP(c.s)
		}
		if err == nil {
			t.Errorf("%s is accepted", c.s)
			continue
		}
		for _, part := range c.says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q does not say %q", c.s, err, part)
			}
		}
	}
}

func TestDefaults(t *testing.T) {
	ike, err := ParseIKE("default")
	if err != nil || ike.String() != DefaultIKE {
		t.Errorf("%v, %v", ike, err)
	}
	esp, warnings, err := ParseESP("aes192gcm16-ecp384,default")
	if err != nil || esp.String() != "aes192gcm16-ecp384,"+DefaultESP || len(warnings) > 0 {
		t.Errorf("%v, %v, %v", esp, warnings, err)
	}
}

func TestEveryWordIsUnderstood(t *testing.T) {
	for _, w := range words {
		for _, name := range append([]string{w.name}, w.aliases...) {
			got, err := lookup(name)
			if err != nil || got.Type != w.typ || got.ID != w.id || got.KeyLength != w.bits || spell(got) != w.name {
				t.Errorf("%s: %v, %v, spelled %s", name, got, err, spell(got))
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{DefaultIKE, DefaultESP, "default", "aes256gcm16-prfsha384-ecp384-ke1_mlkem768-ke1_none", "aes256-sha256-noesn-none", "ke9_", "a-,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ike, err := ParseIKE(s)
		if err == nil {
			if again, err := ParseIKE(ike.String()); err != nil || again.String() != ike.String() {
				t.Errorf("%q is spelled %q, which is %v, %v", s, ike, again, err)
			}
			for _, p := range ike {
				everyChoiceIsUsable(t, p)
			}
		}
		esp, _, err := ParseESP(s)
		if err == nil {
			if again, warnings, err := ParseESP(esp.String()); err != nil || again.String() != esp.String() || len(warnings) > 0 {
				t.Errorf("%q is spelled %q, which is %v, %v, %v", s, esp, again, warnings, err)
			}
			for _, p := range esp {
				everyChoiceIsUsable(t, p)
			}
		}
	})
}

// everyChoiceIsUsable wants package crypto to know what may be agreed on.
func everyChoiceIsUsable(t *testing.T, p Proposal) {
	for _, e := range of(p.Transforms, message.TransformEncr) {
		integ := of(p.Transforms, message.TransformInteg)
		for i := range max(1, len(integ)) {
			c := Choice{Protocol: p.Protocol, Transforms: []message.Transform{e}}
			if len(integ) > 0 {
				c.Transforms = append(c.Transforms, integ[i])
			}
			if err := c.Cipher().Check(); err != nil {
				t.Errorf("%v: %v", c, err)
			}
		}
	}
	for _, ke := range p.Transforms {
		c := Choice{Transforms: []message.Transform{{Type: message.TransformKE, ID: ke.ID}}}
		if _, err := c.KE().Group(); isKE(ke.Type) && !isNone(ke) && err != nil {
			t.Errorf("%v: %v", ke, err)
		}
	}
	for _, prf := range of(p.Transforms, message.TransformPRF) {
		c := Choice{Transforms: []message.Transform{prf}}
		if err := c.Suite().PRF.Check(); err != nil {
			t.Errorf("%v: %v", prf, err)
		}
	}
}
