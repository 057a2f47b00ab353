package embedded_test

import (
	"errors"
	"testing"

	"cellhold/internal/sandbox"
)

// TestASandboxOfAnotherVersionIsNotSaved: nothing could go on from that, so who saved it and then ended it
// would lose it.
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
	d = openWith(t, newer, nil) // it has no guests but its own
	defer d.Close()
	if box, err = d.Adopt(t.Context(), box.ID()); err != nil {
		t.Fatal(err)
	}
	defer box.Destroy(t.Context())
	err = box.Snapshot(t.Context(), name("elder"))
	if misfit, ok := errors.AsType[*sandbox.Misfit](err); !ok || misfit.Why != "the agent that it was made with is not there any more" {
		t.Errorf("got %v", err)
	}
	if list, err := d.Snapshots(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("%d snapshots, %v", len(list), err)
	}
	get(t, guestClient(box), "http://guest/health")
}
