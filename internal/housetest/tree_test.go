package housetest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// module is the import path of the root of the tree.
const module = "github.com/warrenvpn/warren"

// A source is one Go file of the tree, for whatever system it is built.
type source struct {
	path    string // slashes, from the root of the tree
	dir     string // of path; "." is the root
	test    bool
	pkg     string   // name in the package clause
	doc     string   // package comment
	imports []string // import paths
}

// tree calls visit for every file that may be committed: all but hidden directories and bin.
func tree(t *testing.T, visit func(name string, text []byte)) {
	t.Helper()
	root := filepath.Join("..", "..")
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && name != "." && (name == "bin" || strings.HasPrefix(entry.Name(), ".") && name != ".ci") {
			return fs.SkipDir
		}
		if !entry.Type().IsRegular() || name == ".git" { // a file in a worktree
			return nil
		}
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		visit(name, text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sources parses the package clause and the imports of every Go file.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	tree(t, func(name string, text []byte) {
		if path.Ext(name) != ".go" || strings.Contains(name, "testdata/") {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			t.Errorf("%v", err)
			return
		}
		all = append(all, describe(name, file))
	})
	if len(all) == 0 {
		t.Fatal("the tree has no Go file")
	}
	return all
}

func describe(name string, file *ast.File) source {
	s := source{
		path: name,
		dir:  path.Dir(name),
		test: strings.HasSuffix(name, "_test.go"),
		pkg:  file.Name.Name,
		doc:  file.Doc.Text(),
	}
	for _, spec := range file.Imports {
		if imported, err := strconv.Unquote(spec.Path.Value); err == nil {
			s.imports = append(s.imports, imported)
		}
	}
	return s
}

// within says whether a directory or import path is another or lies below it. "." is the root alone, not what is below.
func within(dir, top string) bool {
	return dir == top || top != "." && strings.HasPrefix(dir, top+"/")
}
