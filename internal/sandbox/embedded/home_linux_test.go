package embedded_test

import (
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"cellhold/internal/sandbox/embedded"
	"cellhold/internal/sandbox/embedded/process"
)

// homeFlag is the home of the test that runs this process in a role.
var homeFlag = flag.String("home", "", "directory of the sandboxes of the test that started this process")

// homes are the directories of the tests so far, by test name.
var homes = struct {
	mu sync.Mutex
	of map[string]string
}{of: map[string]string{}}

// home returns the directory of a test's sandboxes and snapshots. Subtests share the directory of their test. Its path is
// short because of the sockets in it. The remains of a failed test, killed servers included, are removed before the next
// test. A test that passes leaves nothing.
func home(t testing.TB) string {
	t.Helper()
	if *homeFlag != "" {
		return *homeFlag
	}
	name, _, _ := strings.Cut(t.Name(), "/")
	homes.mu.Lock()
	defer homes.mu.Unlock()
	if dir := homes.of[name]; dir != "" {
		return dir
	}
	dir := filepath.Join(ground, strconv.Itoa(len(homes.of)))
	for _, sub := range []string{"", "run", "snapshots"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o711); err != nil {
			t.Fatal(err)
		}
	}
	homes.of[name] = dir
	t.Cleanup(func() { empty(t, dir) })
	return dir
}

// empty removes the sandboxes of a home after its test, even if their servers still run.
func empty(t testing.TB, dir string) {
	left, err := os.ReadDir(filepath.Join(dir, "run"))
	if err != nil {
		t.Error(err)
	}
	if len(left) == 0 {
		return
	}
	t.Errorf("the test left %d sandboxes, such as %s", len(left), left[0].Name())
	d, err := embedded.New(embedded.Options{Dir: filepath.Join(dir, "run"), Guest: guestPath(), Runner: process.Self})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	removeAll(t, d)
}

// guestPath returns the path of the probe.
func guestPath() string { return filepath.Join(ground, "bin", "guest") }
