package images

import (
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

func TestARecipeExtendsItsBase(t *testing.T) {
	all := fstest.MapFS{
		"low/recipe.json":   {Data: []byte("low")},
		"low/packages.txt":  {Data: []byte("one\n")},
		"low/build.sh":      {Data: []byte("last\n")},
		"low/files/etc/a":   {Data: []byte("a")},
		"high/base":         {Data: []byte("low\n")},
		"high/recipe.json":  {Data: []byte("high")},
		"high/packages.txt": {Data: []byte("two\n")},
		"high/build.sh":     {Data: []byte("first\n")},
		"high/files/etc/b":  {Data: []byte("b")},
	}
	got, err := whole(all, "high")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"recipe.json": "high", "packages.txt": "one\ntwo\n", "build.sh": "first\nlast\n", "files/etc/a": "a", "files/etc/b": "b",
	} {
		if text, err := fs.ReadFile(got, name); err != nil || string(text) != want {
			t.Errorf("%s is %q, %v; want %q", name, text, err, want)
		}
	}
	if err := fstest.TestFS(got, "recipe.json", "files/etc/a", "files/etc/b"); err != nil {
		t.Error(err)
	}
}

func TestTheStockRecipesHaveAllFiles(t *testing.T) {
	for _, name := range []string{"python", "polyglot"} {
		recipe, err := Recipe(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{"recipe.json", "packages.txt", "build.sh", "check.py", "requirements.lock"} {
			text, err := fs.ReadFile(recipe, file)
			if err != nil || !strings.HasSuffix(string(text), "\n") {
				t.Errorf("%s of %s does not end with a newline: %v", file, name, err)
			}
		}
	}
}

// TestTheBinaryCarriesEveryFile: embed leaves out names that begin with an underscore or a dot.
func TestTheBinaryCarriesEveryFile(t *testing.T) {
	for _, name := range []string{"python", "polyglot"} {
		err := fs.WalkDir(os.DirFS("."), name, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.Name() == "__pycache__":
				return fs.SkipDir
			case d.IsDir():
				return nil
			}
			if _, err := fs.Stat(files, path); err != nil {
				t.Errorf("%s is not embedded", path)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}
