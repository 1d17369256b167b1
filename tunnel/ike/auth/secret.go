package auth

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// A Secret is a shared secret. It shows itself to nobody who prints, logs or marshals it.
type Secret []byte

const hidden = "(hidden)"

// String implements fmt.Stringer.
func (Secret) String() string { return hidden }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return hidden }

// Format implements fmt.Formatter, for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// MarshalText implements encoding.TextMarshaler.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// ParseSecret reads a shared secret in strongSwan's forms: 0x and hexadecimal digits, 0s and Base64, else text as it is.
// Quotes around it are taken away, and what was in them is text, whatever it begins with. Errors do not show the secret.
func ParseSecret(text string) (Secret, error) {
	if len(text) >= 2 && text[0] == '"' && text[len(text)-1] == '"' {
		return secretOf([]byte(text[1:len(text)-1]), nil)
	}
	if digits, ok := strings.CutPrefix(text, "0x"); ok {
		b, err := hex.DecodeString(strings.ReplaceAll(digits, ":", ""))
		if err != nil {
			err = errors.New("shared secret: after 0x there must be hexadecimal digits, two for each byte; text that begins so goes in quotes")
		}
		return secretOf(b, err)
	}
	if chars, ok := strings.CutPrefix(text, "0s"); ok {
		b, err := base64.RawStdEncoding.Strict().DecodeString(strings.TrimRight(chars, "="))
		if err != nil {
			err = errors.New("shared secret: after 0s there must be Base64; text that begins so goes in quotes")
		}
		return secretOf(b, err)
	}
	return secretOf([]byte(text), nil)
}

func secretOf(b []byte, err error) (Secret, error) {
	switch {
	case err != nil:
		return nil, err
	case len(b) == 0:
		return nil, errors.New("shared secret: it is empty")
	}
	return b, nil
}

// LoadSecret reads a file whose only line is a secret as ParseSecret takes it.
func LoadSecret(name string) (Secret, error) {
	data, err := readFile(name, maxSecretFile)
	if err != nil {
		return nil, fmt.Errorf("shared secret: %w", err)
	}
	line := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if strings.ContainsAny(line, "\r\n") {
		return nil, inFile(name, errors.New("shared secret: several lines, wanted one"))
	}
	secret, err := ParseSecret(line)
	if err != nil {
		return nil, inFile(name, err)
	}
	return secret, nil
}
