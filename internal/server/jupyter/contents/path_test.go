package contents

import (
	"path"
	"strings"
	"testing"
	"unicode/utf8"

	"cellhold"
)

func TestAPathNamesAFolderAndAFileBelowIt(t *testing.T) {
	for _, tt := range []struct {
		text, folder, inside string
		hidden               bool
		kind                 cellhold.Kind // empty: the path is valid
	}{
		{text: ""},
		{text: "/"},
		{text: "f", folder: "f"},
		{text: "/f/a b/c.ipynb/", folder: "f", inside: "a b/c.ipynb"},
		{text: "f//a", folder: "f", inside: "a"},
		{text: "f/a\nb", folder: "f", inside: "a\nb"},
		{text: "f/..a", folder: "f", inside: "..a", hidden: true},
		{text: "f/.ssh/id", folder: "f", inside: ".ssh/id", hidden: true},
		{text: "f/../g", kind: cellhold.Invalid},
		{text: "..", kind: cellhold.Invalid},
		{text: "f/./a", kind: cellhold.Invalid},
		{text: "f/a\x00b", kind: cellhold.Invalid},
		{text: "f/caf\xe9", kind: cellhold.Invalid},
		{text: "f/" + strings.Repeat("x", maxName+1), kind: cellhold.Invalid},
		{text: strings.Repeat("a/", maxDepth+1), kind: cellhold.Invalid},
		{text: strings.Repeat("aaaa/", maxPath/4), kind: cellhold.Invalid},
	} {
		p, err := parse(tt.text)
		if (err == nil) != (tt.kind == "") || err != nil && cellhold.KindOf(err) != tt.kind {
			t.Errorf("%.40q: got the error %v, want the kind %q", tt.text, err, tt.kind)
		}
		if p != (place{tt.folder, tt.inside, tt.hidden}) {
			t.Errorf("%.40q: got %+v", tt.text, p)
		}
	}
}

func TestOnlyFilesInAFolderCanBeChanged(t *testing.T) {
	for text, want := range map[string]cellhold.Kind{"": cellhold.Denied, "f": cellhold.Denied, "f/.x": cellhold.Invalid, ".x": cellhold.Invalid, "f/a": ""} {
		_, err := toChange(text)
		if err == nil && want != "" || err != nil && cellhold.KindOf(err) != want {
			t.Errorf("change %q: got %v, want the kind %q", text, err, want)
		}
	}
	for text, want := range map[string]cellhold.Kind{"": cellhold.Denied, "f": "", "f/a": "", "f/.x": cellhold.Invalid, ".f": cellhold.Invalid} {
		_, err := toFill(text)
		if err == nil && want != "" || err != nil && cellhold.KindOf(err) != want {
			t.Errorf("fill %q: got %v, want the kind %q", text, err, want)
		}
	}
}

func TestACopyHasTheNameThatJupyterGivesIt(t *testing.T) {
	for name, want := range map[string][2]string{
		"a.txt": {"a.txt", "a-Copy1.txt"}, "a-Copy3.txt": {"a.txt", "a-Copy1.txt"}, "a.tar.gz": {"a.tar.gz", "a-Copy1.tar.gz"},
		"a.b.ipynb": {"a.b.ipynb", "a.b-Copy1.ipynb"}, "noext": {"noext", "noext-Copy1"},
	} {
		if n := copyOf(name); n.number(0) != want[0] || n.number(1) != want[1] {
			t.Errorf("%s: got %s and %s, want %v", name, n.number(0), n.number(1), want)
		}
	}
}

// FuzzAPathStaysBelowItsFolder checks that no text of a client becomes a path with another meaning in the sandbox.
func FuzzAPathStaysBelowItsFolder(f *testing.F) {
	for _, text := range []string{"", "f", "f/a/b", "../x", "f/..", "f//..//a", "f/a\x00", "f/\xff", "/f/./a", "f/...", strings.Repeat("a/", 200)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parse(text)
		if err != nil {
			if cellhold.KindOf(err) != cellhold.Invalid {
				t.Errorf("%q: got the error %v, want one of the kind invalid", text, err)
			}
			return
		}
		guest := p.guest()
		if path.IsAbs(guest) || guest != path.Clean(guest) || guest == ".." || strings.HasPrefix(guest, "../") || strings.ContainsRune(guest, 0) || !utf8.ValidString(guest) || len(guest) > maxPath {
			t.Errorf("%q: got the path %q for the sandbox", text, guest)
		}
		again, err := parse(p.String())
		if err != nil || again != p {
			t.Errorf("%q: got %+v, and %+v, %v from its text", text, p, again, err)
		}
	})
}
