package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"cellhold/client"
)

// fillDisk writes a file until the disk has no space, and returns its path.
func fillDisk(t *testing.T, dir string) string {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{1 << 20, 1} {
		for block := make([]byte, size); err == nil; {
			_, err = f.Write(block)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("fill the disk: got %v, want %v", err, syscall.ENOSPC)
		}
		err = nil
	}
	return f.Name()
}

// TestTheServerStartsOnAFullDiskAndDeletesSessions: another program filled the disk of the home.
func TestTheServerStartsOnAFullDiskAndDeletesSessions(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a small disk")
	}
	t.Parallel()
	home := emptyHome(t)
	if err := syscall.Mount("tmpfs", home, "tmpfs", 0, "size=128m,mode=711"); err != nil {
		t.Skipf("a small disk cannot be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(home, 0); err != nil {
			t.Error(err)
		}
	})
	shareImage(t, home)
	first := serve(t, home)
	kept, deleted := first.session(t, client.CreateSession{}), first.session(t, client.CreateSession{})
	first.must(t, kept, "x = 42")
	first.signal(t, syscall.SIGKILL)
	filler := fillDisk(t, home)

	second := serve(t, home)
	if n := strings.Count(second.log.String(), "the disk is full"); n != 1 {
		t.Errorf("the log says %d times that the disk is full, want once", n)
	}
	if err := second.DeleteSession(t.Context(), deleted); err != nil {
		t.Errorf("delete a session: %v", err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if got := second.must(t, kept, "x"); got != "42" {
		t.Errorf("the kept session has x = %s, want 42", got)
	}
}
