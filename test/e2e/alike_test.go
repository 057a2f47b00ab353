package e2e

import (
	"embed"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

// alike has one list of cells in each file. A line that starts with "# %%" starts a cell.
//
//go:embed testdata/alike/*.py
var alike embed.FS

// kinds has the ways in which a session can start. Code must not see a difference between them.
var kinds = []string{"cold", "restored", "ready"}

// TestColdRestoredAndReadySessionsGiveTheSameOutputs runs each list of cells in three sessions: a cold one, one
// restored from a template, and a warm one. A cell that ends with an AssertionError fails the test, even if it
// does so in all three sessions.
func TestColdRestoredAndReadySessionsGiveTheSameOutputs(t *testing.T) {
	t.Parallel()
	files, err := alike.ReadDir("testdata/alike")
	if err != nil {
		t.Fatal(err)
	}
	s := templated(t, newHome(t), "--warm=1", "--templates=[{name: ready}, {name: restored, warm: 0}]")
	s.awaitTemplate(t, "restorable", func(x cellhold.Template) bool {
		return x.Name == "restored" && x.State == cellhold.TemplateReady
	})
	for _, f := range files {
		t.Run(f.Name(), func(t *testing.T) {
			code, err := alike.ReadFile("testdata/alike/" + f.Name())
			if err != nil {
				t.Fatal(err)
			}
			s.compare(t, cellsOf(t, string(code)))
		})
	}
}

// cellsOf splits a file into its cells. Only comments can come before the first cell.
func cellsOf(t *testing.T, file string) []string {
	t.Helper()
	var cells []string
	for line := range strings.Lines(file) {
		if strings.HasPrefix(line, "# %%") {
			cells = append(cells, "")
		} else if len(cells) > 0 {
			cells[len(cells)-1] += line
		} else if !strings.HasPrefix(line, "#") {
			t.Fatalf("the line %q comes before the first cell, want a line that starts with \"# %%%%\" before it", line)
		}
	}
	return cells
}

// compare runs the cells in one session of each kind, at the same time, and compares the outputs.
func (s *server) compare(t *testing.T, cells []string) {
	t.Helper()
	if len(cells) == 0 {
		t.Fatalf("the file has 0 cells, want at least one: a line that starts with \"# %%\" starts a cell")
	}
	results := map[string][]string{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, kind := range kinds {
		id := s.sessionOf(t, kind)
		defer s.end(t, id)
		all.Go(func() {
			got := s.runAll(t, id, cells)
			mu.Lock()
			defer mu.Unlock()
			results[kind] = got
		})
	}
	all.Wait()
	for i, code := range cells {
		cold := nth(results["cold"], i)
		if strings.Contains(cold, `"ename":"AssertionError"`) {
			t.Errorf("an assertion of cell %d failed:\n%s\n%s", i+1, code, cold)
		}
		for _, kind := range kinds[1:] {
			if got := nth(results[kind], i); got != cold {
				from := firstDifference(cold, got)
				t.Errorf("cell %d: the outputs differ, want those of the cold session:\n%s\ncold:     …%.300s\n%-9s …%.300s", i+1, code, cold[from:], kind+":", got[from:])
			}
		}
	}
}

// firstDifference returns a position shortly before the first difference of two texts, so that messages show
// some common text.
func firstDifference(a, b string) int {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	return max(0, i-60)
}

func nth(list []string, i int) string {
	if i >= len(list) {
		return "(did not run)"
	}
	return list[i]
}

// kernelFile matches the folder in the file name that a kernel gives to a cell's code. The number is the process
// id of the kernel.
var kernelFile = regexp.MustCompile(`/tmp/ipykernel_[0-9]+/`)

// runAll runs cells one after the other, and returns the status, number and outputs of each. It removes the
// ids of displays, which are random.
func (s *server) runAll(t *testing.T, id cellhold.SessionID, cells []string) []string {
	seen := make([]string, 0, len(cells))
	for _, code := range cells {
		c, err := s.Execute(t.Context(), id, client.Code{Code: code, Timeout: 2 * time.Minute})
		if err != nil {
			t.Errorf("%s: %v", code, err)
			return seen
		}
		for i := range c.Outputs {
			c.Outputs[i].DisplayID = ""
		}
		outputs, err := json.Marshal(c.Outputs)
		if err != nil {
			t.Errorf("%s: %v", code, err)
			return seen
		}
		seen = append(seen, fmt.Sprintf("%s %s [%d] %s", c.Status, c.Cause, c.ExecutionCount, kernelFile.ReplaceAll(outputs, []byte("/tmp/ipykernel/"))))
	}
	return seen
}

// imported is a shell line that tests whether the kernel has imported the modules of the warm-up. It reads /proc,
// because a cell would change the kernel.
const imported = `grep -qs _multiarray_umath /proc/[0-9]*/maps && echo imported || echo not`

// sessionOf creates a session of a kind, and verifies the kind. The sandbox of a warm session is older than the
// session. A cold session comes from no snapshot.
func (s *server) sessionOf(t *testing.T, kind string) cellhold.SessionID {
	t.Helper()
	request := client.CreateSession{Template: "ready"}
	switch kind {
	case "cold":
		request = client.CreateSession{Limits: cellhold.Limits{Disk: 1 << 29}}
	case "restored":
		request = client.CreateSession{Template: "restored"}
	default:
		s.awaitReady(t, 1)
	}
	id := s.session(t, request)
	x, err := s.Session(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	own, err := filepath.Glob(filepath.Join(s.home, "run", string(id)+"*")) // a warm sandbox does not have the session's id as its name
	if err != nil {
		t.Fatal(err)
	}
	snapshot := s.line(t, id, imported) == "imported\n"
	if snapshot != (kind != "cold") || (len(own) > 0) != (kind != "ready") || kind != "cold" && x.Template != kind {
		t.Fatalf("the session is not %s: template %q, sandbox %q, from a snapshot: %t; want a session of this kind", kind, x.Template, own, snapshot)
	}
	return id
}
