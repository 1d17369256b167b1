package auth

import (
	"bytes"
	"encoding/asn1"
	"math"
	"net/netip"
	"strings"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// A Match says how well an identity matches: the more the better.
type Match int

// The degrees. Between MatchAny and MatchExact are patterns, the better the more they say.
const (
	NoMatch    Match = 0
	MatchAny   Match = 1
	MatchExact Match = math.MaxInt32
)

// Equal says whether two identities are the same: letters of either case count as equal in names and in the values of
// distinguished names, however these are encoded. Patterns are equal if they are written alike.
func (id Identity) Equal(o Identity) bool {
	switch {
	case id == o:
		return true
	case id.kind != o.kind || id.pattern != o.pattern || id.prefix != o.prefix:
		return false
	}
	switch id.kind {
	case message.IDFQDN, message.IDRFC822Addr:
		return equalFold(id.data, o.data)
	case message.IDDERASN1DN:
		return matchDN(id.data, o.data) == MatchExact
	}
	return false
}

// Match says how well an identity matches this one, which may be a pattern. A pattern matches %any or an equal pattern only.
func (id Identity) Match(o Identity) Match {
	switch {
	case id.IsAny():
		return MatchAny
	case id.Equal(o):
		return MatchExact
	case !id.pattern || o.IsPattern() || id.kind != o.kind:
		return NoMatch
	}
	switch id.kind {
	case message.IDIPv4Addr, message.IDIPv6Addr:
		if a, ok := netip.AddrFromSlice([]byte(o.data)); ok && id.prefix.Contains(a) {
			return MatchAny + 1 + Match(id.prefix.Bits())
		}
	case message.IDFQDN, message.IDRFC822Addr:
		if at := len(o.data) - len(id.data); at > 0 && equalFold(o.data[at:], id.data) {
			return MatchAny + 1 + Match(len(id.data))
		}
	case message.IDDERASN1DN:
		return matchDN(id.data, o.data)
	}
	return NoMatch
}

// equalFold compares as the DNS does, for which only ASCII has cases.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// matchDN compares RDN by RDN, in order. What is better is that more bytes are compared.
func matchDN(pattern, name string) Match {
	var p, n dn
	if _, err := asn1.Unmarshal([]byte(pattern), &p); err != nil {
		return NoMatch
	}
	if _, err := asn1.Unmarshal([]byte(name), &n); err != nil || len(p) != len(n) {
		return NoMatch
	}
	exact, m := true, MatchAny+1
	for i := range p {
		if len(p[i]) != len(n[i]) {
			return NoMatch
		}
		for j := range p[i] {
			a, b := &p[i][j], &n[i][j]
			switch {
			case !a.Type.Equal(b.Type):
				return NoMatch
			case a.wild():
				exact = exact && b.wild()
			case !a.sameValue(b):
				return NoMatch
			default:
				m += Match(1 + len(a.Value.Bytes))
			}
		}
	}
	if exact {
		return MatchExact
	}
	return m
}

func (a *attribute) sameValue(b *attribute) bool {
	s, ok := a.text()
	t, also := b.text()
	if ok && also {
		return equalFold(blanks(s), blanks(t))
	}
	return a.Value.Class == b.Value.Class && a.Value.Tag == b.Value.Tag && bytes.Equal(a.Value.Bytes, b.Value.Bytes)
}

// blanks takes away the blanks that do not count (RFC 5280 section 7.1).
func blanks(s string) string { return strings.Join(strings.Fields(s), " ") }
