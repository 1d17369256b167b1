package warren

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// kind of a node.
type kind int

const (
	absent  kind = iota // a key without a value
	scalar              // text
	mapping             // entries
	list                // items
	invalid             // YAML that a configuration does not use
)

// String names the kind in messages.
func (k kind) String() string {
	return [...]string{"nothing", "a single value", "a mapping", "a list", "not supported YAML"}[k]
}

// node is a value of a configuration file and where it stands.
type node struct {
	src          *source
	line, column int
	kind         kind
	text         string // of a scalar; what an invalid node is
	entries      []entry
	items        []*node
}

// entry is a key of a mapping with its value. The key has a place of its own.
type entry struct {
	key, value *node
}

// entry returns the value of a key, nil if it is not there.
func (n *node) entry(name string) *node {
	for _, e := range n.entries {
		if e.key.text == name {
			return e.value
		}
	}
	return nil
}

// Bounds of a configuration file, above what anybody writes and below what makes a parser slow.
const (
	maxFile  = 8 << 20 // bytes: 10,000 tunnels with their keys take 3 MB
	maxDepth = 32      // mappings and lists within each other
)

// parseYAML returns the root of a file. An error has the place if there is one.
func parseYAML(src *source, data []byte) (root *node, err error) {
	defer func() {
		if p := recover(); p != nil {
			root, err = nil, errors.New("the YAML parser cannot make sense of it")
		}
	}()
	tokens := lexer.Tokenize(string(data))
	if tok := tooDeep(tokens); tok != nil {
		return nil, &syntaxError{tok, fmt.Sprintf("more than %d mappings and lists within each other", maxDepth)}
	}
	tree, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, err
	}
	c := converter{src: src}
	root = &node{src: src, line: 1, column: 1}
	found := false
	for _, doc := range tree.Docs {
		if doc.Body == nil {
			continue
		}
		if found {
			return nil, &syntaxError{doc.Body.GetToken(), "a second document begins here"}
		}
		root, found = c.node(doc.Body, 0), true
	}
	return root, nil
}

// syntaxError is what the YAML parser's errors are, too.
type syntaxError struct {
	tok     *token.Token
	problem string
}

func (e *syntaxError) Error() string          { return e.problem }
func (e *syntaxError) GetMessage() string     { return e.problem }
func (e *syntaxError) GetToken() *token.Token { return e.tok }

// tooDeep returns the token from which on nesting is deeper than the parser, which recurses, should be led.
func tooDeep(tokens token.Tokens) *token.Token {
	flow, inLine, line := 0, 0, 0
	var indents []int
	for _, t := range tokens {
		if t.Position.Line != line {
			line, inLine = t.Position.Line, 0
			for len(indents) > 0 && indents[len(indents)-1] >= t.Position.Column {
				indents = indents[:len(indents)-1]
			}
			indents = append(indents, t.Position.Column)
		}
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow, inLine = max(0, flow-1), 0
		case token.CollectEntryType: // a comma: what follows is beside, not within
			inLine = 0
		case token.SequenceEntryType, token.MappingKeyType, token.MappingValueType, token.AnchorType, token.TagType:
			inLine++
		}
		if flow > maxDepth || len(indents) > maxDepth || flow == 0 && inLine > maxDepth {
			return t
		}
	}
	return nil
}

// converter makes nodes of the parser's tree, and marks its secrets.
type converter struct {
	src *source
}

func (c converter) at(tok *token.Token, k kind, text string) *node {
	n := &node{src: c.src, line: 1, column: 1, kind: k, text: text}
	if tok != nil && tok.Position != nil {
		n.line, n.column = max(1, tok.Position.Line), max(1, tok.Position.Column)
	}
	return n
}

func (c converter) node(n ast.Node, depth int) *node {
	if depth > 2*maxDepth {
		return c.at(n.GetToken(), invalid, "nesting so deep")
	}
	switch n := n.(type) {
	case nil:
		return c.at(nil, absent, "")
	case *ast.NullNode:
		return c.at(n.Token, absent, "")
	case *ast.StringNode:
		return c.at(n.Token, scalar, n.Value)
	case *ast.LiteralNode:
		return c.at(n.Start, scalar, n.Value.Value)
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return c.at(n.GetToken(), scalar, n.GetToken().Value)
	case *ast.SequenceNode:
		out := c.at(n.Start, list, "")
		for _, v := range n.Values {
			out.items = append(out.items, c.node(v, depth+1))
		}
		return out
	case *ast.MappingNode:
		out := c.at(n.Start, mapping, "")
		for _, v := range n.Values {
			c.entry(out, v, depth)
		}
		if !n.IsFlowStyle && len(out.entries) > 0 { // its own token is the first colon
			out.line, out.column = out.entries[0].key.line, out.entries[0].key.column
		}
		return out
	case *ast.MappingValueNode:
		out := c.at(n.Start, mapping, "")
		c.entry(out, n, depth)
		out.line, out.column = out.entries[0].key.line, out.entries[0].key.column
		return out
	case *ast.AnchorNode, *ast.AliasNode:
		return c.at(n.GetToken(), invalid, "an anchor or alias")
	case *ast.TagNode:
		return c.at(n.GetToken(), invalid, "a tag")
	}
	return c.at(n.GetToken(), invalid, "this YAML")
}

// entry adds a key with its value to a mapping.
func (c converter) entry(to *node, v *ast.MappingValueNode, depth int) {
	key := c.at(v.Key.GetToken(), invalid, "such a key")
	switch k := v.Key.(type) {
	case *ast.MergeKeyNode:
		key.text = "a merge key"
	case *ast.StringNode:
		key.kind, key.text = scalar, k.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		key.kind, key.text = scalar, v.Key.GetToken().Value
	}
	value := c.node(v.Value, depth+1)
	if value.kind == absent {
		value.line, value.column = key.line, key.column
	}
	if isSecret(key.text) {
		c.hide(key, v.Value)
	}
	to.entries = append(to.entries, entry{key, value})
}

func isSecret(key string) bool {
	for _, s := range secretKeys {
		if strings.EqualFold(key, s) {
			return true
		}
	}
	return false
}

// hide marks a value as a secret: it alone where it stands on one line as it should, else all lines that it may be on.
func (c converter) hide(key *node, value ast.Node) {
	if value == nil {
		return
	}
	tok := value.GetToken()
	if tok == nil || tok.Position == nil {
		return
	}
	if isPlain(value) {
		origin := strings.TrimSpace(tok.Origin)
		line := c.src.line(tok.Position.Line)
		if at := tok.Position.Column - 1; at >= 0 && at <= len(line) && !strings.Contains(origin, "\n") &&
			strings.HasPrefix(string(line[at:]), origin) && origin != "" {
			to := at + len([]rune(origin)) + 1
			c.src.secrets[tok.Position.Line] = append(c.src.secrets[tok.Position.Line], span{at + 1, to})
			return
		}
	}
	last := &lastLine{line: tok.Position.Line}
	ast.Walk(last, value)
	c.src.hide(key.line, key.column+len([]rune(key.text)), last.line-key.line)
}

// isPlain says whether a value is its token and nothing else. A tag or an anchor has its value behind it.
func isPlain(value ast.Node) bool {
	switch value.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode, *ast.InfinityNode, *ast.NanNode:
		return true
	}
	return false
}

// lastLine visits a tree and remembers the last line that it may be on.
type lastLine struct{ line int }

// Visit implements ast.Visitor.
func (l *lastLine) Visit(n ast.Node) ast.Visitor {
	if tok := n.GetToken(); tok != nil && tok.Position != nil {
		l.line = max(l.line, tok.Position.Line+strings.Count(tok.Origin, "\n"))
	}
	return l
}
