package policy

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/gaissmai/bart"
)

// PrefixRange is the prefixes of some lengths that lie within Base or contain it.
type PrefixRange struct {
	Base netip.Prefix
	// Low and High are the lengths, from and to.
	Low, High int
}

// ParsePrefixRange reads a range as the package comment shows them.
func ParsePrefixRange(s string) (PrefixRange, error) {
	s = strings.TrimSpace(s)
	text, rest := s, ""
	if i := strings.IndexAny(s, " \t+-{"); i >= 0 {
		text, rest = s[:i], strings.TrimSpace(s[i:])
	}
	base, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return PrefixRange{}, fmt.Errorf("%q: want a prefix as 10.0.0.0/8, and after it +, -, {16,24}, ge 16 or le 24", s)
	case base.Addr().Is4In6():
		return PrefixRange{}, fmt.Errorf("%q: write it as IPv4", s)
	case base != base.Masked():
		return PrefixRange{}, fmt.Errorf("%q has host bits: want %v", s, base.Masked())
	}
	r := PrefixRange{Base: base, Low: base.Bits(), High: base.Bits()}
	longest := base.Addr().BitLen()
	switch {
	case rest == "":
	case rest == "+":
		r.High = longest
	case rest == "-":
		r.Low = 0
	case rest[0] == '{':
		err = r.braces(rest)
	default:
		err = r.words(strings.Fields(rest), longest)
	}
	if err == nil && (r.Low > r.High || r.High > longest) {
		err = fmt.Errorf("lengths from %d to %d: want them to rise, and at most %d", r.Low, r.High, longest)
	}
	if err != nil {
		return PrefixRange{}, fmt.Errorf("%q: %w", s, err)
	}
	return r, nil
}

func (r *PrefixRange) braces(s string) error {
	inner, closed := strings.CutSuffix(s[1:], "}")
	low, high, two := strings.Cut(inner, ",")
	if !closed || !two {
		return fmt.Errorf("%q: want two lengths, as {16,24}", s)
	}
	var err error
	if r.Low, err = parseBits(strings.TrimSpace(low)); err != nil {
		return err
	}
	r.High, err = parseBits(strings.TrimSpace(high))
	return err
}

func (r *PrefixRange) words(words []string, longest int) error {
	ge, le := -1, -1
	for len(words) > 0 {
		to := &ge
		if words[0] == "le" {
			to = &le
		}
		if words[0] != "ge" && words[0] != "le" || *to >= 0 || len(words) < 2 {
			return fmt.Errorf("%q: want ge and a length, le and a length, or both", strings.Join(words, " "))
		}
		bits, err := parseBits(words[1])
		if err != nil {
			return err
		}
		*to = bits
		words = words[2:]
	}
	switch bits := r.Base.Bits(); {
	case ge >= 0 && ge < bits || le >= 0 && le < bits:
		return fmt.Errorf("want no length below the prefix's own, %d", bits)
	case ge >= 0:
		r.Low, r.High = ge, longest
	}
	if le >= 0 {
		r.High = le
	}
	return nil
}

func parseBits(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil {
		return 0, fmt.Errorf("length %q: want a number from 0 to 128", s)
	}
	return int(n), nil
}

// String writes the range as ParsePrefixRange reads it.
func (r PrefixRange) String() string {
	switch bits := r.Base.Bits(); {
	case r.Low == bits && r.High == bits:
		return r.Base.String()
	case r.Low == bits && r.High == r.Base.Addr().BitLen():
		return r.Base.String() + "+"
	case r.Low == 0 && r.High == bits:
		return r.Base.String() + "-"
	}
	return fmt.Sprintf("%v{%d,%d}", r.Base, r.Low, r.High)
}

// Matches says whether a prefix is in the range.
func (r PrefixRange) Matches(p netip.Prefix) bool {
	return r.Low <= p.Bits() && p.Bits() <= r.High && r.Base.Overlaps(p)
}

// prefixList is ranges of which one must match. A long list is searched by what covers the prefix.
type prefixList struct {
	one      []PrefixRange
	covering *bart.Table[[]lengths]
}

type lengths struct{ low, high int }

// manyRanges is from where on a trie pays.
const manyRanges = 8

func newPrefixList(ranges []PrefixRange) *prefixList {
	if len(ranges) < manyRanges {
		return &prefixList{one: ranges}
	}
	l := &prefixList{covering: new(bart.Table[[]lengths])}
	for _, r := range ranges {
		if r.Low < r.Base.Bits() { // may match what covers it
			l.one = append(l.one, r)
			continue
		}
		l.covering.Modify(r.Base, func(have []lengths, _ bool) ([]lengths, bool) {
			return append(have, lengths{r.Low, r.High}), false
		})
	}
	return l
}

func (l *prefixList) has(p netip.Prefix) bool {
	for i := range l.one {
		if l.one[i].Matches(p) {
			return true
		}
	}
	if l.covering == nil {
		return false
	}
	for _, all := range l.covering.Supernets(p) {
		for _, x := range all {
			if x.low <= p.Bits() && p.Bits() <= x.high {
				return true
			}
		}
	}
	return false
}
