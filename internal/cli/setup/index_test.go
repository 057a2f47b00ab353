package setup

import (
	"archive/zip"
	"bytes"
	"cellhold/internal/image"
	"os"
	"path/filepath"
	"testing"
)

// wheelNaming returns a wheel of pip whose default index is index.
func wheelNaming(t *testing.T, index string) []byte {
	t.Helper()
	var b bytes.Buffer
	archive := zip.NewWriter(&b)
	f, err := archive.Create(pipModule)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("PyPI = PackageIndex(\n    \"" + index + "\", file_storage_domain=\"x\")\n")); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// rootWith returns a root file system with one wheel of pip.
func rootWith(t *testing.T, wheel []byte) string {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "usr/share/python-wheels")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pip-1-py3-none-any.whl"), wheel, 0o644); err != nil {
		t.Fatal(err)
	}
	return root
}

const (
	built    = image.FromRecipe + "python"
	imported = "/x.tar sha256:00, which says it was made from the recipe python"
)

func TestAnImportedImageCannotSetAnUnknownIndex(t *testing.T) {
	elsewhere := rootWith(t, wheelNaming(t, "https://index.example/"))
	if got := usualIndex(image.Image{Source: built, Rootfs: elsewhere}); got != "https://index.example/simple" {
		t.Errorf("an image from a recipe: got the index %q, want https://index.example/simple", got)
	}
	for _, source := range []string{imported, "/recipe python sha256:00", "registry.example/recipe@sha256:00"} {
		if got := usualIndex(image.Image{Source: source, Rootfs: elsewhere}); got != "" {
			t.Errorf("an image from %s: got the index %q, want \"\"", source, got)
		}
	}
	for name, wheel := range map[string][]byte{"no archive": []byte("x"), "no index": wheelNaming(t, "ftp://index.example/"), "too large": make([]byte, maxWheel+1)} {
		if got := usualIndex(image.Image{Source: imported, Rootfs: rootWith(t, wheel)}); got != "" {
			t.Errorf("%s: got the index %q, want \"\"", name, got)
		}
	}
}

// stockImages returns a folder with the images of CELLHOLD_TEST_HOME.
func stockImages(t *testing.T) string {
	t.Helper()
	images, err := filepath.Abs(filepath.Join(os.Getenv("CELLHOLD_TEST_HOME"), "images"))
	if err != nil || os.Getenv("CELLHOLD_TEST_HOME") == "" {
		t.Skip("CELLHOLD_TEST_HOME does not name a home with the stock image; make test does")
	}
	return images
}

func TestTheStockImageKeepsItsIndexWhenItIsImported(t *testing.T) {
	images, err := image.Open(image.Options{Dir: stockImages(t)})
	if err != nil {
		t.Fatal(err)
	}
	stock, err := images.Resolve("python")
	if err != nil {
		t.Fatal(err)
	}
	want := namedIndex(stock.Rootfs)
	if want == "" {
		t.Fatal("the pip of the stock image: got the index \"\", want its default index")
	}
	stock.Source = imported
	if got := usualIndex(stock); got != want {
		t.Errorf("the imported stock image: got the index %q, want %q; set knownIndex to the SHA-256 of %q", got, want, want)
	}
}
