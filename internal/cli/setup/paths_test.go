package setup

import (
	"os"
	"path/filepath"
	"testing"
)

func TestResolvedFollowsLinksBeforeTheMissingPartOfAPath(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	got := Resolved(filepath.Join(dir, "link", "link", "not", "there"))
	if want := filepath.Join(dir, "not", "there"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
