package auth

import (
	"encoding/asn1"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

func mustID(t testing.TB, text string) Identity {
	t.Helper()
	id, err := ParseIdentity(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// payloadOf is an identity of a type with these data, as a peer claims it.
func payloadOf(t testing.TB, kind message.IDType, data string) Identity {
	t.Helper()
	id, err := OfPayload(message.ID{Type: kind, Data: []byte(data)})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestParseIdentity(t *testing.T) {
	for _, c := range []struct {
		text string
		kind message.IDType
		data string // in hexadecimal if it begins with #
	}{
		{"192.0.2.1", message.IDIPv4Addr, "#c0000201"},
		{"ipv4:192.0.2.1", message.IDIPv4Addr, "#c0000201"},
		{"2001:db8::1", message.IDIPv6Addr, "#20010db8000000000000000000000001"},
		{"ipv6:2001:db8::1", message.IDIPv6Addr, "#20010db8000000000000000000000001"},
		{"::ffff:192.0.2.1", message.IDIPv4Addr, "#c0000201"},
		{"moon.example.org", message.IDFQDN, "moon.example.org"},
		{"@moon.example.org", message.IDFQDN, "moon.example.org"},
		{"moon", message.IDFQDN, "moon"},
		{"fqdn:moon", message.IDFQDN, "moon"},
		{"DNS:moon", message.IDFQDN, "moon"},
		{"fqdn:192.0.2.1", message.IDFQDN, "192.0.2.1"},
		{"carol@example.org", message.IDRFC822Addr, "carol@example.org"},
		{"@@carol@example.org", message.IDRFC822Addr, "carol@example.org"},
		{"email:carol@example.org", message.IDRFC822Addr, "carol@example.org"},
		{"userfqdn:carol@example.org", message.IDRFC822Addr, "carol@example.org"},
		{"@#0aFF10", message.IDKeyID, "#0aff10"},
		{"keyid:some text", message.IDKeyID, "some text"},
		{"keyid:#00:11", message.IDKeyID, "#0011"},
		{"{11}:abc", message.IDKeyID, "abc"},
		{"{2}:#2a", message.IDFQDN, "*"},
		// The encoding that strongSwan gives these.
		{"C=CH, O=strongSwan, CN=moon", message.IDDERASN1DN, "#3031310b3009060355040613024348311330110603550" +
			"40a130a7374726f6e675377616e310d300b060355040313046d6f6f6e"},
		{"/C=CH/O=strongSwan/CN=moon", message.IDDERASN1DN, "#3031310b3009060355040613024348311330110603550" +
			"40a130a7374726f6e675377616e310d300b060355040313046d6f6f6e"},
		{"asn1dn:cn=é", message.IDDERASN1DN, "#300d310b300906035504030c02c3a9"},
		{"E=a@b", message.IDDERASN1DN, "#30143112301006092a864886f70d0109011603614062"},
	} {
		id, err := ParseIdentity(c.text)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		want := []byte(c.data)
		if digits, ok := strings.CutPrefix(c.data, "#"); ok {
			if want, err = hex.DecodeString(digits); err != nil {
				t.Fatal(err)
			}
		}
		p, err := id.Payload()
		if err != nil || p.Type != c.kind || string(p.Data) != string(want) {
			t.Errorf("%q: %v %x, want %v %x (%v)", c.text, p.Type, p.Data, c.kind, want, err)
			continue
		}
		if back, err := OfPayload(p); err != nil || back != id {
			t.Errorf("%q came back as %v, %v", c.text, back, err)
		}
	}
	for _, text := range []string{"", "%any", "*", "0.0.0.0", "::", "0::0", "%any6"} {
		if id := mustID(t, text); !id.IsAny() || !id.IsPattern() {
			t.Errorf("%q is %v, want anybody", text, id)
		}
	}
}

func TestParseIdentityRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"vpn*.example.org":               "at the beginning",
		"*example.org":                   `after "*"`,
		"**.example.org":                 "at the beginning",
		"*.":                             `after "*"`,
		"a b":                            "no name",
		"fe80::1%eth0":                   "no address",
		"2001:db8::zz":                   "no address",
		"CN":                             "",
		"CN=moon, sun":                   `has no "="`,
		"XY=moon":                        "no type of attribute",
		"CN=moon,":                       `has no "="`,
		"@#abc":                          "hexadecimal",
		"@#":                             "empty",
		"@":                              "0 bytes",
		"keyid:":                         "empty",
		"ipv4:2001:db8::1":               "wanted an address",
		"ipv6:192.0.2.1":                 "wanted an address",
		"ipv4:#0102":                     "2 bytes",
		"asn1dn:#3000":                   "empty",
		"asn1dn:#ff":                     "no distinguished name",
		"asn1gn:#00":                     "not supported",
		"ipv4range:1.1.1.1-1.1.1.2":      "not supported",
		"{99}:x":                         "not supported",
		"email:carol":                    `has an "@"`,
		"CN=\xff":                        "not UTF-8",
		strings.Repeat("a", 1025):        "wanted 1 to 1024",
		strings.Repeat("a", 5000):        "wanted at most",
		"CN=a\x00b":                      "cannot be shown",
		strings.Repeat("CN=a,", 100):     "too many",
		"1.2.840.99999999999999999999=a": "no type of attribute",
	} {
		id, err := ParseIdentity(text)
		if want == "" {
			if err != nil {
				t.Errorf("%q: %v", text, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v; want an error with %q", text, id, err, want)
		}
	}
}

func TestOfPayloadRefuses(t *testing.T) {
	for _, p := range []message.ID{
		{Type: message.IDFQDN}, {Type: message.IDFQDN, Data: []byte("a\x00b")}, {Type: message.IDFQDN, Data: []byte("a b")},
		{Type: message.IDRFC822Addr, Data: []byte("\x1b[31m@x")}, {Type: message.IDIPv4Addr, Data: make([]byte, 16)},
		{Type: message.IDIPv6Addr, Data: make([]byte, 4)}, {Type: message.IDDERASN1DN, Data: []byte{0x30, 0}},
		{Type: message.IDDERASN1DN, Data: []byte{0x30, 1}}, {Type: message.IDDERASN1DN, Data: []byte{0x30, 2, 0x31, 0}},
		{Type: message.IDDERASN1GN, Data: []byte{1}}, {Type: message.IDNull}, {Type: message.IDNull, Data: []byte{1}},
		{Type: message.IDKeyID, Data: make([]byte, maxIdentity+1)}, {Type: 77, Data: []byte("x")},
		// A value in the class by which patterns mark what may be anything.
		{Type: message.IDDERASN1DN, Data: []byte("\x30\x0b\x31\x09\x30\x07\x06\x03\x55\x04\x03\xc0\x00")},
	} {
		if id, err := OfPayload(p); err == nil {
			t.Errorf("%v %q became %v", p.Type, p.Data, id)
		}
	}
}

func TestMatch(t *testing.T) {
	dnText := "C=CH, O=example, CN=moon"
	for _, c := range []struct {
		pattern, id string
		want        Match // MatchAny+1 for any pattern
	}{
		{"%any", "moon", MatchAny},
		{"moon.example.org", "MOON.example.org", MatchExact},
		{"moon.example.org", "sun.example.org", NoMatch},
		{"moon.example.org", "email:moon@example.org", NoMatch},
		{"*.example.org", "moon.example.org", MatchAny + 1},
		{"*.example.org", "a.moon.EXAMPLE.org", MatchAny + 1},
		{"*.example.org", "example.org", NoMatch},
		{"*.example.org", ".example.org", NoMatch},
		{"*.example.org", "moon.example.org.evil.net", NoMatch},
		{"*.example.org", "evilexample.org", NoMatch},
		{"*.example.org", "carol@moon.example.org", NoMatch},
		{"*.example.org", "*.example.org", MatchExact},
		{"*@example.org", "carol@example.org", MatchAny + 1},
		{"*@example.org", "carol@sub.example.org", NoMatch},
		{"192.0.2.0/24", "192.0.2.77", MatchAny + 1},
		{"192.0.2.0/24", "192.0.3.1", NoMatch},
		{"192.0.2.0/24", "fqdn:192.0.2.77", NoMatch},
		{"0.0.0.0/0", "2001:db8::1", NoMatch},
		{"192.0.2.1", "192.0.2.1", MatchExact},
		{dnText, dnText, MatchExact},
		{dnText, "C=CH, O=EXAMPLE, CN=Moon", MatchExact},
		{dnText, "C=CH, CN=moon, O=example", NoMatch},
		{dnText, "C=CH, O=example", NoMatch},
		{"C=CH, O=example, CN=*", dnText, MatchAny + 1},
		{"C=CH, O=*, CN=*", dnText, MatchAny + 1},
		{"C=CH, O=example, CN=*", "C=CH, O=example, OU=x, CN=moon", NoMatch},
		{"C=CH, O=example, CN=*", "C=DE, O=example, CN=moon", NoMatch},
		{`C=CH, O=example, CN=\*`, dnText, NoMatch},
		{`C=CH, O=example, CN=*.org`, "C=CH, O=example, CN=a.org", NoMatch},
		{"CN=a  b", "CN=a b", MatchExact},
		{"keyid:abc", "keyid:ABC", NoMatch},
		{"keyid:abc", "keyid:abc", MatchExact},
		{"moon", "%any", NoMatch},
		{"*.org", "%any", NoMatch},
		{"*.org", "*.example.org", NoMatch},
		{"C=*, CN=moon", "C=CH, CN=*", NoMatch},
		{"192.0.0.0/16", "192.0.2.0/24", NoMatch},
	} {
		got := mustID(t, c.pattern).Match(mustID(t, c.id))
		if c.want == MatchAny+1 && got > MatchAny && got < MatchExact || got == c.want {
			continue
		}
		t.Errorf("%q matches %q: %d, want %d", c.pattern, c.id, got, c.want)
	}
	better := func(a, b, id string) {
		if x, y := mustID(t, a).Match(mustID(t, id)), mustID(t, b).Match(mustID(t, id)); x <= y {
			t.Errorf("%q is no better than %q for %q: %d, %d", a, b, id, x, y)
		}
	}
	better("*.a.example.org", "*.example.org", "x.a.example.org")
	better("192.0.2.0/25", "192.0.2.0/24", "192.0.2.1")
	better("C=CH, O=example, CN=*", "C=CH, O=*, CN=*", dnText)
	better("0.0.0.0/0", "%any", "192.0.2.1")
}

// What a peer claims is no pattern, even if it looks like one.
func TestClaimedPatternIsLiteral(t *testing.T) {
	claimed := payloadOf(t, message.IDFQDN, "*.example.org")
	if claimed.IsPattern() || claimed.Match(mustID(t, "moon.example.org")) != NoMatch {
		t.Errorf("%v matches others", claimed)
	}
	if got := claimed.String(); got != "{2}:#2a2e6578616d706c652e6f7267" {
		t.Errorf("it is shown as %s", got)
	}
	der, err := asn1.Marshal(dn{rdnSET{{x520(3), asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte("*")}}}})
	if err != nil {
		t.Fatal(err)
	}
	star := payloadOf(t, message.IDDERASN1DN, string(der))
	if star.Match(mustID(t, "CN=moon")) != NoMatch || mustID(t, "CN=*").Match(star) == NoMatch || star.String() != `CN=\*` {
		t.Errorf("%v is a pattern, or not matched by one", star)
	}
}

// Names of certificates are encoded in several ways, which are the same name.
func TestDistinguishedNamesInOtherEncodings(t *testing.T) {
	want := mustID(t, "O=Example, CN=moon")
	for _, tag := range []int{asn1.TagPrintableString, asn1.TagUTF8String, asn1.TagIA5String, asn1.TagT61String, asn1.TagBMPString} {
		encode := func(s string) asn1.RawValue {
			b := []byte(s)
			if tag == asn1.TagBMPString {
				b = nil
				for _, c := range []byte(s) {
					b = append(b, 0, c)
				}
			}
			return asn1.RawValue{Tag: tag, Bytes: b}
		}
		der, err := asn1.Marshal(dn{rdnSET{{x520(10), encode("EXAMPLE")}}, rdnSET{{x520(3), encode("Moon")}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := payloadOf(t, message.IDDERASN1DN, string(der)); !got.Equal(want) || want.Match(got) != MatchExact {
			t.Errorf("tag %d: %v is not %v", tag, got, want)
		}
	}
}

func TestIdentityString(t *testing.T) {
	for _, text := range []string{"%any", "192.0.2.1", "192.0.2.0/24", "2001:db8::1", "moon.example.org", "*.example.org",
		"carol@example.org", "*@example.org", "C=CH, O=strongSwan, CN=moon", "C=CH, O=*, CN=*", `CN=a\,b`, `CN=\*`, "fqdn:192.0.2.1",
		"keyid:abc", "1.2.3.4=x", "DC=org, UID=carol, E=a@b, SN=1", `CN=a\ `, `CN=\\`, `CN=x/y`} {
		want := strings.Replace(text, "SN=", "serialNumber=", 1)
		if got := mustID(t, text).String(); got != want {
			t.Errorf("%q is shown as %q", text, got)
		}
	}
	for _, id := range []Identity{payloadOf(t, message.IDKeyID, "\x1b[31m"), payloadOf(t, message.IDKeyID, strings.Repeat("\xff", maxIdentity)), OfAddr(netip.MustParseAddr("::")),
		payloadOf(t, message.IDFQDN, "keyid:x"), OfAddr(netip.MustParseAddr("0.0.0.0"))} {
		text := id.String()
		if back, err := ParseIdentity(text); err != nil || !back.Equal(id) || !visible(text) {
			t.Errorf("%q came back as %v, %v", text, back, err)
		}
	}
	if _, err := mustID(t, "*.org").Payload(); err == nil {
		t.Error("a pattern has a payload")
	}
}

func FuzzParseIdentity(f *testing.F) {
	for _, text := range []string{"192.0.2.1", "*.example.org", "C=CH, O=x, CN=*", `/C=CH/CN=a\/b\ `, "@#00", "keyid:#ff", "{9}:#3000",
		"asn1dn:#300d310b300906035504030c02c3a9", "E=a@b", "10.0.0.0/8", `CN=\`, "CN=\\ ", "CN= a ", "CN=", "::ffff:1.2.3.4/120"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, err := ParseIdentity(text)
		if err != nil {
			return
		}
		back, err := ParseIdentity(id.String())
		if err != nil || !back.Equal(id) || back.IsPattern() != id.IsPattern() {
			t.Fatalf("%q is %q, which is %v, %v", text, id.String(), back, err)
		}
		if id.IsPattern() {
			return
		}
		p, err := id.Payload()
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if again, err := OfPayload(p); err != nil || !again.Equal(id) || id.Match(again) != MatchExact {
			t.Fatalf("%q as payload: %v, %v", text, again, err)
		}
	})
}

func FuzzOfPayload(f *testing.F) {
	for _, text := range []string{"192.0.2.1", "moon", "C=CH, O=x, CN=y", "keyid:x", "a@b"} {
		p, err := mustID(f, text).Payload()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(p.Type), p.Data)
	}
	f.Add(uint8(9), []byte("\x30\x0b\x31\x09\x30\x07\x06\x03\x55\x04\x03\x1e\x00"))
	f.Fuzz(func(t *testing.T, kind uint8, data []byte) {
		id, err := OfPayload(message.ID{Type: message.IDType(kind), Data: data})
		if err != nil {
			return
		}
		if id.IsPattern() || !id.Equal(id) {
			t.Fatal("a claimed identity is a pattern, or not itself")
		}
		back, err := ParseIdentity(id.String())
		if err != nil || !back.Equal(id) {
			t.Fatalf("%q came back as %v, %v", id.String(), back, err)
		}
	})
}
