package auth

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"unicode"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// An Identity is who somebody is (RFC 7296 section 3.5), or a pattern which several identities match. The zero Identity is
// the pattern that all match, "%any". Identities can be compared with ==, which is stricter than Equal.
type Identity struct {
	kind message.IDType
	// data is what the ID payload has; of a pattern, what follows "*" or a DN with values that are marked.
	data    string
	pattern bool
	prefix  netip.Prefix // of a pattern of addresses, which has no data
}

// maxIdentity bounds an identity in bytes, maxText its text, which may be in hexadecimal.
const (
	maxIdentity = 1024
	maxText     = 4 * maxIdentity
)

// OfAddr returns the identity that is an address; an IPv4-mapped one counts as IPv4.
func OfAddr(a netip.Addr) Identity {
	id := message.IDOfAddr(a)
	return Identity{kind: id.Type, data: string(id.Data)}
}

// OfPayload returns the identity of an ID payload. It is literal: a "*" in it stands for itself. The error says what
// is wrong with what was offered.
func OfPayload(p message.ID) (Identity, error) {
	id := Identity{kind: p.Type, data: string(p.Data)}
	switch {
	case len(p.Data) > maxIdentity:
		return Identity{}, fmt.Errorf("an identity of %d bytes, wanted at most %d", len(p.Data), maxIdentity)
	case len(p.Data) == 0:
		return Identity{}, fmt.Errorf("an empty %v", p.Type)
	}
	switch p.Type {
	case message.IDIPv4Addr, message.IDIPv6Addr:
		if a, ok := p.Addr(); !ok || a.Is4() != (p.Type == message.IDIPv4Addr) {
			return Identity{}, fmt.Errorf("%v of %d bytes", p.Type, len(p.Data))
		}
	case message.IDFQDN, message.IDRFC822Addr:
		if !visible(id.data) {
			return Identity{}, fmt.Errorf("%v with characters that are in no name: %q", p.Type, id.data)
		}
	case message.IDDERASN1DN:
		if name, err := parseDN(p.Data); err != nil {
			return Identity{}, fmt.Errorf("%v: %w", p.Type, err)
		} else if len(name) == 0 {
			return Identity{}, fmt.Errorf("an empty %v", p.Type)
		}
	case message.IDKeyID:
	default:
		return Identity{}, fmt.Errorf("%v, wanted an address, a name, a distinguished name or a key identifier", p.Type)
	}
	return id, nil
}

// Payload returns the ID payload. A pattern has none.
func (id Identity) Payload() (message.ID, error) {
	if id.IsPattern() {
		return message.ID{}, fmt.Errorf("%v is a pattern, wanted an identity", id)
	}
	return message.ID{Type: id.kind, Data: []byte(id.data)}, nil
}

// IsAny says whether everybody is meant.
func (id Identity) IsAny() bool { return id == Identity{} }

// IsPattern says whether several identities may be meant.
func (id Identity) IsPattern() bool { return id.pattern || id.IsAny() }

// String is a text from which ParseIdentity makes an identity that is equal. It is safe for terminals and logs.
func (id Identity) String() string {
	if id.IsAny() {
		return "%any"
	}
	for _, text := range id.texts() {
		if back, err := ParseIdentity(text); err == nil && back.Equal(id) {
			return text
		}
	}
	return fmt.Sprintf("{%d}:#%s", id.kind, hex.EncodeToString([]byte(id.data)))
}

// texts are the forms to try, the shortest first.
func (id Identity) texts() []string {
	star := ""
	if id.pattern {
		star = "*"
	}
	switch id.kind {
	case message.IDIPv4Addr, message.IDIPv6Addr:
		if id.pattern {
			return []string{id.prefix.String()}
		}
		a, _ := netip.AddrFromSlice([]byte(id.data))
		return []string{a.String(), prefixOf[id.kind] + a.String()}
	case message.IDDERASN1DN:
		return []string{textOfDN(id.data)}
	case message.IDFQDN, message.IDRFC822Addr, message.IDKeyID:
		text := star + id.data
		if strings.ContainsFunc(text, func(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsPrint(r) }) {
			return nil
		}
		return []string{text, prefixOf[id.kind] + text}
	}
	return nil
}

// describe names an identity with its type, for errors.
func (id Identity) describe() string {
	if id.IsAny() {
		return "any identity"
	}
	return fmt.Sprintf("%v (%v)", id, id.kind)
}

// visible says whether a name is of visible ASCII alone.
func visible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}
