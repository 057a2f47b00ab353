package snapshots

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cellhold/internal/sandbox"
)

func open(t *testing.T, o Options) *Store {
	t.Helper()
	if o.SyncAfter == 0 {
		o.SyncAfter = time.Hour
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// put creates a snapshot with one file.
func put(t *testing.T, s *Store, name, content string) {
	t.Helper()
	d := write(t, s, name, content)
	if err := errors.Join(d.Commit(t.Context(), Record{Spec: sandbox.Spec{Image: content}}), d.Close()); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, s *Store, name, content string) *Draft {
	t.Helper()
	d, err := s.Draft(name, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.Dir(), "image"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return d
}

// holds returns the content of a snapshot.
func holds(t *testing.T, s *Store, name string) string {
	t.Helper()
	i, err := s.Use(name)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	b, err := os.ReadFile(filepath.Join(i.Dir, "image"))
	if err != nil {
		t.Fatal(err)
	}
	if i.Spec.Image != string(b) {
		t.Errorf("the record belongs to %q, the image to %q", i.Spec.Image, b)
	}
	return string(b)
}

func files(t *testing.T, dir string) int {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestASnapshotIsWholeOrAbsent(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	d := write(t, s, "one", "first")
	if all, err := s.List(); err != nil || len(all) != 0 {
		t.Errorf("List returned %v, %v; want no draft", all, err)
	}
	if _, err := s.Use("one"); !errors.Is(err, sandbox.ErrSnapshot) {
		t.Errorf("use of a draft returned %v", err)
	}
	if err := errors.Join(d.Commit(t.Context(), Record{Spec: sandbox.Spec{Image: "first"}}), d.Close()); err != nil {
		t.Fatal(err)
	}
	if got := holds(t, s, "one"); got != "first" {
		t.Errorf("the snapshot contains %q", got)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has the mode %v (%v), want private", info.Mode(), err)
	}
}

func TestAFailedReplacementKeepsTheOldSnapshot(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	put(t, s, "one", "first")
	if err := write(t, s, "one", "second").Close(); err != nil {
		t.Fatal(err)
	}
	if got := holds(t, s, "one"); got != "first" {
		t.Errorf("the snapshot contains %q", got)
	}
	put(t, s, "one", "third")
	if got := holds(t, s, "one"); got != "third" {
		t.Errorf("the snapshot contains %q", got)
	}
	if n := files(t, dir); n != 1 {
		t.Errorf("%d directories are left, want only the one of the snapshot", n)
	}
}

func TestOnlyDraftsOfDeadProcessesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, draftPrefix+"dead", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	living := write(t, open(t, Options{Dir: dir}), "one", "first")
	defer living.Close()
	open(t, Options{Dir: dir})
	if n := files(t, dir); n != 1 {
		t.Errorf("%d directories are left, want the one of the open draft", n)
	}
	if err := living.Commit(t.Context(), Record{Spec: sandbox.Spec{Image: "first"}}); err != nil {
		t.Error(err)
	}
}

func TestAnOpenSnapshotDoesNotChange(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	put(t, s, "one", "first")
	i, err := s.Use("one")
	if err != nil {
		t.Fatal(err)
	}
	removed := make(chan error)
	go func() { removed <- s.Remove("one") }()
	b, err := os.ReadFile(filepath.Join(i.Dir, "image"))
	if err != nil || string(b) != "first" {
		t.Errorf("read %q, %v", b, err)
	}
	i.Close()
	i.Close()
	if err := <-removed; err != nil {
		t.Error(err)
	}
	if _, err := s.Use("one"); !errors.Is(err, sandbox.ErrSnapshot) {
		t.Errorf("use after the removal returned %v", err)
	}
}

func TestDamageIsDetected(t *testing.T) {
	for what, damage := range map[string]func(dir string) error{
		"a shorter file":   func(dir string) error { return os.Truncate(filepath.Join(dir, "image"), 2) },
		"a missing file":   func(dir string) error { return os.Remove(filepath.Join(dir, "image")) },
		"a missing record": func(dir string) error { return os.Remove(filepath.Join(dir, recordFile)) },
		"a torn record":    func(dir string) error { return os.WriteFile(filepath.Join(dir, recordFile), []byte(`{"Na`), 0o600) },
		"an empty record":  func(dir string) error { return os.WriteFile(filepath.Join(dir, recordFile), []byte(`{}`), 0o600) },
	} {
		dir := t.TempDir()
		s := open(t, Options{Dir: dir})
		put(t, s, "one", "first")
		if err := damage(filepath.Join(dir, "one")); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Use("one"); !errors.Is(err, sandbox.ErrSnapshot) {
			t.Errorf("%s: use returned %v", what, err)
		}
		if all, err := s.List(); err != nil || len(all) != 1 || all[0].Fault == "" {
			t.Errorf("%s: List returned %+v, %v", what, all, err)
		}
		if err := s.Remove("one"); err != nil || files(t, dir) != 0 {
			t.Errorf("%s: remove: %v", what, err)
		}
	}
}

func TestASnapshotNeedsFreeSpace(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir, Reserve: 1 << 60})
	if _, err := s.Draft("one", 1); !errors.Is(err, sandbox.ErrSpace) {
		t.Errorf("got %v", err)
	}
	if n := files(t, dir); n != 0 {
		t.Errorf("%d files are left", n)
	}
}

func TestACrashOfTheHostMakesUnsyncedSnapshotsStale(t *testing.T) {
	dir := t.TempDir()
	first, err := Open(Options{Dir: dir, Boot: "first", SyncAfter: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	put(t, first, "one", "first")
	// A crash of the host before the sync.
	later := open(t, Options{Dir: dir, Boot: "second"})
	if _, err := later.Use("one"); !errors.Is(err, sandbox.ErrSnapshot) {
		t.Errorf("use of a stale snapshot returned %v", err)
	}
	// A crash after the server has closed the store.
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if got := holds(t, later, "one"); got != "first" {
		t.Errorf("the snapshot contains %q", got)
	}
}

func TestTheNextStoreSyncsUnsyncedSnapshots(t *testing.T) {
	dir := t.TempDir()
	killed, err := Open(Options{Dir: dir, SyncAfter: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer killed.Close()
	put(t, killed, "one", "first")
	next, err := Open(Options{Dir: dir, SyncAfter: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Close(); err != nil {
		t.Fatal(err)
	}
	if all, err := next.List(); err != nil || len(all) != 1 || !all[0].Synced {
		t.Errorf("List returned %+v, %v", all, err)
	}
}

func TestNamesStayInTheDirectory(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	for _, name := range []string{"", ".", "..", "a/b", "a.b", draftPrefix + "x", string(make([]byte, 41))} {
		if _, err := s.Draft(name, 1); err == nil {
			t.Errorf("the name %q was accepted for a draft", name)
		}
		if _, err := s.Use(name); !errors.Is(err, sandbox.ErrSnapshot) {
			t.Errorf("use %q: %v", name, err)
		}
		if err := s.Remove(name); err != nil {
			t.Errorf("remove %q: %v", name, err)
		}
	}
}

// flip changes one byte of a snapshot's file, and keeps its size and time.
func flip(t *testing.T, dir, name string) {
	t.Helper()
	path := filepath.Join(dir, name, "image")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := errors.Join(os.WriteFile(path, b, 0o600), os.Chtimes(path, time.Time{}, info.ModTime())); err != nil {
		t.Fatal(err)
	}
}

// lookAt opens a snapshot and runs Image.Check on it.
func lookAt(t *testing.T, s *Store, name string, once bool) error {
	t.Helper()
	i, err := s.Use(name)
	if err != nil {
		t.Fatal(err)
	}
	c := i.Check(t.Context(), once)
	i.Close()
	return c.Wait()
}

func TestTheCheckDetectsDamageThatKeepsTheSize(t *testing.T) {
	for _, once := range []bool{false, true} {
		dir := t.TempDir()
		s := open(t, Options{Dir: dir})
		put(t, s, "one", "first")
		if err := lookAt(t, s, "one", once); err != nil {
			t.Errorf("an intact snapshot: %v", err)
		}
		flip(t, dir, "one")
		if err := lookAt(t, s, "one", once); !errors.Is(err, sandbox.ErrSnapshot) || !strings.Contains(err.Error(), "is damaged") {
			t.Errorf("a damaged snapshot, once %v: %v", once, err)
		}
		put(t, s, "one", "second")
		if err := lookAt(t, s, "one", once); err != nil {
			t.Errorf("the replaced snapshot: %v", err)
		}
	}
}

func TestAStoreReadsASharedSnapshotOnce(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	put(t, s, "one", "first")
	// A wrong checksum in the record does not change the fingerprint. Only a store that reads the file finds it.
	r, err := s.record("one")
	if err != nil {
		t.Fatal(err)
	}
	r.Sums["image"]++
	if err := r.save(filepath.Join(dir, "one")); err != nil {
		t.Fatal(err)
	}
	if err := lookAt(t, s, "one", true); err != nil {
		t.Errorf("the file was read again: %v", err)
	}
	if err := lookAt(t, s, "one", false); !errors.Is(err, sandbox.ErrSnapshot) {
		t.Errorf("the file was not read: %v", err)
	}
	if err := lookAt(t, open(t, Options{Dir: dir}), "one", true); !errors.Is(err, sandbox.ErrSnapshot) {
		t.Errorf("the next store did not read the file: %v", err)
	}
}

func TestASnapshotOfAnEarlierVersionHasNoSumsAndIsUsed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	put(t, s, "one", "first")
	r, err := s.record("one")
	if err != nil {
		t.Fatal(err)
	}
	r.Sums = nil
	if err := r.save(filepath.Join(dir, "one")); err != nil {
		t.Fatal(err)
	}
	if err := lookAt(t, s, "one", false); err != nil {
		t.Error(err)
	}
	if err := (*Image)(nil).Check(t.Context(), true).Wait(); err != nil {
		t.Errorf("the check of a nil image returned %v", err)
	}
}

func TestACheckEndsWithItsContext(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	put(t, s, "one", "first")
	i, err := s.Use("one")
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := i.Check(ctx, false).Wait(); !errors.Is(err, context.Canceled) || errors.Is(err, sandbox.ErrSnapshot) {
		t.Errorf("got %v", err)
	}
}

// BenchmarkCheck reads a file from the page cache, with the size of the stock image's snapshot.
func BenchmarkCheck(b *testing.B) {
	s, err := Open(Options{Dir: b.TempDir(), SyncAfter: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	d, err := s.Draft("one", 1)
	if err != nil {
		b.Fatal(err)
	}
	const size = 104_824_832
	if err := os.WriteFile(filepath.Join(d.Dir(), "image"), bytes.Repeat([]byte("cellhold"), size/8), 0o600); err != nil {
		b.Fatal(err)
	}
	if err := errors.Join(d.Commit(b.Context(), Record{}), d.Close()); err != nil {
		b.Fatal(err)
	}
	for _, once := range []bool{false, true} {
		b.Run(fmt.Sprintf("once=%v", once), func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				i, err := s.Use("one")
				if err != nil {
					b.Fatal(err)
				}
				err = i.Check(b.Context(), once).Wait()
				i.Close()
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestAFullDiskOrQuotaIsExplained: a quota leaves free space on the disk.
func TestAFullDiskOrQuotaIsExplained(t *testing.T) {
	d, err := open(t, Options{Dir: t.TempDir(), Reserve: -1}).Draft("one", 1)
	if err != nil {
		t.Fatal(err)
	}
	for want, all := range map[bool][]error{
		true:  {unix.ENOSPC, &os.PathError{Op: "write", Err: unix.EDQUOT}, errors.New(`exit status 1 (stderr: "write pages: disk quota exceeded")`)},
		false: {unix.EIO, errors.New("exit status 1")},
	} {
		for _, err := range all {
			if got := d.Explain(err); errors.Is(got, sandbox.ErrSpace) != want || !errors.Is(got, err) {
				t.Errorf("%v became %v, as a full disk: want %t", err, got, want)
			}
		}
	}
}
