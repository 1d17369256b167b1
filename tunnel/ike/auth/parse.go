package auth

import (
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// prefixOf is what may stand before an identity to say its type.
var prefixOf = map[message.IDType]string{
	message.IDIPv4Addr: "ipv4:", message.IDIPv6Addr: "ipv6:", message.IDFQDN: "fqdn:", message.IDRFC822Addr: "rfc822:",
	message.IDDERASN1DN: "asn1dn:", message.IDKeyID: "keyid:",
}

// moreTypes are the other words, without their colon.
var moreTypes = map[string]message.IDType{"email": message.IDRFC822Addr, "userfqdn": message.IDRFC822Addr, "dns": message.IDFQDN}

// refusedTypes are strongSwan's words for what is not supported.
var refusedTypes = []string{"asn1gn", "ipv4net", "ipv6net", "ipv4range", "ipv6range", "xmppaddr", "uri"}

// ParseIdentity reads an identity in strongSwan's words:
//
//   - "", "%any", "*", "0.0.0.0" and "::" are everybody;
//   - 192.0.2.1 and 2001:db8::1 are addresses, 192.0.2.0/24 is a pattern of addresses;
//   - vpn.example.org and @vpn.example.org are names, *.example.org is a pattern of names (of any depth below example.org);
//   - user@example.org, @@user@example.org are mail addresses, *@example.org is a pattern of those;
//   - "C=CH, O=example, CN=moon" and "/C=CH/O=example/CN=moon" are distinguished names; a value "*" is any value;
//   - @#0a1b2c and keyid:some-text are key identifiers;
//   - ipv4:, ipv6:, fqdn:, dns:, rfc822:, email:, userfqdn:, asn1dn: and keyid: say the type, {2}: gives its number, and a
//     "#" after that introduces hexadecimal data, which are taken as they are: never a pattern.
//
// Unlike strongSwan it does not take what is none of these for a key identifier.
func ParseIdentity(text string) (Identity, error) {
	id, err := parseIdentity(text)
	if err != nil {
		return Identity{}, fmt.Errorf("identity %.200q: %w", text, err)
	}
	return id, nil
}

func parseIdentity(text string) (Identity, error) {
	if len(text) > maxText {
		return Identity{}, fmt.Errorf("%d bytes, wanted at most %d", len(text), maxText)
	}
	switch text {
	case "", "%any", "%any6", "*", "0.0.0.0", "::", "0::0":
		return Identity{}, nil
	}
	if word, rest, ok := strings.Cut(text, ":"); ok {
		if kind, known, err := typeWord(word); err != nil {
			return Identity{}, err
		} else if known {
			return parseTyped(kind, rest)
		}
	}
	if rest, ok := strings.CutPrefix(text, "@"); ok {
		switch {
		case strings.HasPrefix(rest, "#"):
			return parseTyped(message.IDKeyID, rest)
		case strings.HasPrefix(rest, "@"):
			return parseTyped(message.IDRFC822Addr, rest[1:])
		}
		return parseName(message.IDFQDN, rest)
	}
	switch {
	case strings.Contains(text, "="):
		return parseTyped(message.IDDERASN1DN, text)
	case strings.Contains(text, "@"):
		return parseTyped(message.IDRFC822Addr, text)
	}
	if p, err := netip.ParsePrefix(text); err == nil {
		return ofPrefix(p), nil
	}
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return OfAddr(a), nil
	}
	if strings.ContainsAny(text, ":/%") {
		return Identity{}, fmt.Errorf("no address, name or distinguished name; a key identifier is written as in keyid:text")
	}
	return parseName(message.IDFQDN, text)
}

// typeWord reads what stands before the first colon.
func typeWord(word string) (kind message.IDType, known bool, err error) {
	word = strings.ToLower(word)
	for kind, prefix := range prefixOf {
		if word+":" == prefix {
			return kind, true, nil
		}
	}
	if kind, ok := moreTypes[word]; ok {
		return kind, true, nil
	}
	for _, refused := range refusedTypes {
		if word == refused {
			return 0, false, fmt.Errorf("the type %s is not supported", word)
		}
	}
	number, open := strings.CutPrefix(word, "{")
	number, closed := strings.CutSuffix(number, "}")
	if !open || !closed {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(number, 0, 8)
	if _, ok := prefixOf[message.IDType(n)]; err != nil || !ok {
		return 0, false, fmt.Errorf("the type {%s} is not supported", number)
	}
	return message.IDType(n), true, nil
}

// parseTyped reads an identity whose type is known.
func parseTyped(kind message.IDType, text string) (Identity, error) {
	if digits, ok := strings.CutPrefix(text, "#"); ok {
		data, err := hex.DecodeString(strings.ReplaceAll(digits, ":", ""))
		if err != nil {
			return Identity{}, fmt.Errorf("after # there must be hexadecimal digits, two for each byte")
		}
		return OfPayload(message.ID{Type: kind, Data: data})
	}
	switch kind {
	case message.IDIPv4Addr, message.IDIPv6Addr:
		a, err := netip.ParseAddr(text)
		if err != nil || a.Is4() != (kind == message.IDIPv4Addr) || a.Is4In6() || a.Zone() != "" {
			return Identity{}, fmt.Errorf("wanted an address for %v", kind)
		}
		return OfAddr(a), nil
	case message.IDDERASN1DN:
		return parseDNText(text)
	case message.IDKeyID:
		return OfPayload(message.ID{Type: kind, Data: []byte(text)})
	}
	return parseName(kind, text)
}

// parseName reads a host's name or a mail address, or a pattern of them.
func parseName(kind message.IDType, text string) (Identity, error) {
	name, pattern := strings.CutPrefix(text, "*")
	switch {
	case text == "" || len(text) > maxIdentity:
		return Identity{}, fmt.Errorf("%v of %d bytes, wanted 1 to %d", kind, len(text), maxIdentity)
	case !visible(text):
		return Identity{}, fmt.Errorf("%v with characters that are in no name", kind)
	case strings.Contains(name, "*"):
		return Identity{}, fmt.Errorf(`a "*" stands at the beginning or nowhere: *.example.org, *@example.org`)
	case pattern && (len(name) < 2 || name[0] != '.' && name[0] != '@'):
		return Identity{}, fmt.Errorf(`after "*" comes "." or "@": *.example.org, *@example.org`)
	case kind == message.IDRFC822Addr && !strings.Contains(name, "@") && !pattern:
		return Identity{}, fmt.Errorf(`a mail address has an "@"`)
	}
	return Identity{kind: kind, data: name, pattern: pattern}, nil
}

func ofPrefix(p netip.Prefix) Identity {
	if p.IsSingleIP() {
		return OfAddr(p.Addr())
	}
	kind := message.IDIPv6Addr
	if p.Addr().Is4() {
		kind = message.IDIPv4Addr
	}
	return Identity{kind: kind, pattern: true, prefix: p.Masked()}
}

// parseDNText reads a distinguished name, or a pattern of them.
func parseDNText(text string) (Identity, error) {
	name, err := dnOfText(text)
	if err != nil {
		return Identity{}, err
	}
	der, err := asn1.Marshal(name)
	if err != nil || len(der) > maxIdentity {
		return Identity{}, fmt.Errorf("a distinguished name that is too long, wanted at most %d bytes", maxIdentity)
	}
	return Identity{kind: message.IDDERASN1DN, data: string(der), pattern: name.wild()}, nil
}
