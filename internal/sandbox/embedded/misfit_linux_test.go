package embedded_test

import (
	"errors"
	"testing"

	"cellhold/internal/sandbox"
)

// TestASandboxOfAnotherVersionIsNotSaved: its snapshot could not be restored, so a server that saved it and then destroyed
// it would lose it.
func TestASandboxOfAnotherVersionIsNotSaved(t *testing.T) {
	d := open(t)
	box, err := d.Create(t.Context(), spec(name("elder")))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	newer, _ := otherBuild(t, options(t).Guest)
	d = openWith(t, newer, nil) // this driver has only its own agent
	defer d.Close()
	if box, err = d.Adopt(t.Context(), box.ID()); err != nil {
		t.Fatal(err)
	}
	defer box.Destroy(t.Context())
	err = box.Snapshot(t.Context(), name("elder"))
	if misfit, ok := errors.AsType[*sandbox.SnapshotError](err); !ok || misfit.Reason != "the agent that it was made with is missing" {
		t.Errorf("got %v", err)
	}
	if list, err := d.Snapshots(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("%d snapshots, %v", len(list), err)
	}
	get(t, guestClient(box), "http://guest/health")
}
