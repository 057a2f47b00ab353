package image

import (
	"os"
	"testing"

	"cellhold/images"
)

// TestTheStockImageBuilds builds the real image from the network, into the directory in the variable.
func TestTheStockImageBuilds(t *testing.T) {
	dir := os.Getenv("CELLHOLD_TEST_IMAGE_BUILD")
	if dir == "" {
		t.Skip("CELLHOLD_TEST_IMAGE_BUILD is not set: name the directory of the image store to build into")
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
	t.Logf("%s: %d MB at %s", img.Names, img.Size>>20, img.Rootfs)
}
