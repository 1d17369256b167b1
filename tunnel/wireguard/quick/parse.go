package quick

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxFile bounds what is read into memory; 10,000 peers with ten prefixes each fit many times.
	maxFile = 64 << 20
	// maxErrors bounds what a file that is none gets as an answer.
	maxErrors = 100
)

// ErrTooLarge is the error of a file that cannot be a configuration.
var ErrTooLarge = errors.New("too large for a configuration file")

// Load parses the file at path.
func Load(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read a WireGuard configuration: %w", err)
	}
	return Parse(path, data)
}

// Parse parses a file; name stands in errors only. The error is Errors with all mistakes, or wraps ErrTooLarge.
func Parse(name string, data []byte) (*Config, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s: %d octets: %w", name, len(data), ErrTooLarge)
	}
	p := parser{file: name, seen: map[string]int{}, peers: map[PublicKey]int{}, config: &Config{}}
	for text := range strings.Lines(string(data)) {
		p.number++
		p.line(text)
	}
	p.endSection()
	if p.errs == nil && !p.hasInterface {
		p.fail(at{line: 1, column: 1}, "the file has no [Interface] section", "one with at least PrivateKey")
	}
	if p.errs != nil {
		slices.SortStableFunc(p.errs, func(a, b *Error) int { return cmp.Compare(a.Line, b.Line) })
		return nil, p.errs
	}
	p.dropSelf()
	slices.SortStableFunc(p.config.Ignored, func(a, b Ignored) int { return cmp.Compare(a.Line, b.Line) })
	return p.config, nil
}

type section int

const (
	noSection section = iota
	interfaceSection
	peerSection
	// badSection is one whose head was wrong: its lines are not judged.
	badSection
)

// parser is one file being parsed.
type parser struct {
	file   string
	config *Config
	errs   Errors

	number       int // of the current line
	section      section
	hasInterface bool
	head         at // of the current section
	// seen has the line of each setting of the interface and of the current peer that can have only one value.
	seen map[string]int
	// peers has the line of each public key, keyErr whether the current peer's was wrong, keyAt where it is.
	peers  map[PublicKey]int
	keyErr bool
	keyAt  at
}

// at is a place, and the setting that stands there.
type at struct {
	line, column int
	key          string
}

func (p *parser) fail(where at, problem, want string) {
	if len(p.errs) < maxErrors {
		p.errs = append(p.errs, &Error{File: p.file, Line: where.line, Column: where.column, Key: where.key,
			Problem: problem, Want: want})
	}
}

func (p *parser) ignore(where at, why string) {
	p.config.Ignored = append(p.config.Ignored, Ignored{Line: where.line, Key: where.key, Why: why})
}

// line takes one line apart. Hooks keep what looks like a comment: to a shell it may be something else.
func (p *parser) line(raw string) {
	raw = strings.TrimSuffix(raw, "\n")
	text, _, _ := strings.Cut(raw, "#")
	trimmed := strings.TrimSpace(text)
	if trimmed == "" {
		return
	}
	here := at{line: p.number, column: column(text, trimmed)}
	if trimmed[0] == '[' {
		p.sectionHead(here, trimmed)
		return
	}
	name, value, ok := strings.Cut(text, "=")
	name = strings.TrimSpace(name)
	if !ok || !isSetting(name) {
		// Not quoted: what stands alone in a line may be a key.
		p.fail(here, "the line is neither a [Section] nor a setting", "NAME = VALUE")
		return
	}
	if strings.HasPrefix(strings.ToLower(name), "p") && isHook(name) {
		_, value, _ = strings.Cut(raw, "=")
		text = raw
	}
	value = strings.TrimSpace(value)
	here.column = column(text, value)
	if value == "" {
		here.column = utf8.RuneCountInString(strings.TrimRightFunc(text, unicode.IsSpace)) + 1
	}
	p.setting(here, name, value)
}

// column is where part, an end of text but for white space, begins.
func column(text, part string) int {
	end := strings.TrimRightFunc(text, unicode.IsSpace)
	return utf8.RuneCountInString(end) - utf8.RuneCountInString(part) + 1
}

// isSetting accepts what is spelled like a setting, known or not, and too short for a key.
func isSetting(name string) bool {
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '_' && c != '-' {
			return false
		}
	}
	return name != "" && len(name) <= 24
}

func (p *parser) sectionHead(here at, text string) {
	p.endSection()
	p.head = here
	switch strings.ToLower(text) {
	case "[interface]":
		p.section, p.hasInterface = interfaceSection, true
	case "[peer]":
		p.section = peerSection
		for name := range peerNames {
			delete(p.seen, name) // what an [Interface] section has may be said again by another
		}
		p.config.Peers = append(p.config.Peers, Peer{})
		p.keyErr = false
	default:
		p.section = badSection
		p.fail(here, shown(text)+" is not a section", "[Interface] or [Peer]")
	}
}

// endSection checks what a section must have.
func (p *parser) endSection() {
	if p.section != peerSection || p.keyErr {
		return
	}
	peer := p.peer()
	if _, ok := p.seen["publickey"]; !ok {
		p.fail(p.head, "the peer has no PublicKey", "PublicKey = KEY, 44 characters of base64")
		return
	}
	if first, twice := p.peers[peer.PublicKey]; twice {
		p.fail(p.keyAt, fmt.Sprintf("the peer of line %d has the same key", first), "one [Peer] section for each public key")
		return
	}
	p.peers[peer.PublicKey] = p.keyAt.line
}

func (p *parser) peer() *Peer { return &p.config.Peers[len(p.config.Peers)-1] }

func (p *parser) setting(here at, name, value string) {
	lower := strings.ToLower(name)
	switch p.section {
	case noSection:
		here.key = name
		p.fail(here, "the setting stands before any section", "[Interface] or [Peer] above it")
	case interfaceSection:
		here.key = interfaceNames[lower]
		if here.key == "" {
			p.unknown(here, name, peerNames[lower], "[Peer]", interfaceNames)
			return
		}
		p.interfaceSetting(here, value)
	case peerSection:
		here.key = peerNames[lower]
		if here.key == "" {
			p.unknown(here, name, interfaceNames[lower], "[Interface]", peerNames)
			return
		}
		p.peerSetting(here, value)
	}
}

func (p *parser) unknown(here at, name, elsewhere, section string, known map[string]string) {
	here.key = name
	if elsewhere != "" {
		p.fail(here, "the setting is of another section", elsewhere+" in a "+section+" section")
		return
	}
	p.fail(here, "no such setting in this section", "one of "+list(known))
}

// single notes that a later value takes the place of an earlier one, as in wg(8).
func (p *parser) single(here at) {
	lower := strings.ToLower(here.key)
	if first, ok := p.seen[lower]; ok {
		p.ignore(at{line: first, key: here.key}, fmt.Sprintf("line %d says it again", here.line))
	}
	p.seen[lower] = here.line
}

// dropSelf takes out a peer that is the interface itself, as WireGuard does with one.
func (p *parser) dropSelf() {
	c := p.config
	if c.Interface.PrivateKey.IsZero() {
		return
	}
	self := c.Interface.PrivateKey.Public()
	for i := range c.Peers {
		if c.Peers[i].PublicKey == self {
			p.ignore(at{line: p.peers[self], key: "PublicKey"}, "it is the interface's own key, and WireGuard skips such a peer")
			c.Peers = append(c.Peers[:i], c.Peers[i+1:]...)
			return
		}
	}
}
