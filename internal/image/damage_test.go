package image

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// spoils are the ways in which the tests damage a file.
var spoils = map[string]func([]byte) []byte{
	"a flipped bit": func(b []byte) []byte { b[len(b)/3] ^= 1; return b }, // in the digest
	"a short file":  func(b []byte) []byte { return b[:len(b)/2] },
	"zeros":         func(b []byte) []byte { clear(b); return b },
	"an empty file": func([]byte) []byte { return nil },
}

func TestADamagedRecordIsReportedAndWrittenAgainByABuild(t *testing.T) {
	for _, file := range []string{metaFile, refsDir} {
		for how, spoil := range spoils {
			t.Run(file+" with "+how, func(t *testing.T) {
				s := testStore(t, buildHello)
				other := testRecipe("true")
				other["recipe.json"].Data = []byte(`{"name": "other", "suite": "trixie"}`)
				good, bad := mustBuild(t, s, other), mustBuild(t, s, testRecipe("true"))
				path := filepath.Join(s.imagePath(bad.Digest), metaFile)
				if file == refsDir {
					path = s.namePath("tiny:latest")
				}
				spoilFile(t, path, spoil)
				if _, err := s.Resolve("tiny"); !errors.Is(err, ErrDamaged) || errors.Is(err, ErrNotFound) {
					t.Errorf("the damaged image: %v, want ErrDamaged", err)
				}
				if img, err := s.Resolve("other"); err != nil || img.Digest != good.Digest {
					t.Errorf("the other image: %+v, %v", img, err)
				}
				if list, err := s.List(t.Context()); err != nil || len(list) != 2 {
					t.Errorf("got %d images, %v; want 2", len(list), err)
				}
				again := mustBuild(t, s, testRecipe("true"))
				if text, err := os.ReadFile(filepath.Join(again.Rootfs, "hello")); err != nil || string(text) != "hello" || again.Digest != bad.Digest || again.Source != bad.Source || again.Size != bad.Size || again.Damaged {
					t.Errorf("after the build: %+v, %v, want %+v", again, err, bad)
				}
			})
		}
	}
}

func TestADamagedImageCanBeRemoved(t *testing.T) {
	for _, byName := range []bool{true, false} {
		for how, spoil := range spoils {
			s := testStore(t, buildHello)
			img := mustBuild(t, s, testRecipe("true"))
			spoilFile(t, filepath.Join(s.imagePath(img.Digest), metaFile), spoil)
			ref := img.Digest
			if byName {
				ref = "tiny"
			}
			if err := s.Remove(t.Context(), ref); err != nil {
				t.Errorf("%s: remove %s: %v", how, ref, err)
			}
			if list, err := s.List(t.Context()); err != nil || len(list) != 0 {
				t.Errorf("%s: got %d images after the removal, %v", how, len(list), err)
			}
		}
	}
}

func TestADamagedNameCanBeRemoved(t *testing.T) {
	for how, spoil := range spoils {
		s := testStore(t, buildHello)
		img := mustBuild(t, s, testRecipe("true"))
		spoilFile(t, s.namePath("tiny:latest"), spoil)
		if err := s.Remove(t.Context(), "tiny"); err != nil {
			t.Errorf("%s: %v", how, err)
		}
		if _, err := s.Resolve("tiny"); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v, want ErrNotFound", how, err)
		}
		if _, err := s.Resolve(img.Digest); err != nil {
			t.Errorf("%s: the files of the image: %v", how, err)
		}
	}
}

func spoilFile(t *testing.T, path string, spoil func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, spoil(b), 0o644); err != nil {
		t.Fatal(err)
	}
}
