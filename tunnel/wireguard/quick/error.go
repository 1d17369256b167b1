package quick

import (
	"fmt"
	"strings"
)

// Error is one mistake in a file.
type Error struct {
	File string
	// Line and Column say where, counted from 1; columns are characters.
	Line, Column int
	// Key is the setting, "" for a mistake of the line or section itself.
	Key string
	// Problem says what is wrong, Want what would be right.
	Problem, Want string
}

// Error implements error.
func (e *Error) Error() string {
	key := e.Key
	if key != "" {
		key += ": "
	}
	return fmt.Sprintf("%s:%d:%d: %s%s; want %s", e.File, e.Line, e.Column, key, e.Problem, e.Want)
}

// Errors are all mistakes of a file, in its order; of very many, the first ones.
type Errors []*Error

// Error implements error: a line for each mistake.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives errors.As each of them.
func (es Errors) Unwrap() []error {
	out := make([]error, len(es))
	for i, e := range es {
		out[i] = e
	}
	return out
}

// shown quotes what a file says, unless it might be a key that stands where it should not, or is too long to help.
func shown(text string) string {
	run, longest := 0, 0
	for _, c := range text {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '=' {
			run++
		} else {
			run = 0
		}
		longest = max(longest, run)
	}
	const secretive, long = 24, 80
	if longest >= secretive || len(text) > long {
		return fmt.Sprintf("a text of %d characters", len([]rune(text)))
	}
	return fmt.Sprintf("%q", text)
}
