package shelf

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"cellhold/internal/sandbox"
)

func open(t *testing.T, o Options) *Shelf {
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

// put makes a snapshot with one file.
func put(t *testing.T, s *Shelf, name, content string) {
	t.Helper()
	d := write(t, s, name, content)
	if err := errors.Join(d.Commit(Record{Spec: sandbox.Spec{Image: content}}), d.Close()); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, s *Shelf, name, content string) *Draft {
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

// holds returns what is in a snapshot.
func holds(t *testing.T, s *Shelf, name string) string {
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
		t.Errorf("the record is of %q, the image of %q", i.Spec.Image, b)
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

func TestASnapshotIsWholeOrNotThere(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	d := write(t, s, "one", "first")
	if all, err := s.List(); err != nil || len(all) != 0 {
		t.Errorf("a draft is listed: %v, %v", all, err)
	}
	if _, err := s.Use("one"); !errors.Is(err, sandbox.ErrSnapshot) {
		t.Errorf("a draft is used: %v", err)
	}
	if err := errors.Join(d.Commit(Record{Spec: sandbox.Spec{Image: "first"}}), d.Close()); err != nil {
		t.Fatal(err)
	}
	if got := holds(t, s, "one"); got != "first" {
		t.Errorf("it holds %q", got)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("others may look: %v, %v", info.Mode(), err)
	}
}

func TestAFailedReplacementLeavesTheFormer(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	put(t, s, "one", "first")
	if err := write(t, s, "one", "second").Close(); err != nil {
		t.Fatal(err)
	}
	if got := holds(t, s, "one"); got != "first" {
		t.Errorf("it holds %q", got)
	}
	put(t, s, "one", "third")
	if got := holds(t, s, "one"); got != "third" {
		t.Errorf("it holds %q", got)
	}
	if n := files(t, dir); n != 1 {
		t.Errorf("%d directories are left", n)
	}
}

func TestDraftsOfTheDeadAreRemovedAndNoOthers(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, draftPrefix+"dead", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	living := write(t, open(t, Options{Dir: dir}), "one", "first")
	defer living.Close()
	open(t, Options{Dir: dir})
	if n := files(t, dir); n != 1 {
		t.Errorf("%d directories are left, want the living one's", n)
	}
	if err := living.Commit(Record{Spec: sandbox.Spec{Image: "first"}}); err != nil {
		t.Error(err)
	}
}

func TestWhatIsReadIsNotReplaced(t *testing.T) {
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
		t.Errorf("after its removal: %v", err)
	}
}

func TestDamageIsSeen(t *testing.T) {
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
			t.Errorf("%s: used: %v", what, err)
		}
		if all, err := s.List(); err != nil || len(all) != 1 || all[0].Fault == "" {
			t.Errorf("%s: listed as %+v, %v", what, all, err)
		}
		if err := s.Remove("one"); err != nil || files(t, dir) != 0 {
			t.Errorf("%s: remove: %v", what, err)
		}
	}
}

func TestASnapshotNeedsRoom(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir, Reserve: 1 << 60})
	if _, err := s.Draft("one", 1); !errors.Is(err, sandbox.ErrSpace) {
		t.Errorf("got %v", err)
	}
	if n := files(t, dir); n != 0 {
		t.Errorf("%d files are left", n)
	}
}

func TestAHostThatWentDownMakesUnwrittenOnesStale(t *testing.T) {
	dir := t.TempDir()
	first, err := Open(Options{Dir: dir, Boot: "first", SyncAfter: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	put(t, first, "one", "first")
	// As if the host went down now.
	later := open(t, Options{Dir: dir, Boot: "second"})
	if _, err := later.Use("one"); !errors.Is(err, sandbox.ErrSnapshot) {
		t.Errorf("half-written pages are used: %v", err)
	}
	// As if it went down after the server had let go.
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if got := holds(t, later, "one"); got != "first" {
		t.Errorf("it holds %q", got)
	}
}

func TestASuccessorDrivesToTheDiskWhatIsNotThere(t *testing.T) {
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
		t.Errorf("listed are %+v, %v", all, err)
	}
}

func TestNamesStayInTheDirectory(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	for _, name := range []string{"", ".", "..", "a/b", "a.b", draftPrefix + "x", string(make([]byte, 41))} {
		if _, err := s.Draft(name, 1); err == nil {
			t.Errorf("a draft has the name %q", name)
		}
		if _, err := s.Use(name); !errors.Is(err, sandbox.ErrSnapshot) {
			t.Errorf("use %q: %v", name, err)
		}
		if err := s.Remove(name); err != nil {
			t.Errorf("remove %q: %v", name, err)
		}
	}
}
