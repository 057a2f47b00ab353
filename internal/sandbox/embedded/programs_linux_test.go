package embedded_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/embedded"
)

// builds are other builds of a program, by digest.
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
func openWith(t *testing.T, guest string, others embedded.Builds) *embedded.Driver {
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
		t.Errorf("agents were removed without a call of PruneBuilds: %v", others.needed)
	}
	if err := second.PruneBuilds(); err != nil || !others.needed[digest] {
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

	for _, others := range []embedded.Builds{nil, &builds{}} {
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

// changeNeeds changes what a snapshot needs, as if another version of this program had made it.
func changeNeeds(t *testing.T, snapshot string, to map[string]string) {
	t.Helper()
	file := filepath.Join(home(t), "snapshots", snapshot, "record.json")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var record map[string]any
	if err := json.Unmarshal(data, &record); err != nil {
		t.Fatal(err)
	}
	for key, value := range to {
		record["Needs"].(map[string]any)[key] = value
	}
	if data, err = json.Marshal(record); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// formerRunner returns the path of a copy of this test binary, which is its own runner.
func formerRunner(t *testing.T) string {
	t.Helper()
	path := filepath.Join(ground, "bin3", "runner")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", fmt.Sprintf("/proc/%d/exe", os.Getpid()), path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// TestASnapshotOfAnotherGVisorIsRestoredByItsOwnRunner: the state of a sandbox has the form of one version of gVisor.
func TestASnapshotOfAnotherGVisorIsRestoredByItsOwnRunner(t *testing.T) {
	digest := strings.Repeat("0123456789abcdef", 4)
	o := options(t)
	o.RunnerDigest = digest
	first, err := embedded.New(o)
	if err != nil {
		t.Skipf("this host cannot run gVisor sandboxes: %v", err)
	}
	box, err := first.Create(t.Context(), spec(name("former")))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(box.Snapshot(t.Context(), name("former")), box.Destroy(t.Context()), first.Close()); err != nil {
		t.Fatal(err)
	}
	changeNeeds(t, name("former"), map[string]string{"gVisor": "another"})

	runners := &builds{paths: map[string]string{digest: formerRunner(t)}}
	o.RunnerDigest, o.Runners = "", runners
	second, err := embedded.New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer second.RemoveSnapshot(t.Context(), name("former"))
	if err := second.PruneBuilds(); err != nil || !runners.needed[digest] {
		t.Errorf("Prune got %v (%v)", runners.needed, err)
	}
	if s := listed(t, second, name("former")); !s.Former || s.Stale != "" {
		t.Errorf("Snapshots returned %+v", s)
	}
	s := spec(name("former-2"))
	s.From = name("former")
	again, err := second.Create(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	procs := sandboxProcesses("/" + name("former-2") + "/")
	for _, pid := range procs {
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err != nil || exe != runners.paths[digest] {
			t.Errorf("process %d runs %s (%v), want %s", pid, exe, err, runners.paths[digest])
		}
	}
	if len(procs) == 0 {
		t.Error("the sandbox has no processes")
	}
	// Its later snapshots need the former runner too.
	err = errors.Join(again.Snapshot(t.Context(), name("former")), again.Destroy(t.Context()), second.Close())
	if err != nil || runners.closed != 1 {
		t.Errorf("the runners were closed %d times (%v), want once", runners.closed, err)
	}
	checkMissingRunner(t, o, s)
}

// checkMissingRunner checks that a snapshot is not restored if its runner is missing or cannot be started.
func checkMissingRunner(t *testing.T, o embedded.Options, s sandbox.Spec) {
	t.Helper()
	with := o.Runners
	for _, x := range []struct {
		runners  embedded.Builds
		contract string
		reason   string
	}{
		{nil, "1", "it was made with another gVisor, and the runner of that gVisor is missing"},
		{&builds{}, "1", "it was made with another gVisor, and the runner of that gVisor is missing"},
		{with, "0", "it was made with another gVisor, which this version cannot start"},
	} {
		changeNeeds(t, s.From, map[string]string{"runner contract": x.contract})
		o.Runners = x.runners
		d, err := embedded.New(o)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if got := listed(t, d, s.From); got.Stale != x.reason {
			t.Errorf("Snapshots returned %+v", got)
		}
		_, err = d.Create(t.Context(), s)
		if why, ok := errors.AsType[*sandbox.SnapshotError](err); !ok || why.Reason != x.reason {
			t.Errorf("got %v", err)
		}
	}
}

// TestADriverThatCannotBeOpenedClosesItsBuilds: New owns the builds, even after an error.
func TestADriverThatCannotBeOpenedClosesItsBuilds(t *testing.T) {
	guests, runners := &builds{}, &builds{}
	if _, err := embedded.New(embedded.Options{Guests: guests, Runners: runners}); err == nil || guests.closed != 1 || runners.closed != 1 {
		t.Errorf("the builds were closed %d and %d times (%v), want once", guests.closed, runners.closed, err)
	}
}

// TestGVisorStartsNoProgramNextToTheRunner: gVisor prefers programs in a folder gvisor-bin next to its file. Only the runner's
// own bytes are compared.
func TestGVisorStartsNoProgramNextToTheRunner(t *testing.T) {
	o := options(t)
	o.Runner = formerRunner(t)
	beside := filepath.Join(filepath.Dir(o.Runner), "gvisor-bin")
	if err := os.MkdirAll(beside, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(beside)
	for _, program := range []string{"gvisor_sentry", "gvisor-sentry-prewarmer", "checkpointgofer"} {
		if err := os.WriteFile(filepath.Join(beside, program), []byte("#!/bin/sh\nexit 77\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	d, err := embedded.New(o)
	if err != nil {
		t.Skipf("this host cannot run gVisor sandboxes: %v", err)
	}
	defer d.Close()
	box, err := d.Create(t.Context(), spec(name("beside")))
	if err != nil {
		t.Fatal(err)
	}
	if err := box.Snapshot(t.Context(), name("beside")); err != nil {
		t.Error(err)
	}
	defer d.RemoveSnapshot(t.Context(), name("beside"))
	if err := box.Destroy(t.Context()); err != nil {
		t.Error(err)
	}
}
