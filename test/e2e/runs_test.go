package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"cellhold"
	"cellhold/client"
)

// checkNoRuns checks that no session and no part of a sandbox is left.
func (s *server) checkNoRuns(t *testing.T) {
	t.Helper()
	if list, err := s.Sessions(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("got the sessions %+v, %v after the runs, want none", list, err)
	}
	if left := s.leftovers(t, nil); len(left) > 0 {
		t.Errorf("got %v after the runs, want no leftovers", left)
	}
	for _, folder := range []string{"notebooks", "output"} {
		if names, _ := filepath.Glob(filepath.Join(s.home, folder, "*")); len(names) > 0 {
			t.Errorf("got the files %v after the runs, want none", names)
		}
	}
}

func TestARunHasItsFigureItsValueAndItsFiles(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	r, err := s.Run(t.Context(), cellhold.RunRequest{
		Code:  "import matplotlib.pyplot as plt, os\nplt.plot([1, 2]); plt.show()\nopen('out.csv', 'w').write(open('in.csv').read() * 2)\nprint(os.environ['WHO'])\n6 * 7",
		Files: []cellhold.RunFile{{Path: "in.csv", Content: "1,2\n"}}, Env: map[string]string{"WHO": "ann"},
	})
	if err != nil || r.Status != cellhold.RunOK || r.Stdout.Text != "ann\n" {
		t.Fatalf("got %+v, %v; want status ok and the output ann", r, err)
	}
	if len(r.Outputs) != 2 || figure(t, r.Outputs[0]) == nil || !strings.Contains(string(r.Outputs[1].Data["text/plain"]), "42") {
		t.Errorf("got the outputs %+v, want a figure and 42", r.Outputs)
	}
	if len(r.Files) != 1 || r.Files[0].Path != "/workspace/out.csv" || r.Files[0].Content != "1,2\n1,2\n" {
		t.Errorf("got the files %+v, want out.csv with both lines", r.Files)
	}
	if os.Geteuid() == 0 && (r.Usage.CPU == nil || r.Usage.PeakMemory <= 0) {
		t.Errorf("got the usage %+v, want CPU time and memory", r.Usage)
	}
	r, err = s.Run(t.Context(), cellhold.RunRequest{Code: "raise ValueError('no')"})
	if err != nil || r.Status != cellhold.RunException || r.Exception == nil || r.Exception.Name != "ValueError" {
		t.Errorf("got %+v, %v; want status error and a ValueError", r, err)
	}
	_, err = s.Run(t.Context(), cellhold.RunRequest{Code: "fn main() {}", Language: "rust"})
	if cellhold.KindOf(err) != cellhold.Invalid || !strings.Contains(err.Error(), "rustc") {
		t.Errorf("a language that the image does not have: got %v, want kind invalid and the program rustc", err)
	}
	s.checkNoRuns(t)
}

// TestAProgramThatCannotBeEndedEndsWithItsSandbox: new processes of a fork bomb come faster than the agent can end them.
func TestAProgramThatCannotBeEndedEndsWithItsSandbox(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	r, err := s.Run(t.Context(), cellhold.RunRequest{Command: ":(){ :|:& };:; sleep 100", Timeout: 1, Tests: []cellhold.RunTest{{}, {}}})
	if err != nil || r.Status != cellhold.RunFailed || len(r.Tests) != 2 || r.Tests[0].Status != cellhold.TestTimeout || r.Tests[1].Status == cellhold.TestPassed {
		t.Errorf("got %+v, %v; want a timeout and a test that did not pass", r, err)
	}
	s.checkNoRuns(t)
}

// TestHostileProgramsGetResults: none of them can delay its run, end it without a result, or leave something behind.
func TestHostileProgramsGetResults(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	yes, late := "yes", "yes\nlate"
	for name, x := range map[string]struct {
		q      cellhold.RunRequest
		status cellhold.RunStatus
	}{
		"endless output": {cellhold.RunRequest{Command: "yes", Timeout: 1}, cellhold.RunTimeout},
		"a process that survives": {cellhold.RunRequest{Command: "setsid sh -c 'sleep 100; echo late' & echo yes", Timeout: 60,
			Tests: []cellhold.RunTest{{Stdout: &yes}, {Stdout: &yes}}}, cellhold.RunOK},
		"closed streams":    {cellhold.RunRequest{Command: "exec <&- >&-; sleep 1", Stdin: strings.Repeat("x", 1<<20)}, cellhold.RunOK},
		"a signal to all":   {cellhold.RunRequest{Command: "kill -9 -1; echo yes"}, cellhold.RunOK},
		"a removed program": {cellhold.RunRequest{Code: "import os\nos.remove('main.py')\nprint('yes')", Tests: []cellhold.RunTest{{Stdout: &yes}, {Stdout: &yes}}}, cellhold.RunFailed},
		"another output":    {cellhold.RunRequest{Command: "printf 'yes\\377\\n'", Tests: []cellhold.RunTest{{Stdout: &late}}}, cellhold.RunFailed},
		"strange files":     {cellhold.RunRequest{Command: "ln -s / root; ln -s /etc/passwd users; mkfifo pipe; : > $'bad\\xff'; truncate -s 900M large"}, cellhold.RunOK},
	} {
		r, err := s.Run(t.Context(), x.q)
		if err != nil || r.Status != x.status {
			t.Errorf("%s: got %+v, %v; want status %s", name, r, err, x.status)
		}
		for _, f := range r.Files {
			if f.Content != "" || !strings.HasSuffix(f.Path, "/large") && f.Escaped == "" {
				t.Errorf("%s: got the file %+v, want only the large one and the one with the bad name", name, f)
			}
		}
	}
	s.checkNoRuns(t)
}

// grading is a batch of programs with tests. Program i should add i to its input. Only the first of each five programs does
// so. The other four fail in four ways.
func grading(n int) (batch client.Batch, want []string) {
	for i := range n {
		code, status := fmt.Sprintf("print(int(input()) + %d)", i), "passed passed"
		switch i % 5 {
		case 1:
			code, status = "print('wrong')", "failed failed"
		case 2:
			code, status = "import sys; sys.exit(input())", "error error"
		case 3:
			code, status = fmt.Sprintf("n = input()\nwhile n == '2': pass\nprint(int(n) + %d)", i), "passed timeout"
		case 4:
			code, status = "import os\nos._exit(int(input()) + 2)", "error error"
		}
		one, two := fmt.Sprint(1+i), fmt.Sprint(2+i)
		batch.Runs = append(batch.Runs, cellhold.RunRequest{Code: code, Timeout: 5,
			Tests: []cellhold.RunTest{{Stdin: "1\n", Stdout: &one}, {Stdin: "2\n", Stdout: &two}}})
		want = append(want, status)
	}
	return batch, want
}

func TestABatchOfProgramsIsGradedAndLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	batch, want := grading(20)
	batch.Parallel = 3
	got := make([]string, len(want))
	for r, err := range s.Runs(t.Context(), batch) {
		if err != nil {
			t.Fatal(err)
		}
		var words []string
		for _, x := range r.Tests {
			words = append(words, string(x.Status))
		}
		got[r.Index] += strings.Join(words, " ")
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("program %d: got %q, want %q", i, got[i], want[i])
		}
	}
	s.checkNoRuns(t)
}

// TestAKilledServerContinuesABatchAndRunsNothingTwice: the first run prints a random id, so a second execution would print
// another one. The result of a run that was in progress when the server was killed is lost.
func TestAKilledServerContinuesABatchAndRunsNothingTwice(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	batch := client.Batch{Key: "graded", Parallel: 1, Runs: []cellhold.RunRequest{
		{Command: "cat /proc/sys/kernel/random/uuid"}, {Command: "sleep 300"}, {Command: "echo later"}}}
	var first string
	for r, err := range s.Runs(t.Context(), batch) {
		if err != nil {
			t.Fatal(err)
		}
		first = r.Stdout.Text
		break
	}
	s.awaitRunningCommand(t)
	s.signal(t, syscall.SIGKILL)
	next := serve(t, s.home)
	got := map[int]cellhold.RunResult{}
	for r, err := range next.Runs(t.Context(), batch) {
		if err != nil {
			t.Fatal(err)
		}
		got[r.Index] = r
	}
	if got[0].Stdout.Text != first || first == "" || got[1].Status != cellhold.RunLost || got[2].Stdout.Text != "later\n" {
		t.Errorf("got %+v, want %q again, lost, later", got, first)
	}
	next.checkNoRuns(t)
}

// awaitRunningCommand waits until a command of the only session runs.
func (s *server) awaitRunningCommand(t *testing.T) {
	t.Helper()
	for t.Context().Err() == nil {
		list, err := s.Sessions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range list {
			for ev, err := range s.Watch(t.Context(), x.ID, 0) {
				if err == nil && ev.Type == cellhold.EventCommandStarted {
					return
				}
				if err != nil {
					break // the session of the first run has ended
				}
			}
		}
	}
}
