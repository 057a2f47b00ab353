package server

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"cellhold"
	"cellhold/client"
	"cellhold/internal/mcp"
)

// lifecycles are the versions of the two lifecycles of the protocol.
var lifecycles = []string{"2025-11-25", "2026-07-28"}

// bearer adds a token to each request.
type bearer struct{ token string }

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return http.DefaultTransport.RoundTrip(r)
}

// agent is an MCP client of the server.
type agent struct {
	t *testing.T
	*sdk.ClientSession
	progress chan string // messages of progress notifications
}

// agent connects as a caller. query is the query of the URL.
func (h *harness) agent(t *testing.T, token, version, query string) *agent {
	t.Helper()
	a := &agent{t: t, progress: make(chan string, 100)}
	c := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, &sdk.ClientOptions{
		ProgressNotificationHandler: func(_ context.Context, r *sdk.ProgressNotificationClientRequest) {
			select {
			case a.progress <- r.Params.Message:
			default:
			}
		},
	})
	transport := &sdk.StreamableClientTransport{Endpoint: h.url + "/mcp" + query, HTTPClient: &http.Client{Transport: bearer{token}}, MaxRetries: -1}
	var err error
	if a.ClientSession, err = c.Connect(t.Context(), transport, &sdk.ClientSessionOptions{ProtocolVersion: version}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// tool calls a tool and returns its text.
func (a *agent) tool(name string, args map[string]any) (text string, failed bool) {
	a.t.Helper()
	result := a.call(name, args)
	for _, c := range result.Content {
		if part, ok := c.(*sdk.TextContent); ok {
			text += part.Text
		}
	}
	return text, result.IsError
}

func (a *agent) call(name string, args map[string]any) *sdk.CallToolResult {
	a.t.Helper()
	result, err := a.CallTool(a.t.Context(), &sdk.CallToolParams{Name: name, Arguments: args})
	if err != nil {
		a.t.Fatal(err)
	}
	if result.StructuredContent != nil {
		a.t.Errorf("%s: got structured content, want none: programs would show only that", name)
	}
	return result
}

// ok is tool for a call that must succeed.
func (a *agent) ok(name string, args map[string]any) string {
	a.t.Helper()
	text, failed := a.tool(name, args)
	if failed {
		a.t.Fatalf("%s %v: got the error %q", name, args, text)
	}
	return text
}

func (a *agent) run(code string) string {
	a.t.Helper()
	return a.ok("run_code", map[string]any{"code": code})
}

var (
	sessionID = regexp.MustCompile(`session (s[a-z0-9]{16})`)
	cellID    = regexp.MustCompile(`cell (c[a-z0-9]{16})`)
)

// idIn returns the id in a text.
func idIn(t *testing.T, pattern *regexp.Regexp, text string) string {
	t.Helper()
	found := pattern.FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("got %q, want an id", text)
	}
	return found[1]
}

// inBoth runs a test in both lifecycles.
func inBoth(t *testing.T, test func(t *testing.T, version string)) {
	for _, version := range lifecycles {
		t.Run(version, func(t *testing.T) { test(t, version) })
	}
}

func TestAnAgentsVariablesSurviveBetweenCallsAndConnections(t *testing.T) {
	inBoth(t, func(t *testing.T, version string) {
		h := newHarness(t)
		first := h.agent(t, annToken, version, "")
		id := idIn(t, sessionID, first.run("set x 41"))
		if got := first.run("add x 1\nget x"); !strings.HasPrefix(got, "42\n[session "+id) {
			t.Errorf("the second call: got %q, want 42 in session %s", got, id)
		}
		first.Close()
		second := h.agent(t, annToken, version, "")
		if got := second.run("get x"); !strings.HasPrefix(got, "42\n[session "+id) {
			t.Errorf("another connection: got %q, want 42 in session %s", got, id)
		}
	})
}

func TestALabelSelectsAnotherDefaultSession(t *testing.T) {
	h := newHarness(t)
	one, other := h.agent(t, annToken, lifecycles[0], ""), h.agent(t, annToken, lifecycles[1], "?session=other")
	one.run("set x 1")
	if text, failed := other.tool("run_code", map[string]any{"code": "get x"}); !failed || !strings.Contains(text, "NameError") {
		t.Errorf("the other session: got %q, want a NameError", text)
	}
	req := h.request("POST", "/mcp?session=a/b", `{}`)
	if a := h.send(req); a.StatusCode != 400 || !strings.Contains(string(a.body), "invalid session name") {
		t.Errorf("an invalid label: got status %d with %s, want 400", a.StatusCode, a.body)
	}
}

func TestTwoCallsAtTheSameTimeCreateOneSession(t *testing.T) {
	h := newHarness(t)
	var calls sync.WaitGroup
	for _, version := range lifecycles {
		a := h.agent(t, annToken, version, "")
		for range 3 {
			calls.Go(func() { a.tool("run_code", map[string]any{"code": "print x"}) })
		}
	}
	calls.Wait()
	if n := len(h.manager.List("ann")); n != 1 {
		t.Errorf("got %d sessions, want 1", n)
	}
}

func TestAnEndedDefaultSessionIsReplacedAndTheAnswerSaysSo(t *testing.T) {
	h := newHarness(t)
	a := h.agent(t, annToken, lifecycles[0], "")
	id := idIn(t, sessionID, a.run("set x 1"))
	a.ok("end_session", map[string]any{"session_id": id})
	got := a.run("print hello")
	if !strings.Contains(got, "The earlier session "+id+" has ended") || !strings.Contains(got, "\nhello\n") {
		t.Errorf("got %q, want a line about the earlier session, and hello", got)
	}
	if got := a.run("print again"); strings.Contains(got, "earlier") {
		t.Errorf("the next call: got %q, want no note", got)
	}
}

func TestAFailedCallSaysThatTheDefaultSessionIsNew(t *testing.T) {
	h := newHarness(t)
	a := h.agent(t, annToken, lifecycles[0], "")
	id := idIn(t, sessionID, a.run("set x 1"))
	a.ok("end_session", map[string]any{"session_id": id})
	if text, failed := a.tool("read_file", map[string]any{"path": "x.txt"}); !failed || !strings.Contains(text, "The earlier session "+id+" has ended") || !strings.Contains(text, "no file") {
		t.Errorf("got %q, want the error and a line about the earlier session", text)
	}
}

func TestAgentsOfTwoCallersAreIsolated(t *testing.T) {
	inBoth(t, func(t *testing.T, version string) {
		h := newHarness(t)
		ann, bob := h.agent(t, annToken, version, ""), h.agent(t, bobToken, version, "")
		id := idIn(t, sessionID, ann.run("set secret 1"))
		if text := bob.ok("list_sessions", nil); strings.Contains(text, id) {
			t.Errorf("bob's sessions: got %q, want none of ann's", text)
		}
		for name, args := range map[string]map[string]any{
			"run_code": {"code": "get secret"}, "read_file": {"path": "x"}, "end_session": {}, "fork_session": {}, "wait": {"cell_id": "cq7h2w9d4kx5n3vtb"},
			"restart": {}, "checkpoint": {}, "write_file": {"path": "x", "content": "y"}, "list_files": {}, "run_command": {"command": "echo x"}, "interrupt": {},
		} {
			args["session_id"] = id
			if text, failed := bob.tool(name, args); !failed || !strings.Contains(text, "not found. Call list_sessions") {
				t.Errorf("bob's %s in ann's session: got %q, want \"not found\"", name, text)
			}
		}
		if text, failed := bob.tool("read_file", map[string]any{"path": "cellhold://" + id + "/notebook"}); !failed {
			t.Errorf("bob reads ann's notebook: got %q, want an error", text)
		}
		if _, err := bob.ReadResource(t.Context(), &sdk.ReadResourceParams{URI: "cellhold://" + id + "/notebook"}); err == nil {
			t.Error("bob reads ann's notebook as a resource: got no error")
		}
	})
}

func TestACallerCannotUseTheMCPSessionOfAnotherOne(t *testing.T) {
	h := newHarness(t)
	ann := h.agent(t, annToken, lifecycles[0], "")
	for _, method := range []string{"POST", "GET", "DELETE"} {
		req := h.request(method, "/mcp", "")
		if method == "POST" {
			req = h.request(method, "/mcp", `{"jsonrpc":"2.0","id":9,"method":"tools/list"}`)
		}
		req.Header.Set("Authorization", "Bearer "+bobToken)
		req.Header.Set("Accept", "application/json, text/event-stream")
		req.Header.Set("Mcp-Session-Id", ann.ID())
		if a := h.send(req); a.StatusCode != 403 {
			t.Errorf("%s as bob: got status %d with %s, want 403", method, a.StatusCode, a.body)
		}
	}
	ann.run("print still works")
}

// nth waits for the nth event of a type in a session, and returns its cell.
func (h *harness) nth(t *testing.T, session string, of cellhold.EventType, n int) cellhold.CellID {
	t.Helper()
	c, err := client.New(client.Options{URL: h.url, Token: annToken})
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range c.Watch(t.Context(), cellhold.SessionID(session), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Type == of {
			if n--; n == 0 {
				return e.Cell
			}
		}
	}
	t.Fatalf("the session ended without event %s", of)
	return ""
}

func TestACancelledCallInterruptsItsRunningCell(t *testing.T) {
	inBoth(t, func(t *testing.T, version string) {
		h := newHarness(t)
		a := h.agent(t, annToken, version, "")
		session := idIn(t, sessionID, a.run("set x 1"))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := a.CallTool(ctx, &sdk.CallToolParams{Name: "run_code", Arguments: map[string]any{"code": "loop"}})
			done <- err
		}()
		cell := h.nth(t, session, cellhold.EventCellStarted, 2)
		cancel()
		if err := <-done; err == nil {
			t.Error("the cancelled call: got no error")
		}
		var ended cellhold.Cell
		h.do(200, "GET", fmt.Sprintf("/v1/sessions/%s/cells/%s?wait=60s", session, cell), "").decode(t, &ended)
		if ended.Status != cellhold.StatusInterrupted {
			t.Errorf("the cell: got status %q, want interrupted", ended.Status)
		}
		if got := a.run("get x"); !strings.HasPrefix(got, "1\n") {
			t.Errorf("after the interrupt: got %q, want the variable", got)
		}
	})
}

func TestACancelledCallCancelsItsQueuedCellAndNoOther(t *testing.T) {
	inBoth(t, func(t *testing.T, version string) {
		h := newHarness(t)
		a := h.agent(t, annToken, version, "")
		session := idIn(t, sessionID, a.run("set x 1"))
		path := "/v1/sessions/" + session
		var running, queued cellhold.Cell
		h.do(202, "POST", path+"/cells", `{"code":"loop"}`).decode(t, &running)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := a.CallTool(ctx, &sdk.CallToolParams{Name: "run_code", Arguments: map[string]any{"code": "set x 2"}})
			done <- err
		}()
		h.nth(t, session, cellhold.EventCellStarted, 2)
		cell := h.nth(t, session, cellhold.EventCellQueued, 3)
		cancel()
		<-done
		h.do(200, "GET", path+"/cells/"+string(cell)+"?wait=60s", "").decode(t, &queued)
		if queued.Status != cellhold.StatusCancelled {
			t.Errorf("the queued cell: got status %q, want cancelled", queued.Status)
		}
		h.do(200, "GET", path+"/cells/"+string(running.ID), "").decode(t, &running)
		if running.State != cellhold.CellRunning {
			t.Errorf("the running cell: got state %q, want running", running.State)
		}
		a.ok("interrupt", nil)
	})
}

func TestAnExceptionIsAToolError(t *testing.T) {
	h := newHarness(t)
	a := h.agent(t, annToken, lifecycles[1], "")
	text, failed := a.tool("run_code", map[string]any{"code": "print before\nerror ValueError wrong"})
	if !failed || !strings.HasPrefix(text, "before\n") || !strings.Contains(text, "ValueError") || !strings.Contains(text, " · error · ") {
		t.Errorf("got %q, want an error with the output, the exception and the status", text)
	}
}

func TestADeadKernelIsReportedAndCanBeRestarted(t *testing.T) {
	h := newHarness(t)
	a := h.agent(t, annToken, lifecycles[0], "")
	if text, failed := a.tool("run_code", map[string]any{"code": "exit 3"}); !failed || !strings.Contains(text, "Variables are lost") {
		t.Errorf("got %q, want an error that says that variables are lost", text)
	}
	a.ok("restart", nil)
	if got := a.run("print alive"); !strings.HasPrefix(got, "alive\n") {
		t.Errorf("got %q, want alive", got)
	}
}

func TestErrorsOfTheServerAndBadArgumentsAreToolErrors(t *testing.T) {
	h := newHarness(t)
	a := h.agent(t, annToken, lifecycles[0], "")
	for _, test := range []struct {
		tool string
		args map[string]any
		want string
	}{
		{"run_code", map[string]any{"code": "x", "session_id": "sq7h2w9d4kx5n3vtb"}, "not found. Call list_sessions"},
		{"run_code", map[string]any{}, "code"},
		{"run_code", map[string]any{"code": 5}, "code"},
		{"run_code", map[string]any{"code": "x", "language": "cobol"}, `no kernel for "cobol". This session can start: python3`},
		{"run_code", map[string]any{"code": "x", "timeout": -1}, "timeout"},
		{"rollback", map[string]any{"checkpoint": "nothing"}, "not found"},
		{"read_file", map[string]any{"path": "missing.txt"}, "no file"},
		{"read_file", map[string]any{"path": "cellhold://x"}, "Invalid link"},
		{"create_session", map[string]any{"template": "nope"}, "nope"},
		{"wait", map[string]any{"cell_id": "cq7h2w9d4kx5n3vtb"}, "not found"},
		{"wait", map[string]any{"cell_id": ".."}, "not found"},
		{"list_files", map[string]any{"session_id": ".."}, "not found. Call list_sessions"},
		{"end_session", map[string]any{"session_id": ""}, "Give session_id"},
		{"end_session", map[string]any{"session_id": "."}, "not found. Call list_sessions"},
	} {
		if text, failed := a.tool(test.tool, test.args); !failed || !strings.Contains(text, test.want) {
			t.Errorf("%s %v: got error %v with %q, want an error with %q", test.tool, test.args, failed, text, test.want)
		}
	}
	if _, err := a.CallTool(t.Context(), &sdk.CallToolParams{Name: "unknown_tool"}); err == nil || !strings.Contains(err.Error(), "unknown_tool") {
		t.Errorf("an unknown tool: got %v, want an error of the protocol", err)
	}
}

func TestAFigureIsAnImageOfTheAnswer(t *testing.T) {
	h := newHarness(t)
	a := h.agent(t, annToken, lifecycles[1], "")
	const dot = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
	result := a.call("run_code", map[string]any{"code": "print before\ndisplay image/png " + dot})
	if len(result.Content) != 2 {
		t.Fatalf("got %d parts, want a text and an image", len(result.Content))
	}
	image, ok := result.Content[1].(*sdk.ImageContent)
	if !ok || image.MIMEType != "image/png" || base64.StdEncoding.EncodeToString(image.Data) != dot {
		t.Errorf("got %v, want the image", result.Content[1])
	}
}

func TestTheRestOfALongTextCanBeRead(t *testing.T) {
	h := newHarness(t)
	a := h.agent(t, annToken, lifecycles[0], "")
	text := a.run("print begin\nbig 40000\nprint end")
	if len(text) > 17000 || !strings.HasPrefix(text, "begin") {
		t.Errorf("got %d bytes, want the head and the tail in about 16,000", len(text))
	}
	uri := regexp.MustCompile(`cellhold://\S+/stdout`).FindString(text)
	part := a.ok("read_file", map[string]any{"path": uri, "offset": 39990})
	if !strings.HasPrefix(part, strings.Repeat("x", 16)+"end\n") || !strings.Contains(part, "end of the file") {
		t.Errorf("%s from 39990: got %q, want the last 16 x and end", uri, part)
	}
}

func TestFilesAreWrittenListedAndRead(t *testing.T) {
	h := newHarness(t)
	a := h.agent(t, annToken, lifecycles[0], "")
	long := strings.Repeat("0123456789", 2000)
	a.ok("write_file", map[string]any{"path": "data/numbers.txt", "content": long})
	if got := a.ok("list_files", map[string]any{"path": "data"}); !strings.HasPrefix(got, "numbers.txt  20000 bytes") {
		t.Errorf("the list: got %q, want numbers.txt", got)
	}
	first := a.ok("read_file", map[string]any{"path": "data/numbers.txt"})
	if !strings.HasPrefix(first, long[:16000]+"\n[session") || !strings.Contains(first, "read on with offset 16000]") {
		t.Errorf("the first part: got %d bytes that end with %q", len(first), first[max(0, len(first)-100):])
	}
	rest := a.ok("read_file", map[string]any{"path": "data/numbers.txt", "offset": 16000})
	if !strings.HasPrefix(rest, long[16000:]+"\n[session") || !strings.Contains(rest, "end of the file]") {
		t.Errorf("the rest: got %d bytes", len(rest))
	}
	if text, failed := a.tool("read_file", map[string]any{"path": "data/numbers.txt", "offset": 20001}); !failed || !strings.Contains(text, "Invalid offset 20001") {
		t.Errorf("behind the end: got %q, want an error", text)
	}
	a.ok("write_file", map[string]any{"path": "binary", "content": "a\x00b"})
	if text, failed := a.tool("read_file", map[string]any{"path": "binary"}); !failed || !strings.Contains(text, "not text") {
		t.Errorf("a binary file: got %q, want an error", text)
	}
}

func TestACommandGivesOutputAndExitStatus(t *testing.T) {
	h := newHarness(t)
	a := h.agent(t, annToken, lifecycles[1], "")
	if got := a.ok("run_command", map[string]any{"command": "echo hello"}); !strings.HasPrefix(got, "hello\n[session s") || !strings.Contains(got, "exit status 0") {
		t.Errorf("got %q, want hello and exit status 0", got)
	}
	if text, failed := a.tool("run_command", map[string]any{"command": "warn bad; exit 3"}); !failed || !strings.HasPrefix(text, "bad\n") || !strings.Contains(text, "exit status 3") {
		t.Errorf("got %q, want an error with bad and exit status 3", text)
	}
}

func TestForksCheckpointsAndRollbacks(t *testing.T) {
	h := newHarness(t)
	a := h.agent(t, annToken, lifecycles[0], "")
	id := idIn(t, sessionID, a.run("set x 1"))
	a.ok("checkpoint", map[string]any{"name": "one"})
	a.run("set x 2")
	fork := regexp.MustCompile(`^Session (s[a-z0-9]{16}) is a copy`).FindStringSubmatch(a.ok("fork_session", nil))
	if fork == nil {
		t.Fatal("the fork has no id")
	}
	a.ok("rollback", map[string]any{"checkpoint": "one"})
	if got := a.run("get x"); !strings.HasPrefix(got, "1\n[session "+id) {
		t.Errorf("after the rollback: got %q, want 1 in session %s", got, id)
	}
	if got := a.ok("run_code", map[string]any{"code": "get x", "session_id": fork[1]}); !strings.HasPrefix(got, "2\n") {
		t.Errorf("in the fork: got %q, want 2", got)
	}
	if got := a.ok("list_sessions", nil); !strings.Contains(got, "checkpoints: one") || strings.Count(got, "default session") != 1 {
		t.Errorf("the list: got %q, want the checkpoint and one default session", got)
	}
}

func TestProgressHasTheLastLineOfOutput(t *testing.T) {
	inBoth(t, func(t *testing.T, version string) {
		h := newHarness(t)
		a := h.agent(t, annToken, version, "")
		a.run("set x 1")
		params := &sdk.CallToolParams{Name: "run_code", Arguments: map[string]any{"code": "print step 1\nprint step 2\nloop"}}
		params.SetProgressToken("p")
		done := make(chan *sdk.CallToolResult, 1)
		go func() {
			result, _ := a.CallTool(t.Context(), params)
			done <- result
		}()
		for message := range a.progress {
			if message == "step 2" {
				break
			}
		}
		a.ok("interrupt", nil)
		if result := <-done; result == nil || !result.IsError {
			t.Errorf("the interrupted call: got %v, want an error", result)
		}
	})
}

func TestACallWithProgressEndsWithItsCell(t *testing.T) {
	h := newHarness(t)
	a, _, _ := h.local(t, mcp.Options{Wait: time.Hour, Report: time.Hour})
	params := &sdk.CallToolParams{Name: "run_code", Arguments: map[string]any{"code": "print done"}}
	params.SetProgressToken("p")
	result, err := a.CallTool(t.Context(), params)
	if err != nil || !strings.HasPrefix(result.Content[0].(*sdk.TextContent).Text, "done\n") {
		t.Errorf("got %v, %v; want done", result, err)
	}
}

func TestTheToolListIsShortAndComplete(t *testing.T) {
	inBoth(t, func(t *testing.T, version string) {
		h := newHarness(t)
		list, err := h.agent(t, annToken, version, "").ListTools(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		const most = 8 << 10
		if len(text) >= most || len(list.Tools) != 15 {
			t.Errorf("got %d tools in %d bytes, want 15 in less than %d", len(list.Tools), len(text), most)
		}
		for _, tool := range list.Tools {
			raw, _ := json.Marshal(tool)
			for _, hint := range []string{"readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"} {
				if !strings.Contains(string(raw), `"`+hint+`":`) {
					t.Errorf("%s has no %s", tool.Name, hint)
				}
			}
			for _, union := range []string{`["`, "anyOf", "oneOf", "$ref", "outputSchema"} {
				schema, _ := json.Marshal(tool.InputSchema)
				if strings.Contains(strings.ReplaceAll(string(schema), `"required":["`, ""), union) || strings.Contains(string(raw), "outputSchema") {
					t.Errorf("%s: the schema %s has %s", tool.Name, schema, union)
				}
			}
		}
	})
}

func TestNoDeprecatedCapabilityIsAnnounced(t *testing.T) {
	h := newHarness(t)
	got := h.agent(t, annToken, lifecycles[0], "").InitializeResult()
	text, err := json.Marshal(got.Capabilities)
	if err != nil || strings.Contains(string(text), "logging") || got.Capabilities.Tools == nil || got.ProtocolVersion != lifecycles[0] {
		t.Errorf("got the version %s and %s, %v; want tools without logging", got.ProtocolVersion, text, err)
	}
}

func TestResourcesAreTheFilesAndTheNotebook(t *testing.T) {
	h := newHarness(t)
	a := h.agent(t, annToken, lifecycles[1], "")
	id := idIn(t, sessionID, a.ok("write_file", map[string]any{"path": "a b.txt", "content": "hello"}))
	a.run("print in the notebook")
	for uri, want := range map[string]string{
		"cellhold://" + id + "/files/" + strings.TrimPrefix(h.workspace(t, id), "/") + "/a%20b.txt": "hello",
		"cellhold://" + id + "/notebook": "in the notebook",
	} {
		got, err := a.ReadResource(t.Context(), &sdk.ReadResourceParams{URI: uri})
		if err != nil || len(got.Contents) != 1 || !strings.Contains(got.Contents[0].Text, want) || got.CacheScope != "private" {
			t.Errorf("%s: got %v, %v; want %q, which only this caller can cache", uri, got, err, want)
		}
	}
	if _, err := a.ReadResource(t.Context(), &sdk.ReadResourceParams{URI: "cellhold://" + id + "/files/missing"}); err == nil {
		t.Error("a missing file: got no error")
	}
}

// workspace returns the directory of relative paths in a session.
func (h *harness) workspace(t *testing.T, id string) string {
	t.Helper()
	var list struct{ Entries []cellhold.FileInfo }
	h.do(200, "GET", "/v1/sessions/"+id+"/files", "").decode(t, &list)
	if len(list.Entries) == 0 {
		t.Fatal("the workspace is empty")
	}
	path := list.Entries[0].Path
	return path[:strings.LastIndex(path, "/")]
}

func TestNoTokenOfAnAgentIsInTheLog(t *testing.T) {
	h := newHarness(t)
	h.agent(t, annToken, lifecycles[0], "?session=s3cr3t").run("print s3cr3t-code")
	if log := h.log.String(); strings.Contains(log, annToken) || strings.Contains(log, "s3cr3t") || !strings.Contains(log, "caller=ann") {
		t.Errorf("got a log with a token, a query or code, or without the caller:\n%s", log)
	}
}

func TestClientsFindNoAuthorizationServer(t *testing.T) {
	h := newHarness(t)
	for _, path := range []string{"/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration", "/mcp/.well-known/openid-configuration"} {
		req := h.request("GET", path, "")
		req.Header.Del("Authorization")
		if a := h.send(req); a.StatusCode != 404 {
			t.Errorf("%s without a token: got status %d, want 404", path, a.StatusCode)
		}
	}
	req := h.request("POST", "/mcp", `{}`)
	req.Header.Del("Authorization")
	if a := h.send(req); a.StatusCode != 401 || !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer") {
		t.Errorf("/mcp without a token: got status %d and %q, want 401 and Bearer", a.StatusCode, a.Header.Get("WWW-Authenticate"))
	}
}

// local connects an agent to a server of tools in this process, over a pair of pipes, like a program that starts
// `cellhold mcp`. stop closes the agent's end and returns the error of Run.
func (h *harness) local(t *testing.T, o mcp.Options) (a *agent, tools *mcp.Server, stop func() error) {
	t.Helper()
	calls, err := client.New(client.Options{URL: h.url, Token: annToken})
	if err != nil {
		t.Fatal(err)
	}
	return h.localWith(t, o, calls)
}

// localWith is local with another client of the server.
func (h *harness) localWith(t *testing.T, o mcp.Options, calls *client.Client) (a *agent, tools *mcp.Server, stop func() error) {
	t.Helper()
	tools = mcp.New(o)
	in, toServer := io.Pipe()
	fromServer, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := tools.Run(t.Context(), mcp.Caller{Client: calls}, in, out)
		tools.Close()
		out.Close()
		done <- err
	}()
	c := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, nil)
	session, err := c.Connect(t.Context(), &sdk.IOTransport{Reader: fromServer, Writer: toServer}, nil)
	if err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceValue(func() error {
		session.Close()
		toServer.Close()
		return <-done
	})
	t.Cleanup(func() { stop() })
	return &agent{t: t, ClientSession: session}, tools, stop
}

func TestACallReturnsWhileItsCellRunsAndWaitGetsTheRest(t *testing.T) {
	h := newHarness(t)
	a, _, _ := h.local(t, mcp.Options{Wait: 100 * time.Millisecond})
	a.run("set x 1")
	text := a.run("print begin\nloop")
	if !strings.Contains(text, "still running") || !strings.Contains(text, " · running") {
		t.Fatalf("got %q, want an answer that says that the code runs", text)
	}
	cell := idIn(t, cellID, text)
	if text := a.ok("wait", map[string]any{"cell_id": cell}); !strings.HasPrefix(text, "begin\n") || !strings.Contains(text, "still running") {
		t.Errorf("wait: got %q, want the output so far", text)
	}
	a.ok("interrupt", nil)
	h.do(200, "GET", "/v1/sessions/"+idIn(t, sessionID, text)+"/cells/"+cell+"?wait=60s", "")
	if text, failed := a.tool("wait", map[string]any{"cell_id": cell}); !failed || !strings.HasPrefix(text, "begin\n") || !strings.Contains(text, "interrupted") {
		t.Errorf("wait after the end: got %q, want the output and the end", text)
	}
}

func TestARunningCommandCanBeAwaited(t *testing.T) {
	h := newHarness(t)
	a, _, _ := h.local(t, mcp.Options{Wait: 100 * time.Millisecond})
	a.run("set x 1")
	text := a.ok("run_command", map[string]any{"command": "echo begin; wait"})
	id := regexp.MustCompile(`command (x[a-z0-9]{16})`).FindStringSubmatch(text)
	if id == nil || !strings.Contains(text, "still running") {
		t.Fatalf("got %q, want an answer that says that the command runs", text)
	}
	h.do(204, "POST", "/v1/sessions/"+idIn(t, sessionID, text)+"/commands/"+id[1]+"/signal", `{"signal":"TERM"}`)
	h.do(200, "GET", "/v1/sessions/"+idIn(t, sessionID, text)+"/commands/"+id[1]+"?wait=60s", "")
	if text, failed := a.tool("wait", map[string]any{"cell_id": id[1]}); !failed || !strings.HasPrefix(text, "begin\n") || !strings.Contains(text, "signal") {
		t.Errorf("wait after the signal: got %q, want the output and the signal", text)
	}
}

func TestSessionsStayWhenTheInputOfLocalToolsEnds(t *testing.T) {
	h := newHarness(t)
	a, _, stop := h.local(t, mcp.Options{})
	id := idIn(t, sessionID, a.run("set x 1"))
	if err := stop(); err != nil {
		t.Errorf("the end of the input: got %v, want no error", err)
	}
	again, _, _ := h.local(t, mcp.Options{})
	if got := again.run("get x"); !strings.HasPrefix(got, "1\n[session "+id) {
		t.Errorf("after a new start: got %q, want 1 in session %s", got, id)
	}
}

func TestCloseEndsTheWaitOfACallAndNotItsCell(t *testing.T) {
	h := newHarness(t)
	a, tools, _ := h.local(t, mcp.Options{})
	id := idIn(t, sessionID, a.run("set x 1"))
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The answer can be lost, because the connection closes.
		_, _ = a.CallTool(t.Context(), &sdk.CallToolParams{Name: "run_code", Arguments: map[string]any{"code": "loop"}})
	}()
	cell := h.nth(t, id, cellhold.EventCellStarted, 2)
	tools.Close()
	<-done
	var running cellhold.Cell
	h.do(200, "GET", "/v1/sessions/"+id+"/cells/"+string(cell), "").decode(t, &running)
	if running.State != cellhold.CellRunning {
		t.Errorf("the cell: got state %q, want running", running.State)
	}
}
