package quick

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// interfaceNames and peerNames have the settings of a section in wg-quick's spelling, by their lower-case names.
var (
	interfaceNames = names("PrivateKey", "ListenPort", "FwMark", "Address", "DNS", "MTU", "Table",
		"PreUp", "PostUp", "PreDown", "PostDown", "SaveConfig")
	peerNames = names("PublicKey", "PresharedKey", "AllowedIPs", "Endpoint", "PersistentKeepalive")
)

func names(spelled ...string) map[string]string {
	m := make(map[string]string, len(spelled))
	for _, s := range spelled {
		m[strings.ToLower(s)] = s
	}
	return m
}

func list(m map[string]string) string { return strings.Join(slices.Sorted(maps.Values(m)), ", ") }

func isHook(name string) bool {
	switch strings.ToLower(name) {
	case "preup", "postup", "predown", "postdown":
		return true
	}
	return false
}

const (
	wantKey = "44 characters of base64, as of wg genkey or wg genpsk"

	whyHook = "this engine runs no commands"
	whyDNS  = "this engine does not change the system's resolver"
	whySave = "this engine does not write its configuration"
)

func (p *parser) interfaceSetting(here at, value string) {
	i := &p.config.Interface
	switch here.key {
	case "PrivateKey":
		p.single(here)
		p.secret(here, value, &i.PrivateKey)
	case "ListenPort":
		p.single(here)
		if n, ok := number(value, 16); ok {
			i.ListenPort = uint16(n)
		} else {
			p.fail(here, shown(value)+" is not a port", "a number of 0 to 65535; 0 is any port")
		}
	case "FwMark":
		p.single(here)
		if n, ok := fwmark(value); ok {
			i.FwMark = n
		} else {
			p.fail(here, shown(value)+" is not a mark", "off, or a number of 0 to 0xffffffff")
		}
	case "Address":
		p.addresses(here, value)
	case "DNS":
		p.dns(here, value)
	case "MTU":
		p.mtu(here, value)
	case "Table":
		p.table(here, value)
	case "SaveConfig":
		p.saveConfig(here, value)
	default:
		p.hook(here, value)
	}
}

func (p *parser) secret(here at, value string, to *Key) {
	key, err := ParseKey(value)
	if err != nil {
		p.fail(here, err.Error(), wantKey)
		return
	}
	*to = key
}

// part is one of a list, with its place.
type part struct {
	at
	text string
}

// commaParts are the parts of a list of wg(8): separated by commas, with white space around them that does not count.
func commaParts(here at, value string) []part {
	var out []part
	for text := range strings.SplitSeq(value, ",") {
		trimmed := strings.TrimSpace(text)
		p := part{here, trimmed}
		p.column += utf8.RuneCountInString(text) - utf8.RuneCountInString(strings.TrimLeftFunc(text, unicode.IsSpace))
		out = append(out, p)
		here.column += utf8.RuneCountInString(text) + 1
	}
	return out
}

// words are the parts of a list of wg-quick(8): separated by commas or white space, and empty ones do not count.
func words(here at, value string) []part {
	single := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ','
		}
		return r
	}, value)
	return slices.DeleteFunc(commaParts(here, single), func(p part) bool { return p.text == "" })
}

func (p *parser) addresses(here at, value string) {
	for _, word := range words(here, value) {
		pfx, err := prefix(word.text)
		if err != nil {
			p.fail(word.at, err.Error(), "addresses, each with or without /LENGTH, separated by commas")
			continue
		}
		p.config.Interface.Addresses = append(p.config.Interface.Addresses, pfx)
	}
}

func (p *parser) dns(here at, value string) {
	i := &p.config.Interface
	for _, word := range words(here, value) {
		addr, err := netip.ParseAddr(word.text)
		switch {
		case err == nil:
			i.DNS = append(i.DNS, addr)
		case isName(word.text):
			i.Search = append(i.Search, word.text)
		default:
			p.fail(word.at, shown(word.text)+" is neither an address nor a domain", "servers' addresses and search domains, separated by commas")
		}
	}
	if value != "" {
		p.ignore(here, whyDNS)
	}
}

func (p *parser) mtu(here at, value string) {
	p.single(here)
	const least, most = 68, 65535 // RFC 791 section 3.2; what an IPv4 packet can have
	p.config.Interface.MTU = 0
	if value == "" {
		return
	}
	n, ok := number(value, 16)
	if !ok || n < least {
		p.fail(here, shown(value)+" is not an MTU", fmt.Sprintf("a number of %d to %d", least, most))
		return
	}
	p.config.Interface.MTU = int(n)
}

func (p *parser) table(here at, value string) {
	p.single(here)
	lower := strings.ToLower(value)
	switch {
	case value == "" || lower == "auto":
		p.config.Interface.Table = lower
	case lower == "off":
		p.config.Interface.Table = lower
	case isTable(value):
		p.config.Interface.Table = value
	default:
		p.fail(here, shown(value)+" is not a table", "auto, off, a table's number or its name")
	}
}

func (p *parser) saveConfig(here at, value string) {
	p.single(here)
	save := strings.EqualFold(value, "true")
	if !save && !strings.EqualFold(value, "false") {
		p.fail(here, shown(value)+" is neither true nor false", "true or false")
		return
	}
	p.config.Interface.SaveConfig = save
	if save {
		p.ignore(here, whySave)
	}
}

func (p *parser) hook(here at, value string) {
	i := &p.config.Interface
	to := map[string]*[]string{"PreUp": &i.PreUp, "PostUp": &i.PostUp, "PreDown": &i.PreDown, "PostDown": &i.PostDown}[here.key]
	if strings.ContainsRune(value, 0) {
		p.fail(here, "the command has a NUL in it", "a command for a shell")
		return
	}
	if value != "" {
		*to = append(*to, value)
		p.ignore(here, whyHook)
	}
}
