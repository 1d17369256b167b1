package housetest

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestEveryPackageHasADoc wants a doc.go with the package comment in each directory that has Go files, and the comment
// nowhere else, so that it is found and does not fall into pieces.
func TestEveryPackageHasADoc(t *testing.T) {
	documented := make(map[string]bool)
	for _, s := range sources(t) {
		isDoc := path.Base(s.path) == "doc.go"
		documented[s.dir] = documented[s.dir] || isDoc
		switch {
		case isDoc && !opens(s):
			t.Errorf("%s: the package comment begins %.30q, which is not Go's form for %s", s.path, s.doc, s.pkg)
		case !isDoc && s.doc != "":
			t.Errorf("%s: a package comment outside doc.go", s.path)
		}
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s has no doc.go", dir)
		}
	}
}

// opens says whether the comment of a package begins by Go's convention; a command's goes by its directory.
func opens(s source) bool {
	if s.pkg != "main" {
		return strings.HasPrefix(s.doc, "Package "+s.pkg+" ")
	}
	name := path.Base(s.dir)
	return strings.HasPrefix(s.doc, strings.ToUpper(name[:1])+name[1:]+" ") || strings.HasPrefix(s.doc, "Command "+name+" ")
}

// A blemish is what must not stand in a file of the tree. The expressions are written so that they do not match themselves.
type blemish struct {
	what   string
	match  *regexp.Regexp
	except []string // files where it may stand
}

var blemishes = []blemish{
	{what: "a promise for later: do it, or say in the package's doc what is not done",
		match: regexp.MustCompile(`\b(TO[D]O|FIX[M]E|X[X]X)\b`)},
	{what: "a path of somebody's machine",
		match: regexp.MustCompile(`(^|[^\w./-])/(wor[k]|roo[t]|hom[e]/\w+)/`)},
}

func TestNoFilePromisesOrNamesAMachine(t *testing.T) {
	tree(t, func(name string, text []byte) {
		for _, complaint := range blemished(name, text) {
			t.Error(complaint)
		}
	})
}

// blemished lists what a file must not contain, each with its line. Binary files have no lines to complain about.
func blemished(name string, text []byte) (complaints []string) {
	if path.Base(name) == "go.sum" || bytes.IndexByte(text, 0) >= 0 {
		return nil
	}
	for i, line := range strings.Split(string(text), "\n") {
		for _, b := range blemishes {
			if found := b.match.FindString(line); found != "" && !slices.Contains(b.except, name) {
				complaints = append(complaints, fmt.Sprintf("%s:%d: %q is %s", name, i+1, found, b.what))
			}
		}
	}
	return complaints
}

func TestBlemishesAreSeen(t *testing.T) {
	const later, machine = "TO" + "DO", "/wo" + "rk/"
	for line, want := range map[string]int{
		"// " + later + ": the rest":                               1,
		"see " + machine + "shared":                                1,
		"\"" + machine + "x\" and " + later:                        2,
		"the todo list, a network/work/flow, context.Background()": 0,
	} {
		if got := blemished("any.go", []byte("first\n"+line+"\n")); len(got) != want {
			t.Errorf("%q: complaints %q, want %d", line, got, want)
		} else if want > 0 && !strings.HasPrefix(got[0], "any.go:2:") {
			t.Errorf("complaint %q, want it at any.go:2", got[0])
		}
	}
}
