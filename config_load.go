package warren

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml/token"
)

// LoadConfig reads a configuration and the files that it includes. An error has all mistakes, as ConfigErrors. A file whose name ends
// in .conf is one of wg-quick(8).
func LoadConfig(path string) (*Config, error) {
	if filepath.Ext(path) == quickSuffix {
		return loadQuick(path)
	}
	data, open, err := readRegular(path, maxFile)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return parseConfig(path, data, true, open)
}

// ParseConfig reads a configuration that is in no file; name stands for the file's in messages, and paths in it are
// relative to the name's directory. It can include nothing.
func ParseConfig(name string, data []byte) (*Config, error) {
	return parseConfig(name, data, false, false)
}

// parseConfig reads a configuration. open says that everybody may read the file.
func parseConfig(name string, data []byte, includes, open bool) (*Config, error) {
	d := newDecoder()
	d.open[name] = open
	l := &loader{d: d, includes: includes, seen: map[string]*node{}}
	root := l.file(name, data)
	if root.kind == absent && len(d.errs) == 0 {
		d.fail(root, nil, "vrfs: and tunnels:", "there is nothing in the file")
	}
	cfg := d.config(root)
	issues := cfg.check()
	for _, i := range issues.mistakes {
		d.failAt(i)
	}
	if len(d.errs) > 0 {
		return nil, d.report()
	}
	cfg = cfg.withDefaults()
	cfg.Warnings = d.warnings
	for _, w := range issues.warnings {
		n := d.nearest(w.path)
		cfg.Warnings = append(cfg.Warnings, ConfigWarning{File: n.src.name, Line: n.line, Column: n.column, Key: w.path.String(), Text: w.problem})
	}
	return cfg, nil
}

// loader reads files and puts them together.
type loader struct {
	d        *decoder
	includes bool
	files    int
	// seen has the places at which files were included.
	seen map[string]*node
}

// file returns the root of a file, with what it includes.
func (l *loader) file(name string, data []byte) *node {
	data = bytes.TrimPrefix(data, byteOrderMark)
	src := newSource(name, l.files, data)
	l.files++
	top := &node{src: src, line: 1, column: 1}
	if len(data) > maxFile {
		l.d.fail(top, nil, fmt.Sprintf("at most %d", maxFile), "the file has %d bytes", len(data))
		return top
	}
	l.seen[absolute(name)] = top
	if !l.isText(top, data) {
		return top
	}
	root, err := parseYAML(src, data)
	if err != nil {
		src.unparsed = true
		l.d.unparsed = true
		l.syntax(top, err)
		return top
	}
	if root.kind != mapping {
		return root
	}
	var own []entry
	var included []*node
	for _, e := range root.entries {
		if e.key.kind == scalar && e.key.text == "include" {
			included = append(included, l.include(e)...)
		} else {
			own = append(own, e)
		}
	}
	root.entries = own
	for _, i := range included {
		root.entries = merge(root.entries, i, mergeable)
	}
	return root
}

// byteOrderMark begins files of some editors.
var byteOrderMark = []byte("\ufeff")

// isText sees that a file is UTF-8 without control characters (YAML 1.2.2 section 5.1). It shows nothing of one that is not, in which
// nobody could find the secrets.
func (l *loader) isText(top *node, data []byte) bool {
	line, column := 1, 0
	for at := 0; at < len(data); {
		r, size := utf8.DecodeRune(data[at:])
		column++
		problem := ""
		switch {
		case r == utf8.RuneError && size == 1:
			problem = fmt.Sprintf("byte %#02x is not UTF-8", data[at])
		case r == '\n':
			line, column = line+1, 0
		case unicode.IsControl(r) && r != '\t' && r != '\r' && r != '\u0085':
			problem = fmt.Sprintf("%U is a control character", r)
		}
		if problem != "" {
			where := &node{src: &source{name: top.src.name, order: top.src.order}, line: line, column: column}
			l.d.unparsed = true
			l.d.fail(where, nil, "YAML in UTF-8", "not text: %s", problem)
			return false
		}
		at += size
	}
	return true
}

// syntax notes what the YAML parser refused.
func (l *loader) syntax(top *node, err error) {
	at := *top
	problem := err.Error()
	var where interface {
		GetToken() *token.Token
		GetMessage() string
	}
	if errors.As(err, &where) {
		problem = where.GetMessage()
		if tok := where.GetToken(); tok != nil && tok.Position != nil {
			at.line, at.column = max(1, tok.Position.Line), max(1, tok.Position.Column)
		}
	}
	l.d.fail(&at, nil, "", "not YAML: %s", problem)
}

// mergeable says which mappings of several files become one.
var mergeable = tree{"vrfs": nil, "tunnels": nil, "pools": nil, "defaults": tree{"ipsec": nil, "wireguard": nil}}

type tree map[string]tree

// merge adds the entries of an included file. What is there twice stays so, for the decoder to complain of.
func merge(into []entry, from *node, t tree) []entry {
	for _, e := range from.entries {
		below, ok := t[e.key.text]
		same := -1
		for i := range into {
			if ok && into[i].key.text == e.key.text && into[i].value.kind == mapping && e.value.kind == mapping {
				same = i
				break
			}
		}
		if same < 0 {
			into = append(into, e)
			continue
		}
		joined := *into[same].value
		joined.entries = merge(append([]entry(nil), joined.entries...), e.value, below)
		into[same].value = &joined
	}
	return into
}

// include returns the roots of the files that match the patterns.
func (l *loader) include(e entry) (roots []*node) {
	path := keyPath{"include"}
	if !l.includes {
		l.d.fail(e.key, path, "", "nothing can be included: the configuration is in no file")
		return nil
	}
	for i, n := range l.d.list(e.value, path) {
		at := path.index(i)
		pattern, ok := l.d.text(n, at)
		if !ok {
			continue
		}
		full := beside(n, pattern)
		paths, err := filepath.Glob(full)
		switch {
		case err != nil:
			l.d.fail(n, at, "a pattern such as vpn.d/*.yaml", "%q is no pattern", pattern)
		case len(paths) == 0 && !strings.ContainsAny(pattern, `*?[\`):
			l.d.fail(n, at, "", "there is no file %s", full)
		}
		for _, p := range paths {
			if root := l.includeFile(n, at, p); root != nil {
				roots = append(roots, root)
			}
		}
	}
	return roots
}

// includeFile reads one file that was included at n, nil if that fails.
func (l *loader) includeFile(n *node, at keyPath, path string) *node {
	if first := l.seen[absolute(path)]; first != nil {
		l.d.fail(n, at, "", "%s is read already: see %s:%d", path, first.src.name, first.line)
		return nil
	}
	data, open, err := readRegular(path, maxFile)
	if err != nil {
		l.d.fail(n, at, "", "include %v", err)
		return nil
	}
	l.d.open[path] = open
	root := l.file(path, data)
	l.seen[absolute(path)] = n
	if root.kind != mapping && root.kind != absent {
		l.d.fail(root, nil, "keys and values", "%s", describe(root))
		return nil
	}
	return root
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// beside returns a path that is relative to the file which names it.
func beside(n *node, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(n.src.name), path)
}

// readRegular reads a regular file of bounded length, and says whether everybody may read it. Devices and pipes might never end.
func readRegular(path string, most int64) (data []byte, open bool, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, false, err
	}
	if !info.Mode().IsRegular() {
		return nil, false, &os.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	data, err = io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, false, err
	}
	if int64(len(data)) > most {
		return nil, false, &os.PathError{Op: "read", Path: path, Err: fmt.Errorf("longer than %d bytes", most)}
	}
	return data, info.Mode().Perm()&othersRead != 0, nil
}
