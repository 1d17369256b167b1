package warren

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/warrenvpn/warren/tunnel/ike/auth"
)

// Secret is keying material. It shows itself to nobody: whatever prints, logs or marshals it gets "(hidden)".
type Secret = auth.Secret

const hidden = "(hidden)"

// secretKeys are the keys whose values no message may show, also those that this version does not read yet.
var secretKeys = []string{"key", "keys", "psk", "ppk", "secret", "secrets", "password", "passphrase", "private_key", "preshared_key"}

// span is a part of a source line, in columns counted from 1. To is the column behind it, 0 for the end of the line.
type span struct{ from, to int }

// source is one file, and what of it must not be shown.
type source struct {
	name string
	// order is the file's place among all that were read.
	order   int
	lines   []string
	secrets map[int][]span
	// unparsed: the file is no YAML, so that nobody has marked its secrets.
	unparsed bool
}

// othersRead is the right of everybody to read a file.
const othersRead = 0o004

// openToAll says whether everybody may read a file that is there.
func openToAll(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().Perm()&othersRead != 0
}

// readSecret reads a file with a secret, which the key at a node names.
func (d *decoder) readSecret(n *node, path keyPath, name string) ([]byte, error) {
	data, open, err := readRegular(name, maxKeyFile)
	if open {
		d.warn(n, path, "everybody may read %s: want chmod 600", name)
	}
	return data, err
}

// warn tells of what is no mistake. What several tunnels inherit is told once.
func (d *decoder) warn(n *node, path keyPath, format string, args ...any) {
	w := ConfigWarning{File: n.src.name, Line: n.line, Column: n.column, Key: path.String(), Text: fmt.Sprintf(format, args...)}
	told := w
	told.Key = "" // that of whoever inherits it
	if !d.warned[told] {
		d.warned[told] = true
		d.warnings = append(d.warnings, w)
	}
}

// inFile notes a secret that stands in the configuration itself. Of several in a file the first is told.
func (d *decoder) inFile(n *node, path keyPath) {
	if d.open[n.src.name] {
		d.open[n.src.name] = false
		d.warn(n, path, "everybody may read the secret in %s: want chmod 600", n.src.name)
	}
}

func newSource(name string, order int, data []byte) *source {
	return &source{name: name, order: order, lines: strings.Split(string(data), "\n"), secrets: map[int][]span{}}
}

// line returns a line, nil if there is no such.
func (s *source) line(number int) []rune {
	if number < 1 || number > len(s.lines) {
		return nil
	}
	return []rune(s.lines[number-1])
}

// hide marks the rest of a line from a column on, and the given number of lines behind it.
func (s *source) hide(line, column, more int) {
	s.secrets[line] = append(s.secrets[line], span{from: column})
	for i := 1; i <= more; i++ {
		s.secrets[line+i] = append(s.secrets[line+i], span{from: 1})
	}
}

// material is what looks like a key, wherever somebody has put it by mistake: much hexadecimal or base64 in one piece.
var material = regexp.MustCompile(`[0-9a-fA-F]{16,}|[0-9A-Za-z+/]{43}=`)

// mask takes out of a text what looks like a key.
func mask(text string) string { return material.ReplaceAllString(text, hidden) }

// secretAssignment finds secret keys in text that is no YAML.
var secretAssignment = regexp.MustCompile(`(?i)(?:^|[^a-z0-9_])(?:` + strings.Join(secretKeys, "|") + `)["']?[ \t]*:`)

// keyLike finds out whether there is a key on a line at all, or only the rest of a value.
var keyLike = regexp.MustCompile(`[A-Za-z0-9_]["']?[ \t]*:(?:[ \t]|$)`)

// hideUnparsed marks the secrets of a line of a file that is no YAML: what follows a secret key, and lines that may go on
// with the value of one.
func (s *source) hideUnparsed(line int) {
	if at := secretAssignment.FindStringIndex(s.lines[line-1]); at != nil {
		s.hide(line, len([]rune(s.lines[line-1][:at[1]]))+1, 0)
		return
	}
	if keyLike.MatchString(s.lines[line-1]) {
		return
	}
	for i := line - 1; i >= 1; i-- {
		switch {
		case secretAssignment.MatchString(s.lines[i-1]):
			s.hide(line, 1, 0)
			return
		case keyLike.MatchString(s.lines[i-1]):
			return
		}
	}
}

// maxExcerpt is how many characters of a line an excerpt shows.
const maxExcerpt = 160

// maxLine is how many characters of a line are looked at for one.
const maxLine = 1 << 13

// excerpt returns a source line without its secrets, and the column of it that a column of the source has become.
func (s *source) excerpt(line, column int) (string, int) {
	if line < 1 || line > len(s.lines) {
		return "", 0
	}
	if s.unparsed {
		s.hideUnparsed(line)
	}
	text := []rune(strings.TrimRight(s.lines[line-1], "\r\n"))
	text = text[:min(len(text), maxLine)]
	var out []rune
	caret := 0
	for i := 0; i < len(text); i++ {
		if i+1 == column {
			caret = len(out) + 1
		}
		to := s.hiddenTo(line, i+1, len(text))
		if to == 0 {
			out = append(out, text[i])
			continue
		}
		if caret == 0 && column > i+1 && column < to {
			caret = len(out) + 1
		}
		out = append(out, []rune(hidden)...)
		i = to - 2
	}
	if caret == 0 {
		caret = len(out) + 1
	}
	masked := []rune(mask(string(out)))
	caret = min(caret, len(masked)+1)
	if caret > maxExcerpt {
		return "", 0
	}
	return string(masked[:min(len(masked), maxExcerpt)]), caret
}

// hiddenTo says up to which column a secret goes that begins at a column; 0 if none begins there.
func (s *source) hiddenTo(line, column, length int) int {
	to := 0
	for _, p := range s.secrets[line] {
		switch {
		case p.from != column:
		case p.to == 0:
			to = length + 1
		default:
			to = max(to, min(p.to, length+1), column+1)
		}
	}
	return to
}
