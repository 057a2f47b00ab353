package fake_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/guest"
	"cellhold/internal/guestapi"
	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/fake"
	"cellhold/internal/sandbox/sandboxtest"
)

var spec = sandbox.Spec{ID: "box", Limits: sandbox.Limits{Memory: 1, CPU: 1, Processes: 1, Disk: 1, Tmp: 1, Output: 1}}

func newWorld(t *testing.T) *fake.World {
	t.Helper()
	w, err := fake.NewWorld(context.WithoutCancel(t.Context()), fake.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Errorf("close world: %v", err)
		}
	})
	return w
}

func TestContract(t *testing.T) {
	worlds := map[*testing.T]*fake.World{} // one for each test of the suite
	var newest *fake.World
	sandboxtest.Test(t, sandboxtest.Harness{
		Spec:     spec,
		Remember: func(t *testing.T, s sandbox.Sandbox, value string) { tell(t, s, "set x "+value) },
		Recall:   func(t *testing.T, s sandbox.Sandbox) string { return tell(t, s, "get x") },
		Spoil: func(t *testing.T, name string) {
			if err := newest.Spoil(name); err != nil {
				t.Fatal(err)
			}
		},
		Open: func(t *testing.T) sandbox.Driver {
			if worlds[t] == nil {
				worlds[t] = newWorld(t)
			}
			newest = worlds[t]
			return worlds[t].Open()
		},
	})
}

func TestASecondDriverFindsTheVariablesOfTheFirst(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	first, err := w.Open().Create(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	run(t, ctx, first, "a", "set x kept")

	driver := w.Open()
	if _, err := first.Dial(ctx); err == nil {
		t.Error("the dead driver still dials")
	}
	second, err := driver.Adopt(ctx, spec.ID)
	if err != nil {
		t.Fatal(err)
	}
	if e := run(t, ctx, second, "b", "get x"); e.Status != cellhold.StatusOK {
		t.Errorf("%+v, want the variable of the first", e)
	}
}

// tell runs a cell and returns its result.
func tell(t *testing.T, s sandbox.Sandbox, code string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	id := cellhold.CellID(rand.Text())
	if done := run(t, ctx, s, id, code); done.Status != cellhold.StatusOK {
		t.Errorf("%s: %+v", code, done)
	}
	c, err := guest.New(guest.Options{Dial: s.Dial})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for e, err := range c.Kernel("toy").Events(ctx, 0) {
		if err != nil {
			t.Fatal(err)
		}
		var result cellhold.DisplayContent
		content := cellhold.Event{Content: e.Content}
		switch {
		case e.Cell == id && e.Type == cellhold.EventExecuteResult:
			if err := content.Decode(&result); err != nil {
				t.Fatal(err)
			}
			var text string
			if err := json.Unmarshal(result.Data["text/plain"], &text); err != nil {
				t.Fatal(err)
			}
			return text
		case e.Cell == id && e.Type == cellhold.EventCellDone:
			return ""
		}
	}
	return ""
}

// run starts the kernel if it does not run, and runs a cell to its end.
func run(t *testing.T, ctx context.Context, s sandbox.Sandbox, id cellhold.CellID, code string) (done cellhold.CellDoneContent) {
	t.Helper()
	c, err := guest.New(guest.Options{Dial: s.Dial})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	k := c.Kernel("toy")
	if err := k.Start(ctx, guestapi.StartKernel{Spec: "toy"}); err != nil {
		t.Fatal(err)
	}
	for e, err := range k.Events(ctx, 0) {
		var state cellhold.KernelStateContent
		content := cellhold.Event{Content: e.Content}
		switch {
		case err != nil:
			t.Fatal(err)
		case e.Type == cellhold.EventKernelState:
			if err := content.Decode(&state); err != nil || state.State != cellhold.KernelIdle {
				break
			}
			if err := k.Execute(ctx, guestapi.Execute{Cell: id, Code: code, Timeout: time.Minute}); err != nil {
				t.Fatal(err)
			}
		case e.Type == cellhold.EventCellDone && e.Cell == id:
			if err := content.Decode(&done); err != nil {
				t.Fatal(err)
			}
			return done
		}
	}
	t.Fatal("the cell has no end")
	return done
}

func TestACrashedSandboxIsReportedAndListed(t *testing.T) {
	w := newWorld(t)
	d := w.Open()
	s, err := d.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Kill(spec.ID, sandbox.Exit{Signal: 9, OOM: true}); err != nil {
		t.Fatal(err)
	}
	if e, err := s.Wait(t.Context()); err != nil || !e.OOM || e.Destroyed {
		t.Errorf("%+v %v, want out of memory", e, err)
	}
	if l, err := d.List(t.Context()); err != nil || len(l) != 1 || l[0].Alive {
		t.Errorf("%+v %v, want one dead sandbox", l, err)
	}
	if _, err := d.Adopt(t.Context(), spec.ID); !errors.Is(err, sandbox.ErrNotFound) {
		t.Errorf("adopting a dead sandbox returned %v", err)
	}
	if err := d.Remove(t.Context(), spec.ID); err != nil {
		t.Fatal(err)
	}
	if l, err := d.List(t.Context()); err != nil || len(l) != 0 {
		t.Errorf("%+v %v, want nothing", l, err)
	}
}
