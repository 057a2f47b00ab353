package embedded

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gvisor.dev/gvisor/runsc/version"

	"cellhold/internal/sandbox"
)

func TestThePinnedVersionIsTheOneInGoMod(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", "gvisor.dev/gvisor").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(out)); got != pinnedGvisor {
		t.Errorf("go.mod has %s, pinnedGvisor is %s", got, pinnedGvisor)
	}
}

func TestGvisorKnowsItsVersion(t *testing.T) {
	before := gvisorVersion
	defer func() { gvisorVersion = before }()
	gvisorVersion = pinnedGvisor
	if version.Version() != pinnedGvisor {
		t.Errorf("gVisor has the version %q", version.Version())
	}
}

func TestSandboxProcessesAreToldByTheirName(t *testing.T) {
	for arg0, want := range map[string]bool{
		"runsc": true, "runsc-sandbox": true, "runsc-gofer": true, "runsc[getUsernsFD]": true,
		"/proc/self/exe": true, "cellhold": false, "/usr/bin/cellhold": false, "exe": false, "": false,
	} {
		if got := startedAsSandbox(arg0); got != want {
			t.Errorf("%q: got %v", arg0, got)
		}
	}
}

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

// limits are the limits of the fake cgroups below.
var limits = sandbox.Limits{Memory: 256 << 20, CPU: 1.5, Processes: 64}

func fakeV2(t *testing.T, change map[string]string) *cgroups {
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
	c := &cgroups{root: t.TempDir(), v2: true, swapCounter: true}
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
	if err := fakeV2(t, nil).verify("x", limits); err != nil {
		t.Error(err)
	}
	if err := fakeV2(t, map[string]string{"memory.swap.max": ""}).verify("x", limits); err != nil {
		t.Errorf("on a kernel without swap: %v", err)
	}
	for name, value := range map[string]string{
		"memory.max": "max\n", "memory.swap.max": "max\n", "cpu.max": "max 100000\n", "pids.max": "max\n",
	} {
		if err := fakeV2(t, map[string]string{name: value}).verify("x", limits); err == nil {
			t.Errorf("%s with %q was accepted", name, value)
		}
	}
	for _, name := range []string{"memory.max", "cpu.max", "pids.max"} {
		if err := fakeV2(t, map[string]string{name: ""}).verify("x", limits); err == nil {
			t.Errorf("a missing %s was accepted", name)
		}
	}
	if err := fakeV2(t, nil).verify("x", limits, os.Getpid()); err == nil {
		t.Error("a process outside is taken for one inside")
	}
}

func TestUsageOfCgroups2IsRead(t *testing.T) {
	want := sandbox.Usage{Memory: 1000, MemoryPeak: 2000, CPU: 1500 * time.Millisecond, OOMKills: 2}
	if got := fakeV2(t, nil).usage("x"); got != want {
		t.Errorf("got %+v", got)
	}
	want = sandbox.Usage{Memory: -1, MemoryPeak: -1, CPU: -1, OOMKills: -1}
	if got := fakeV2(t, nil).usage("another"); got != want {
		t.Errorf("for a missing cgroup: got %+v", got)
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
	me, err := identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	r := &record{ID: "old", Boot: "another", Sentry: me, Gofer: me}
	if err := r.save(p); err != nil {
		t.Fatal(err)
	}
	got, err := load(p)
	if err != nil || got.Sentry != (process{}) || got.Gofer != (process{}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestAProcessIsMoreThanItsNumber(t *testing.T) {
	me, err := identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if !me.alive() {
		t.Error("this process is said to be dead")
	}
	me.Start++ // another process with the same pid
	if me.alive() {
		t.Error("another process is taken for it")
	}
	if h, err := me.open(); h != nil || err != nil {
		t.Errorf("open returned %v, %v; want nil", h, err)
	}
}
