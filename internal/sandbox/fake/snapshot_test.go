package fake_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cellhold"
	"cellhold/internal/guest"
	"cellhold/internal/guestapi"
	"cellhold/internal/sandbox"
)

func connect(t *testing.T, s sandbox.Sandbox) *guest.Client {
	t.Helper()
	c, err := guest.New(guest.Options{Dial: s.Dial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// fork saves a sandbox and restores it in another one.
func fork(t *testing.T, d sandbox.Driver, s sandbox.Sandbox, id sandbox.ID) sandbox.Sandbox {
	t.Helper()
	if err := s.Snapshot(t.Context(), "snapshot"); err != nil {
		t.Fatal(err)
	}
	again := spec
	again.ID, again.From = id, "snapshot"
	f, err := d.Create(t.Context(), again)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestAContinuationIsTheSameAgent: a client of the origin can continue with the restored sandbox, and misses nothing.
func TestAContinuationIsTheSameAgent(t *testing.T) {
	w := newWorld(t)
	d := w.Open()
	origin, err := d.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	tell(t, origin, "set x 41")
	if err := os.WriteFile(filepath.Join(w.WorkDir(origin.ID()), "file"), []byte("kept"), 0o644); err != nil {
		t.Fatal(err)
	}
	before, err := connect(t, origin).Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	other := fork(t, d, origin, "other")
	after, err := connect(t, other).Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the agents differ (-origin +restored):\n%s", diff)
	}
	if got := tell(t, other, "add x 1\nget x"); got != "42" {
		t.Errorf("x is %q, want 42", got)
	}
	if b, err := os.ReadFile(filepath.Join(w.WorkDir("other"), "file")); err != nil || string(b) != "kept" {
		t.Errorf("the file contains %q (%v)", b, err)
	}
	// The next event has the next number of the origin, and no event reports the restore.
	for e, err := range connect(t, other).Kernel("toy").Events(t.Context(), before.Kernels[0].Last) {
		if err != nil || e.Type != cellhold.EventCellStarted {
			t.Errorf("the first event is %+v, %v", e, err)
		}
		break
	}
}

func TestRenewedContinuationsOfOneSnapshotDiffer(t *testing.T) {
	w := newWorld(t)
	d := w.Open()
	origin, err := d.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	tell(t, origin, "set seed none")
	seen := map[string]bool{}
	for _, id := range []sandbox.ID{"a", "b", "c"} {
		s := fork(t, d, origin, id)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		info, err := connect(t, s).Renew(ctx, guestapi.Renew{Timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if seen[info.Boot] || info.Kernels[0].Last != 1 {
			t.Errorf("%s is %+v", id, info)
		}
		seen[info.Boot] = true
		seed := tell(t, s, "get seed")
		if seed == "none" || seen[seed] {
			t.Errorf("the seed of %s is %s", id, seed)
		}
		seen[seed] = true
	}
	if got := tell(t, origin, "get seed"); got != "none" {
		t.Errorf("the origin's seed is %s", got)
	}
}

func TestABusySandboxCannotBeSaved(t *testing.T) {
	d := newWorld(t).Open()
	s, err := d.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	tell(t, s, "set x 1")
	k := connect(t, s).Kernel("toy")
	if err := k.Execute(t.Context(), guestapi.Execute{Cell: "busy", Code: "loop", Timeout: time.Minute}); err != nil {
		t.Fatal(err)
	}
	if err := s.Snapshot(t.Context(), "snapshot"); cellhold.KindOf(err) != cellhold.Conflict {
		t.Errorf("got %v", err)
	}
}

func TestADeadKernelStaysDeadAndCanBeRestarted(t *testing.T) {
	d := newWorld(t).Open()
	origin, err := d.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	tell(t, origin, "set x 1")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	k := connect(t, origin).Kernel("toy")
	if err := k.Execute(ctx, guestapi.Execute{Cell: "fatal", Code: "exit 3", Timeout: time.Minute}); err != nil {
		t.Fatal(err)
	}
	awaitState(t, ctx, k, 0, cellhold.KernelDead)
	again := connect(t, fork(t, d, origin, "other"))
	info, err := again.Info(ctx)
	if err != nil || info.Kernels[0].State != cellhold.KernelDead {
		t.Fatalf("got %+v, %v", info, err)
	}
	if err := again.Kernel("toy").Restart(ctx); err != nil {
		t.Fatal(err)
	}
	awaitState(t, ctx, again.Kernel("toy"), info.Kernels[0].Last, cellhold.KernelIdle)
}

func awaitState(t *testing.T, ctx context.Context, k *guest.Kernel, after int64, want cellhold.KernelState) {
	t.Helper()
	for e, err := range k.Events(ctx, after) {
		if err != nil {
			t.Fatal(err)
		}
		var state cellhold.KernelStateContent
		content := cellhold.Event{Content: e.Content}
		if e.Type == cellhold.EventKernelState && content.Decode(&state) == nil && state.State == want {
			return
		}
	}
	t.Fatalf("the kernel never was %s", want)
}
