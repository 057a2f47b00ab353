package guestapi_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// TestBothSidesUseEachBound finds a bound of events that only the agent or only the host uses.
func TestBothSidesUseEachBound(t *testing.T) {
	agent, host := uses(t, "../agent"), uses(t, "../guest")
	bounds := constants(t, "bounds.go")
	if len(bounds) < 14 {
		t.Fatalf("found only the bounds %v", bounds)
	}
	for _, name := range bounds {
		for side, used := range map[string]map[string]bool{"the agent": agent, "the host": host} {
			if !used[name] {
				t.Errorf("%s does not use %s", side, name)
			}
		}
	}
}

// hostOnly has the limits of the host for events that are no bounds of guestapi, with the reasons.
var hostOnly = map[string]string{
	"maxAhead":        "the time is replaced",
	"maxPast":         "the time is replaced",
	"maxCount":        "the count is cut",
	"maxOddText":      "the text is made by the host",
	"maxLines":        "the list becomes text in another way",
	"maxLevels":       "it follows from MaxLevels",
	"maxElements":     "it follows from MaxTraceback and MaxTypes",
	"maxCommandEvent": "it follows from MaxStream and MaxHead",
	"maxSkipped":      "it is above MaxEvent",
	"maxPID":          "it is no limit of events",
}

func TestTheHostHasNoOtherBoundsOfEvents(t *testing.T) {
	for _, file := range []string{"event.go", "parse.go", "bundle.go", "command.go"} {
		for _, name := range constants(t, "../guest/"+file) {
			if strings.HasPrefix(name, "max") && hostOnly[name] == "" {
				t.Errorf("%s: move %s to bounds.go, or give a reason in hostOnly", file, name)
			}
		}
	}
}

// constants returns the names of the constants in a file.
func constants(t *testing.T, file string) (names []string) {
	t.Helper()
	for _, d := range parse(t, file).Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, s := range g.Specs {
			for _, name := range s.(*ast.ValueSpec).Names {
				if name.Name != "MaxContent" { // the difference of two bounds
					names = append(names, name.Name)
				}
			}
		}
	}
	return names
}

// uses returns the names of this package that the code below a folder uses. MaxContent is made of two of them.
func uses(t *testing.T, dir string) map[string]bool {
	t.Helper()
	used := map[string]bool{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		ast.Inspect(parse(t, path), func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if of, ok := s.X.(*ast.Ident); ok && of.Name == "guestapi" {
					used[s.Sel.Name] = true
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if used["MaxContent"] {
		used["MaxEvent"], used["MaxHead"] = true, true
	}
	return used
}

func parse(t *testing.T, file string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
