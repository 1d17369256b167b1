package auth

import (
	"encoding/asn1"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// A dn is a distinguished name as it is encoded (RFC 5280 section 4.1.2.4), so that what one says about it is about the
// bytes. The names of the types are encoding/asn1's way to tell a SET.
type dn []rdnSET

type rdnSET []attribute

type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

// anyValue takes the place of a value in a pattern. It is in no class that a name could have.
var anyValue = asn1.RawValue{Class: asn1.ClassPrivate, Tag: 0, Bytes: []byte{}}

func (a *attribute) wild() bool { return a.Value.Class == asn1.ClassPrivate }

// maxRDNs bounds a distinguished name.
const maxRDNs = 64

var errNoDN = errors.New("no distinguished name in DER")

func parseDN(der []byte) (dn, error) {
	var name dn
	if rest, err := asn1.Unmarshal(der, &name); err != nil || len(rest) > 0 {
		return nil, errNoDN
	}
	if len(name) > maxRDNs {
		return nil, fmt.Errorf("%d RDNs, wanted at most %d", len(name), maxRDNs)
	}
	for _, set := range name {
		if len(set) == 0 || len(set) > maxRDNs {
			return nil, errNoDN
		}
		for _, a := range set {
			if a.Value.Class != asn1.ClassUniversal {
				return nil, errNoDN
			}
		}
	}
	return name, nil
}

func (name dn) wild() bool {
	for _, set := range name {
		for i := range set {
			if set[i].wild() {
				return true
			}
		}
	}
	return false
}

// attributeTypes are strongSwan's words for types of attributes, in lower case, and a few of RFC 4519.
var attributeTypes = []struct {
	words string // the first one is printed
	oid   asn1.ObjectIdentifier
}{
	{"C", x520(6)}, {"ST", x520(8)}, {"L", x520(7)}, {"O", x520(10)}, {"OU", x520(11)}, {"CN", x520(3)},
	{"serialNumber SN", x520(5)}, {"S surname", x520(4)}, {"street", x520(9)}, {"T title", x520(12)},
	{"D description", x520(13)}, {"postalCode", x520(17)}, {"N name", x520(41)}, {"G givenName", x520(42)},
	{"I initials", x520(43)}, {"ID x500UniqueIdentifier", x520(45)}, {"dnQualifier", x520(46)},
	{"pseudonym", x520(65)}, {"organizationIdentifier", x520(97)},
	{"DC", asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}}, {"UID", asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}},
	{"E email emailAddress", pkcs9(1)}, {"UN unstructuredName", pkcs9(2)}, {"UA unstructuredAddress", pkcs9(8)},
	{"EN employeeNumber", asn1.ObjectIdentifier{2, 16, 840, 1, 113730, 3, 1, 3}},
}

func x520(n int) asn1.ObjectIdentifier  { return asn1.ObjectIdentifier{2, 5, 4, n} }
func pkcs9(n int) asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, n} }

// ia5 says whether the values of a type are IA5Strings.
func ia5(t asn1.ObjectIdentifier) bool {
	return t.Equal(pkcs9(1)) || t.Equal(pkcs9(2)) || t.Equal(asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25})
}

func attributeType(word string) (asn1.ObjectIdentifier, error) {
	for _, t := range attributeTypes {
		for w := range strings.FieldsSeq(t.words) {
			if strings.EqualFold(w, word) {
				return t.oid, nil
			}
		}
	}
	var oid asn1.ObjectIdentifier
	for arc := range strings.SplitSeq(word, ".") {
		n, err := strconv.ParseUint(arc, 10, 31)
		if err != nil {
			return nil, fmt.Errorf("%q is no type of attribute, wanted C, O, OU, CN and the like or an OID", word)
		}
		oid = append(oid, int(n))
	}
	return oid, nil
}

func attributeWord(oid asn1.ObjectIdentifier) string {
	for _, t := range attributeTypes {
		if t.oid.Equal(oid) {
			word, _, _ := strings.Cut(t.words, " ")
			return word
		}
	}
	return oid.String()
}

// dnOfText reads "C=CH, O=example" or "/C=CH/O=example". In a value a backslash takes the special sense from the separator,
// from "*" and from itself.
func dnOfText(text string) (dn, error) {
	separator := byte(',')
	if rest, ok := strings.CutPrefix(text, "/"); ok {
		text, separator = rest, '/'
	}
	var name dn
	for rest := text; ; {
		part, after, more := cutEscaped(rest, separator)
		word, value, ok := strings.Cut(part, "=")
		if !ok {
			return nil, fmt.Errorf("%q has no \"=\", wanted such as CN=moon", strings.TrimSpace(part))
		}
		a, err := attributeOf(strings.TrimSpace(word), strings.TrimLeft(value, " "))
		if err != nil {
			return nil, err
		}
		if name = append(name, rdnSET{a}); len(name) > maxRDNs {
			return nil, fmt.Errorf("too many RDNs, wanted at most %d", maxRDNs)
		}
		if !more {
			return name, nil
		}
		rest = after
	}
}

// cutEscaped cuts at a separator that has no backslash before it.
func cutEscaped(s string, separator byte) (before, after string, found bool) {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case separator:
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

func attributeOf(word, text string) (attribute, error) {
	oid, err := attributeType(word)
	if err != nil {
		return attribute{}, err
	}
	var b []byte
	end := 0 // of what is not blank, or escaped
	for i := 0; i < len(text); i++ {
		escaped := text[i] == '\\' && i+1 < len(text) && strings.IndexByte(`\,/*" `, text[i+1]) >= 0
		if escaped {
			i++
		}
		if b = append(b, text[i]); escaped || text[i] != ' ' {
			end = len(b)
		}
	}
	b = b[:end]
	switch {
	case strings.TrimSpace(text) == "*":
		return attribute{oid, anyValue}, nil
	case !utf8.Valid(b) || strings.ContainsFunc(string(b), func(r rune) bool { return !unicode.IsPrint(r) }):
		return attribute{}, fmt.Errorf("the value of %s has characters that cannot be shown, or is not UTF-8", word)
	}
	value := asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: b}
	switch {
	case ia5(oid) && isASCII(b):
		value.Tag = asn1.TagIA5String
	case isPrintable(b):
		value.Tag = asn1.TagPrintableString
	}
	return attribute{oid, value}, nil
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// isPrintable says whether text may be a PrintableString.
func isPrintable(b []byte) bool {
	for _, c := range b {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && strings.IndexByte(" '()+,-./:=?", c) < 0 {
			return false
		}
	}
	return true
}

// text returns a value as UTF-8, false if it is no string.
func (a *attribute) text() (string, bool) {
	b := a.Value.Bytes
	switch a.Value.Tag {
	case asn1.TagPrintableString, asn1.TagUTF8String, asn1.TagIA5String, asn1.TagNumericString:
		return string(b), utf8.Valid(b)
	case asn1.TagT61String:
		return string(b), isASCII(b)
	case asn1.TagBMPString:
		if len(b)%2 != 0 {
			return "", false
		}
		units := make([]uint16, 0, len(b)/2)
		for ; len(b) > 0; b = b[2:] {
			units = append(units, uint16(b[0])<<8|uint16(b[1]))
		}
		s := string(utf16.Decode(units))
		return s, !strings.ContainsRune(s, utf8.RuneError)
	}
	return "", false
}

// textOfDN writes a name in the way that dnOfText reads; "" if there is no such way.
func textOfDN(der string) string {
	var name dn
	if _, err := asn1.Unmarshal([]byte(der), &name); err != nil {
		return ""
	}
	var parts []string
	for _, set := range name {
		if len(set) != 1 {
			return ""
		}
		value := "*"
		if !set[0].wild() {
			text, ok := set[0].text()
			if !ok || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
				return ""
			}
			value = escapeValue(text)
		}
		parts = append(parts, attributeWord(set[0].Type)+"="+value)
	}
	return strings.Join(parts, ", ")
}

func escapeValue(s string) string {
	escaped := strings.NewReplacer(`\`, `\\`, `,`, `\,`, `*`, `\*`).Replace(s)
	if strings.HasPrefix(escaped, " ") {
		escaped = `\` + escaped
	}
	if blank, ok := strings.CutSuffix(escaped, " "); ok && !strings.HasSuffix(blank, `\`) {
		escaped = blank + `\ `
	}
	return escaped
}
