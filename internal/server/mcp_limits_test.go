package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"cellhold"
	"cellhold/client"
	"cellhold/internal/mcp"
)

func TestAgentsBehindAProxyUseItsPublicHost(t *testing.T) {
	h := newHarnessWith(t, nil, func(o *Options) { o.Hosts = []string{"box.example.org"} })
	const begin = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}`
	for host, want := range map[string]int{"box.example.org": 200, "localhost": 200, "attacker.example.org": 403} {
		req := h.request("POST", "/mcp", begin)
		req.Host = host
		req.Header.Set("Accept", "application/json, text/event-stream")
		if a := h.send(req); (a.StatusCode == 200) != (want == 200) {
			t.Errorf("host %s: got status %d with %s, want %d", host, a.StatusCode, a.body, want)
		}
	}
}

// begin is a request that begins an MCP session with a capability of some bytes.
func (h *harness) begin(size int) *http.Request {
	req := h.request("POST", "/mcp", fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-03-26",`+
		`"capabilities":{"experimental":{"x":%q}},"clientInfo":{"name":"test","version":"1"}}}`, strings.Repeat("x", size)))
	req.Header.Set("Accept", "application/json, text/event-stream")
	return req
}

func TestALargeBeginOfAnMCPSessionIsRefused(t *testing.T) {
	h := newHarness(t)
	for size, want := range map[int]int{10_000: 200, 100_000: 413, 7 << 20: 413} {
		if a := h.send(h.begin(size)); a.StatusCode != want {
			t.Errorf("%d bytes: got status %d with %.200s, want %d", size, a.StatusCode, a.body, want)
		}
	}
}

func TestALongBatchIsRefused(t *testing.T) {
	h := newHarness(t)
	id := h.send(h.begin(1)).Header.Get("Mcp-Session-Id")
	for n, want := range map[int]int{1: 200, 20: 200, 21: 400, 3000: 400} {
		var messages []string
		for i := range n {
			messages = append(messages, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"ping"}`, 10+i))
		}
		req := h.request("POST", "/mcp", "{}")
		req.Body = io.NopCloser(strings.NewReader(" \n[" + strings.Join(messages, ",") + "]"))
		req.ContentLength = -1
		req.Header.Set("Accept", "application/json, text/event-stream")
		req.Header.Set("Mcp-Session-Id", id)
		if a := h.send(req); a.StatusCode != want {
			t.Errorf("%d messages: got status %d with %.200s, want %d", n, a.StatusCode, a.body, want)
		}
	}
}

func TestTooManyMCPSessionsEndOnlyTheCallersOldest(t *testing.T) {
	h := newHarness(t)
	bob := h.agent(t, bobToken, lifecycles[0], "")
	bob.run("set x 1")
	ping := func(id string) int {
		req := h.request("POST", "/mcp", `{"jsonrpc":"2.0","id":9,"method":"ping"}`)
		req.Header.Set("Accept", "application/json, text/event-stream")
		req.Header.Set("Mcp-Session-Id", id)
		return h.send(req).StatusCode
	}
	var ids []string
	for range 102 {
		a := h.send(h.begin(1))
		if a.StatusCode != 200 || strings.Contains(string(a.body), `"error"`) {
			t.Fatalf("MCP session %d: got status %d with %s", len(ids)+1, a.StatusCode, a.body)
		}
		ids = append(ids, a.Header.Get("Mcp-Session-Id"))
	}
	for i, want := range map[int]int{0: 404, 1: 404, 2: 200, 101: 200} {
		if got := ping(ids[i]); got != want {
			t.Errorf("MCP session %d of 102: got status %d, want %d", i+1, got, want)
		}
	}
	bob.run("get x")
}

func TestTheEndOfAnMCPSessionEndsItsCallsAndNotTheirCells(t *testing.T) {
	h := newHarness(t)
	a := h.agent(t, annToken, lifecycles[0], "")
	session := idIn(t, sessionID, a.run("set x 1"))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = a.CallTool(t.Context(), &sdk.CallToolParams{Name: "run_code", Arguments: map[string]any{"code": "loop"}}) // its answer can be lost
	}()
	cell := h.nth(t, session, cellhold.EventCellStarted, 2)
	req := h.request("DELETE", "/mcp", "")
	req.Header.Set("Mcp-Session-Id", a.ID())
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // the call would wait for 50 s
	defer cancel()
	if got := h.send(req.WithContext(ctx)); got.StatusCode != 204 {
		t.Errorf("DELETE: got status %d with %s, want 204", got.StatusCode, got.body)
	}
	<-done
	var running cellhold.Cell
	h.do(200, "GET", "/v1/sessions/"+session+"/cells/"+string(cell), "").decode(t, &running)
	if running.State != cellhold.CellRunning {
		t.Errorf("the cell: got state %q, want running", running.State)
	}
}

// brokenWaits fails all requests that wait.
type brokenWaits struct{ bearer }

func (b brokenWaits) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Query().Has("wait") {
		return nil, errors.New("the network is gone")
	}
	return b.bearer.RoundTrip(r)
}

func TestAFailedWaitNamesTheSubmittedCell(t *testing.T) {
	h := newHarness(t)
	calls, err := client.New(client.Options{URL: h.url, HTTP: &http.Client{Transport: brokenWaits{bearer{annToken}}}, Patience: 1})
	if err != nil {
		t.Fatal(err)
	}
	a, _, _ := h.localWith(t, mcp.Options{}, calls)
	for tool, args := range map[string]map[string]any{"run_code": {"code": "print x"}, "run_command": {"command": "wait"}} {
		text, failed := a.tool(tool, args)
		if !failed || !regexp.MustCompile(`[cx][a-z0-9]{16} was submitted and may still run: call wait`).MatchString(text) || strings.Contains(text, "Retry in a few seconds") {
			t.Errorf("%s: got %q, want the id of what was submitted, and no advice to retry", tool, text)
		}
	}
}

func TestAHugeRequestOfAnAgentIsRefused(t *testing.T) {
	h := newHarness(t)
	a := h.agent(t, annToken, lifecycles[0], "")
	_, err := a.CallTool(t.Context(), &sdk.CallToolParams{Name: "write_file", Arguments: map[string]any{"path": "x", "content": strings.Repeat("x", 9<<20)}})
	if err == nil {
		t.Error("a request of 9 MiB: got no error")
	}
}
