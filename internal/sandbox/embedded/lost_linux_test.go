package embedded_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/embedded"
	"cellhold/internal/sandbox/embedded/process"
)

// soon bounds waits that should take milliseconds.
const soon = 20 * time.Second

// recorded are the processes in the record of a sandbox.
type recorded struct{ Sentry, Gofer process.Process }

// processesOf reads the record of a sandbox.
func processesOf(t *testing.T, id string) (r recorded) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(home(t), "run", id, "record.json"))
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil || !r.Sentry.Alive() || !r.Gofer.Alive() {
		t.Fatalf("got the processes %+v, %v; want two that run", r, err)
	}
	return r
}

// killProcess kills a process and waits for its end.
func killProcess(t *testing.T, p process.Process) {
	t.Helper()
	h, err := p.Open()
	if err != nil || h == nil {
		t.Fatalf("open process %d: %v", p.PID, err)
	}
	defer h.Close()
	if err := h.Kill(); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, p)
}

func awaitEnd(t *testing.T, p process.Process) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	if err := p.Await(ctx); err != nil {
		t.Fatalf("process %d has not ended: %v", p.PID, err)
	}
}

// idsOf returns the ids that a driver lists.
func idsOf(t *testing.T, d *embedded.Driver) (ids []string) {
	t.Helper()
	infos, err := d.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range infos {
		ids = append(ids, string(i.ID))
	}
	return ids
}

// saved saves a new sandbox and returns the name of the snapshot.
func saved(t *testing.T, d *embedded.Driver) string {
	t.Helper()
	box, err := d.Create(t.Context(), spec(name("origin")))
	if err != nil {
		t.Fatal(err)
	}
	snapshot := name("saved")
	if err := errors.Join(box.Snapshot(t.Context(), snapshot), box.Destroy(t.Context())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.RemoveSnapshot(context.WithoutCancel(t.Context()), snapshot); err != nil {
			t.Error(err)
		}
	})
	return snapshot
}

// gVisor watches the gofer itself, but not in a restored sandbox.
func TestASandboxEndsWithItsGofer(t *testing.T) {
	d := open(t)
	t.Cleanup(func() { d.Close() })
	snapshot := saved(t, d)
	before := leftovers(t)
	for _, x := range []struct {
		why, from string
		dies      func(recorded) process.Process
		filesLost bool
	}{
		{"the gofer of a new sandbox", "", func(r recorded) process.Process { return r.Gofer }, true},
		{"the gofer of a restored sandbox", snapshot, func(r recorded) process.Process { return r.Gofer }, true},
		{"the sentry, and then its gofer", snapshot, func(r recorded) process.Process { return r.Sentry }, false},
	} {
		s := spec(name("files"))
		s.From = x.from
		box, err := d.Create(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		killProcess(t, x.dies(processesOf(t, name("files"))))
		ctx, cancel := context.WithTimeout(t.Context(), soon)
		defer cancel()
		if exit, err := box.Wait(ctx); err != nil || exit.FilesLost != x.filesLost || exit.OOM || exit.Destroyed {
			t.Errorf("%s: got %+v, %v; want FilesLost %t", x.why, exit, err, x.filesLost)
		}
		if err := box.Destroy(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff(before, leftovers(t)); diff != "" {
		t.Errorf("left behind (-before +after):\n%s", diff)
	}
}

func TestASandboxOfAKilledServerEndsWithItsGofer(t *testing.T) {
	d := open(t)
	t.Cleanup(func() { d.Close() })
	snapshot, id := saved(t, d), name("files")
	before := leftovers(t)

	// The gofer dies after the adoption.
	kill(t, startRole(t, "busy", "-role=serve", "-id="+id, "-from="+snapshot))
	box, err := d.Adopt(t.Context(), sandbox.ID(id))
	if err != nil {
		t.Fatal(err)
	}
	killProcess(t, processesOf(t, id).Gofer)
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	if exit, err := box.Wait(ctx); err != nil || !exit.FilesLost {
		t.Errorf("got %+v, %v; want FilesLost", exit, err)
	}
	if err := box.Destroy(t.Context()); err != nil {
		t.Error(err)
	}

	// The gofer dies while no server runs.
	kill(t, startRole(t, "busy", "-role=serve", "-id="+id, "-from="+snapshot))
	killProcess(t, processesOf(t, id).Gofer)
	if _, err := d.Adopt(t.Context(), sandbox.ID(id)); err == nil || !strings.Contains(err.Error(), "file proxy") {
		t.Errorf("adopt: got %v, want an error about the file proxy", err)
	}
	removeAll(t, d)
	if diff := cmp.Diff(before, leftovers(t)); diff != "" {
		t.Errorf("left behind (-before +after):\n%s", diff)
	}
}

func TestASandboxWhoseDirectoryWasDeletedIsFoundAndRemoved(t *testing.T) {
	d := open(t)
	defer d.Close()
	before := leftovers(t)
	id, other := name("deleted"), name("living")
	server := startServer(t, id, "busy")
	living := startServer(t, other, "busy")
	sentry := processesOf(t, id).Sentry
	for _, x := range []string{id, other} {
		if err := os.RemoveAll(filepath.Join(home(t), "run", x)); err != nil {
			t.Fatal(err)
		}
	}
	if ids := idsOf(t, d); len(ids) > 0 {
		t.Errorf("listed %v, want none while their servers live", ids)
	}
	_ = server.Process.Kill()
	_ = server.Wait() // not kill, which waits for every new child of this process, the other server included
	if ids := idsOf(t, d); !slices.Equal(ids, []string{id}) {
		t.Errorf("listed %v, want only %s, whose server is dead", ids, id)
	}
	removeAll(t, d)
	if sentry.Alive() {
		t.Error("the sandbox of the dead server still runs")
	}
	if len(sandboxProcesses(filepath.Join(home(t), "run", other)+"/")) == 0 {
		t.Error("the sandbox of the living server was ended")
	}
	kill(t, living)
	removeAll(t, d)
	if diff := cmp.Diff(before, leftovers(t)); diff != "" {
		t.Errorf("left behind (-before +after):\n%s", diff)
	}
}

func TestADriverFindsOnlySandboxesOfItsDirectory(t *testing.T) {
	o := options(t)
	box := open(t)
	defer box.Close()
	s, err := box.Create(t.Context(), spec(name("there")))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Destroy(context.WithoutCancel(t.Context()))
	for _, dir := range []string{home(t), filepath.Join(home(t), "ru"), filepath.Join(home(t), "run", name("there"))} {
		o.Dir, o.Snapshots = dir, filepath.Join(home(t), "others")
		d, err := embedded.New(o)
		if err != nil {
			t.Fatal(err)
		}
		if ids := idsOf(t, d); slices.Contains(ids, name("there")) {
			t.Errorf("a driver of %s lists %v", dir, ids)
		}
		_ = d.Close()
	}
}

func TestThePrivateSandboxesOfAKilledServerEnd(t *testing.T) {
	d := open(t)
	defer d.Close()
	before := leftovers(t)
	id := name("private")
	server := startRole(t, "busy", "-role=serve", "-id="+id, "-private")
	of := processesOf(t, id)
	kill(t, server)
	awaitEnd(t, of.Sentry)
	awaitEnd(t, of.Gofer)
	removeAll(t, d)
	if diff := cmp.Diff(before, leftovers(t)); diff != "" {
		t.Errorf("left behind (-before +after):\n%s", diff)
	}
}
