package cgroup

import (
	"cellhold/internal/sandbox"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestControllersThatGVisorNeedsAreChecked: gVisor creates a group under every controller of the host. If one
// controller is not writable, no sandbox starts.
func TestControllersThatGVisorNeedsAreChecked(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, controller := range []string{"memory", "cpu", "cpuacct", "pids", "cpuset", "blkio"} {
		if err := os.Mkdir(filepath.Join(root, controller), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Find(root); err != nil {
		t.Fatalf("with all controllers: %v", err)
	}
	for _, controller := range []string{"cpuset", "blkio"} {
		taken := filepath.Join(root, controller, parent) // a file, so that even root cannot create a group
		if err := errors.Join(os.RemoveAll(taken), os.WriteFile(taken, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		if _, err := Find(root); err == nil || !strings.Contains(err.Error(), "cgroup controller "+controller) {
			t.Errorf("without %s: %v", controller, err)
		}
		if err := os.RemoveAll(filepath.Join(root, controller)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Find(root); err != nil {
		t.Errorf("on a host without these controllers: %v", err)
	}
}

// limits are the limits of the fake cgroups below.
var limits = sandbox.Limits{Memory: 256 << 20, CPU: 1.5, Processes: 64}

func fakeV2(t *testing.T, change map[string]string) *Cgroups {
	t.Helper()
	files := map[string]string{
		"memory.max":      "268435456\n",
		"memory.swap.max": "0\n",
		"cpu.max":         "150000 100000\n",
		"pids.max":        "512\n",
		"memory.current":  "1000\n",
		"memory.peak":     "2000\n",
		"memory.events":   "low 0\noom 3\noom_kill 2\noom_group_kill 0\n",
		"cpu.stat":        "usage_usec 1500000\nuser_usec 1\n",
	}
	for k, v := range change {
		files[k] = v
	}
	c := &Cgroups{root: t.TempDir(), V2: true, SwapCounter: true}
	dir := c.dir("", "x")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if content == "" {
			continue // the file is missing
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func TestLimitsOfCgroups2AreReadBack(t *testing.T) {
	if err := fakeV2(t, nil).Verify("x", limits); err != nil {
		t.Error(err)
	}
	if err := fakeV2(t, map[string]string{"memory.swap.max": ""}).Verify("x", limits); err != nil {
		t.Errorf("on a kernel without swap: %v", err)
	}
	for name, value := range map[string]string{
		"memory.max": "max\n", "memory.swap.max": "max\n", "cpu.max": "max 100000\n", "pids.max": "max\n",
	} {
		if err := fakeV2(t, map[string]string{name: value}).Verify("x", limits); err == nil {
			t.Errorf("%s with %q was accepted", name, value)
		}
	}
	for _, name := range []string{"memory.max", "cpu.max", "pids.max"} {
		if err := fakeV2(t, map[string]string{name: ""}).Verify("x", limits); err == nil {
			t.Errorf("a missing %s was accepted", name)
		}
	}
	if err := fakeV2(t, nil).Verify("x", limits, os.Getpid()); err == nil {
		t.Error("a process outside the cgroup was accepted as a member")
	}
}

func TestUsageOfCgroups2IsRead(t *testing.T) {
	want := sandbox.Usage{Memory: 1000, MemoryPeak: 2000, CPU: 1500 * time.Millisecond, OOMKills: 2}
	if got := fakeV2(t, nil).Usage("x"); got != want {
		t.Errorf("got %+v", got)
	}
	want = sandbox.Usage{Memory: -1, MemoryPeak: -1, CPU: -1, OOMKills: -1}
	if got := fakeV2(t, nil).Usage("another"); got != want {
		t.Errorf("for a missing cgroup: got %+v", got)
	}
}

// TestAProcessOutsideTheCgroupIsNotListed: after the kernel's list was read, the pid of a process that ended can be that of
// another one.
func TestAProcessOutsideTheCgroupIsNotListed(t *testing.T) {
	c := fakeV2(t, map[string]string{"cgroup.procs": strconv.Itoa(os.Getpid()) + "\n"})
	if procs, err := c.Processes("x"); err != nil || len(procs) != 0 {
		t.Errorf("got %v, %v; want none: this process is in another cgroup", procs, err)
	}
}
