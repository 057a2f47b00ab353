package image

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAFolderBecomesAnImageWithoutRightsAndDevices(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "made")
	if err := errors.Join(
		os.MkdirAll(filepath.Join(folder, "usr/bin"), 0o700),
		os.WriteFile(filepath.Join(folder, "usr/bin/tool"), []byte("tool"), 0o755),
		os.Chmod(filepath.Join(folder, "usr/bin/tool"), 0o755|os.ModeSetuid),
		os.WriteFile(filepath.Join(folder, "secret"), []byte("s"), 0o600),
		os.Symlink("/etc/passwd", filepath.Join(folder, "link")),
		unix.Mkfifo(filepath.Join(folder, "pipe"), 0o644),
	); err != nil {
		t.Fatal(err)
	}
	s := testStore(t, nil)
	img, err := s.ImportFolder(t.Context(), folder, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{
		"usr": os.ModeDir | 0o755, "usr/bin/tool": 0o755, "secret": 0o644, "link": os.ModeSymlink | 0o777, "mnt/data": os.ModeDir | 0o755, "proc": os.ModeDir | 0o755,
	} {
		info, err := os.Lstat(filepath.Join(img.Rootfs, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s: got %v, %v; want the mode %v", name, info, err, want)
		}
	}
	if _, err := os.Lstat(filepath.Join(img.Rootfs, "pipe")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a pipe: got %v, want no file", err)
	}

	again, err := s.ImportFolder(t.Context(), folder, "second", nil)
	if err != nil || again.Digest != img.Digest || !slices.Equal(again.Names, []string{"made:latest", "second:latest"}) {
		t.Errorf("the same files again: got %s with the names %v, %v; want %s with both names", again.Digest, again.Names, err, img.Digest)
	}
	if err := os.WriteFile(filepath.Join(folder, "secret"), []byte("t"), 0o600); err != nil {
		t.Fatal(err)
	}
	if other, err := s.ImportFolder(t.Context(), folder, "", nil); err != nil || other.Digest == img.Digest {
		t.Errorf("other files: got %s, %v; want a new digest", other.Digest, err)
	}
	if left := leftovers(t, s); len(left) != 0 {
		t.Errorf("got the leftovers %v, want none", left)
	}
}

func TestALinkToAFolderIsImportedAsTheFolder(t *testing.T) {
	dir := t.TempDir()
	folder, link := filepath.Join(dir, "made"), filepath.Join(dir, "link")
	if err := errors.Join(os.Mkdir(folder, 0o755), os.WriteFile(filepath.Join(folder, "file"), []byte("f"), 0o644), os.Symlink("made", link)); err != nil {
		t.Fatal(err)
	}
	s := testStore(t, nil)
	img, err := s.ImportFolder(t.Context(), link, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(img.Rootfs, "file")); err != nil || string(got) != "f" || !slices.Equal(img.Names, []string{"link:latest"}) {
		t.Errorf("got %q, %v in an image with the names %v; want the file, and the name of the link", got, err, img.Names)
	}
}

func TestAFolderWithTheStoreIsNotImported(t *testing.T) {
	s := testStore(t, nil)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Dir(s.dir), link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{s.dir, filepath.Dir(s.dir), link} {
		if _, err := s.ImportFolder(t.Context(), path, "own", nil); err == nil || !strings.Contains(err.Error(), "contains the store") {
			t.Errorf("%s: got %v, want a refusal", path, err)
		}
	}
}

func TestAFileIsNotImportedAsAFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.tar")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := testStore(t, nil)
	for _, path := range []string{file, file + "-missing"} {
		if _, err := s.ImportFolder(t.Context(), path, "", nil); err == nil {
			t.Errorf("%s: got no error, want one", path)
		}
	}
}
