package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"cellhold"
	"cellhold/client"
)

// leftOut has the parts of the document that the package does not send, with the reason for each. The key is an operation,
// or an operation and a parameter or field.
var leftOut = map[string]string{
	"upload-files":                      "it is the form of browsers and curl; WriteFile and UnpackDir upload files",
	"connect-kernel":                    "it is a WebSocket; Channels has its URL and its header for a library",
	"start-command wait":                "WaitCommand waits, and survives a broken connection",
	"get-cell-text limit":               "Text copies the whole text to a writer, which needs no limit",
	"read-events limit":                 "Watch reads a stream, which has no pages",
	"read-events wait":                  "Watch reads a stream",
	"read-events stream":                "Watch asks for a stream with the header Accept",
	"read-events Last-Event-ID":         "it is the header of browsers; Watch sends after",
	"read-command-events limit":         "WatchCommand reads a stream, which has no pages",
	"read-command-events wait":          "WatchCommand reads a stream",
	"read-command-events stream":        "WatchCommand asks for a stream with the header Accept",
	"read-command-events Last-Event-ID": "it is the header of browsers; WatchCommand sends after",
}

// calls has, for each operation, calls of the package that send it with all its parameters and fields.
var calls = map[string]func(context.Context, *client.Client){
	"health":        func(ctx context.Context, c *client.Client) { _ = c.Health(ctx) },
	"ready":         func(ctx context.Context, c *client.Client) { _ = c.Ready(ctx) },
	"version":       func(ctx context.Context, c *client.Client) { _, _ = c.Version(ctx) },
	"status":        func(ctx context.Context, c *client.Client) { _, _ = c.Status(ctx) },
	"run":           func(ctx context.Context, c *client.Client) { _, _ = c.RunWithKey(ctx, "k", wholeRun) },
	"list-sessions": func(ctx context.Context, c *client.Client) { _, _ = c.Sessions(ctx) },
	"run-batch": func(ctx context.Context, c *client.Client) {
		for range c.Runs(ctx, client.Batch{Runs: []cellhold.RunRequest{{Code: "1"}}, Parallel: 2, Key: "k"}) {
		}
	},
	"create-session": func(ctx context.Context, c *client.Client) {
		_, _ = c.CreateSession(ctx, client.CreateSession{User: "u", Template: "t", Image: "i", Startup: "s", Figures: &cellhold.Figures{DPI: 1},
			Limits: cellhold.Limits{CPU: 1}, Egress: &cellhold.Egress{}, Secrets: []cellhold.Secret{{}}, Metadata: map[string]string{"a": "b"},
			Env: map[string]string{"A": "b"}, Dir: "/", Lifetime: 1, AtDeadline: cellhold.DeadlineEnd, Resume: cellhold.ResumeOnUse, PublicPorts: true, Key: "k"})
	},
	"list-templates": func(ctx context.Context, c *client.Client) { _, _ = c.Templates(ctx) },
	"get-session":    func(ctx context.Context, c *client.Client) { _, _ = c.Session(ctx, "s1") },
	"delete-session": func(ctx context.Context, c *client.Client) { _ = c.DeleteSession(ctx, "s1") },
	"set-deadline": func(ctx context.Context, c *client.Client) {
		_, _ = c.SetDeadline(ctx, "s1", 1, cellhold.DeadlineHibernate)
	},
	"list-cells": func(ctx context.Context, c *client.Client) { _, _ = c.Cells(ctx, "s1") },
	"submit-cell": func(ctx context.Context, c *client.Client) {
		_, _ = c.Execute(ctx, "s1", client.Code{Code: "1", Kernel: "k", Timeout: time.Second, Env: map[string]string{"A": "b"},
			OnError: cellhold.OnErrorCancel, AllowStdin: true, Figures: &cellhold.Figures{DPI: 1}, Key: "k"})
	},
	"get-cell":      func(ctx context.Context, c *client.Client) { _, _ = c.Wait(ctx, "s1", "c1") },
	"cancel-cell":   func(ctx context.Context, c *client.Client) { _, _ = c.Cancel(ctx, "s1", "c1") },
	"answer-input":  func(ctx context.Context, c *client.Client) { _ = c.Answer(ctx, "s1", "c1", 7, "x") },
	"get-cell-text": func(ctx context.Context, c *client.Client) { _ = c.Text(ctx, "s1", "c1", "stdout", 1, io.Discard) },
	"interrupt":     func(ctx context.Context, c *client.Client) { _ = c.InterruptCell(ctx, "s1", "k", "c1") },
	"restart":       func(ctx context.Context, c *client.Client) { _, _ = c.Restart(ctx, "s1", "k") },
	"read-events": func(ctx context.Context, c *client.Client) {
		for range c.Watch(ctx, "s1", 3) {
		}
	},
	"list-kernels":     func(ctx context.Context, c *client.Client) { _, _ = c.Kernels(ctx, "s1") },
	"add-kernel":       func(ctx context.Context, c *client.Client) { _, _ = c.AddKernelIn(ctx, "s1", "bash", "b", "/") },
	"delete-kernel":    func(ctx context.Context, c *client.Client) { _ = c.DeleteKernel(ctx, "s1", "b") },
	"list-kernelspecs": func(ctx context.Context, c *client.Client) { _, _ = c.KernelSpecs(ctx, "s1") },
	"get-notebook":     func(ctx context.Context, c *client.Client) { _ = c.Export(ctx, "s1", "k", "py", io.Discard) },
	"import-notebook":  func(ctx context.Context, c *client.Client) { _, _ = c.Import(ctx, "s1", []byte("{}"), true) },
	"list-egress":      func(ctx context.Context, c *client.Client) { _, _ = c.Attempts(ctx, "s1") },
	"hibernate":        func(ctx context.Context, c *client.Client) { _, _ = c.Hibernate(ctx, "s1") },
	"resume":           func(ctx context.Context, c *client.Client) { _, _ = c.Resume(ctx, "s1") },
	"fork":             func(ctx context.Context, c *client.Client) { _, _ = c.Fork(ctx, "s1", 2, "n") },
	"list-checkpoints": func(ctx context.Context, c *client.Client) { _, _ = c.Checkpoints(ctx, "s1") },
	"make-checkpoint":  func(ctx context.Context, c *client.Client) { _, _ = c.Checkpoint(ctx, "s1", "n") },
	"delete-checkpoint": func(ctx context.Context, c *client.Client) {
		_ = c.DeleteCheckpoint(ctx, "s1", "n")
	},
	"rollback":      func(ctx context.Context, c *client.Client) { _, _ = c.Rollback(ctx, "s1", "n") },
	"list-commands": func(ctx context.Context, c *client.Client) { _, _ = c.Commands(ctx, "s1") },
	"start-command": func(ctx context.Context, c *client.Client) {
		_, _ = c.StartCommand(ctx, "s1", client.Run{Line: "x", Args: []string{"x"}, Env: map[string]string{"A": "b"}, Dir: "/", Timeout: time.Second,
			Terminal: &cellhold.Terminal{Rows: 1, Cols: 1}, Tag: "t", NoInput: true})
	},
	"get-command": func(ctx context.Context, c *client.Client) { _, _ = c.WaitCommand(ctx, "s1", "x1") },
	"end-command": func(ctx context.Context, c *client.Client) { _ = c.EndCommand(ctx, "s1", "x1") },
	"read-command-events": func(ctx context.Context, c *client.Client) {
		for range c.WatchCommand(ctx, "s1", "x1", 3) {
		}
	},
	"resize-command": func(ctx context.Context, c *client.Client) {
		_ = c.ResizeCommand(ctx, "s1", "x1", cellhold.Terminal{Rows: 1, Cols: 1})
	},
	"signal-command": func(ctx context.Context, c *client.Client) { _ = c.SignalCommand(ctx, "s1", "x1", "TERM") },
	"write-command-input": func(ctx context.Context, c *client.Client) {
		_, _ = c.WriteCommand(ctx, "s1", "x1", []byte("x"), 1, true)
	},
	"list-directory": func(ctx context.Context, c *client.Client) {
		_, _, _ = c.ListDirUpTo(ctx, "s1", "/", 3)
		_, _ = c.ListDir(ctx, "s1", "/two pages")
	},
	"stat-file":      func(ctx context.Context, c *client.Client) { _, _ = c.StatFile(ctx, "s1", "f") },
	"make-directory": func(ctx context.Context, c *client.Client) { _ = c.MakeDir(ctx, "s1", "f") },
	"move-file":      func(ctx context.Context, c *client.Client) { _ = c.MoveFile(ctx, "s1", "f", "g", true) },
	"remove-file":    func(ctx context.Context, c *client.Client) { _ = c.RemoveFile(ctx, "s1", "f", true) },
	"download-file":  func(ctx context.Context, c *client.Client) { _, _ = c.ReadFileFrom(ctx, "s1", "f", 1) },
	"upload-file": func(ctx context.Context, c *client.Client) {
		_, _ = c.WriteFile(ctx, "s1", "f", strings.NewReader("x"), 0o600)
	},
	"download-archive": func(ctx context.Context, c *client.Client) { _, _ = c.PackDir(ctx, "s1", "f", "tar") },
	"upload-archive":   func(ctx context.Context, c *client.Client) { _ = c.UnpackDir(ctx, "s1", "f", strings.NewReader("x")) },
	"watch-directory": func(ctx context.Context, c *client.Client) {
		for range c.WatchDir(ctx, "s1", "f", true) {
		}
	},
	"list-files":    func(ctx context.Context, c *client.Client) { _, _ = c.Files(ctx, "s1") },
	"get-file":      func(ctx context.Context, c *client.Client) { _, _ = c.OpenFile(ctx, "s1", "a/b.csv") },
	"list-packages": func(ctx context.Context, c *client.Client) { _, _ = c.Packages(ctx, "s1") },
	"install-packages": func(ctx context.Context, c *client.Client) {
		_, _ = c.Install(ctx, "s1", client.InstallPackages{Requirements: []string{"x"}, File: "y"})
	},
	"lock-packages":  func(ctx context.Context, c *client.Client) { _, _ = c.Lock(ctx, "s1") },
	"remove-package": func(ctx context.Context, c *client.Client) { _, _ = c.RemovePackage(ctx, "s1", "x") },
	"complete":       func(ctx context.Context, c *client.Client) { _, _ = c.Complete(ctx, "s1", "k1", "x", 1) },
	"inspect":        func(ctx context.Context, c *client.Client) { _, _ = c.Inspect(ctx, "s1", "k1", "x", 1, 1) },
	"is-complete":    func(ctx context.Context, c *client.Client) { _, _ = c.IsComplete(ctx, "s1", "k1", "x") },
	"get-history":    func(ctx context.Context, c *client.Client) { _, _ = c.History(ctx, "s1", "k1", 5) },
	"get-ports":      func(ctx context.Context, c *client.Client) { _, _ = c.Ports(ctx, "s1") },
	"use-port": func(ctx context.Context, c *client.Client) {
		_, _ = c.UsePort(ctx, "s1", client.PortRequest{Port: 8000, Path: "a/b.html?x=1"})
	},
}

// wholeRun is a run with all fields.
var wholeRun = cellhold.RunRequest{Code: "1", Language: "python", Mode: cellhold.RunCell, Command: "x", Args: []string{"a"}, Stdin: "x",
	Files: []cellhold.RunFile{{Path: "f"}}, Packages: []string{"p"}, Env: map[string]string{"A": "b"}, Template: "t", Image: "i",
	Limits: cellhold.Limits{CPU: 1}, Egress: &cellhold.Egress{}, Timeout: 1, Deadline: 1, Tests: []cellhold.RunTest{{}}}

func TestThePackageSendsEachOperationOfTheDocumentWithAllItsFields(t *testing.T) {
	operations := documented(t)
	for _, id := range slices.Sorted(maps.Keys(operations)) {
		call := calls[id]
		if call == nil {
			if leftOut[id] == "" {
				t.Errorf("%s: no call sends it; add it to package client, or a reason to leftOut", id)
			}
			continue
		}
		sent := &recorder{parts: map[string]bool{}, operation: operations[id]}
		c := newClient(t, client.Options{URL: "http://server", HTTP: &http.Client{Transport: sent}, Patience: time.Nanosecond})
		call(t.Context(), c)
		for _, problem := range sent.problems {
			t.Errorf("%s: %s", id, problem)
		}
		for _, part := range operations[id].parts {
			if sent.parts[part] == (leftOut[id+" "+part] != "") {
				t.Errorf("%s: %s is sent: %t; it must be sent, or have a reason in leftOut", id, part, sent.parts[part])
			}
		}
		for part := range sent.parts {
			if !slices.Contains(operations[id].parts, part) {
				t.Errorf("%s: sends %s, which is not in the document", id, part)
			}
		}
	}
	for id := range calls {
		if _, known := operations[id]; !known || leftOut[id] != "" {
			t.Errorf("%s: not an operation of the document, or also in leftOut", id)
		}
	}
}

// operation is one operation of the document.
type operation struct {
	method string
	path   *regexp.Regexp
	parts  []string // names of the parameters in the query and in headers, and of the fields of a JSON body
}

// documented returns the operations of /v1 in the committed document, by their ids.
func documented(t *testing.T) map[string]operation {
	t.Helper()
	text, err := os.ReadFile("../api/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]struct {
			ID         string `yaml:"operationId"`
			Parameters []struct{ Name, In string }
			Body       struct {
				Content map[string]struct {
					Schema struct {
						Ref string `yaml:"$ref"`
					}
				}
			} `yaml:"requestBody"`
		}
		Components struct {
			Schemas map[string]struct{ Properties map[string]any }
		}
	}
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	all := map[string]operation{}
	for path, methods := range doc.Paths {
		if !strings.HasPrefix(path, "/v1/") {
			continue
		}
		pattern := strings.ReplaceAll(regexp.MustCompile(`\{\w+\}`).ReplaceAllString(path, "[^/]+"), "/[^/]+$", "/.+$")
		if strings.HasSuffix(path, "{path}") {
			pattern = strings.TrimSuffix(pattern, "[^/]+") + ".+"
		}
		for method, o := range methods {
			op := operation{method: strings.ToUpper(method), path: regexp.MustCompile("^" + pattern + "$")}
			for _, p := range o.Parameters {
				if p.In != "path" {
					op.parts = append(op.parts, p.Name)
				}
			}
			for _, content := range o.Body.Content {
				schema := doc.Components.Schemas[content.Schema.Ref[strings.LastIndexByte(content.Schema.Ref, '/')+1:]]
				op.parts = append(op.parts, slices.Collect(maps.Keys(schema.Properties))...)
			}
			all[o.ID] = op
		}
	}
	if len(all) < 50 {
		t.Fatalf("the document has %d operations, want all of /v1", len(all))
	}
	return all
}

// recorder answers requests, and records the parts that it got.
type recorder struct {
	operation operation
	parts     map[string]bool
	problems  []string
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != r.operation.method || !r.operation.path.MatchString(req.URL.EscapedPath()) {
		r.problems = append(r.problems, fmt.Sprintf("sends %s %s, want %s %s", req.Method, req.URL, r.operation.method, r.operation.path))
	}
	if !strings.Contains(req.URL.Path, "/ports/8000/") { // there, the query belongs to the program
		for name := range req.URL.Query() {
			r.parts[name] = true
		}
	}
	for _, name := range []string{"Idempotency-Key", "Range", "Last-Event-ID"} {
		if req.Header.Get(name) != "" {
			r.parts[name] = true
		}
	}
	if req.Body != nil {
		text, _ := io.ReadAll(req.Body)
		req.Body.Close()
		var fields map[string]any
		if req.Header.Get("Content-Type") == "application/json" && json.Unmarshal(text, &fields) == nil {
			for name := range fields {
				r.parts[name] = true
			}
		}
	}
	status, body := http.StatusOK, `{"state":"done","entries":[],"attempts":[]}`
	switch path := req.URL.Path; {
	case strings.HasSuffix(path, "/events"):
		status, body = http.StatusNoContent, ""
	case path == "/v1/runs":
		body = `{"index":0}` + "\n"
	case strings.HasSuffix(path, "/files") && strings.Contains(req.URL.RawQuery, "two") && !req.URL.Query().Has("after"):
		body = `{"entries":[{"path":"/a"}],"next":"a"}`
	case strings.HasSuffix(path, "/cells") && req.Method == http.MethodPost:
		body = `{"id":"c1","state":"done"}`
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(bytes.NewBufferString(body)), Request: req}, nil
}

func TestAnAnswerOfAPortIsThatOfTheProgramUnlessTheServerRefused(t *testing.T) {
	hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/sessions/s1/ports/8000/lost":
			w.Header().Set("Content-Type", "text/plain")
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, r.Method+" "+r.URL.RawQuery+" "+r.Header.Get("Authorization"))
		default:
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusBadGateway)
			_, _ = io.WriteString(w, `{"kind":"not_found","detail":"No program listens on port 9000 of the sandbox."}`)
		}
	}))
	defer hs.Close()
	c := newClient(t, client.Options{URL: hs.URL, Token: "t"})
	res, err := c.UsePort(t.Context(), "s1", client.PortRequest{Method: "PUT", Port: 8000, Path: "/lost?x=1"})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if text, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusNotFound || string(text) != "PUT x=1 Bearer t" {
		t.Errorf("got status %d, %q and %v; want the program's 404 and its text", res.StatusCode, text, err)
	}
	if _, err := c.UsePort(t.Context(), "s1", client.PortRequest{Port: 9000}); cellhold.KindOf(err) != cellhold.NotFound {
		t.Errorf("got %v, want a not_found error", err)
	}
}

func TestARequestToAPortStaysAtThePort(t *testing.T) {
	c := newClient(t, client.Options{URL: "http://server", HTTP: &http.Client{Transport: &recorder{parts: map[string]bool{}}}})
	for _, r := range []client.PortRequest{{Port: 0}, {Port: 70000}, {Port: 80, Path: "../../x"}, {Port: 80, Path: "a/%2e%2e/b"}, {Port: 80, Path: `a%5c..%5cb`}, {Port: 80, Path: "%zz"}} {
		if _, err := c.UsePort(t.Context(), "s1", r); cellhold.KindOf(err) != cellhold.Invalid {
			t.Errorf("port %d, path %q: got %v, want an invalid error before a request", r.Port, r.Path, err)
		}
	}
}
