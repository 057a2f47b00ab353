package oneshot

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"cellhold"
)

func TestCodeIsACellOnlyForPythonWithoutAProgramsParts(t *testing.T) {
	for _, x := range []struct {
		q    cellhold.RunRequest
		cell bool
	}{
		{cellhold.RunRequest{Code: "x"}, true},
		{cellhold.RunRequest{Code: "x", Language: "Python3"}, true},
		{cellhold.RunRequest{Code: "x", Stdin: "y"}, false},
		{cellhold.RunRequest{Code: "x", Args: []string{"y"}}, false},
		{cellhold.RunRequest{Code: "x", Tests: []cellhold.RunTest{{}}}, false},
		{cellhold.RunRequest{Code: "x", Mode: cellhold.RunProgram}, false},
		{cellhold.RunRequest{Code: "x", Language: "bash"}, false},
		{cellhold.RunRequest{Code: "x", Language: "R", Mode: cellhold.RunCell}, true},
		{cellhold.RunRequest{Command: "x"}, false},
	} {
		p, err := newPlan(x.q, maxDeadline)
		if err != nil || p.cell != x.cell {
			t.Errorf("%+v: got a cell %t, %v; want %t", x.q, p.cell, err, x.cell)
		}
	}
}

func TestEachLanguageHasAFileAndAProgram(t *testing.T) {
	for name, l := range languages {
		p, err := newPlan(cellhold.RunRequest{Code: "x", Language: strings.ToUpper(name), Mode: cellhold.RunProgram}, maxDeadline)
		if err != nil || len(p.files) != 1 || p.files[0].path != l.file || len(l.run) == 0 {
			t.Errorf("%s: got the files %+v, %v; want its code and a program", name, p.files, err)
		}
		if len(l.compile) > 0 && !strings.Contains(strings.Join(l.compile, " "), l.file) {
			t.Errorf("%s: the compiler does not read %s", name, l.file)
		}
	}
	for other, name := range otherNames {
		if _, ok := languages[name]; !ok {
			t.Errorf("the other name %q leads to no language", other)
		}
	}
}

func TestTimesHaveDefaults(t *testing.T) {
	for _, x := range []struct {
		q                 cellhold.RunRequest
		timeout, deadline time.Duration
	}{
		{cellhold.RunRequest{Code: "x"}, defaultDeadline, defaultDeadline},
		{cellhold.RunRequest{Code: "x", Deadline: 5}, 5 * time.Second, 5 * time.Second},
		{cellhold.RunRequest{Code: "x", Tests: []cellhold.RunTest{{}}}, testTimeout, defaultDeadline},
		{cellhold.RunRequest{Code: "x", Timeout: 0.5}, time.Second / 2, defaultDeadline},
	} {
		if p, err := newPlan(x.q, maxDeadline); err != nil || p.timeout != x.timeout || p.deadline != x.deadline {
			t.Errorf("%+v: got %s and %s, %v; want %s and %s", x.q, p.timeout, p.deadline, err, x.timeout, x.deadline)
		}
	}
}

func TestTheServersMaximumBoundsTimeouts(t *testing.T) {
	if p, err := newPlan(cellhold.RunRequest{Code: "x"}, time.Second); err != nil || p.timeout != time.Second {
		t.Errorf("without a timeout: got %s, %v; want the maximum", p.timeout, err)
	}
	if _, err := newPlan(cellhold.RunRequest{Code: "x", Timeout: 2}, time.Second); cellhold.KindOf(err) != cellhold.Invalid {
		t.Errorf("a timeout above the maximum: got %v, want kind invalid", err)
	}
}

func TestPathsOfFilesAreCheckedBeforeASandboxStarts(t *testing.T) {
	for _, files := range [][]cellhold.RunFile{{{Path: "a/../b"}}, {{Path: "/workspace/a"}, {Path: "a"}}, {{Path: "/a//b"}, {Path: "/a/b/"}}} {
		if _, err := newPlan(cellhold.RunRequest{Code: "x", Files: files}, maxDeadline); cellhold.KindOf(err) != cellhold.Invalid {
			t.Errorf("%+v: got %v, want kind invalid", files, err)
		}
	}
	if _, err := newPlan(cellhold.RunRequest{Code: "x", Files: []cellhold.RunFile{{Path: "a..b"}, {Path: "a"}}}, maxDeadline); err != nil {
		t.Errorf("got %v, want no error", err)
	}
}

func TestArgumentsOfTestsAreCheckedBeforeCodeRuns(t *testing.T) {
	_, err := newPlan(cellhold.RunRequest{Code: "x", Tests: []cellhold.RunTest{{}, {Args: []string{"a\x00"}}}}, maxDeadline)
	if cellhold.KindOf(err) != cellhold.Invalid || !strings.Contains(err.Error(), "Test 1: ") {
		t.Errorf("got %v, want kind invalid and the test", err)
	}
}

// FuzzNewPlan: a request is either refused as invalid, or within the limits.
func FuzzNewPlan(f *testing.F) {
	f.Add([]byte(`{"code": "x", "files": [{"path": "a", "content": "aGk=", "encoding": "base64"}], "tests": [{"stdin": "1", "exit_code": 3}]}`))
	f.Add([]byte(`{"command": "x", "timeout": 1e300, "env": {"a": "b"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var q cellhold.RunRequest
		if json.Unmarshal(b, &q) != nil {
			return
		}
		p, err := newPlan(q, maxDeadline)
		if err != nil {
			if cellhold.KindOf(err) != cellhold.Invalid {
				t.Fatalf("got %v, want kind invalid", err)
			}
			return
		}
		if p.timeout <= 0 || p.timeout > maxDeadline || p.deadline <= 0 || p.deadline > maxDeadline || len(p.files) > maxFiles+1 {
			t.Fatalf("got the plan %+v, want it within the limits", p)
		}
	})
}
