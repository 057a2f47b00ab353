package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"cellhold"
	"cellhold/internal/record"
	"cellhold/internal/registry"
)

// runCode runs one request, and returns its result.
func (h *harness) runCode(body string) cellhold.RunResult {
	h.t.Helper()
	var r cellhold.RunResult
	h.do(200, "POST", "/v1/run", body).decode(h.t, &r)
	return r
}

// checkNothingLeft checks that no session and no sandbox exists. The server cannot run code after it, because the sandboxes
// get another owner.
func (h *harness) checkNothingLeft() {
	h.t.Helper()
	if list := h.manager.List("ann"); len(list) > 0 {
		h.t.Errorf("got the sessions %+v after the runs, want none", list)
	}
	boxes, err := h.world.Open().List(h.t.Context())
	if err != nil || len(boxes) > 0 {
		h.t.Errorf("got the sandboxes %+v, %v after the runs, want none", boxes, err)
	}
}

func TestARunOfACellHasTextDisplaysAndTheException(t *testing.T) {
	h := newHarness(t)
	r := h.runCode(`{"code": "print hello\nwarn you\ndisplay image/png aGk=\nerror ValueError no"}`)
	if r.Status != cellhold.RunException || r.Stdout.Text != "hello\n" || r.Stderr.Text != "you\n" || r.Exit == nil || *r.Exit != 1 {
		t.Errorf("got %+v, want status error, stdout hello, stderr you, exit status 1", r)
	}
	if r.Exception == nil || r.Exception.Name != "ValueError" || r.Exception.Value != "no" {
		t.Errorf("got the exception %+v, want ValueError: no", r.Exception)
	}
	if len(r.Outputs) != 1 || r.Outputs[0].Data["image/png"] == nil {
		t.Errorf("got the outputs %+v, want one figure", r.Outputs)
	}
	if r.Usage == nil || r.Usage.Wall <= 0 {
		t.Errorf("got the usage %+v, want a time", r.Usage)
	}
	h.checkNothingLeft()
}

func TestARunOfAProgramHasInputArgumentsAndAnExitStatus(t *testing.T) {
	h := newHarness(t)
	r := h.runCode(`{"code": "cat\nexit 3", "stdin": "line\n"}`)
	if r.Status != cellhold.RunExit || r.Stdout.Text != "line\n" || r.Exit == nil || *r.Exit != 3 || len(r.Outputs) > 0 {
		t.Errorf("got %+v, want status exit, stdout line, exit status 3, no outputs", r)
	}
	if r := h.runCode(`{"command": "bytes 300000"}`); r.Stdout.Bytes != 300000 || r.Stdout.Encoding != "base64" || r.Stdout.Omitted == 0 {
		t.Errorf("got %d bytes in %q with %d omitted, want 300000 in base64 with some omitted", r.Stdout.Bytes, r.Stdout.Encoding, r.Stdout.Omitted)
	}
	if r := h.runCode(`{"command": "wait", "timeout": 0.1}`); r.Status != cellhold.RunTimeout || r.Exit != nil {
		t.Errorf("got %+v, want status timeout and no exit status", r)
	}
	if r := h.runCode(`{"code": "wait", "mode": "program", "deadline": 0.5}`); r.Status != cellhold.RunTimeout {
		t.Errorf("at the deadline: got %+v, want status timeout", r)
	}
	h.checkNothingLeft()
}

func TestARunReturnsItsChangedFiles(t *testing.T) {
	h := newHarness(t)
	r := h.runCode(`{"command": "write new text; write old changed", "files": [{"path": "old", "content": "a"}, {"path": "kept/same", "content": "aGk=", "encoding": "base64"}]}`)
	var got []string
	for _, f := range r.Files {
		got = append(got, filepath.Base(f.Path)+"="+f.Content)
	}
	if want := []string{"new=text\n", "old=changed\n"}; !slices.Equal(got, want) {
		t.Errorf("got the files %q, want %q", got, want)
	}
	if r := h.runCode(`{"command": "python3 kept/same", "files": [{"path": "kept/same", "content": "` + base64.StdEncoding.EncodeToString([]byte("echo hi")) + `", "encoding": "base64"}]}`); r.Stdout.Text != "hi\n" {
		t.Errorf("got the output %q of a decoded file, want hi", r.Stdout.Text)
	}
}

func TestTestsOfARunPassFailTimeOutOrEndWithAnError(t *testing.T) {
	h := newHarness(t)
	table := []struct{ test, want string }{
		{`{"stdin": "a  \nb\n\n", "stdout": "a\nb"}`, "passed"},
		{`{"stdin": "a", "stdout": "b"}`, "failed"},
		{`{"stdin": "a", "stdout": "a\n", "match": "exact"}`, "failed"},
		{`{"stdin": "a\n", "stdout": "a\n", "match": "exact"}`, "passed"},
		{`{"stdin": "a", "exit_code": 3}`, "error"},
		{`{"stdin": "a"}`, "passed"},
		{`{"stdin": "` + strings.Repeat("long ", 40_000) + `", "stdout": "` + strings.Repeat("long ", 40_000) + `", "match": "exact"}`, "passed"},
		{`{"stdin": "` + strings.Repeat("long ", 40_000) + `", "stdout": "` + strings.Repeat("long ", 39_999) + `other"}`, "failed"},
	}
	var tests []string
	for _, x := range table {
		tests = append(tests, x.test)
	}
	r := h.runCode(`{"code": "cat", "tests": [` + strings.Join(tests, ",") + `]}`)
	if r.Status != cellhold.RunFailed || r.Passed != 4 || len(r.Tests) != len(table) {
		t.Fatalf("got status %s, %d passed of %d; want failed, 4 of %d", r.Status, r.Passed, len(r.Tests), len(table))
	}
	for i, x := range table {
		if got := r.Tests[i]; string(got.Status) != x.want || len(got.Stdout.Text) > 2<<10 {
			t.Errorf("test %.60s: got %s (%s) with %d bytes of text, want %s with at most 2 KiB", x.test, got.Status, got.Cause, len(got.Stdout.Text), x.want)
		}
	}
	r = h.runCode(`{"command": "wait", "timeout": 0.1, "tests": [{}, {}]}`)
	if r.Status != cellhold.RunFailed || len(r.Tests) != 2 || r.Tests[1].Status != cellhold.TestTimeout {
		t.Errorf("got %+v, want status failed and two timeouts", r)
	}
	if r := h.runCode(`{"code": "cat", "tests": [{"stdin": "1", "stdout": "1"}]}`); r.Status != cellhold.RunOK {
		t.Errorf("got %+v, want status ok if all tests pass", r)
	}
	h.checkNothingLeft()
}

func TestTheOutputsOfManyTestsAreBounded(t *testing.T) {
	h := newHarness(t)
	r := h.runCode(`{"command": "bytes 5000", "tests": [{}` + strings.Repeat(`,{}`, 299) + `]}`)
	size := 0
	for _, x := range r.Tests {
		size += len(x.Stdout.Text) + len(x.Stdout.Tail)
	}
	last := r.Tests[len(r.Tests)-1].Stdout
	if r.Passed != 300 || size < 1<<19 || size > 3<<19 || last.Bytes != 5000 || last.Omitted != 5000 {
		t.Errorf("got %d passed, %d bytes of outputs, and at the end %+v; want 300, about 1 MiB, and only a size", r.Passed, size, last)
	}
}

// TestARunWithoutRoomInItsSandboxIsNotTriedAgain: Exhausted from the sandbox does not mean that no session is free.
func TestARunWithoutRoomInItsSandboxIsNotTriedAgain(t *testing.T) {
	h := newHarnessWith(t, func(o *registry.Options) { o.MaxUpload = 4 }, nil)
	all := h.lines("", `{"runs": [{"code": "print x", "files": [{"path": "a", "content": "12345"}]}]}`)
	if r := all[0]; r.Status != cellhold.RunRefused || r.Error == nil || r.Error.Kind != cellhold.Exhausted {
		t.Errorf("got %+v, want refused with exhausted", r)
	}
	h.checkNothingLeft()
}

// TestTheNumberOfPassedTestsIsAlwaysThere: a grader must not need a default.
func TestTheNumberOfPassedTestsIsAlwaysThere(t *testing.T) {
	h := newHarness(t)
	for _, body := range []string{`{"command": "cat", "tests": [{"stdout": "x"}]}`, `{"code": "print x"}`} {
		a := h.send(h.request("POST", "/v1/run", body))
		if !strings.Contains(string(a.body), `"passed":0`) || !strings.Contains(string(a.body), `"tests":[`) {
			t.Errorf("%s: got %s, want passed and tests", body, a.body)
		}
	}
}

// TestAWaitingRequestDoesNotKeepItsBody: many requests with one key could otherwise fill the server's memory.
func TestAWaitingRequestDoesNotKeepItsBody(t *testing.T) {
	h, store := newWatched(t)
	body := `{"runs": [{"command": "wait", "files": [{"path": "a", "content": "` + strings.Repeat("x", 4<<20) + `"}]}]}`
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	send := func() {
		req := h.request("POST", "/v1/runs", body).WithContext(ctx)
		req.Header.Set("Idempotency-Key", "k")
		res, err := http.DefaultClient.Do(req) // returns when the server has the runs
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.Body.Close() })
	}
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // the first one moves the buffers of pools to a second place
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	send()
	<-store.begun
	before := heap()
	for range 10 {
		send()
	}
	if more := heap() - before; more > 20<<20 {
		t.Errorf("got %d MiB more memory for 10 waiting requests, want nearly none", more>>20)
	}
}

func TestAnInvalidRunIsRefusedWithARemedy(t *testing.T) {
	h := newHarness(t)
	for body, want := range map[string]string{
		`{}`:                                 "code or command",
		`{"code": "x", "command": "y"}`:      "code or command",
		`{"code": "x", "language": "cobol"}`: "use one of bash, c,",
		`{"code": "x", "mode": "cell", "stdin": "x"}`:                                  "use the mode program",
		`{"code": "x", "mode": "cell", "language": "rust"}`:                            "use the mode program",
		`{"command": "x", "args": ["y"]}`:                                              "into the line",
		`{"code": "x", "stdin": "y", "tests": [{}]}`:                                   "with each test",
		`{"code": "x", "mode": "program", "files": [{"path":"main.py","content":""}]}`: "rename one",
		`{"code": "x", "files": [{"path":"a","content":"?","encoding":"base64"}]}`:     "base64",
		`{"code": "x", "image": "other"}`:                                              "other",
		`{"code": "x", "surprise": 1}`:                                                 "surprise",
		`{"code": "x", "tests": [{"match": "fuzzy"}]}`:                                 "match",
		`{"code": "x", "env": {"1": "x"}}`:                                             "variable name",
		`{"code": "missing", "language": "rust"}`:                                      "no program rustc, which the language rust needs",
	} {
		a := h.send(h.request("POST", "/v1/run", body))
		if a.StatusCode != 422 && a.StatusCode != 404 || !strings.Contains(string(a.body), strings.Trim(string(mustJSON(want)), `"`)) {
			t.Errorf("%s: got status %d with %s, want 422 or 404 and %q", body, a.StatusCode, a.body, want)
		}
	}
	h.checkNothingLeft()
}

// lines sends a batch, and returns its results by index.
func (h *harness) lines(key, body string) map[int]cellhold.RunResult {
	h.t.Helper()
	req := h.request("POST", "/v1/runs", body)
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	a := h.send(req)
	if a.StatusCode != 200 || a.Header.Get("Content-Type") != "application/x-ndjson" {
		h.t.Fatalf("got status %d with %s, want 200 and lines", a.StatusCode, a.body)
	}
	all := map[int]cellhold.RunResult{}
	for line := range bytes.Lines(a.body) {
		var r cellhold.RunResult
		if err := json.Unmarshal(line, &r); err != nil {
			h.t.Fatalf("%v in %s", err, line)
		}
		if _, twice := all[r.Index]; twice {
			h.t.Errorf("got the result %d twice", r.Index)
		}
		all[r.Index] = r
	}
	return all
}

func TestABatchAnswersEachRunOnce(t *testing.T) {
	h := newHarnessWith(t, func(o *registry.Options) { o.MaxSessions = 4 }, nil)
	var runs []string
	for i := range 12 {
		runs = append(runs, fmt.Sprintf(`{"command": "echo %d"}`, i))
	}
	runs = append(runs, `{"code": "print x", "image": "unknown"}`)
	all := h.lines("", `{"parallel": 5, "runs": [`+strings.Join(runs, ",")+`]}`)
	for i := range 12 {
		if got, want := all[i].Stdout.Text, fmt.Sprintln(i); got != want {
			t.Errorf("run %d: got the output %q, want %q", i, got, want)
		}
	}
	if r := all[12]; len(all) != 13 || r.Status != cellhold.RunRefused || r.Error == nil || r.Error.Kind != cellhold.NotFound {
		t.Errorf("got %d results, the last %+v; want 13, and refused with not_found", len(all), r)
	}
	h.checkNothingLeft()
}

func TestARunEndsWhenItsCallerLeaves(t *testing.T) {
	for path, body := range map[string]string{"/v1/run": `{"command": "wait"}`, "/v1/runs": `{"runs": [{"command": "wait"}]}`} {
		h, store := newWatched(t)
		ctx, leave := context.WithCancel(t.Context())
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			if res, err := http.DefaultClient.Do(h.request("POST", path, body).WithContext(ctx)); err == nil {
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
		}()
		<-store.begun
		leave()
		<-gone
		<-store.deleted
		h.checkNothingLeft()
	}
}

// watchedStore tells when a command begins that waits, and when a session is deleted.
type watchedStore struct {
	registry.Store
	begun, deleted chan struct{}
}

func newWatched(t *testing.T) (*harness, *watchedStore) {
	t.Helper()
	w := &watchedStore{begun: make(chan struct{}, 100), deleted: make(chan struct{}, 100)}
	return newHarnessWith(t, func(o *registry.Options) { w.Store, o.Store = o.Store, w }, nil), w
}

func (w *watchedStore) AppendCommands(ctx context.Context, id cellhold.SessionID, evs []record.Event, commands ...record.Command) error {
	err := w.Store.AppendCommands(ctx, id, evs, commands...)
	for _, c := range commands {
		if strings.Contains(c.Line, "wait") && c.State == cellhold.CommandRunning && len(evs) > 0 && evs[0].Type == cellhold.EventCommandStarted {
			w.begun <- struct{}{}
		}
	}
	return err
}

func (w *watchedStore) DeleteSession(ctx context.Context, id cellhold.SessionID) error {
	err := w.Store.DeleteSession(ctx, id)
	w.deleted <- struct{}{}
	return err
}

func TestARequestWithTheSameKeyGetsTheSameRuns(t *testing.T) {
	h := newHarness(t)
	const batch = `{"runs": [{"command": "echo a; exit 1"}, {"command": "echo b"}]}`
	first, again := h.lines("k", batch), h.lines("k", batch)
	if len(first) != 2 || len(again) != 2 || again[0].Usage.Wall != first[0].Usage.Wall || again[1].Usage.Wall != first[1].Usage.Wall {
		t.Errorf("got %+v and then %+v, want the same results", first, again)
	}
	req := h.request("POST", "/v1/runs", `{"runs": [{"command": "echo other"}]}`)
	req.Header.Set("Idempotency-Key", "k")
	if a := h.send(req); a.StatusCode != 409 {
		t.Errorf("other runs with the key: got status %d with %s, want 409", a.StatusCode, a.body)
	}
	for range 2 {
		req := h.request("POST", "/v1/run", `{"command": "echo one"}`)
		req.Header.Set("Idempotency-Key", "one")
		a := h.send(req)
		var r cellhold.RunResult
		a.decode(t, &r)
		if r.Stdout.Text != "one\n" {
			t.Errorf("got %s, want the output one", a.body)
		}
	}
	req = h.request("POST", "/v1/run", `{"command": "echo one"}`)
	req.Header.Set("Idempotency-Key", "one")
	req.Header.Set("Authorization", "Bearer "+bobToken)
	if a := h.send(req); a.StatusCode != 200 {
		t.Errorf("the key of another caller: got status %d with %s, want a run of its own", a.StatusCode, a.body)
	}
	h.checkNothingLeft()
}

func TestABatchWithAKeyContinuesWithoutItsCaller(t *testing.T) {
	h := newHarness(t)
	const batch = `{"runs": [{"code": "cat\necho end", "stdin": "x\n"}, {"command": "wait", "timeout": 0.2}]}`
	ctx, leave := context.WithCancel(t.Context())
	req := h.request("POST", "/v1/runs", batch).WithContext(ctx)
	req.Header.Set("Idempotency-Key", "k")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	leave()
	res.Body.Close()
	all := h.lines("k", batch)
	if all[0].Stdout.Text != "x\nend\n" || all[1].Status != cellhold.RunTimeout {
		t.Errorf("got %+v, want both results", all)
	}
}

// TestNothingRunsTwiceAfterARestart: the first server ends while a run of the batch is in progress.
func TestNothingRunsTwiceAfterARestart(t *testing.T) {
	h, store := newWatched(t)
	const batch = `{"parallel": 1, "runs": [{"command": "echo done"}, {"command": "wait"}, {"command": "echo later"}]}`
	req := h.request("POST", "/v1/runs", batch)
	req.Header.Set("Idempotency-Key", "k")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	first, err := bufio.NewReader(res.Body).ReadString('\n')
	if err != nil || !strings.Contains(first, "done") {
		t.Fatalf("got the line %q, %v; want the result of the first run", first, err)
	}
	<-store.begun
	h.server.runs.Close()
	<-store.deleted // of the first run
	<-store.deleted

	next, _ := newServer(t, h.manager, nil)
	hs := httptest.NewServer(next.Handler())
	t.Cleanup(hs.Close)
	t.Cleanup(next.runs.Close)
	h.url = hs.URL
	all := h.lines("k", batch)
	if all[0].Stdout.Text != "done\n" || all[1].Status != cellhold.RunLost || all[2].Stdout.Text != "later\n" {
		t.Errorf("got %s, want done, lost, later", mustJSON(all))
	}
	if !strings.Contains(first, fmt.Sprint(all[0].Usage.Wall)) {
		t.Errorf("the first run ran again: got %v s, and before %s", all[0].Usage.Wall, first)
	}
}
