package embedded

import (
	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/embedded/process"
	"errors"
	"os"
	"runtime"
	"testing"
)

func TestIDMapsAreReadRight(t *testing.T) {
	for table, want := range map[string]bool{
		"         0          0 4294967295\n":     true,
		"0 1000 1\n":                             false,
		"0 100000 65536\n":                       false,
		"0 100000 65536\n65536 300000 1000000\n": true,
		"200000 0 65535\n":                       false,
		"":                                       false,
		"nonsense\n":                             false,
	} {
		if got := coversIDs(table, 200000, 65536); got != want {
			t.Errorf("%q: got %v", table, got)
		}
	}
}

func TestABrokenRecordHidesNoSandbox(t *testing.T) {
	d := &Driver{dir: t.TempDir()}
	for id, content := range map[string]string{"torn": `{"ID":"to`, "zeroed": "\x00\x00", "none": ""} {
		p := d.paths(sandbox.ID(id))
		if err := os.Mkdir(p.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if content == "" {
			continue
		}
		if err := os.WriteFile(p.record, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	infos, err := d.List(t.Context())
	if err != nil || len(infos) != 3 {
		t.Fatalf("listed %v, %v", infos, err)
	}
	for _, i := range infos {
		if i.Alive {
			t.Errorf("%s is listed as alive", i.ID)
		}
		if _, err := d.Adopt(t.Context(), i.ID); err == nil {
			t.Errorf("%s was adopted", i.ID)
		}
		if err := d.Remove(t.Context(), i.ID); err != nil {
			t.Errorf("remove %s: %v", i.ID, err)
		}
	}
	if infos, _ := d.List(t.Context()); len(infos) != 0 {
		t.Errorf("List returned %v, want none", infos)
	}
}

func TestARecordOfAnEarlierBootNamesNoProcess(t *testing.T) {
	d := &Driver{dir: t.TempDir()}
	p := d.paths("old")
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	me, err := process.Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	r := &record{ID: "old", Boot: "another", Sentry: me, Gofer: me}
	if err := r.save(p); err != nil {
		t.Fatal(err)
	}
	got, err := load(p)
	if err != nil || got.Sentry != (process.Process{}) || got.Gofer != (process.Process{}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestASandboxGetsAsManyProcessorsAsItsLimitRoundedUp(t *testing.T) {
	for limit, want := range map[float64]int{0.01: 1, 0.5: 1, 1: 1, 1.01: 2, 1.5: 2, 2: 2, 1e300: runtime.NumCPU()} {
		if got := cores(sandbox.Limits{CPU: limit}); got != min(want, runtime.NumCPU()) {
			t.Errorf("a limit of %v gives %d processors", limit, got)
		}
	}
}

// TestASandboxWithAnOwnerIsNotRemovedWithoutItsDirectory: another program can delete the directory.
func TestASandboxWithAnOwnerIsNotRemovedWithoutItsDirectory(t *testing.T) {
	d := &Driver{dir: t.TempDir()}
	p := d.paths("owned")
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	lock, err := own(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(p.dir); err != nil {
		t.Fatal(err)
	}
	if err := d.Remove(t.Context(), "owned"); !errors.Is(err, errOwned) {
		t.Errorf("remove of a sandbox with an owner: %v, want %v", err, errOwned)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := d.Remove(t.Context(), "owned"); err != nil {
			t.Errorf("remove after the owner left: %v", err)
		}
	}
}
