package notebook

import (
	"cellhold"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestAReaderSeesTheOldFileOrTheNewOne(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "n.ipynb")
	small, large := everything()[2:3], everything()
	if err := WriteFile(path, FileOptions{Mode: 0o644, Sync: true}, Meta{}, all(small...)); err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	halfway := func(yield func(cellhold.Cell, error) bool) {
		for _, c := range large {
			if !yield(c, nil) {
				return
			}
			if now, err := os.ReadFile(path); err != nil || string(now) != string(old) {
				t.Errorf("got %d bytes, %v halfway, want the old file", len(now), err)
			}
		}
	}
	if err := WriteFile(path, FileOptions{Mode: 0o644}, Meta{}, halfway); err != nil {
		t.Fatal(err)
	}
	checkFile(t, path, 0o644)
	if now, _ := os.ReadFile(path); len(now) <= len(old) {
		t.Errorf("got %d bytes, want the new file", len(now))
	}
}

func checkFile(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	checkValid(t, schema(t), text)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
		t.Errorf("got %v, %v, want mode %v", info.Mode(), err, mode)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("got %v, want the notebook alone", entries)
	}
}

func TestAFailedWriteLeavesTheOldFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n.ipynb")
	if err := WriteFile(path, FileOptions{}, Meta{}, all(everything()...)); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	err := WriteFile(path, FileOptions{}, Meta{}, func(yield func(cellhold.Cell, error) bool) {
		_ = yield(everything()[0], nil) && yield(cellhold.Cell{}, broken)
	})
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want the error of the cells", err)
	}
	checkFile(t, path, 0o600)
}

func TestAFileOfACrashIsReused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "n.ipynb")
	if err := os.WriteFile(filepath.Join(dir, ".n.ipynb.new"), make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, FileOptions{}, Meta{}, all(everything()...)); err != nil {
		t.Fatal(err)
	}
	checkFile(t, path, 0o600)
}

func TestWritersOfOneFileWaitForEachOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n.ipynb")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if err := WriteFile(path, FileOptions{}, Meta{}, all(everything()...)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	checkFile(t, path, 0o600)
}
