package server

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cellhold"
	"cellhold/internal/registry"
	"cellhold/internal/sandbox"
	"cellhold/internal/server/exchange"
)

func TestACellRunsAndReturnsItsOutputs(t *testing.T) {
	h := newHarness(t)
	made := h.do(201, "POST", "/v1/sessions", `{"user":"ann/../x","metadata":{"a":"b"}}`)
	var sess cellhold.Session
	made.decode(t, &sess)
	path := made.Header.Get("Location")
	if path != "/v1/sessions/"+string(sess.ID) || sess.State != cellhold.SessionReady || len(sess.Kernels) != 1 || sess.User != "ann/../x" || sess.Meta["a"] != "b" {
		t.Errorf("got the session %+v at %s, want a ready one with the user, metadata and one kernel, at its own path", sess, path)
	}
	h.run(path, "set x 41")
	cell := h.run(path, "print hello\nadd x 1\nget x")
	if cell.Status != cellhold.StatusOK || len(cell.Outputs) != 2 || cell.Outputs[0].Text != "hello\n" || string(cell.Outputs[1].Data["text/plain"]) != `"42"` {
		t.Errorf("got the cell %+v, want status ok with the outputs hello and 42", cell)
	}
	var again cellhold.Cell
	h.do(200, "GET", path+"/cells/"+string(cell.ID), "").decode(t, &again)
	if again.ID != cell.ID || again.Status != cell.Status || len(again.Outputs) != 2 {
		t.Errorf("read the cell again: got %+v, want %+v", again, cell)
	}
	var cells CellList
	h.do(200, "GET", path+"/cells", "").decode(t, &cells)
	if len(cells.Cells) != 2 || cells.Cells[1].ID != cell.ID || cells.Cells[0].Outputs == nil {
		t.Errorf("got the cells %+v, want 2 with outputs, the last with the id %s", cells, cell.ID)
	}
	var list SessionList
	h.do(200, "GET", "/v1/sessions", "").decode(t, &list)
	if len(list.Sessions) != 1 || list.Sessions[0].ID != sess.ID {
		t.Errorf("got the sessions %+v, want one with the id %s", list, sess.ID)
	}
	h.do(204, "DELETE", path, "")
	h.do(404, "GET", path, "")
}

func TestASubmittedCellIsReturnedAtOnceAndALaterRequestWaits(t *testing.T) {
	h := newHarness(t)
	path := h.create()
	submitted := h.do(202, "POST", path+"/cells", `{"code":"sleep 50ms\nprint done"}`)
	var cell cellhold.Cell
	submitted.decode(t, &cell)
	if cell.State == cellhold.CellDone || submitted.Header.Get("Location") != path+"/cells/"+string(cell.ID) {
		t.Errorf("got the cell %+v at %s, want an unfinished cell at its own path", cell, submitted.Header.Get("Location"))
	}
	h.do(200, "GET", submitted.Header.Get("Location")+"?wait=60", "").decode(t, &cell)
	if cell.State != cellhold.CellDone || cell.Outputs[0].Text != "done\n" {
		t.Errorf("after the wait: got the cell %+v, want state done and the output done", cell)
	}
}

func TestAWaitThatEndsBeforeTheCellReturnsTheUnfinishedCell(t *testing.T) {
	h := newHarness(t)
	path := h.create()
	var cell cellhold.Cell
	h.do(202, "POST", path+"/cells?wait=10ms", `{"code":"loop"}`).decode(t, &cell)
	if cell.State == cellhold.CellDone || cell.ID == "" || !cell.WaitOver {
		t.Errorf("got the cell %+v, want an unfinished cell with WaitOver true", cell)
	}
	h.do(204, "POST", path+"/interrupt", "")
	h.do(200, "GET", path+"/cells/"+string(cell.ID)+"?wait=60s", "").decode(t, &cell)
	if cell.Status != cellhold.StatusInterrupted {
		t.Errorf("after the interrupt: got the cell %+v, want status interrupted", cell)
	}
}

func TestClosingTheConnectionDoesNotStopTheCell(t *testing.T) {
	h := newHarness(t)
	path := h.create()
	ctx, hangUp := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		req := h.request("POST", path+"/cells?wait=60s", `{"code":"set x 1\nsleep 2s\nprint finished"}`).WithContext(ctx)
		_, err := http.DefaultClient.Do(req)
		gone <- err
	}()
	// The cell has started when the history has the event cell_started.
	for after := int64(0); ; {
		var page EventPage
		h.do(200, "GET", path+"/events?wait=60s&after="+itoa(after), "").decode(t, &page)
		after = page.Next
		if has(page.Events, cellhold.EventCellStarted) {
			break
		}
	}
	hangUp()
	if err := <-gone; err == nil {
		t.Fatal("the answer came before the client closed the connection")
	}
	var cells CellList
	h.do(200, "GET", path+"/cells", "").decode(t, &cells)
	var cell cellhold.Cell
	h.do(200, "GET", path+"/cells/"+string(cells.Cells[0].ID)+"?wait=60s", "").decode(t, &cell)
	if cell.Status != cellhold.StatusOK || cell.Outputs[0].Text != "finished\n" {
		t.Errorf("got the cell %+v, want status ok and the output finished", cell)
	}
}

func itoa(n int64) string { return string(json.RawMessage(mustJSON(n))) }

func mustJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

func has(events []cellhold.Event, typ cellhold.EventType) bool {
	for _, e := range events {
		if e.Type == typ {
			return true
		}
	}
	return false
}

func TestAnExceptionIsDataAndADeadKernelCanBeRestarted(t *testing.T) {
	h := newHarness(t)
	path := h.create()
	if cell := h.run(path, "error ValueError no good"); cell.Status != cellhold.StatusError || cell.Outputs[0].ErrorName != "ValueError" {
		t.Errorf("an exception: got the cell %+v, want status error and a ValueError", cell)
	}
	if cell := h.run(path, "exit 3"); !cell.Status.Died() || cell.Cause == "" {
		t.Errorf("the end of the kernel: got the cell %+v, want a status of a dead kernel and a cause", cell)
	}
	refused := h.do(409, "POST", path+"/cells", `{"code":"print x"}`)
	var p exchange.Problem
	refused.decode(t, &p)
	if p.Kind != cellhold.Conflict || refused.Header.Get("Content-Type") != exchange.ProblemType || p.RequestID != refused.Header.Get("X-Request-Id") {
		t.Errorf("a cell for a dead kernel: got %s, want kind conflict and the id of the request", refused.body)
	}
	var sess cellhold.Session
	h.do(200, "POST", path+"/restart", "").decode(t, &sess)
	if sess.Kernels[0].State != cellhold.KernelIdle {
		t.Errorf("after the restart: got the session %+v, want an idle kernel", sess)
	}
	if cell := h.run(path, "print back"); cell.Status != cellhold.StatusOK {
		t.Errorf("after the restart: got the cell %+v, want status ok", cell)
	}
}

func TestEventsAreReadInPagesAfterANumber(t *testing.T) {
	h := newHarness(t)
	path := h.create()
	h.run(path, "print one\nprint two")
	var all, rest EventPage
	h.do(200, "GET", path+"/events", "").decode(t, &all)
	if len(all.Events) == 0 || all.Next != int64(len(all.Events)) || all.Events[0].Seq != 1 {
		t.Fatalf("all events: got %+v, want events from number 1, and their count as next", all)
	}
	h.do(200, "GET", path+"/events?after=2&limit=1", "").decode(t, &rest)
	if len(rest.Events) != 1 || rest.Next != 3 || rest.Events[0].Seq != 3 {
		t.Errorf("one event after 2: got %+v, want event 3", rest)
	}
	h.do(200, "GET", path+"/events?wait=1ms&after="+itoa(all.Next), "").decode(t, &rest)
	if len(rest.Events) != 0 || rest.Next != all.Next {
		t.Errorf("events after the last one: got %+v, want 0 and next %d", rest, all.Next)
	}
}

// stream opens a stream of server-sent events.
func (h *harness) stream(path, lastID string) (*http.Response, *bufio.Scanner) {
	h.t.Helper()
	req := h.request("GET", path, "")
	req.Header.Set("Accept", "text/event-stream")
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { res.Body.Close() })
	return res, bufio.NewScanner(res.Body)
}

// until reads a stream up to an event of that type, and returns the ids.
func until(t *testing.T, lines *bufio.Scanner, typ string) (ids []string) {
	t.Helper()
	for lines.Scan() {
		if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
			ids = append(ids, id)
		}
		if lines.Text() == "event: "+typ {
			return ids
		}
	}
	t.Fatalf("the stream ended with %v, want the event %s", lines.Err(), typ)
	return nil
}

func TestEventsAreStreamedLiveAndFromTheLastId(t *testing.T) {
	h := newHarness(t)
	path := h.create()
	res, lines := h.stream(path+"/events", "")
	if res.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("got the Content-Type %s, want text/event-stream", res.Header.Get("Content-Type"))
	}
	h.do(202, "POST", path+"/cells", `{"code":"print one"}`)
	ids := until(t, lines, "cell_done")
	res.Body.Close()

	_, lines = h.stream(path+"/events?after=1", ids[len(ids)-2])
	if again := until(t, lines, "cell_done"); len(again) != 1 || again[0] != ids[len(ids)-1] {
		t.Errorf("after the event %s: got %v, want only %s", ids[len(ids)-2], again, ids[len(ids)-1])
	}
	go h.send(h.request("DELETE", path, ""))
	until(t, lines, "session_ended")
	for lines.Scan() { // the server ends the stream
	}
	if lines.Err() != nil {
		t.Errorf("the stream ended with %v, want no error", lines.Err())
	}
}

func TestAStreamAfterTheLastEventOfAnEndedSessionIs204(t *testing.T) {
	t.Parallel() // most of its time, the test waits
	h := newHarnessWith(t, func(o *registry.Options) { o.IdleTimeout = 2 * time.Second }, nil)
	path := h.create()
	_, lines := h.stream(path+"/events", "")
	ids := until(t, lines, "session_ended")
	res, _ := h.stream(path+"/events", ids[len(ids)-1])
	if res.StatusCode != 204 {
		t.Errorf("a stream after the last event: got status %d, want 204", res.StatusCode)
	}
	_, lines = h.stream(path+"/events?after=1", "")
	until(t, lines, "session_ended") // old events can still be read
}

func TestAQuietStreamSendsComments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newRecorder()
		out, _ := newEventWriter(t.Context(), w)
		out.KeepAlive(keepAlive, out.comment)
		<-time.After(3*keepAlive + time.Second) // of the fake clock
		out.Close()
		if got := w.Body.String(); got != strings.Repeat(": still here\n\n", 3) {
			t.Errorf("got %q, want 3 comments", got)
		}
	})
}

func TestLineBreaksInAnEventStartNoOtherEvent(t *testing.T) {
	w := newRecorder()
	out, _ := newEventWriter(t.Context(), w)
	defer out.Close()
	e := cellhold.Event{Seq: 7, Type: "x\nid: 9", Content: json.RawMessage("{\"a\":\n\n\"b\\n\\nid: 8\"}")}
	if err := out.event(e); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(w.Body.String(), "\n"); len(lines) != 5 || lines[0] != "id: 7" || lines[1] != "event: message" || lines[3] != "" {
		t.Errorf("got %q, want one event with the id 7 and the type message", w.Body)
	}
}

func TestStreamsAndWaitsEndAtShutdown(t *testing.T) {
	h := newHarness(t)
	path := h.create()
	h.run(path, "print one")
	_, lines := h.stream(path+"/events?stream=sse", "")
	ids := until(t, lines, "cell_done")
	waited := make(chan answered)
	go func() { waited <- h.send(h.request("POST", path+"/cells?wait=60s", `{"code":"loop"}`)) }()
	started := until(t, lines, "cell_started")
	h.server.waiters.SendAway()
	until(t, lines, "bye")
	lines.Scan()
	var bye Bye
	if err := json.Unmarshal([]byte(strings.TrimPrefix(lines.Text(), "data: ")), &bye); err != nil {
		t.Fatal(err)
	}
	if bye.Kind != cellhold.Unavailable || bye.After < int64(len(ids)+len(started)) {
		t.Errorf("got bye %+v after the events %v and %v, want kind unavailable and at least the last number", bye, ids, started)
	}
	var cell cellhold.Cell
	a := <-waited
	a.decode(t, &cell)
	if a.StatusCode != 202 || !cell.WaitOver || cell.State == cellhold.CellDone {
		t.Errorf("a waiting request: got status %d with %+v, want 202 with an unfinished cell and WaitOver true", a.StatusCode, cell)
	}
}

func TestTheNotebookIsDownloaded(t *testing.T) {
	h := newHarness(t)
	path := h.create()
	h.run(path, "print one")
	a := h.do(200, "GET", path+"/notebook", "")
	var nb struct {
		NBFormat int `json:"nbformat"`
		Cells    []struct {
			Source any `json:"source"`
		} `json:"cells"`
	}
	a.decode(t, &nb)
	if nb.NBFormat != 4 || len(nb.Cells) != 1 || a.Header.Get("Content-Type") != notebookType ||
		!strings.HasPrefix(a.Header.Get("Content-Disposition"), `attachment; filename="s`) {
		t.Errorf("got %v with %s, want a notebook of format 4 with one cell, as an attachment", a.Header, a.body)
	}
	h.do(404, "GET", path+"/output/no/such.png", "")
	var files FileList
	h.do(200, "GET", path+"/output", "").decode(t, &files)
	if files.Files == nil || len(files.Files) != 0 {
		t.Errorf("got the files %+v, want an empty list", files)
	}
}

func TestOutputFilesAreDownloadedAsAttachments(t *testing.T) {
	h := newHarness(t)
	path := h.create()
	sess, err := h.manager.Session(t.Context(), "ann", cellhold.SessionID(strings.TrimPrefix(path, "/v1/sessions/")))
	if err != nil {
		t.Fatal(err)
	}
	guest := filepath.Join(h.world.OutputDir(sandbox.ID(sess.Record().Sandbox)), "plots")
	if err := os.MkdirAll(guest, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(guest, "a b?.html"), []byte("<script>alert(1)</script>"), 0o644); err != nil {
		t.Fatal(err)
	}
	h.run(path, "print written")
	var files FileList
	h.do(200, "GET", path+"/output", "").decode(t, &files)
	if len(files.Files) != 1 || files.Files[0].Path != "plots/a b?.html" || files.Files[0].Size != 25 || files.Files[0].Modified.IsZero() {
		t.Fatalf("got the files %+v, want plots/a b?.html of 25 bytes with a time", files)
	}
	target := path + "/output/plots/a%20b%3F.html"
	a := h.do(200, "GET", target, "")
	if string(a.body) != "<script>alert(1)</script>" {
		t.Errorf("got the content %s, want that of the file", a.body)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/octet-stream", "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'",
		"Content-Disposition": `attachment; filename="a b?.html"`, "Accept-Ranges": "bytes", "Content-Length": "25",
	} {
		if got := a.Header.Get(name); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	req := h.request("GET", target, "")
	req.Header.Set("Range", "bytes=1-6")
	if a := h.send(req); a.StatusCode != 206 || string(a.body) != "script" {
		t.Errorf("a range: got status %d with %s, want 206 with script", a.StatusCode, a.body)
	}
	for _, bad := range []string{"plots", "plots/", "plots/..%2Fplots%2Fa%20b%3F.html", "%2Fetc%2Fpasswd", "..%2f..%2f..%2fetc%2fpasswd", "plots/a%20b%3F.html/", "plots%00"} {
		if a := h.send(h.request("GET", path+"/output/"+bad, "")); a.StatusCode == 200 {
			t.Errorf("%s: got status 200 with %s, want an error", bad, a.body)
		}
	}
}

func TestErrorsOfInvalidRequestsNameTheFault(t *testing.T) {
	h := newHarness(t)
	path := h.create()
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		detail                   string
	}{
		{"misspelt member", "POST", path + "/cells", `{"code":"1","timout":3}`, 422, "timout"},
		{"misspelt limit", "POST", "/v1/sessions", `{"limits":{"memroy":1}}`, 422, "memroy"},
		{"misspelt query", "POST", path + "/cells?wiat=3", `{"code":"1"}`, 422, "wiat"},
		{"no code", "POST", path + "/cells", `{}`, 422, "code"},
		{"code that is no text", "POST", path + "/cells", `{"code":7}`, 422, "code"},
		{"negative timeout", "POST", path + "/cells", `{"code":"1","timeout":-1}`, 422, "timeout"},
		{"endless timeout", "POST", path + "/cells", `{"code":"1","timeout":1e300}`, 422, "timeout"},
		{"broken JSON", "POST", path + "/cells", `{"code":`, 400, "JSON"},
		{"a form", "POST", path + "/cells", `code=1`, 415, "application/json"},
		{"bad wait", "POST", path + "/cells?wait=soon", `{"code":"1"}`, 422, "wait"},
		{"wait that is no number", "POST", path + "/cells?wait=NaN", `{"code":"1"}`, 422, "wait"},
		{"negative wait", "GET", path + "/events?wait=-3s", ``, 422, "wait"},
		{"bad number", "GET", path + "/events?after=x", ``, 422, "after"},
		{"unknown kernel", "POST", path + "/cells", `{"code":"1","kernel":"cobol"}`, 404, "cobol"},
		{"unknown cell", "GET", path + "/cells/cnone", ``, 404, "cell"},
		{"unknown cell, waiting", "GET", path + "/cells/cnone?wait=1s", ``, 404, "cell"},
		{"unknown image", "POST", "/v1/sessions", `{"image":"nope"}`, 404, "nope"},
		{"nowhere", "GET", "/v1/nowhere", ``, 404, "/docs"},
		{"wrong method", "PUT", path, `{}`, 405, "method"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := h.do(tt.status, tt.method, tt.path, tt.body)
			var p exchange.Problem
			a.decode(t, &p)
			if p.Status != tt.status || p.Kind == "" || p.RequestID == "" || !strings.Contains(strings.ToLower(string(a.body)), strings.ToLower(tt.detail)) {
				t.Errorf("got %s, want a problem with status %d, a kind, a request id and the word %q", a.body, tt.status, tt.detail)
			}
		})
	}
}

func TestAnAnswer405ListsTheAllowedMethods(t *testing.T) {
	h := newHarness(t)
	if allow := h.do(405, "PUT", "/v1/sessions", "{}").Header.Get("Allow"); allow != "GET, HEAD, POST" {
		t.Errorf("PUT /v1/sessions: got Allow %s, want GET, HEAD, POST", allow)
	}
	if allow := h.do(405, "GET", "/execute", "").Header.Get("Allow"); allow != "POST" {
		t.Errorf("GET /execute: got Allow %s, want POST", allow)
	}
}

func TestBodiesAboveTheLimitAre413(t *testing.T) {
	h := newHarness(t)
	path := h.create()
	large := strings.Repeat("x", exchange.MaxCode+1)
	h.do(413, "POST", path+"/cells", `{"code":"`+large+`"}`)
	h.do(413, "POST", "/execute", `{"user_id":"ann","code":"`+large+`"}`)
	huge := `{"code":"` + strings.Repeat("x", exchange.MaxBody) + `"}`
	for _, target := range []string{path + "/cells", "/execute", "/start_session"} {
		h.do(413, "POST", target, huge)
		chunked := h.request("POST", target, "{")
		chunked.Body, chunked.ContentLength = io.NopCloser(io.MultiReader(strings.NewReader(huge))), -1
		if a := h.send(chunked); a.StatusCode != 413 && target != "/start_session" {
			t.Errorf("%s without a length: got status %d with %s, want 413", target, a.StatusCode, a.body)
		}
	}
}

func TestReadyIs503DuringShutdown(t *testing.T) {
	h := newHarness(t)
	h.do(200, "GET", "/v1/ready", "")
	var v Version
	h.do(200, "GET", "/v1/version", "").decode(t, &v)
	if v.Version != "test" || v.API != "v1" {
		t.Errorf("got the version %+v, want test of API v1", v)
	}
	h.server.draining.Store(true)
	h.do(503, "GET", "/v1/ready", "")
	h.do(200, "GET", "/v1/health", "")
}
