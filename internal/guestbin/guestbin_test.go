package guestbin

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const script = "#!/bin/sh\necho hello\n"

func TestABinaryIsWrittenOnceAndRuns(t *testing.T) {
	dir := t.TempDir()
	path, err := put(dir, []byte(script))
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(path).Output()
	if err != nil || string(out) != "hello\n" {
		t.Fatalf("got %q, %v", out, err)
	}
	first, _ := os.Stat(path)
	again, err := put(dir, []byte(script))
	if err != nil || again != path {
		t.Fatalf("second time: %q, %v; want %q", again, err, path)
	}
	second, _ := os.Stat(path)
	if !os.SameFile(first, second) {
		t.Error("a good file was written again")
	}
}

func TestAChangedFileIsReplaced(t *testing.T) {
	spoil := map[string]func(path string) error{
		"bytes":   func(p string) error { return os.WriteFile(p, []byte(strings.ToUpper(script)), 0o755) },
		"length":  func(p string) error { return os.Truncate(p, 3) },
		"mode":    func(p string) error { return os.Chmod(p, 0o644) },
		"shared":  func(p string) error { return os.Chmod(p, 0o777) },
		"missing": os.Remove,
		"link": func(p string) error {
			return errors.Join(os.Rename(p, p+".real"), os.Symlink(p+".real", p))
		},
	}
	for name, spoil := range spoil {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path, err := put(dir, []byte(script))
			if err != nil {
				t.Fatal(err)
			}
			if err := spoil(path); err != nil {
				t.Fatal(err)
			}
			if _, err := put(dir, []byte(script)); err != nil {
				t.Fatal(err)
			}
			if !good(path, []byte(script)) {
				t.Error("the changed file is still there")
			}
		})
	}
}

func TestManyAtOnceAllGetAWholeFile(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			path, err := put(dir, []byte(script))
			if err != nil || !good(path, []byte(script)) {
				t.Errorf("put: %q, %v", path, err)
			}
		})
	}
	all.Wait()
	left, _ := filepath.Glob(filepath.Join(dir, "*", ".new-*"))
	if len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestABuildWithoutTheGuestSaysHowToMendIt(t *testing.T) {
	if _, err := files.Open("bin/" + Name); err == nil {
		path, err := Extract(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		head, err := os.ReadFile(path)
		if err != nil || !strings.HasPrefix(string(head), "\x7fELF") {
			t.Fatalf("the guest's binary is no program: %v", err)
		}
		return
	}
	_, err := Extract(t.TempDir())
	if !errors.Is(err, ErrNotBuiltIn) || !strings.Contains(err.Error(), "make build") {
		t.Fatalf("got %v", err)
	}
}
