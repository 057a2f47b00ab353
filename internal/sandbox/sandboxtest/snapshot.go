package sandboxtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"cellhold/internal/sandbox"
)

func (s *suite) snapshots(t *testing.T) {
	t.Run("are announced or refused", s.announcesSnapshots)
	if s.Recall == nil && s.Probe {
		s.Remember = func(t *testing.T, box sandbox.Sandbox, value string) {
			mustWork(t, ask(t, box, "/self", "remember", value), "remember")
		}
		s.Recall = func(t *testing.T, box sandbox.Sandbox) string { return ask(t, box, "/self", "recall", "").Text }
	}
	if s.Recall == nil {
		t.Skip("the harness cannot store a value in a sandbox")
	}
	t.Run("a sandbox continues from a snapshot, and so does its origin", s.continues)
	t.Run("many sandboxes are restored from one snapshot at once", s.continuesMany)
	t.Run("a restored sandbox can be saved again", s.savesAgain)
	t.Run("a snapshot outlives its sandbox and the driver", s.outlives)
	t.Run("a paused sandbox stays paused, and the restored one runs", s.savesPaused)
	t.Run("a restored sandbox can be paused and adopted", s.adoptsContinuation)
	t.Run("a snapshot replaces one of the same name", s.replaces)
	t.Run("a mismatch is refused", s.refusesSnapshots)
	t.Run("a damaged snapshot is refused", s.refusesDamaged)
	t.Run("removed snapshots leave nothing behind", s.removesSnapshots)
}

func (s *suite) announcesSnapshots(t *testing.T) {
	d := s.open(t)
	if _, ok := d.(sandbox.SnapshotStore); ok != d.Features().Snapshot {
		t.Errorf("Features.Snapshot is %v, but implementing sandbox.SnapshotStore is %v", d.Features().Snapshot, ok)
	}
	if d.Features().Snapshot {
		return
	}
	if err := create(t, d, s.spec()).Snapshot(within(t), "x"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("snapshot returned %v, want ErrUnsupported", err)
	}
}

// openStore calls open. It skips the test if the driver does not store snapshots.
func (s *suite) openStore(t *testing.T) (sandbox.Driver, sandbox.SnapshotStore) {
	t.Helper()
	d := s.open(t)
	store, ok := d.(sandbox.SnapshotStore)
	if !ok {
		t.Skip("this driver cannot save sandboxes")
	}
	return d, store
}

// snapshot saves a sandbox under a new name, and removes the snapshot at the end of the test.
func snapshot(t *testing.T, d sandbox.Driver, box sandbox.Sandbox) string {
	t.Helper()
	name := string(newID())
	if err := box.Snapshot(within(t), name); err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	t.Cleanup(func() {
		if err := d.(sandbox.SnapshotStore).RemoveSnapshot(within(t), name); err != nil {
			t.Errorf("remove snapshot: %v", err)
		}
	})
	return name
}

// from returns a specification that restores a snapshot.
func (s *suite) from(name string) sandbox.Spec {
	spec := s.spec()
	spec.From = name
	return spec
}

func (s *suite) mustRecall(t *testing.T, box sandbox.Sandbox, want string) {
	t.Helper()
	if got := s.Recall(t, box); got != want {
		t.Errorf("%s remembers %q, want %q", box.ID(), got, want)
	}
}

func (s *suite) continues(t *testing.T) {
	d, store := s.openStore(t)
	spec := s.spec()
	spec.Image, spec.Labels = "sha256:0123", map[string]string{"session": "s1"}
	origin := create(t, d, spec)
	s.Remember(t, origin, "before")
	var process string
	if s.Probe {
		process = ask(t, origin, "/self", "linger", "").Text
		for _, path := range []string{"/workspace/kept", "/tmp/kept", "/mnt/data/output/kept"} {
			mustWork(t, ask(t, origin, "/self", "write", path), "write "+path)
		}
	}
	before := time.Now().Add(-time.Minute)
	name := snapshot(t, d, origin)
	s.Remember(t, origin, "after")

	all, err := store.Snapshots(within(t))
	if err != nil || len(all) != 1 {
		t.Fatalf("Snapshots returned %+v, %v; want one", all, err)
	}
	if got := all[0]; got.Name != name || got.Image != spec.Image || got.Labels["session"] != "s1" || got.Stale != "" ||
		got.Size <= 0 || got.Created.Before(before) || got.Created.After(time.Now().Add(time.Minute)) {
		t.Errorf("Snapshots returned %+v", got)
	}

	again := s.from(name)
	again.Image = spec.Image
	box := create(t, d, again)
	s.mustRecall(t, box, "before")
	s.mustRecall(t, origin, "after")
	s.Remember(t, box, "elsewhere")
	s.mustRecall(t, origin, "after")
	if s.Probe {
		for _, path := range []string{"/workspace/kept", "/tmp/kept", "/mnt/data/output/kept"} {
			if a := ask(t, box, "/self", "read", path); a.Text != "x" {
				t.Errorf("read %s: got %+v, want x", path, a)
			}
		}
		mustWork(t, ask(t, box, "/self", "kill", process), "kill the restored process")
		mustWork(t, ask(t, origin, "/self", "read", "/proc/"+process+"/status"), "read the status of the process in the origin")
	}
	if i, ok := listed(t, d, box.ID()); !ok || !i.Alive || len(i.Labels) != 0 {
		t.Errorf("List returned %+v, %v for the restored sandbox", i, ok)
	}
}

// continuing returns a driver that restores all its sandboxes from snapshots of sandboxes with more memory and CPU.
func continuing(d sandbox.Driver) sandbox.Driver {
	if !d.Features().Snapshot {
		return d
	}
	return continuer{d}
}

type continuer struct{ sandbox.Driver }

func (d continuer) Create(ctx context.Context, s sandbox.Spec) (sandbox.Sandbox, error) {
	first := s
	first.ID = newID()
	first.Limits.Memory *= 2
	first.Limits.CPU *= 2
	origin, err := d.Driver.Create(ctx, first)
	if err != nil {
		return nil, err
	}
	s.From = string(newID())
	err = origin.Snapshot(ctx, s.From)
	if err = errors.Join(err, origin.Destroy(ctx)); err != nil {
		return nil, err
	}
	box, err := d.Driver.Create(ctx, s)
	return box, errors.Join(err, d.Driver.(sandbox.SnapshotStore).RemoveSnapshot(ctx, s.From))
}

func (s *suite) continuesMany(t *testing.T) {
	d, _ := s.openStore(t)
	origin := create(t, d, s.spec())
	s.Remember(t, origin, "one")
	name := snapshot(t, d, origin)
	var wg sync.WaitGroup
	for i := range 5 {
		spec := s.from(name)
		wg.Go(func() {
			box, err := d.Create(within(t), spec)
			if err != nil {
				t.Error(err)
				return
			}
			defer destroy(t, box)
			s.mustRecall(t, box, "one")
			own := fmt.Sprintf("own %d", i)
			s.Remember(t, box, own)
			s.mustRecall(t, box, own)
		})
	}
	wg.Wait()
	s.mustRecall(t, origin, "one")
}

func (s *suite) savesAgain(t *testing.T) {
	d, _ := s.openStore(t)
	origin := create(t, d, s.spec())
	s.Remember(t, origin, "first")
	second := create(t, d, s.from(snapshot(t, d, origin)))
	s.Remember(t, second, "second")
	third := create(t, d, s.from(snapshot(t, d, second)))
	s.mustRecall(t, third, "second")
	s.mustRecall(t, second, "second")
	s.mustRecall(t, origin, "first")
}

func (s *suite) outlives(t *testing.T) {
	first := s.Open(t)
	if !first.Features().Snapshot {
		_ = first.Close()
		t.Skip("this driver cannot save sandboxes")
	}
	box, err := first.Create(within(t), s.spec())
	if err != nil {
		t.Fatal(err)
	}
	s.Remember(t, box, "kept")
	name := string(newID())
	if err := box.Snapshot(within(t), name); err != nil {
		t.Fatal(err)
	}
	destroy(t, box)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := s.open(t)
	for range 2 {
		spec := s.from(name)
		spec.Limits.Memory *= 2
		spec.Limits.CPU /= 2
		s.mustRecall(t, create(t, second, spec), "kept")
	}
	if err := second.(sandbox.SnapshotStore).RemoveSnapshot(within(t), name); err != nil {
		t.Error(err)
	}
}

func (s *suite) savesPaused(t *testing.T) {
	d, _ := s.openStore(t)
	if !d.Features().Pause {
		t.Skip("this driver cannot pause")
	}
	origin := create(t, d, s.spec())
	s.Remember(t, origin, "paused")
	if err := origin.Pause(within(t)); err != nil {
		t.Fatal(err)
	}
	box := create(t, d, s.from(snapshot(t, d, origin)))
	s.mustRecall(t, box, "paused")
	if err := origin.Resume(within(t)); err != nil {
		t.Fatal(err)
	}
	s.mustRecall(t, origin, "paused")
}

func (s *suite) adoptsContinuation(t *testing.T) {
	first := s.Open(t)
	if !first.Features().Snapshot {
		_ = first.Close()
		t.Skip("this driver cannot save sandboxes")
	}
	origin, err := first.Create(within(t), s.spec())
	if err != nil {
		t.Fatal(err)
	}
	s.Remember(t, origin, "kept")
	spec := s.from(snapshot(t, first, origin))
	box, err := first.Create(within(t), spec)
	if err != nil {
		t.Fatal(err)
	}
	destroy(t, origin)
	if first.Features().Pause {
		if err := errors.Join(box.Pause(within(t)), box.Resume(within(t))); err != nil {
			t.Fatal(err)
		}
	}
	s.mustRecall(t, box, "kept")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	adopted, err := s.open(t).Adopt(within(t), spec.ID)
	if err != nil {
		t.Fatal(err)
	}
	s.mustRecall(t, adopted, "kept")
	destroy(t, adopted)
	if exit := end(t, adopted); !exit.Destroyed {
		t.Errorf("wait returned %+v, want Destroyed", exit)
	}
}

func (s *suite) replaces(t *testing.T) {
	d, store := s.openStore(t)
	box := create(t, d, s.spec())
	s.Remember(t, box, "old")
	name := snapshot(t, d, box)
	s.Remember(t, box, "new")
	if err := box.Snapshot(within(t), name); err != nil {
		t.Fatal(err)
	}
	s.mustRecall(t, create(t, d, s.from(name)), "new")
	if all, err := store.Snapshots(within(t)); err != nil || len(all) != 1 {
		t.Errorf("Snapshots returned %+v, %v; want one", all, err)
	}
}

func (s *suite) refusesSnapshots(t *testing.T) {
	d, _ := s.openStore(t)
	box := create(t, d, s.spec())
	name := snapshot(t, d, box)
	for what, change := range map[string]func(*sandbox.Spec){
		"another image":            func(s *sandbox.Spec) { s.Image = "sha256:4567" },
		"another limit":            func(s *sandbox.Spec) { s.Limits.Processes++ },
		"another size of the disk": func(s *sandbox.Spec) { s.Limits.Disk++ },
		"an unknown name":          func(s *sandbox.Spec) { s.From = "unknown" },
		"no name":                  func(s *sandbox.Spec) { s.From = "../x" },
	} {
		spec := s.from(name)
		change(&spec)
		s.mustNotContinue(t, d, what, spec)
	}
	for _, name := range []string{"", ".", "..", "a/b", ".draft-x"} {
		if err := box.Snapshot(within(t), name); err == nil {
			t.Errorf("the snapshot name %q was accepted", name)
		}
	}
	mustBeHealthy(t, box)
	destroy(t, box)
	if err := box.Snapshot(within(t), "late"); !errors.Is(err, sandbox.ErrNotFound) {
		t.Errorf("snapshot of a destroyed sandbox returned %v, want ErrNotFound", err)
	}
}

func (s *suite) mustNotContinue(t *testing.T, d sandbox.Driver, what string, spec sandbox.Spec) {
	t.Helper()
	box, err := d.Create(within(t), spec)
	if err == nil {
		destroy(t, box)
	}
	if !errors.Is(err, sandbox.ErrSnapshot) {
		t.Errorf("%s: create returned %v, want ErrSnapshot", what, err)
	}
	if _, ok := listed(t, d, spec.ID); ok {
		t.Errorf("%s: the refused sandbox is listed", what)
	}
}

func (s *suite) refusesDamaged(t *testing.T) {
	if s.Spoil == nil {
		t.Skip("this driver's snapshots cannot be damaged")
	}
	d, store := s.openStore(t)
	box := create(t, d, s.spec())
	name := snapshot(t, d, box)
	s.Spoil(t, name)
	s.mustNotContinue(t, d, "a damaged image", s.from(name))
	if err := box.Snapshot(within(t), name); err != nil {
		t.Fatalf("replace the snapshot: %v", err)
	}
	destroy(t, create(t, d, s.from(name)))
	if all, err := store.Snapshots(within(t)); err != nil || len(all) != 1 || all[0].Stale != "" {
		t.Errorf("Snapshots returned %+v, %v; want one without a fault", all, err)
	}
}

func (s *suite) removesSnapshots(t *testing.T) {
	s.leavesNothing(t, func(d sandbox.Driver) {
		store, ok := d.(sandbox.SnapshotStore)
		if !ok {
			t.Skip("this driver cannot save sandboxes")
		}
		box, err := d.Create(within(t), s.spec())
		if err != nil {
			t.Fatal(err)
		}
		name := string(newID())
		if err := box.Snapshot(within(t), name); err != nil {
			t.Fatal(err)
		}
		again, err := d.Create(within(t), s.from(name))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // twice, because it is idempotent
			if err := store.RemoveSnapshot(within(t), name); err != nil {
				t.Error(err)
			}
		}
		mustBeHealthy(t, again) // the restored sandbox continues
		destroy(t, box)
		destroy(t, again)
		if all, err := store.Snapshots(within(t)); err != nil || len(all) != 0 {
			t.Errorf("Snapshots returned %+v, %v; want none", all, err)
		}
		if _, err := d.Create(within(t), s.from(name)); !errors.Is(err, sandbox.ErrSnapshot) {
			t.Errorf("restoring a removed snapshot returned %v, want ErrSnapshot", err)
		}
	})
}
