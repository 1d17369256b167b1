package policy

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"unicode"
)

// Length is a comparison with the length of an AS path, as best-path selection counts it.
type Length struct {
	op string
	n  int
}

// ParseLength reads a comparison: <, <=, =, !=, >= or > and a number. A number alone is equal to it.
func ParseLength(s string) (Length, error) {
	s = strings.TrimSpace(s)
	number := strings.TrimLeft(s, "<=>!")
	l := Length{op: s[:len(s)-len(number)]}
	switch l.op {
	case "", "==":
		l.op = "="
	case "<", "<=", "=", "!=", ">=", ">":
	default:
		return Length{}, fmt.Errorf("comparison %q: want <, <=, =, !=, >= or > and a number", s)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 16)
	if err != nil {
		return Length{}, fmt.Errorf("comparison %q: want a number from 0 to 65535 after %s", s, l.op)
	}
	if l.n = int(n); l.op == "<" && n == 0 {
		return Length{}, fmt.Errorf("comparison %q: no path is shorter than 0", s)
	}
	return l, nil
}

// String writes the comparison as ParseLength reads it.
func (l Length) String() string { return l.op + strconv.Itoa(l.n) }

// Matches compares.
func (l Length) Matches(n int) bool {
	switch l.op {
	case "<":
		return n < l.n
	case "<=":
		return n <= l.n
	case "=":
		return n == l.n
	case "!=":
		return n != l.n
	case ">=":
		return n >= l.n
	}
	return n > l.n
}

// Glob is a pattern for names: * is any characters, ? any one, [a-z] one of these.
type Glob struct{ pattern string }

// ParseGlob reads a pattern.
func ParseGlob(s string) (Glob, error) {
	if _, err := path.Match(s, ""); err != nil || s == "" || strings.ContainsFunc(s, unicode.IsSpace) {
		return Glob{}, fmt.Errorf("pattern %q: want a name, in which * is any characters, ? any one, [a-z] one of these", s)
	}
	return Glob{s}, nil
}

// String is the pattern.
func (g Glob) String() string { return g.pattern }

// Matches says whether a name is as the pattern says. No name matches nothing.
func (g Glob) Matches(name string) bool {
	ok, err := path.Match(g.pattern, name)
	return ok && err == nil && name != ""
}
