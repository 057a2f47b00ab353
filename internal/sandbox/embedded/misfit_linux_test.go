package embedded_test

import (
	"errors"
	"os"
	"testing"

	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/embedded"
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
	o := options(t)
	agent, err := os.ReadFile(o.Guest)
	if err != nil {
		t.Fatal(err)
	}
	o.Guest += "-newer" // only its digest counts here
	defer os.Remove(o.Guest)
	if err := os.WriteFile(o.Guest, append(agent, '\n'), 0o755); err != nil {
		t.Fatal(err)
	}
	d, err = embedded.New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if box, err = d.Adopt(t.Context(), box.ID()); err != nil {
		t.Fatal(err)
	}
	defer box.Destroy(t.Context())
	err = box.Snapshot(t.Context(), name("elder"))
	if misfit, ok := errors.AsType[*sandbox.Misfit](err); !ok || misfit.Why != "it was made with another agent" {
		t.Errorf("got %v", err)
	}
	if list, err := d.Snapshots(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("%d snapshots, %v", len(list), err)
	}
	get(t, guestClient(box), "http://guest/health")
}
