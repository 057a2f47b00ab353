package embedded_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/embedded"
)

// smallDisk mounts a small disk for the folders of a driver.
func smallDisk(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a small disk")
	}
	dir := filepath.Join(home(t), "small")
	if err := os.Mkdir(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=16m,mode=711"); err != nil {
		t.Skipf("a small disk cannot be mounted: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// fillAfter waits until a file matches, and then takes every free byte of the disk until stop is called.
func fillAfter(t *testing.T, match, filler string) (stop func()) {
	t.Helper()
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		defer f.Close()
		block, full := make([]byte, 4096), false
		for {
			select {
			case <-quit:
				return
			default:
			}
			if found, _ := filepath.Glob(match); full || len(found) > 0 {
				full = true
				_, _ = f.Write(block)
			}
		}
	}()
	return func() {
		close(quit)
		<-done
		if err := os.Remove(filler); err != nil {
			t.Error(err)
		}
	}
}

// TestASandboxCanBeSavedAfterTheDiskWasFullDuringASave: another program took all space, also that of replaced files.
func TestASandboxCanBeSavedAfterTheDiskWasFullDuringASave(t *testing.T) {
	disk := smallDisk(t)
	o := options(t)
	o.Dir, o.Snapshots, o.Reserve = filepath.Join(disk, "run"), filepath.Join(disk, "snapshots"), -1
	d, err := embedded.New(o)
	if err != nil {
		t.Skipf("this host cannot run gVisor sandboxes: %v", err)
	}
	defer d.Close()
	box, err := d.Create(t.Context(), spec(name("full")))
	if err != nil {
		t.Fatal(err)
	}
	defer box.Destroy(t.Context())
	get(t, guestClient(box), "http://guest/self?what=eat&arg=20")
	for range 3 {
		stop := fillAfter(t, filepath.Join(o.Snapshots, ".draft-*", "pages.img"), filepath.Join(disk, "filler"))
		if err := box.Snapshot(t.Context(), "full"); !errors.Is(err, sandbox.ErrSpace) {
			t.Errorf("a save on a full disk: got %v, want %v", err, sandbox.ErrSpace)
		}
		get(t, guestClient(box), "http://guest/health") // the sandbox continues
		stop()
	}
	if err := unix.Mount("tmpfs", disk, "tmpfs", unix.MS_REMOUNT, "size=256m"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(box.Pause(t.Context()), box.Snapshot(t.Context(), "full"), box.Resume(t.Context())); err != nil {
		t.Errorf("a save after space is free: %v", err)
	}
	get(t, guestClient(box), "http://guest/health")
}

// TestPausesAndSavesDoNotWriteGVisorsFile: a write that the disk refuses would make the sandbox unusable.
func TestPausesAndSavesDoNotWriteGVisorsFile(t *testing.T) {
	d := open(t)
	defer d.Close()
	box, err := d.Create(t.Context(), spec(name("written")))
	if err != nil {
		t.Fatal(err)
	}
	defer box.Destroy(t.Context())
	file := filepath.Join(home(t), "run", string(box.ID()), "gv", "s_sandbox:s.state")
	stat := func() (os.FileInfo, []byte) {
		t.Helper()
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return info, text
	}
	before, text := stat()
	if err := errors.Join(box.Snapshot(t.Context(), "written"), box.Pause(t.Context()), box.Snapshot(t.Context(), "written"),
		box.Resume(t.Context()), d.RemoveSnapshot(t.Context(), "written")); err != nil {
		t.Fatal(err)
	}
	after, now := stat()
	if !os.SameFile(before, after) || !after.ModTime().Equal(before.ModTime()) || !bytes.Equal(text, now) {
		t.Errorf("gVisor's file was written at %v, want the last write at %v", after.ModTime(), before.ModTime())
	}
}
