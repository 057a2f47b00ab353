package notify

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// watch returns a Watcher, and a function that checks the next changes.
func watch(t *testing.T, o Options) (*Watcher, func(want ...Change)) {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.MaxEntries == 0 {
		o.MaxEntries = 1000
	}
	w, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w, func(want ...Change) {
		t.Helper()
		got, err := w.Read()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range want {
			if !slices.Contains(got, c) {
				t.Errorf("change %+v is missing in %+v", c, got)
			}
		}
		if len(want) == 0 && len(got) != 0 {
			t.Errorf("got changes %+v, want none", got)
		}
	}
}

func TestChangesBelowNewAndMovedDirectoriesAreReported(t *testing.T) {
	w, expect := watch(t, Options{Deep: true, MaxDirs: 10})
	at := func(name string) string { return filepath.Join(w.o.Dir, name) }
	expect()
	os.MkdirAll(at("a/b"), 0o755)
	os.WriteFile(at("a/b/f"), []byte("x"), 0o644)
	expect(Change{Created, "a", true}, Change{Created, "a/b", true}, Change{Created, "a/b/f", false})
	os.Rename(at("a/b"), at("c"))
	expect(Change{Removed, "a/b", true}, Change{Created, "c", true}, Change{Created, "c/f", false})
	os.WriteFile(at("c/f"), []byte("y"), 0o644)
	expect(Change{Modified, "c/f", false})
	os.RemoveAll(at("c"))
	expect(Change{Removed, "c/f", false}, Change{Removed, "c", true})
	expect()
}

func TestASetIsReadyWhileAWatcherHasEvents(t *testing.T) {
	a, _ := watch(t, Options{MaxDirs: 10})
	b, expect := watch(t, Options{MaxDirs: 10})
	s, err := NewSet(a, b)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Ready() {
		t.Error("the set is ready before the first event")
	}
	os.WriteFile(filepath.Join(b.o.Dir, "f"), []byte("x"), 0o644)
	for range 2 {
		if !s.Ready() {
			t.Error("the set is not ready after an event")
		}
	}
	expect(Change{Created, "f", false})
	if s.Ready() {
		t.Error("the set is ready after a read of all events")
	}
	if s.Close(); !s.Ready() {
		t.Error("a closed set says that there are no events")
	}
}

func TestALinkToADirectoryIsNotFollowed(t *testing.T) {
	w, expect := watch(t, Options{Deep: true, MaxDirs: 10})
	other := t.TempDir()
	if err := os.Symlink(other, filepath.Join(w.o.Dir, "l")); err != nil {
		t.Fatal(err)
	}
	expect(Change{Created, "l", false})
	os.WriteFile(filepath.Join(other, "secret"), nil, 0o644)
	expect()
}

func TestChangesBeyondTheLimitsAreAnOverflow(t *testing.T) {
	w, expect := watch(t, Options{Deep: true, MaxDirs: 3})
	for i := range 5 {
		os.Mkdir(filepath.Join(w.o.Dir, fmt.Sprint(i)), 0o755)
	}
	expect(Change{Op: Overflow})
	for i := range maxPending + 10 {
		w.report(Created, fmt.Sprint(i), false)
	}
	if len(w.found) > maxPending {
		t.Errorf("%d changes are kept, more than the limit", len(w.found))
	}
	expect(Change{Op: Overflow})
}

func TestAWatcherSaysWhyItDoesNotWatchAllDirectories(t *testing.T) {
	dir := t.TempDir()
	for i := range 10 {
		if err := os.MkdirAll(filepath.Join(dir, fmt.Sprint(i), "below"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range []struct {
		dirs, entries int
		want          error
	}{{21, 20, nil}, {20, 20, ErrDirs}, {21, 19, ErrEntries}} {
		w, expect := watch(t, Options{Dir: dir, Deep: true, MaxDirs: x.dirs, MaxEntries: x.entries})
		if got := w.Missed(); got != x.want {
			t.Errorf("with limits of %d directories and %d entries, Missed returns %v, want %v", x.dirs, x.entries, got, x.want)
		}
		expect()
	}
	w, expect := watch(t, Options{Deep: true, MaxDirs: 2})
	os.Mkdir(filepath.Join(w.o.Dir, "one"), 0o755)
	if expect(Change{Created, "one", true}); w.Missed() != nil {
		t.Errorf("Missed returns %v while the limit is reached, want nil", w.Missed())
	}
	os.Mkdir(filepath.Join(w.o.Dir, "two"), 0o755)
	if expect(Change{Created, "two", true}, Change{Op: Overflow}); w.Missed() != ErrDirs {
		t.Errorf("Missed returns %v after one more directory, want %v", w.Missed(), ErrDirs)
	}
}

func TestARescanWatchesDirectoriesWhoseCreationWasMissed(t *testing.T) {
	w, expect := watch(t, Options{Deep: true, MaxDirs: 10})
	at := func(name string) string { return filepath.Join(w.o.Dir, name) }
	os.MkdirAll(at("gone"), 0o755)
	os.MkdirAll(at("kept"), 0o755)
	expect(Change{Created, "kept", true})
	os.Remove(at("gone"))
	os.MkdirAll(at("new/deep"), 0o755)
	for n := 1; n > 0; { // drop all events, as Read does when there are too many
		var err error
		if n, err = w.take(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Rescan(); err != nil {
		t.Fatal(err)
	}
	if len(w.dirs) != 4 || w.Missed() != nil {
		t.Errorf("%d directories are watched, %v; want 4", len(w.dirs), w.Missed())
	}
	os.WriteFile(at("new/deep/f"), nil, 0o644)
	os.WriteFile(at("kept/f"), nil, 0o644)
	expect(Change{Created, "new/deep/f", false}, Change{Created, "kept/f", false})
}

func TestReadEndsWhileChangesContinue(t *testing.T) {
	w, _ := watch(t, Options{Deep: true, MaxDirs: 10})
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for a, b := filepath.Join(w.o.Dir, "a"), filepath.Join(w.o.Dir, "b"); ; {
			select {
			case <-stop:
				return
			default:
				os.Mkdir(a, 0o755)
				os.Rename(a, b)
				os.Remove(b)
			}
		}
	}()
	begun := time.Now()
	for range 10 {
		if _, err := w.Read(); err != nil {
			t.Error(err)
		}
	}
	if took := time.Since(begun); took > 30*time.Second { // some hundred milliseconds on an idle machine
		t.Errorf("ten calls of Read took %s", took)
	}
	close(stop)
	<-stopped
}

func TestDirectoriesThatAreTooDeepAreAnOverflow(t *testing.T) {
	w, _ := watch(t, Options{Deep: true, MaxDirs: 1000})
	elsewhere := t.TempDir()
	deep := filepath.Join(elsewhere, strings.Repeat("d/", 2*MaxDepth))
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(elsewhere, "d"), filepath.Join(w.o.Dir, "d")); err != nil {
		t.Fatal(err)
	}
	changes, err := w.Read()
	if err != nil || !slices.Contains(changes, Change{Op: Overflow}) || len(w.dirs) > MaxDepth+1 || len(w.dirs) < MaxDepth {
		t.Errorf("%d changes, %d directories watched, %v", len(changes), len(w.dirs), err)
	}
	if err := os.WriteFile(filepath.Join(w.o.Dir, "d", "f"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if changes, err = w.Read(); err != nil || !slices.Contains(changes, Change{Op: Created, Path: "d/f"}) {
		t.Errorf("changes %+v, %v, want d/f created", changes, err)
	}
}
