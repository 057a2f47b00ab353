package image

import (
	"os"
	"testing"

	"cellhold/images"
)

// TestTheStockImageBuilds builds the stock image and downloads its packages. CELLHOLD_TEST_IMAGE_BUILD is the directory of the
// image store.
func TestTheStockImageBuilds(t *testing.T) {
	dir := os.Getenv("CELLHOLD_TEST_IMAGE_BUILD")
	if dir == "" {
		t.Skip("CELLHOLD_TEST_IMAGE_BUILD is not set; set it to a directory for the image store")
	}
	files, err := images.Recipe("python")
	if err != nil {
		t.Fatal(err)
	}
	store, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	img, err := store.Build(t.Context(), files, BuildOptions{Env: os.Environ(), Progress: func(s string) { t.Log(s) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("built %s: %d MiB in %s", img.Names, img.Size>>20, img.Rootfs)
}
