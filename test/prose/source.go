package prose

import (
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// messages are the functions whose first string is a message for people.
var messages = []string{"cellhold.Errorf", "cellhold.Wrap", "fmt.Errorf", "errors.New", "Errorf"}

// described are the fields of API operations that hold text.
var described = []string{"Summary", "Description"}

// Source returns the texts of a Go file: comments, help and doc tags, descriptions of the HTTP API, and
// the formats of errors.
func Source(name string, text []byte) ([]Paragraph, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var list []Paragraph
	add := func(n ast.Node, text string) {
		if text != "" {
			list = append(list, Paragraph{set.Position(n.Pos()).Line, text})
		}
	}
	for _, c := range file.Comments {
		for i, p := range strings.Split(c.Text(), "\n\n") {
			if i == 0 || !strings.HasPrefix(p, "\t") { // not a code block
				add(c, p)
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			if n.Tag != nil {
				tag := reflect.StructTag(unquote(n.Tag))
				add(n, tag.Get("help"))
				add(n, tag.Get("doc"))
			}
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok && slices.Contains(described, key.Name) {
				add(n, unquote(n.Value))
			}
		case *ast.CallExpr:
			if slices.Contains(messages, nameOf(n.Fun)) {
				add(n, firstText(n.Args))
			}
		}
		return true
	})
	return list, nil
}

// firstText returns the first string literal among arguments.
func firstText(args []ast.Expr) string {
	for _, a := range args {
		if s := unquote(a); s != "" {
			return s
		}
	}
	return ""
}

// unquote returns the value of a string literal, or of several that are added; empty for all else.
func unquote(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if s, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
			return s
		}
	case *ast.BinaryExpr:
		return unquote(e.X) + unquote(e.Y)
	}
	return ""
}

func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		if x, ok := e.X.(*ast.Ident); ok {
			return x.Name + "." + e.Sel.Name
		}
	}
	return ""
}
