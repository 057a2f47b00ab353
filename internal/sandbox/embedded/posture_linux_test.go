package embedded_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/embedded"
)

// TestEveryThreadOfASandboxIsConfined inspects the threads of a new and of a restored sandbox from the host.
func TestEveryThreadOfASandboxIsConfined(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: only then do sandboxes get uids of their own")
	}
	d := open(t)
	defer d.Close()
	box, err := d.Create(t.Context(), spec(name("posture")))
	if err != nil {
		t.Fatal(err)
	}
	defer box.Destroy(t.Context())
	again := continued(t, d, box, name("posture-2"))
	defer again.Destroy(t.Context())
	for _, id := range []sandbox.ID{box.ID(), again.ID()} {
		checkThreads(t, string(id))
	}
}

func checkThreads(t *testing.T, id string) {
	t.Helper()
	threads := sandboxThreads(t, id)
	if len(threads) < 10 {
		t.Fatalf("only %d threads of %s found", len(threads), id)
	}
	for _, th := range threads {
		th.check(t)
	}
	kinds := map[string]int{}
	for _, th := range threads {
		kinds[th.kind]++
	}
	for _, kind := range []string{"sentry", "gofer", "stub"} {
		if kinds[kind] == 0 {
			t.Errorf("%s: found no thread of a %s among %v", id, kind, kinds)
		}
	}
}

// continued returns a sandbox that is restored from a snapshot of another one.
func continued(t *testing.T, d *embedded.Driver, box sandbox.Sandbox, id string) sandbox.Sandbox {
	t.Helper()
	s := spec(id)
	s.From = id
	if err := box.Snapshot(t.Context(), s.From); err != nil {
		t.Fatal(err)
	}
	again, err := d.Create(t.Context(), s)
	if err := errors.Join(err, d.RemoveSnapshot(t.Context(), s.From)); err != nil {
		t.Fatal(err)
	}
	return again
}

// TestUserCodeDiesBeforeTheAgentInARestoredSandboxToo: the host's kernel uses these scores when memory runs out.
func TestUserCodeDiesBeforeTheAgentInARestoredSandboxToo(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: only then is memory limited")
	}
	d := open(t)
	defer d.Close()
	box, err := d.Create(t.Context(), spec(name("victims")))
	if err != nil {
		t.Fatal(err)
	}
	defer box.Destroy(t.Context())
	again := continued(t, d, box, name("victims-2"))
	defer again.Destroy(t.Context())
	if _, err := guestClient(again).Get("http://guest/self?what=linger"); err != nil {
		t.Fatal(err)
	}
	for _, id := range []sandbox.ID{box.ID(), again.ID()} {
		points := map[string]map[string]int{}
		for _, th := range sandboxThreads(t, string(id)) {
			b, err := os.ReadFile(filepath.Join(th.dir, "oom_score_adj"))
			if err != nil {
				continue // the process has ended
			}
			if points[th.kind] == nil {
				points[th.kind] = map[string]int{}
			}
			points[th.kind][strings.TrimSpace(string(b))]++
		}
		if points["stub"]["500"] == 0 || points["stub"]["1000"] == 0 || points["stub"]["0"] > 0 ||
			points["sentry"]["500"]+points["sentry"]["1000"] > 0 {
			t.Errorf("%s: the scores are %v", id, points)
		}
	}
}

// TestThePostureCheckFindsAnUnconfinedProcess is the control of the test above.
func TestThePostureCheckFindsAnUnconfinedProcess(t *testing.T) {
	th := thread{dir: "/proc/self", kind: "stub", status: statusOf(t, "/proc/self")}
	if faults := th.faults(); len(faults) < 4 {
		t.Errorf("the check of this unconfined process found only %q", faults)
	}
}

type thread struct {
	dir    string // below /proc
	kind   string // sentry, gofer or stub
	status map[string]string
}

// sandboxThreads finds all threads in the sandbox's cgroup.
func sandboxThreads(t *testing.T, id string) []thread {
	t.Helper()
	var procs []byte
	for _, at := range []string{"/sys/fs/cgroup/memory/cellhold/", "/sys/fs/cgroup/cellhold/"} {
		if b, err := os.ReadFile(filepath.Join(at, id, "cgroup.procs")); err == nil {
			procs = b
		}
	}
	var threads []thread
	for _, pid := range strings.Fields(string(procs)) {
		tasks, _ := filepath.Glob("/proc/" + pid + "/task/*")
		cmdline, _ := os.ReadFile("/proc/" + pid + "/cmdline")
		kind := "stub"
		for _, k := range []string{"sandbox", "gofer"} {
			if strings.HasPrefix(string(cmdline), "runsc-"+k) {
				kind = map[string]string{"sandbox": "sentry", "gofer": "gofer"}[k]
			}
		}
		for _, dir := range tasks {
			threads = append(threads, thread{dir: dir, kind: kind, status: statusOf(t, dir)})
		}
	}
	return threads
}

func statusOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		t.Fatal(err)
	}
	status := map[string]string{}
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(line, ":")
		status[k] = strings.Join(strings.Fields(v), " ")
	}
	return status
}

func (th thread) check(t *testing.T) {
	t.Helper()
	for _, f := range th.faults() {
		t.Errorf("%s (%s): %s", th.dir, th.kind, f)
	}
}

// Capabilities inside a user namespace that owns nothing on the host. Both processes have the capabilities for files of
// many owners: chown, dac_override, dac_read_search, fowner, fsetid.
var (
	goferCaps  = mask(0, 1, 2, 3, 4, 18) // and sys_chroot
	sentryCaps = mask(0, 1, 2, 3, 4, 19) // and sys_ptrace, for its stubs
)

func mask(bits ...int) uint64 {
	var m uint64
	for _, b := range bits {
		m |= 1 << b
	}
	return m
}

func (th thread) faults() []string {
	var faults []string
	complain := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }

	for _, key := range []string{"Uid", "Gid"} {
		for _, id := range strings.Fields(th.status[key]) {
			var n int
			if _, err := fmt.Sscan(id, &n); err != nil || n < 200000 || n >= 200000+65536 {
				complain("%s is %s", key, th.status[key])
				break
			}
		}
	}
	if g := th.status["Groups"]; g != "" {
		complain("groups are %s", g)
	}
	for key, want := range map[string]string{"NoNewPrivs": "1", "Seccomp": "2"} {
		if got := th.status[key]; got != want {
			complain("%s is %s, want %s", key, got, want)
		}
	}
	allowed := map[string]uint64{"sentry": sentryCaps, "gofer": goferCaps, "stub": sentryCaps}[th.kind]
	for _, key := range []string{"CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"} {
		var got uint64
		if _, err := fmt.Sscanf(th.status[key], "%x", &got); err != nil || got&^allowed != 0 {
			complain("%s is %s, allowed is %016x", key, th.status[key], allowed)
		}
	}
	return append(faults, th.sharedNamespaces()...)
}

// sharedNamespaces returns the namespaces that the thread shares with this test.
func (th thread) sharedNamespaces() []string {
	var faults []string
	for _, ns := range slices.Sorted(maps.Keys(map[string]int{"user": 0, "mnt": 0, "net": 0, "pid": 0, "ipc": 0, "uts": 0})) {
		theirs, err := os.Readlink(filepath.Join(th.dir, "ns", ns))
		ours, _ := os.Readlink(filepath.Join("/proc/self/ns", ns))
		if err != nil || theirs == ours {
			faults = append(faults, fmt.Sprintf("%s namespace is %s, the host's is %s (%v)", ns, theirs, ours, err))
		}
	}
	return faults
}
