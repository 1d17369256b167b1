package warren

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// keyPath leads to a value: {"tunnels", "b", "routes", "[0]"}.
type keyPath []string

func (p keyPath) to(keys ...string) keyPath { return append(slices.Clip(p), keys...) }
func (p keyPath) index(i int) keyPath       { return p.to("[" + strconv.Itoa(i) + "]") }

// id tells paths apart whatever is in the names of tunnels.
func (p keyPath) id() string { return strings.Join(p, "\x00") }

// String writes a path for people: "tunnels.b.routes[0]".
func (p keyPath) String() string { return strings.ReplaceAll(strings.Join(p, "."), ".[", "[") }

// decoder collects what is wrong with a tree of nodes. What finds a mistake notes it and goes on, so that all mistakes are
// found at once.
type decoder struct {
	errs []noted
	// places has the nodes by path, for checks that come later.
	places map[string]*node
	// broken has the paths whose values are known to be wrong, so that later checks do not complain of the consequences.
	broken map[string]bool
	// inherited are the nodes that came from the defaults.
	inherited map[*node]bool
	// unparsed: a file could not be read at all.
	unparsed bool
	// open are the configuration files that everybody may read, by name.
	open map[string]bool
	// warnings are what is told beside what the checks find.
	warnings []ConfigWarning
	// warned has them without their keys.
	warned map[ConfigWarning]bool
}

func newDecoder() *decoder {
	return &decoder{places: map[string]*node{}, broken: map[string]bool{}, inherited: map[*node]bool{}, open: map[string]bool{},
		warned: map[ConfigWarning]bool{}}
}

// noted is a mistake and its place. The excerpt waits until all secrets are known.
type noted struct {
	node *node
	err  *ConfigError
}

// fail notes a mistake at a node.
func (d *decoder) fail(n *node, path keyPath, want, format string, args ...any) {
	d.broken[path.id()] = true
	e := &ConfigError{File: n.src.name, Line: n.line, Column: n.column, Key: path.String(), Want: want, order: n.src.order}
	e.Problem = mask(fmt.Sprintf(format, args...))
	d.errs = append(d.errs, noted{n, e})
}

// failAt notes what a later check found, unless it follows from a mistake that is noted already.
func (d *decoder) failAt(i issue) {
	if d.unparsed {
		return
	}
	for n := 1; n <= len(i.path); n++ {
		if d.broken[i.path[:n].id()] {
			return
		}
	}
	d.fail(d.nearest(i.path), i.path, i.want, "%s", i.problem)
}

// nearest returns the node at a path, or where the file has none, the one around it.
func (d *decoder) nearest(path keyPath) *node {
	for n := len(path); n >= 0; n-- {
		if at := d.places[path[:n].id()]; at != nil {
			return at
		}
	}
	return d.places[""]
}

// report returns all mistakes.
func (d *decoder) report() ConfigErrors {
	var errs ConfigErrors
	for _, n := range d.errs {
		n.err.excerpt, n.err.caret = n.node.src.excerpt(n.err.Line, n.err.Column)
		errs = append(errs, n.err)
	}
	return errs.tidy()
}

// describe says what a node is, for messages. Its text stays out: it may be a secret in the wrong place.
func describe(n *node) string {
	if n.kind == invalid {
		return n.text + " is not supported here"
	}
	return "this is " + n.kind.String()
}

// is says whether a node is of a kind, and complains if it is not.
func (d *decoder) is(n *node, path keyPath, k kind, want string) bool {
	if n.kind == k {
		return true
	}
	d.fail(n, path, want, "%s", describe(n))
	return false
}

// each calls f for the entries of a mapping. A key that is there twice is a mistake.
func (d *decoder) each(n *node, path keyPath, want string, f func(key *node, value *node, path keyPath)) {
	d.places[path.id()] = n
	if n.kind == absent || !d.is(n, path, mapping, want) {
		return
	}
	first := map[string]*node{}
	for _, e := range n.entries {
		at := path.to(e.key.text)
		switch before := first[e.key.text]; {
		case e.key.kind != scalar:
			d.fail(e.key, path.to("?"), "a plain name", "%s is not supported as a key", e.key.text)
		case before != nil:
			// The path is the first one's too, which may have mistakes of its own.
			d.fail(e.key, path.to(e.key.text, "twice"), "", "%q is given twice; the first is at %s:%d", e.key.text, before.src.name, before.line)
			d.errs[len(d.errs)-1].err.Key = at.String()
		default:
			first[e.key.text] = e.key
			d.places[at.id()] = e.value
			f(e.key, e.value, at)
		}
	}
}

// fields are what a mapping may have, and what reads it.
type fields map[string]func(n *node, path keyPath)

// object reads a mapping whose keys are known. Those of the table unsupported, under the name of the mapping, are known
// too.
func (d *decoder) object(n *node, path keyPath, name string, f fields) {
	known := slices.Collect(maps.Keys(f))
	if name == "" {
		known = append(known, "include") // which the loader reads
	}
	slices.Sort(known)
	d.each(n, path, "a mapping with "+oneOf(known), func(key, value *node, at keyPath) {
		read, ok := f[key.text]
		what, later := unsupported[name][key.text]
		switch {
		case ok && value.kind == absent && !emptyAllowed[key.text]:
			d.fail(key, at, "", "the key has no value")
		case ok:
			read(value, at)
		case later:
			d.fail(key, at, "", "not supported yet by this version (%s)", what)
		default:
			d.unknown(key, value, at, known, slices.Sorted(maps.Keys(unsupported[name])))
		}
	})
}

// emptyAllowed are keys of which everything below may be commented out.
var emptyAllowed = map[string]bool{"vrfs": true, "tunnels": true, "defaults": true, "ipsec": true, "child": true, "log": true,
	"control": true, "underlay": true, "addresses": true, "routes": true, "local_ts": true, "remote_ts": true, "forward": true, "allowed_ips": true}

// unknown notes an unknown key. Its value may be the secret of a misspelt key, so it stays out of the excerpt.
func (d *decoder) unknown(key, value *node, path keyPath, known, later []string) {
	key.src.hide(key.line, key.column+len([]rune(key.text+": ")), lastOf(value)-key.line)
	want := "one of " + strings.Join(known, ", ")
	if close := closest(key.text, slices.Concat(known, later)); close != "" {
		want = close
	}
	d.fail(key, path, want, "unknown key %q", key.text)
}

// lastOf returns the last line on which a part of a node begins.
func lastOf(n *node) int {
	last := n.line
	if n.kind == scalar {
		last += strings.Count(n.text, "\n")
	}
	for _, i := range n.items {
		last = max(last, lastOf(i))
	}
	for _, e := range n.entries {
		last = max(last, lastOf(e.value))
	}
	return last
}

// list returns the elements of a list.
func (d *decoder) list(n *node, path keyPath) []*node {
	if n.kind == absent || !d.is(n, path, list, "a list: [..., ...]") {
		return nil
	}
	for i, item := range n.items {
		d.places[path.index(i).id()] = item
	}
	return n.items
}

// listOf reads the elements of a list. Those that are wrong are there as zero values, so that the others keep their indices.
func listOf[T any](d *decoder, into *[]T, one func(n *node, path keyPath) (T, bool)) func(*node, keyPath) {
	return func(n *node, path keyPath) {
		*into = nil
		for i, item := range d.list(n, path) {
			v, ok := one(item, path.index(i))
			if !ok {
				d.broken[path.index(i).id()] = true
			}
			*into = append(*into, v)
		}
	}
}

// set reads a value into a variable, which keeps what it has if the value is wrong.
func set[T any](into *T, read func(n *node, path keyPath) (T, bool)) func(*node, keyPath) {
	return func(n *node, path keyPath) {
		if v, ok := read(n, path); ok {
			*into = v
		}
	}
}

// text reads a single value as it was written.
func (d *decoder) text(n *node, path keyPath) (string, bool) {
	if !d.is(n, path, scalar, "a single value") {
		return "", false
	}
	return n.text, true
}

// file reads a path, which is relative to the file that names it. What cannot be one is not shown: it may be what should be in the file.
func (d *decoder) file(n *node, path keyPath) (string, bool) {
	s, ok := d.text(n, path)
	if ok && (len(s) > maxPath || strings.ContainsAny(s, "\n\x00") || strings.HasPrefix(s, "-----BEGIN")) {
		n.src.hide(n.line, n.column, lastOf(n)-n.line)
		d.fail(n, path, "the path of a file", "this is no path")
		return "", false
	}
	return beside(n, s), ok
}

// maxPath is the longest path in bytes (PATH_MAX).
const maxPath = 4095

// number returns a reader of integers, decimal or with 0x.
func number[T int | uint16 | uint32](d *decoder, lo, hi T) func(*node, keyPath) (T, bool) {
	return func(n *node, path keyPath) (T, bool) {
		s, ok := d.text(n, path)
		if !ok {
			return 0, false
		}
		v, err := strconv.ParseInt(s, 0, 64)
		if err != nil || v < int64(lo) || v > int64(hi) {
			problem := "%q is out of range"
			if err != nil {
				problem = "%q is no number"
			}
			d.fail(n, path, fmt.Sprintf("a number from %d to %d", lo, hi), problem, s)
			return 0, false
		}
		return T(v), true
	}
}

var yesNo = map[string]bool{"yes": true, "true": true, "on": true, "no": false, "false": false, "off": false}

func (d *decoder) boolean(n *node, path keyPath) (bool, bool) {
	s, ok := d.text(n, path)
	if !ok {
		return false, false
	}
	b, known := yesNo[strings.ToLower(s)]
	if !known {
		d.fail(n, path, "yes or no", "%q is neither", s)
	}
	return b, known
}

func (d *decoder) addr(n *node, path keyPath) (netip.Addr, bool) {
	s, ok := d.text(n, path)
	if !ok {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		d.fail(n, path, "an IPv4 or IPv6 address", "%q is no address", s)
		return netip.Addr{}, false
	}
	return a, true
}

func (d *decoder) prefix(n *node, path keyPath) (netip.Prefix, bool) {
	s, ok := d.text(n, path)
	if !ok {
		return netip.Prefix{}, false
	}
	p, err := netip.ParsePrefix(s)
	if err == nil {
		return p, true
	}
	want := "address and length, as 10.0.0.0/8 or 2001:db8::/32"
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		want = fmt.Sprintf("its length too, as %v/%d", a, a.BitLen())
	}
	d.fail(n, path, want, "%q is no prefix", s)
	return netip.Prefix{}, false
}

// duration reads a time with its unit, or as a number of seconds.
func (d *decoder) duration(n *node, path keyPath) (time.Duration, bool) {
	s, ok := d.text(n, path)
	if !ok {
		return 0, false
	}
	with := s
	if _, err := strconv.ParseUint(s, 10, 32); err == nil {
		with += "s"
	}
	v, err := time.ParseDuration(with)
	if err != nil {
		d.fail(n, path, "a time such as 20s, 5m or 1h", "%q is no time", s)
		return 0, false
	}
	return v, true
}

// word returns a reader of one of several words.
func word[T any](d *decoder, words map[string]T) func(*node, keyPath) (T, bool) {
	return func(n *node, path keyPath) (v T, ok bool) {
		s, ok := d.text(n, path)
		if !ok {
			return v, false
		}
		if v, ok = words[strings.ToLower(s)]; !ok {
			d.fail(n, path, oneOf(slices.Sorted(maps.Keys(words))), "%q is not known here", s)
		}
		return v, ok
	}
}

func oneOf(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// closest returns the known word most like a misspelt one, "" if none is like it.
func closest(name string, known []string) string {
	best, word := 1+max(1, min(3, len(name)/3)), ""
	if len(name) > 40 {
		return ""
	}
	for _, k := range known {
		if d := distance(name, k); d < best {
			best, word = d, k
		}
	}
	return word
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
