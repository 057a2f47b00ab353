package embedded_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/embedded"
	"cellhold/internal/sandbox/embedded/process"
	"cellhold/internal/sandbox/embedded/runsc"
	"cellhold/internal/sandbox/sandboxtest"
)

// ground is the directory that all tests of this package share: a root file system, the probe as guest, and the homes of
// the tests.
var ground string

// groundFlag names an existing ground: TestAsAPlainUser passes its own to a child process.
var groundFlag = flag.String("ground", "", "directory prepared by another run of this test")

func TestMain(m *testing.M) {
	runsc.Main() // this binary is its own runner
	flag.Parse()
	if *roleFlag != "" {
		os.Exit(play(*roleFlag))
	}
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	if *groundFlag != "" {
		ground = *groundFlag
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "ch")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	ground = dir
	return m.Run()
}

// prepare creates the ground once.
var prepare = sync.OnceValue(func() error {
	if *groundFlag != "" {
		return nil
	}
	if err := os.Chmod(ground, 0o755); err != nil {
		return err
	}
	for _, d := range []string{"bin", "root"} {
		if err := os.Mkdir(filepath.Join(ground, d), 0o755); err != nil {
			return err
		}
	}
	if _, err := sandboxtest.BuildProbe(filepath.Join(ground, "bin")); err != nil {
		return err
	}
	return sandboxtest.TinyRootfs(filepath.Join(ground, "root"))
})

func options(t testing.TB) embedded.Options {
	t.Helper()
	if err := prepare(); err != nil {
		t.Fatal(err)
	}
	return embedded.Options{Dir: filepath.Join(home(t), "run"), Guest: guestPath(), Runner: process.Self}
}

func open(t testing.TB) *embedded.Driver {
	t.Helper()
	d, err := embedded.New(options(t))
	if err != nil {
		t.Skipf("this host cannot run gVisor sandboxes: %v", err)
	}
	return d
}

// name returns a sandbox id that is unique to this run, because all processes of the host share the cgroups. The suite's
// ids begin in the same way.
func name(what string) string { return fmt.Sprintf("t%05d-%s", os.Getpid()%100000, what) }

func spec(id string) sandbox.Spec {
	return sandbox.Spec{
		ID:     sandbox.ID(id),
		Rootfs: filepath.Join(ground, "root"),
		Limits: sandbox.Limits{
			Memory: 256 << 20, CPU: 2, Processes: 64,
			Disk: 64 << 20, Tmp: 32 << 20, Output: 16 << 20,
		},
	}
}

func TestEmbeddedKeepsTheContract(t *testing.T) {
	options(t)
	sandboxtest.Test(t, sandboxtest.Harness{
		Open:      func(t *testing.T) sandbox.Driver { return open(t) },
		Spec:      spec(""),
		Probe:     true,
		Spoil:     spoil,
		Leftovers: leftovers,
		Parallel:  20,
		Cycles:    10,
	})
}

// spoil truncates a snapshot's largest file to half of its size.
func spoil(t *testing.T, name string) {
	t.Helper()
	file := filepath.Join(home(t), "snapshots", name, "pages.img")
	info, err := os.Stat(file)
	if err == nil {
		err = os.Truncate(file, info.Size()/2)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// leftovers counts the resources of our sandboxes on the host.
func leftovers(t *testing.T) map[string]int {
	t.Helper()
	files, err := os.ReadDir(filepath.Join(home(t), "run"))
	if err != nil {
		t.Fatal(err)
	}
	snapshots, err := os.ReadDir(filepath.Join(home(t), "snapshots"))
	if err != nil {
		t.Fatal(err)
	}
	cgroups, _ := filepath.Glob("/sys/fs/cgroup/*/cellhold/" + name("*"))
	cgroups2, _ := filepath.Glob("/sys/fs/cgroup/cellhold/" + name("*"))
	return map[string]int{
		"sandbox directories": len(files),
		"snapshots":           len(snapshots),
		"cgroups":             len(cgroups) + len(cgroups2),
		"sandbox processes":   len(sandboxProcesses(home(t) + "/")),
		"control sockets":     len(sockets()),
	}
}

// sockets finds sockets that gVisor puts elsewhere if the name of our directory is too long.
func sockets() []string {
	var found []string
	for _, dir := range []string{"/var/run", "/run", "/tmp"} {
		s, _ := filepath.Glob(filepath.Join(dir, "runsc-*.sock"))
		found = append(found, s...)
	}
	return found
}

// sandboxProcesses lists processes that have word among their arguments and gVisor's name.
func sandboxProcesses(word string) []int {
	var pids []int
	dirs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range dirs {
		b, err := os.ReadFile(f)
		if err == nil && strings.HasPrefix(string(b), "runsc") && strings.Contains(string(b), word) {
			pid, _ := strconv.Atoi(strings.Split(f, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}
