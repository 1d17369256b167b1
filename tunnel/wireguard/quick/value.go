package quick

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
)

// number reads an unsigned decimal number as wg(8) does: digits only, leading zeros allowed.
func number(text string, bits int) (uint64, bool) {
	n, err := strconv.ParseUint(text, 10, bits)
	return n, err == nil
}

// fwmark reads "off", a decimal or a hexadecimal number.
func fwmark(text string) (uint32, bool) {
	if strings.EqualFold(text, "off") {
		return 0, true
	}
	if digits, ok := strings.CutPrefix(text, "0x"); ok {
		n, err := strconv.ParseUint(digits, 16, 32)
		return uint32(n), err == nil
	}
	n, ok := number(text, 32)
	return uint32(n), ok
}

// prefix reads ADDRESS or ADDRESS/LENGTH and keeps the host bits.
func prefix(text string) (netip.Prefix, error) {
	address, length, hasLength := strings.Cut(text, "/")
	addr, err := netip.ParseAddr(address)
	if err != nil || addr.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("%s is not an address", shown(address))
	}
	if !hasLength {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	bits, ok := number(length, 8)
	if !ok || int(bits) > addr.BitLen() {
		return netip.Prefix{}, fmt.Errorf("%s is not a prefix length of 0 to %d", shown(length), addr.BitLen())
	}
	return netip.PrefixFrom(addr, int(bits)), nil
}

// endpoint reads ADDRESS:PORT, [IPV6]:PORT or NAME:PORT.
func endpoint(text string) (Endpoint, error) {
	host, port, bracketed, err := splitEndpoint(text)
	if err != nil {
		return Endpoint{}, err
	}
	n, ok := number(port, 16)
	if !ok || n == 0 {
		return Endpoint{}, fmt.Errorf("%s is not a port of 1 to 65535", shown(port))
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case err == nil && addr.Is6() != bracketed:
		return Endpoint{}, fmt.Errorf("brackets are for IPv6 addresses, and %s has them or lacks them wrongly", shown(text))
	case err == nil:
		return Endpoint{Addr: addr, Port: uint16(n)}, nil
	case bracketed:
		return Endpoint{}, fmt.Errorf("%s is not an IPv6 address", shown(host))
	case !isName(host):
		return Endpoint{}, fmt.Errorf("%s is neither an address nor a name", shown(host))
	}
	return Endpoint{Name: host, Port: uint16(n)}, nil
}

func splitEndpoint(text string) (host, port string, bracketed bool, err error) {
	if rest, ok := strings.CutPrefix(text, "["); ok {
		host, rest, ok = strings.Cut(rest, "]")
		if !ok {
			return "", "", false, fmt.Errorf("the bracket of %s is not closed", shown(text))
		}
		if port, ok = strings.CutPrefix(rest, ":"); !ok {
			return "", "", false, fmt.Errorf("%s has no port", shown(text))
		}
		return host, port, true, nil
	}
	colon := strings.LastIndexByte(text, ':')
	if colon < 0 {
		return "", "", false, fmt.Errorf("%s has no port", shown(text))
	}
	return text[:colon], text[colon+1:], false, nil
}

// isName accepts what a resolver may know: labels of letters, digits, "-" and "_" (RFC 1123 section 2.1, RFC 2181 section 11),
// and letters of other alphabets, but no numbers that are an IPv4 address gone wrong.
func isName(text string) bool {
	if text == "" || len(text) > 253 {
		return false
	}
	digitsOnly := true
	for _, label := range strings.Split(strings.TrimSuffix(text, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range label {
			digit := c >= '0' && c <= '9'
			digitsOnly = digitsOnly && digit
			if !digit && c != '-' && c != '_' && !unicode.IsLetter(c) && !unicode.IsMark(c) {
				return false
			}
		}
	}
	return !digitsOnly
}

// isTable accepts what ip-route(8) takes for a table here: a number or a name of /etc/iproute2/rt_tables.
func isTable(text string) bool {
	for _, c := range text {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !strings.ContainsRune("_-.", c) {
			return false
		}
	}
	return text != "" && len(text) <= 64
}
