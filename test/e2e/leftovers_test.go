package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

// runProgram runs the program under test until it ends, and returns its output.
func runProgram(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary(t), args...).CombinedOutput()
	return string(out), err
}

// countLeftovers counts the resources that the sessions made can leave on this machine, by kind. It ignores other
// programs.
func countLeftovers(t *testing.T, s *server, made []cellhold.SessionID) map[string]int {
	t.Helper()
	pid := s.cmd.Process.Pid
	n := map[string]int{"sandbox processes": 0, "zombies": 0, "cgroups": 0}
	s.countProcesses(made, n)
	n["mounts"] = lines(t, "/proc/self/mountinfo")
	n["mounts of the server"] = lines(t, fmt.Sprintf("/proc/%d/mountinfo", pid))
	_ = filepath.WalkDir("/sys/fs/cgroup", func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && hasCgroupOf(p, made) {
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
		// Sockets belong to the connections of clients. The database opens up to four more files for concurrent
		// reads, and keeps them open.
		if !strings.HasPrefix(to, "socket:") && !strings.Contains(to, "cellhold.db") {
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

// countProcesses counts the processes of the sandboxes, their namespaces, and zombies.
func (s *server) countProcesses(made []cellhold.SessionID, n map[string]int) {
	procs, _ := filepath.Glob("/proc/[0-9]*")
	namespaces := map[string]bool{}
	for _, p := range procs {
		line, _ := os.ReadFile(p + "/cmdline")
		groups, _ := os.ReadFile(p + "/cgroup")
		server := s.cmd.Process.Pid
		if stat, err := os.ReadFile(p + "/stat"); err == nil && (zombieOf(string(stat), server) || zombieOf(string(stat), 1)) {
			n["zombies"]++ // a zombie's cgroup does not show its session
			continue
		}
		if p == fmt.Sprintf("/proc/%d", server) || !strings.Contains(string(line), s.home) && !hasCgroupOf(string(groups), made) {
			continue
		}
		n["sandbox processes"]++
		names, _ := filepath.Glob(p + "/ns/*")
		for _, name := range names {
			if to, err := os.Readlink(name); err == nil {
				namespaces[to] = true
			}
		}
	}
	n["namespaces"] = len(namespaces)
}

// zombieOf reports whether the text of /proc/PID/stat describes a zombie whose parent is this process.
func zombieOf(stat string, parent int) bool {
	return strings.Contains(stat, fmt.Sprintf(") Z %d ", parent))
}

// hasCgroupOf reports whether paths contain a control group of these sessions.
func hasCgroupOf(paths string, made []cellhold.SessionID) bool {
	return slices.ContainsFunc(made, func(id cellhold.SessionID) bool { return strings.Contains(paths, "/cellhold/"+string(id)) })
}

// lines returns the number of lines of a file.
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

// goroutines returns the number of goroutines that the server reports. Compare it only with other numbers of the
// same server.
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
		t.Fatalf("got the status %+v, %v; want a number of goroutines", status, err)
	}
	return status.Goroutines
}

// checkThatCountsCanRise checks that the counts can show a leak: a running session must increase them.
func checkThatCountsCanRise(t *testing.T, s *server, before map[string]int) {
	t.Helper()
	id := s.session(t, client.CreateSession{})
	alive := countLeftovers(t, s, []cellhold.SessionID{id})
	want := []string{"sandbox processes", "namespaces", "descriptors of the server", "goroutines of the server", "files of sandboxes"}
	if os.Geteuid() == 0 {
		want = append(want, "cgroups")
	}
	for _, what := range want {
		if alive[what] <= before[what] {
			t.Errorf("%s: got %d with a session and %d without one, want more: otherwise the count cannot show a leak", what, alive[what], before[what])
		}
	}
	if err := s.DeleteSession(t.Context(), id); err != nil {
		t.Fatal(err)
	}
}

// createAndEnd creates, uses and ends n sessions, atOnce of them at the same time. It returns their ids.
func (s *server) createAndEnd(t *testing.T, n, atOnce int) []cellhold.SessionID {
	t.Helper()
	made := make([]cellhold.SessionID, n)
	cycle := func(i int) error {
		x, err := s.CreateSession(t.Context(), client.CreateSession{})
		if err != nil {
			return err
		}
		made[i] = x.ID
		c, err := s.Execute(t.Context(), x.ID, client.Code{Code: fmt.Sprintf("open('/mnt/data/output/f', 'w').write('x')\n%d + 1", i)})
		if err == nil && text(c) != fmt.Sprint(i+1) {
			err = fmt.Errorf("%s: %q", c.Status, text(c))
		}
		return errors.Join(err, s.DeleteSession(t.Context(), x.ID))
	}
	var all sync.WaitGroup
	for first := range atOnce {
		all.Go(func() {
			for i := first; i < n; i += atOnce {
				if err := cycle(i); err != nil {
					t.Errorf("cycle %d: %v", i, err)
				}
			}
		})
	}
	all.Wait()
	return made
}

func TestAHundredEndedSessionsLeaveNoResources(t *testing.T) {
	s := serve(t, newHome(t))
	const cycles, atOnce = 100, 3
	made := s.createAndEnd(t, atOnce, atOnce) // warm up, because the server creates and keeps some resources at first use
	before := countLeftovers(t, s, made)
	checkThatCountsCanRise(t, s, before)
	made = append(made, s.createAndEnd(t, cycles, atOnce)...)
	after := countLeftovers(t, s, made)
	for _, what := range slices.Sorted(maps.Keys(after)) {
		t.Logf("%-26s %5d before, %5d after %d cycles", what, before[what], after[what], cycles)
		slack := 0
		if what == "goroutines of the server" || what == "descriptors of the server" {
			slack = 3 // open connections of clients
		}
		if after[what] > before[what]+slack {
			t.Errorf("%s: got %d after the sessions, want at most %d", what, after[what], before[what]+slack)
		}
	}
}
