package proposal

import (
	"fmt"
	"slices"
	"strings"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// A word is an algorithm in strongSwan's words.
type word struct {
	name    string
	aliases []string
	typ     message.TransformType
	id      uint16
	bits    uint16
}

// words lists what there is, by type and within it from the weaker to the stronger.
var words = []word{
	{"aes128", []string{"aes"}, message.TransformEncr, message.EncrAESCBC, 128},
	{"aes192", nil, message.TransformEncr, message.EncrAESCBC, 192},
	{"aes256", nil, message.TransformEncr, message.EncrAESCBC, 256},
	{"aes128gcm16", []string{"aes128gcm", "aes128gcm128"}, message.TransformEncr, message.EncrAESGCM16, 128},
	{"aes192gcm16", []string{"aes192gcm", "aes192gcm128"}, message.TransformEncr, message.EncrAESGCM16, 192},
	{"aes256gcm16", []string{"aes256gcm", "aes256gcm128"}, message.TransformEncr, message.EncrAESGCM16, 256},
	{"chacha20poly1305", nil, message.TransformEncr, message.EncrChaCha20Poly1305, 0},
	{"sha1", []string{"sha"}, message.TransformInteg, message.IntegHMACSHA1_96, 0},
	{"sha256", []string{"sha2_256"}, message.TransformInteg, message.IntegHMACSHA256128, 0},
	{"sha384", []string{"sha2_384"}, message.TransformInteg, message.IntegHMACSHA384192, 0},
	{"sha512", []string{"sha2_512"}, message.TransformInteg, message.IntegHMACSHA512256, 0},
	{"prfsha1", nil, message.TransformPRF, message.PRFHMACSHA1, 0},
	{"prfsha256", nil, message.TransformPRF, message.PRFHMACSHA256, 0},
	{"prfsha384", nil, message.TransformPRF, message.PRFHMACSHA384, 0},
	{"prfsha512", nil, message.TransformPRF, message.PRFHMACSHA512, 0},
	{"modp2048", nil, message.TransformKE, message.KEMODP2048, 0},
	{"modp3072", nil, message.TransformKE, message.KEMODP3072, 0},
	{"modp4096", nil, message.TransformKE, message.KEMODP4096, 0},
	{"ecp256", nil, message.TransformKE, message.KEECP256, 0},
	{"ecp384", nil, message.TransformKE, message.KEECP384, 0},
	{"ecp521", nil, message.TransformKE, message.KEECP521, 0},
	{"curve25519", []string{"x25519"}, message.TransformKE, message.KECurve25519, 0},
	{"mlkem768", nil, message.TransformKE, message.KEMLKEM768, 0},
	{"none", nil, message.TransformKE, message.KENone, 0},
	{"esn", nil, message.TransformSN, message.SN64, 0},
	{"noesn", nil, message.TransformSN, message.SN32, 0},
}

// kinds names the types of transforms in words, with what strongSwan's names for them begin with: aesxcbc comes before aes.
var kinds = []struct {
	typ      message.TransformType
	name     string
	prefixes []string
}{
	{message.TransformPRF, "PRF", []string{"prf"}},
	{message.TransformInteg, "integrity algorithm", []string{"sha", "md5", "aesxcbc", "aescmac"}},
	{message.TransformEncr, "encryption algorithm", []string{"3des", "aes", "blowfish", "camellia", "cast", "chacha", "des", "null", "serpent", "twofish"}},
	{message.TransformKE, "key exchange method", []string{"modp", "ecp", "curve", "x448", "mlkem", "ntru", "kyber", "frodo"}},
}

func kind(typ message.TransformType) string {
	if typ.AdditionalKE() {
		return fmt.Sprintf("additional key exchange method %d", typ-message.TransformADDKE1+1)
	}
	for _, k := range kinds {
		if k.typ == typ {
			return k.name
		}
	}
	if typ == message.TransformSN {
		return "esn or noesn"
	}
	return typ.String()
}

// names lists the words of a type, but for "none".
func names(typ message.TransformType) string {
	var all []string
	for _, w := range words {
		if w.typ == typ && w.name != "none" {
			all = append(all, w.name)
		}
	}
	return strings.Join(all, ", ")
}

// lookup reads a word.
func lookup(s string) (message.Transform, error) {
	typ, rest := message.TransformKE, s
	if len(s) > 4 && strings.HasPrefix(s, "ke") && s[3] == '_' {
		if s[2] < '1' || s[2] > '7' {
			return message.Transform{}, fmt.Errorf("%q: additional key exchanges are numbered from ke1_ to ke7_", s)
		}
		typ, rest = message.TransformADDKE1+message.TransformType(s[2]-'1'), s[4:]
	}
	w, ok := find(rest)
	switch {
	case !ok || typ.AdditionalKE() && w.typ != message.TransformKE:
		return message.Transform{}, unknownWord(s, typ.AdditionalKE())
	case typ.AdditionalKE():
		return message.Transform{Type: typ, ID: w.id}, nil
	}
	return message.Transform{Type: w.typ, ID: w.id, KeyLength: w.bits}, nil
}

func find(s string) (word, bool) {
	i := slices.IndexFunc(words, func(w word) bool { return w.name == s || slices.Contains(w.aliases, s) })
	if i < 0 {
		return word{}, false
	}
	return words[i], true
}

// unknownWord says what there is in place of s: of the kind that its beginning suggests, or of all.
func unknownWord(s string, additional bool) error {
	if additional {
		return fmt.Errorf("%q is not supported; behind %q there may be %s or none", s, s[:4], names(message.TransformKE))
	}
	if lower := strings.ToLower(s); lower != s {
		if _, ok := find(lower); ok {
			return fmt.Errorf("%q is written %q", s, lower)
		}
	}
	for _, k := range kinds {
		if slices.ContainsFunc(k.prefixes, func(p string) bool { return strings.HasPrefix(s, p) }) {
			return fmt.Errorf("the %s %q is not supported; there are %s", k.name, s, names(k.typ))
		}
	}
	var all []string
	for _, k := range kinds {
		all = append(all, names(k.typ))
	}
	return fmt.Errorf("%q is no algorithm; there are %s; and esn, noesn", s, strings.Join(all, "; "))
}

// spell is the word of a transform, or IANA's name of one that has no word.
func spell(t message.Transform) string {
	prefix, typ := "", t.Type
	if typ.AdditionalKE() {
		prefix, typ = fmt.Sprintf("ke%d_", typ-message.TransformADDKE1+1), message.TransformKE
	}
	for _, w := range words {
		if w.typ == typ && w.id == t.ID && w.bits == t.KeyLength && len(t.Attributes) == 0 {
			return prefix + w.name
		}
	}
	return t.String()
}
