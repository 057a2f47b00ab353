package prose

import (
	"bytes"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var only = flag.String("only", "", "check the files below this folder, pending ones included")

// root is the folder of the repository.
const root = "../.."

// skipped are folders without texts of the project.
var skipped = map[string]bool{".git": true, "build": true, "node_modules": true, "testdata": true, "prose": true}

// pending are folders whose texts are not edited yet. The list only gets shorter.
var pending = map[string]bool{}

func TestTextsKeepTheRules(t *testing.T) {
	err := filepath.WalkDir(filepath.Join(root, *only), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if e.IsDir() {
			if skipped[e.Name()] || name == "bench/reference" { // a report of bench/report
				return filepath.SkipDir
			}
			return err
		}
		if err == nil && (*only != "" || !pending[filepath.Dir(name)]) {
			check(t, path, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// check reports what breaks the rules in one file.
func check(t *testing.T, path, name string) {
	read := map[string]func(string, []byte) ([]Paragraph, error){
		".go": Source,
		".md": func(_ string, b []byte) ([]Paragraph, error) { return Markdown(string(b)), nil },
	}[filepath.Ext(path)]
	if read == nil {
		return
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.HasPrefix(text, []byte("<!-- generated")) {
		return // its source is checked
	}
	list, err := read(name, text)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		for _, problem := range Check(p.Text) {
			t.Errorf("%s:%d: %s", name, p.Line, problem)
		}
	}
}

func TestFaultsAreSeen(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"The server ends the session.", ""},
		{"It starts anew.", "again"},
		{"What runs is a conflict.", "begin with the noun"},
		{"What happens to a session that expires?", ""},
		{"Of an allowlist it is one name.", "begin with the noun"},
		{"A debugger is there for who imports it.", "the noun"},
		{strings.Repeat("word ", maxWords) + "end.", "31 words"},
		{strings.Repeat("word ", maxWords) + ": a new sentence.", ""},
		{"Write `anew` if you must.", ""},
		{"A bedside table.", ""},
	} {
		got := strings.Join(Check(test.text), "; ")
		if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s\ngives %q, want %q", test.text, got, test.want)
		}
	}
}

func TestTextsAreFoundInMarkdown(t *testing.T) {
	got := Markdown("# Title\n\nOne\ntwo.\n\n```sh\nanew\n```\n- item\n1. first\n\n| a | b |\n")
	var texts []string
	for _, p := range got {
		if text := strings.TrimSpace(p.Text); text != "" {
			texts = append(texts, text)
		}
	}
	if want := "Title|One two.|item|first|a|b"; strings.Join(texts, "|") != want {
		t.Errorf("the texts are %q, want %q", texts, want)
	}
}

func TestTextsAreFoundInSource(t *testing.T) {
	got, err := Source("x.go", []byte("// Package x is one.\npackage x\n\nvar e = cellhold.Errorf(cellhold.Invalid, \"no \"+\"name\")\n\ntype t struct {\n\tF int `help:\"A flag.\" doc:\"A field.\"`\n}\n"))
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, p := range got {
		texts = append(texts, strings.TrimSpace(p.Text))
	}
	if want := "Package x is one.|no name|A flag.|A field."; strings.Join(texts, "|") != want {
		t.Errorf("the texts are %q, want %q", texts, want)
	}
}
