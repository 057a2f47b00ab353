package exchange

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"cellhold"
)

// TestEachKindHasItsOwnStatus reads the kinds from the source. So a new kind without a status fails the test.
func TestEachKindHasItsOwnStatus(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../../errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []cellhold.Kind
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 {
			if id, ok := v.Type.(*ast.Ident); ok && id.Name == "Kind" {
				text, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				kinds = append(kinds, cellhold.Kind(text))
			}
		}
		return true
	})
	if len(kinds) != len(statusOf) || len(kinds) < 8 {
		t.Errorf("got %d kinds and %d statuses, want equal numbers of at least 8", len(kinds), len(statusOf))
	}
	seen := map[int]bool{}
	for _, k := range kinds {
		p := ProblemOf(t.Context(), discard, fmt.Errorf("around: %w", cellhold.Wrap(k, fmt.Errorf("secret cause"), "shown")))
		if p.Kind != k || p.Status != statusOf[k] || p.Status < 400 || seen[p.Status] || KindOf(p.Status) != k {
			t.Errorf("%s: got %+v, want the kind and a status of at least 400 that no other kind has", k, p)
		}
		if strings.Contains(p.Detail, "secret") || (k == cellhold.Internal) == strings.Contains(p.Detail, "shown") {
			t.Errorf("%s: got the detail %q, want the message, but for kind internal no part of the error", k, p.Detail)
		}
		seen[p.Status] = true
	}
	if p := ProblemOf(t.Context(), discard, fmt.Errorf("secret")); p.Status != 500 || strings.Contains(p.Detail, "secret") {
		t.Errorf("an error of another type: got %+v, want status 500 without the error's text", p)
	}
}
