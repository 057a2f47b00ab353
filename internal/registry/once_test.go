package registry_test

import (
	"os"
	"path/filepath"
	"testing"

	"cellhold/internal/registry"
)

// TestALaterServerDeletesTheSessionsOfRuns: the first server stops as if it was killed in the middle of a run.
func TestALaterServerDeletesTheSessionsOfRuns(t *testing.T) {
	h := newHost(t)
	first := h.serve(t)
	once, kept := first.create(t, registry.CreateRequest{Once: true}), first.create(t, registry.CreateRequest{})
	run(t, once, "print x")
	run(t, kept, "print x")
	first.stop()
	next := h.serve(t)
	if list := next.List("me"); len(list) != 1 || list[0].ID != kept.ID() {
		t.Errorf("got the sessions %+v, want only %s", list, kept.ID())
	}
	boxes, err := h.world.Open().List(t.Context())
	if err != nil || len(boxes) != 1 {
		t.Errorf("got %d sandboxes, %v; want only the sandbox of the session that is no run", len(boxes), err)
	}
	for _, folder := range []string{"notebooks", "output"} {
		names, err := filepath.Glob(filepath.Join(h.home, folder, "*"+string(once.ID())+"*"))
		if err != nil || len(names) > 0 {
			t.Errorf("got %v, %v of the run; want no files", names, err)
		}
	}
	if _, err := os.Stat(kept.HostFiles().NotebookPath()); err != nil {
		t.Errorf("the notebook of the session: %v", err)
	}
}
