package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cellhold/client"
)

// command runs the program to its end and returns all that it printed.
func command(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary(t), args...).CombinedOutput()
	return string(out), err
}

// count is how many there are of each kind of thing that a session could leave behind.
func count(t *testing.T, s *server) map[string]int {
	t.Helper()
	pid := s.cmd.Process.Pid
	n := map[string]int{"sandbox processes": 0, "zombies": 0, "cgroups": 0}
	names, err := filepath.Glob("/proc/[0-9]*/ns/*")
	if err != nil {
		t.Fatal(err)
	}
	namespaces := map[string]bool{}
	for _, name := range names {
		if to, err := os.Readlink(name); err == nil {
			namespaces[to] = true
		}
	}
	n["namespaces"] = len(namespaces)
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		if line, err := os.ReadFile(p + "/cmdline"); err == nil && strings.Contains(string(line), "runsc") {
			n["sandbox processes"]++
		}
		if stat, err := os.ReadFile(p + "/stat"); err == nil && strings.Contains(string(stat), ") Z ") {
			n["zombies"]++
		}
	}
	n["mounts"] = lines(t, "/proc/self/mountinfo")
	n["mounts of the server"] = lines(t, fmt.Sprintf("/proc/%d/mountinfo", pid))
	_ = filepath.WalkDir("/sys/fs/cgroup", func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(p, "cellhold/") {
			n["cgroups"]++
		}
		return nil
	})
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name()))
		if !strings.HasPrefix(to, "socket:") { // of the clients' connections
			n["descriptors of the server"]++
		}
	}
	n["goroutines of the server"] = goroutines(t, s)
	files, _ := filepath.Glob(filepath.Join(s.home, "run", "*", "*"))
	n["files of sandboxes"] = len(files)
	notebooks, _ := filepath.Glob(filepath.Join(s.home, "notebooks", "*"))
	n["notebooks"] = len(notebooks)
	outputs, _ := filepath.Glob(filepath.Join(s.home, "output", "*"))
	n["output folders"] = len(outputs)
	return n
}

func lines(t *testing.T, path string) int {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for r := bufio.NewScanner(f); r.Scan(); {
		n++
	}
	return n
}

// goroutines asks the server, which counts itself, so the number is comparable only with itself.
func goroutines(t *testing.T, s *server) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/v1/status", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var status struct{ Goroutines int }
	if err := decode(res.Body, &status); err != nil || status.Goroutines == 0 {
		t.Fatalf("status: %+v, %v", status, err)
	}
	return status.Goroutines
}

// checkThatCountsCanRise makes sure that a leak would be seen: a living session must show.
func checkThatCountsCanRise(t *testing.T, s *server, before map[string]int) {
	t.Helper()
	id := s.session(t, client.CreateSession{})
	alive := count(t, s)
	want := []string{"sandbox processes", "namespaces", "descriptors of the server", "goroutines of the server", "files of sandboxes"}
	if os.Geteuid() == 0 {
		want = append(want, "cgroups")
	}
	for _, what := range want {
		if alive[what] <= before[what] {
			t.Errorf("%s: %d without a session and %d with one: the count sees nothing", what, before[what], alive[what])
		}
	}
	if err := s.DeleteSession(t.Context(), id); err != nil {
		t.Fatal(err)
	}
}

func TestAHundredSessionsLeaveNothingBehind(t *testing.T) {
	s := serve(t, newHome(t))
	cycle := func(i int) {
		id := s.session(t, client.CreateSession{})
		if got := s.must(t, id, fmt.Sprintf("open('/mnt/data/output/f', 'w').write('x')\n%d + 1", i)); got != fmt.Sprint(i+1) {
			t.Errorf("cycle %d: %q", i, got)
		}
		if err := s.DeleteSession(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	cycle(0) // what is made once and kept
	before := count(t, s)
	checkThatCountsCanRise(t, s, before)
	const cycles = 100
	for i := range cycles {
		cycle(i)
	}
	after := count(t, s)
	for _, what := range slices.Sorted(maps.Keys(after)) {
		t.Logf("%-26s %5d before, %5d after %d cycles", what, before[what], after[what], cycles)
		slack := 0
		if what == "goroutines of the server" || what == "descriptors of the server" || what == "namespaces" {
			slack = 3 // connections that come and go, and other programs of this machine
		}
		if after[what] > before[what]+slack {
			t.Errorf("%s: %d before, %d after", what, before[what], after[what])
		}
	}
}
