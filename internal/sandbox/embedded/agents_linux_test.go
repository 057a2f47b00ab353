package embedded_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/embedded"
)

// builds are the agents of other builds, by digest.
type builds struct {
	paths  map[string]string
	needed map[string]bool // the argument of Prune
	closed int
}

func (b *builds) Find(digest string) (string, error) {
	if path, ok := b.paths[digest]; ok {
		return path, nil
	}
	return "", fs.ErrNotExist
}

func (b *builds) Prune(needed map[string]bool) error { b.needed = needed; return nil }
func (b *builds) Close() error                       { b.closed++; return nil }

// otherBuild returns an agent that differs in an unused byte, and the digest of the original.
func otherBuild(t *testing.T, first string) (path, digest string) {
	t.Helper()
	program, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(program)
	program[15] ^= 1 // the padding of the ELF identification
	path = filepath.Join(ground, "bin2", filepath.Base(first))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	return path, hex.EncodeToString(sum[:])
}

// openWith opens a driver with the agent of a build.
func openWith(t *testing.T, guest string, others embedded.Guests) *embedded.Driver {
	t.Helper()
	o := options(t)
	o.Guest, o.Guests = guest, others
	d, err := embedded.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// listed returns the snapshot with this name.
func listed(t *testing.T, d *embedded.Driver, name string) sandbox.Snapshot {
	t.Helper()
	all, err := d.Snapshots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(s sandbox.Snapshot) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("%s is not among %+v", name, all)
	}
	return all[i]
}

// TestASnapshotIsRestoredWithItsOwnAgent: a new build of the server has a new agent, for new sandboxes only.
func TestASnapshotIsRestoredWithItsOwnAgent(t *testing.T) {
	former := options(t).Guest
	open(t).Close() // skips the test if sandboxes cannot start
	latter, digest := otherBuild(t, former)
	first := openWith(t, former, nil)
	box, err := first.Create(t.Context(), spec(name("old")))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(box.Snapshot(t.Context(), name("old")), box.Destroy(t.Context())); err != nil {
		t.Fatal(err)
	}
	if s := listed(t, first, name("old")); s.Former || s.Stale != "" {
		t.Errorf("Snapshots returned %+v", s)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}

	others := &builds{paths: map[string]string{digest: former}}
	second := openWith(t, latter, others)
	defer second.RemoveSnapshot(t.Context(), name("old"))
	if others.needed != nil {
		t.Errorf("agents were removed without a call of PruneGuests: %v", others.needed)
	}
	if err := second.PruneGuests(); err != nil || !others.needed[digest] {
		t.Errorf("Prune got %v (%v)", others.needed, err)
	}
	if s := listed(t, second, name("old")); !s.Former || s.Stale != "" {
		t.Errorf("Snapshots returned %+v", s)
	}
	s := spec(name("on"))
	s.From = name("old")
	again, err := second.Create(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	get(t, guestClient(again), "http://guest/health")
	if err := again.Snapshot(t.Context(), name("old")); err != nil { // the restored sandbox still has its agent
		t.Error(err)
	}
	if s := listed(t, second, name("old")); !s.Former || s.Stale != "" {
		t.Errorf("Snapshots returned %+v", s)
	}
	if err := errors.Join(again.Destroy(t.Context()), second.Close()); err != nil || others.closed != 1 {
		t.Errorf("the guests were closed %d times (%v), want once", others.closed, err)
	}

	for _, others := range []embedded.Guests{nil, &builds{}} {
		third := openWith(t, latter, others)
		defer third.Close()
		if s := listed(t, third, name("old")); s.Stale == "" {
			t.Errorf("Snapshots returned %+v", s)
		}
		_, err := third.Create(t.Context(), s)
		if why, ok := errors.AsType[*sandbox.SnapshotError](err); !ok || why.Reason != "the agent that it was made with is missing" {
			t.Errorf("got %v", err)
		}
	}
}

// TestADriverThatCannotBeOpenedClosesItsGuests: New owns the guests, even after an error.
func TestADriverThatCannotBeOpenedClosesItsGuests(t *testing.T) {
	others := &builds{}
	if _, err := embedded.New(embedded.Options{Guests: others}); err == nil || others.closed != 1 {
		t.Errorf("the guests were closed %d times (%v), want once", others.closed, err)
	}
}
