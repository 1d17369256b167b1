package warren

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// ConfigError is one mistake in a configuration.
type ConfigError struct {
	// File, Line and Column say where, the latter two counted from 1; Line is 0 for a configuration made in Go.
	File         string
	Line, Column int
	// Key is the path of keys: "tunnels.b.ipsec.remote".
	Key string
	// Problem says what is wrong, Want what would be right; Want may be empty.
	Problem, Want string

	// excerpt is the source line without secrets, caret the column of it to point at.
	excerpt string
	caret   int
	order   int
}

// Error implements error: one line, and where there is one, the source line with a caret.
func (e *ConfigError) Error() string {
	var b strings.Builder
	b.WriteString(at(e.File, e.Line, e.Column))
	if e.Key != "" {
		fmt.Fprintf(&b, "%s: ", e.Key)
	}
	b.WriteString(e.Problem)
	if e.Want != "" {
		fmt.Fprintf(&b, "; want %s", e.Want)
	}
	if e.caret > 0 {
		fmt.Fprintf(&b, "\n%6d | %s\n       | %s^", e.Line, e.excerpt, margin(e.excerpt, e.caret))
	}
	return printable(b.String())
}

// printable replaces what a terminal would take for a command.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// at is a place in front of a message.
func at(file string, line, column int) string {
	switch {
	case line > 0:
		return fmt.Sprintf("%s:%d:%d: ", file, line, column)
	case file != "":
		return file + ": "
	}
	return ""
}

// margin is the blank space above a caret; tabs stay tabs so that it stands where it should.
func margin(line string, caret int) string {
	text := []rune(line)
	blank := make([]rune, caret-1)
	for i := range blank {
		blank[i] = ' '
		if i < len(text) && text[i] == '\t' {
			blank[i] = '\t'
		}
	}
	return string(blank)
}

// ConfigErrors are all mistakes of a configuration, in the order of the files.
type ConfigErrors []*ConfigError

// Error implements error.
func (es ConfigErrors) Error() string {
	lines := make([]string, 0, len(es)+1)
	noun := "mistakes"
	if len(es) == 1 {
		noun = "mistake"
	}
	lines = append(lines, fmt.Sprintf("%d %s in the configuration", len(es), noun))
	for _, e := range es {
		lines = append(lines, e.Error())
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find a *ConfigError.
func (es ConfigErrors) Unwrap() []error {
	out := make([]error, len(es))
	for i, e := range es {
		out[i] = e
	}
	return out
}

// tidy sorts by place and leaves out what was found twice there: a mistake among the defaults is one, however many tunnels
// have it.
func (es ConfigErrors) tidy() ConfigErrors {
	slices.SortStableFunc(es, func(a, b *ConfigError) int {
		return cmp.Or(a.order-b.order, a.Line-b.Line, a.Column-b.Column)
	})
	var out ConfigErrors
	for _, e := range es {
		same := func(o *ConfigError) bool {
			return e.Line > 0 && o.order == e.order && o.Line == e.Line && o.Column == e.Column && o.Problem == e.Problem
		}
		if !slices.ContainsFunc(out, same) {
			out = append(out, e)
		}
	}
	return out
}

// ConfigWarning is what one should know about a valid configuration.
type ConfigWarning struct {
	// File, Line and Column say where; Line is 0 for a configuration made in Go.
	File         string
	Line, Column int
	// Key is the path of keys.
	Key, Text string
}

// String returns the warning in one line.
func (w ConfigWarning) String() string {
	key := w.Key
	if key != "" {
		key += ": "
	}
	return printable(at(w.File, w.Line, w.Column) + key + w.Text)
}
