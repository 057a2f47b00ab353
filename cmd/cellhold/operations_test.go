package main

import (
	"bytes"
	"cellhold/internal/cli/console"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"gopkg.in/yaml.v3"
)

// reached has, for each operation of /v1, a command line that sends it. The page about the command line has this table.
var reached = map[string]string{
	"health": "status", "ready": "status", "version": "status", "status": "status",
	"list-sessions": "session ls", "create-session": "session new", "get-session": "session show SESSION", "delete-session": "session rm SESSION",
	"set-deadline": "session deadline SESSION 30m", "read-events": "session events SESSION",
	"hibernate": "session hibernate SESSION", "resume": "session resume SESSION", "fork": "session fork SESSION",
	"list-checkpoints": "session checkpoint SESSION", "make-checkpoint": "session checkpoint SESSION NAME",
	"delete-checkpoint": "session checkpoint --rm SESSION NAME", "rollback": "session rollback SESSION NAME",
	"submit-cell": "submit SESSION CODE", "list-cells": "cell ls SESSION", "get-cell": "cell show SESSION CELL", "get-cell-text": "cell text SESSION CELL",
	"cancel-cell": "cell cancel SESSION CELL", "answer-input": "cell answer SESSION CELL TEXT",
	"list-kernels": "kernel ls SESSION", "list-kernelspecs": "kernel specs SESSION", "add-kernel": "kernel add SESSION SPEC", "delete-kernel": "kernel rm SESSION KERNEL",
	"interrupt": "kernel interrupt SESSION", "restart": "kernel restart SESSION",
	"start-command": "exec SESSION PROGRAM", "read-command-events": "exec SESSION PROGRAM", "write-command-input": "exec SESSION PROGRAM",
	"list-commands": "command ls SESSION", "get-command": "command show SESSION COMMAND", "signal-command": "command signal SESSION COMMAND", "end-command": "command end SESSION COMMAND",
	"list-directory": "file ls SESSION", "stat-file": "file show SESSION PATH", "download-file": "file cat SESSION PATH", "upload-file": "file write SESSION PATH",
	"make-directory": "file mkdir SESSION PATH", "move-file": "file mv SESSION PATH NEW", "remove-file": "file rm SESSION PATH", "watch-directory": "file watch SESSION",
	"download-archive": "cp SESSION:. FOLDER", "upload-archive": "cp . SESSION:FOLDER",
	"list-files": "output ls SESSION", "get-file": "output get SESSION PATH",
	"get-notebook": "notebook export SESSION", "import-notebook": "notebook import SESSION NOTEBOOK",
	"list-packages": "package ls SESSION", "install-packages": "install SESSION PACKAGE", "lock-packages": "package lock SESSION", "remove-package": "package rm SESSION PACKAGE",
	"list-egress": "egress ls SESSION", "get-ports": "port show SESSION", "use-port": "port request SESSION 8000",
	"run": "once CODE", "run-batch": "batch RUNS", "list-templates": "template ls",
}

// notReached has the operations without a command in the table, with the reason for each.
var notReached = map[string]string{
	"resize-command": "`exec` sends it when the size of your terminal changes",
	"connect-kernel": "`session connect` uses it for programs of Jupyter",
	"complete":       "`repl` sends it for the key Tab",
	"inspect":        "`repl` sends it for `?` and `??`",
	"is-complete":    "`repl` sends it when you press Enter",
	"get-history":    "`repl` sends it for the lines of earlier cells",
	"upload-files":   "it is the form of browsers; `cp` and `file write` upload files",
}

// noJSON has the commands without --json, with the reason for each.
var noJSON = map[string]string{
	"serve": "the server prints its log; with --private, it prints JSON",
	"run":   "the output is that of the script",
	"mcp":   "the output is the protocol",

	"repl":    "it is for people; submit prints JSON",
	"attach":  "it is for people; session events prints JSON",
	"logs":    "it is for people; cell show prints JSON",
	"top":     "it is for people; session ls prints JSON",
	"health":  "the exit status is the answer",
	"seccomp": "the output is a JSON document",

	"completion": "the output is a script",
	"man":        "the output is a page",
}

// operations returns the ids of the operations of /v1 with their methods and paths.
func operations(t *testing.T) map[string]*regexp.Regexp {
	t.Helper()
	text, err := os.ReadFile("../../api/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]struct {
			ID string `yaml:"operationId"`
		}
	}
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	all := map[string]*regexp.Regexp{}
	for path, methods := range doc.Paths {
		for method, o := range methods {
			if strings.HasPrefix(path, "/v1/") {
				pattern := strings.ReplaceAll(path, "{path}", ".*")
				all[o.ID] = regexp.MustCompile("^" + strings.ToUpper(method) + " " + regexp.MustCompile(`\{\w+\}`).ReplaceAllString(pattern, "[^/]+") + "$")
			}
		}
	}
	if len(all) < 50 {
		t.Fatalf("the document has %d operations, want all of /v1", len(all))
	}
	return all
}

// answering is a server that answers each request, and records its method and path.
type answering struct {
	mu    sync.Mutex
	seen  []string
	input chan struct{} // has a value after a command got input
}

func (s *answering) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	s.mu.Lock()
	s.seen = append(s.seen, r.Method+" "+r.URL.Path)
	input := s.input
	s.mu.Unlock()
	const object = `{"id":"c1","session":"s1","state":"done","status":"ok","first":1,"last":2}`
	switch path := r.URL.Path; {
	case strings.Contains(path, "/commands/") && strings.HasSuffix(path, "/events"):
		select { // exec ends with its command, also if the input is still on its way
		case <-input:
		case <-r.Context().Done():
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, `data: {"seq":2,"type":"command_done","content":{"status":"ok"}}`+"\n\n")
	case strings.HasSuffix(path, "/events"):
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, `data: {"seq":2,"cell":"c1","type":"cell_done","content":{"status":"ok"}}`+"\n\n"+`data: {"seq":3,"type":"session_ended","content":{}}`+"\n\n")
	case strings.HasSuffix(path, "/watch"):
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, `data: {"type":"created","path":"/x"}`+"\n\n"+"event: bye\ndata: {}\n\n")
	case strings.HasSuffix(path, "/stat"):
		_, _ = io.WriteString(w, `{"path":"/x","type":"directory"}`)
	case path == "/v1/runs":
		_, _ = io.WriteString(w, `{"index":0,"status":"ok"}`+"\n")
	case path == "/v1/run":
		_, _ = io.WriteString(w, `{"index":0,"status":"ok"}`)
	case strings.HasSuffix(path, "/archive") && r.Method == http.MethodGet:
		_, _ = w.Write(make([]byte, 1024)) // an empty tar archive
	case strings.HasSuffix(path, "/fork"):
		_, _ = io.WriteString(w, `{"sessions":[{"id":"s2"}]}`)
	default:
		if strings.HasSuffix(path, "/stdin") {
			defer func() { input <- struct{}{} }()
		}
		_, _ = io.WriteString(w, object)
	}
}

// run runs an example against the server in a folder, and returns its exit status and output.
func (s *answering) run(t *testing.T, url, example string, flags ...string) (status int, out string) {
	t.Helper()
	s.mu.Lock()
	s.seen, s.input = nil, make(chan struct{}, 8)
	s.mu.Unlock()
	line := strings.NewReplacer("SESSION", "s2345672345672345", "NOTEBOOK", "book.ipynb", "RUNS", "runs.jsonl").Replace(example)
	args := strings.Fields(line)
	n := 1 // flags stand after the names of the command
	for n < len(args) && regexp.MustCompile(`^[a-z]+$`).MatchString(args[n]) && !strings.Contains(example, "exec") {
		n++
	}
	args = slices.Insert(args, n, append(flags, "--url", url, "--token", "t")...)
	var stdout, stderr bytes.Buffer
	status = command(args, strings.NewReader(""), &stdout, &stderr)
	if status != console.ExitOK && example != "file watch SESSION" { // the server ends the watch, which is an error
		t.Errorf("cellhold %s: exit status %d: %s", strings.Join(args, " "), status, &stderr)
	}
	return status, stdout.String()
}

// examples starts an answering server, and goes to a folder with files for the examples.
func examples(t *testing.T) (*answering, string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{"book.ipynb": "{}", "runs.jsonl": `{"code": "1"}`} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := &answering{}
	hs := httptest.NewServer(s)
	t.Cleanup(hs.Close)
	return s, hs.URL
}

func TestEachOperationOfTheDocumentHasACommandThatSendsIt(t *testing.T) {
	all := operations(t)
	s, url := examples(t)
	for _, id := range slices.Sorted(maps.Keys(all)) {
		example := reached[id]
		if (example == "") == (notReached[id] == "") {
			t.Errorf("%s: it needs a command in reached or a reason in notReached, and not both", id)
			continue
		}
		if example == "" {
			continue
		}
		s.run(t, url, example)
		if !slices.ContainsFunc(s.seen, all[id].MatchString) {
			t.Errorf("%s: cellhold %s sent %q, want %s", id, example, s.seen, all[id])
		}
	}
	for id := range reached {
		if all[id] == nil {
			t.Errorf("%s: the document has no such operation", id)
		}
	}
}

func TestWithJSONACommandPrintsOnlyJSON(t *testing.T) {
	s, url := examples(t)
	for _, example := range slices.Compact(slices.Sorted(maps.Values(reached))) {
		switch example {
		case "exec SESSION PROGRAM":
			example = "exec -d SESSION PROGRAM"
		case "file cat SESSION PATH", "port request SESSION 8000", "output get SESSION PATH", "notebook export SESSION":
			continue // with a path on this machine, these print JSON; without, they print the content
		}
		_, out := s.run(t, url, example, "--json")
		if values(out) == 0 {
			t.Errorf("cellhold %s --json: got %q, want JSON", example, out)
		}
	}
}

// values returns the number of JSON values in a text, or 0 if it is not JSON.
func values(text string) (n int) {
	for d := json.NewDecoder(strings.NewReader(text)); ; n++ {
		var v any
		if err := d.Decode(&v); errors.Is(err, io.EOF) {
			return n
		} else if err != nil {
			return 0
		}
	}
}

func TestEachCommandThatPrintsHasJSON(t *testing.T) {
	for _, n := range leaves(model(t).Node) {
		has := false
		for up := n; up != nil; up = up.Parent {
			for _, f := range up.Flags {
				has = has || f.Name == "json"
			}
		}
		name := strings.TrimPrefix(n.FullPath(), "cellhold ")
		if has == (noJSON[name] != "") {
			t.Errorf("%s: has --json: %t; it needs the flag or a reason in noJSON", name, has)
		}
	}
}

// operationTable returns the section of the page about the command line with the operations.
func operationTable() string {
	var b strings.Builder
	b.WriteString("\n## Operations of the HTTP API\n\n| Operation | Command |\n|---|---|\n")
	for _, id := range slices.Sorted(maps.Keys(reached)) {
		fmt.Fprintf(&b, "| `%s` | `cellhold %s` |\n", id, reached[id])
	}
	for _, id := range slices.Sorted(maps.Keys(notReached)) {
		fmt.Fprintf(&b, "| `%s` | %s |\n", id, notReached[id])
	}
	return b.String()
}

// statusTable returns the section with the exit statuses.
func statusTable() string {
	var b strings.Builder
	b.WriteString("\n## Exit statuses\n\nA status keeps its meaning in later versions. `run`, `once` and `exec` have the status of the code that they run.\n\n| Status | Meaning |\n|---|---|\n")
	for _, s := range console.Statuses {
		fmt.Fprintf(&b, "| %d | %s |\n", s.Code, s.Meaning)
	}
	return b.String()
}

func TestCommandsThatUseAServerSendNothingThemselves(t *testing.T) {
	// The client is the only package that sends requests of /v1. Each file that can send others has a reason.
	reasons := map[string]string{
		"containers.go":                              "it gives the client a connection that accepts the certificate of another name",
		"private.go":                                 "it gives the client a connection to the server of the same process",
		"../../internal/cli/setup/packages.go":       "it configures the server's requests to package indexes",
		"../../internal/cli/remote/network.go":       "it uses names of methods and statuses, for requests to ports through the client",
		"../../internal/cli/kernelproxy/upstream.go": "the client has no WebSocket; it makes the URL and the header",
	}
	files, err := filepath.Glob("../../internal/cli/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	own, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	sends := regexp.MustCompile(`"net/http"|"github.com/coder/websocket"`)
	for _, file := range append(files, own...) {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if sends.Match(text) != (reasons[file] != "") {
			t.Errorf("%s: can send HTTP requests: %t; use package client, or add a reason", file, sends.Match(text))
		}
		if bytes.Contains(text, []byte(`"/v1/`)) {
			t.Errorf("%s: has a path of /v1; only package client knows them", file)
		}
	}
}
