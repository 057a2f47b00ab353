package e2e

import (
	"bytes"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// clientProgram is a program of test/clients. Its interpreter reads it from the standard input, so that Node finds the
// packages of the working directory.
type clientProgram struct {
	interpreter []string
	file        string
}

// run runs the program and returns its output.
func (p clientProgram) run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	source, err := os.Open(p.file)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	cmd := exec.CommandContext(t.Context(), p.interpreter[0], slices.Concat(p.interpreter[1:], args)...)
	cmd.Stdin, cmd.Dir = source, absolute(t, "build/clients")
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// absolute returns the absolute path of a file in the repository.
func absolute(t *testing.T, path string) string {
	t.Helper()
	found, err := filepath.Abs("../../" + path)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// The official clients of MCP use the tools over both transports: the Python client, and both versions of the
// TypeScript client. Each tells its story in test/clients and reports the version of the protocol.
func TestOfficialClientsUseTheTools(t *testing.T) {
	t.Parallel()
	python := clientProgram{[]string{absolute(t, "build/clientvenv/bin/python"), "-"}, absolute(t, "test/clients/mcp_agent.py")}
	node := clientProgram{[]string{"node", "--input-type=module", "-"}, absolute(t, "test/clients/mcp_agent.mjs")}
	s := serve(t, newHome(t))
	http := func(name string) []string { return []string{"http", s.url + "/mcp?session=" + name, s.token} }
	remote := func(name string) []string {
		return []string{"stdio", binary(t), "--home", s.home, "mcp", "--url", s.url, "--token", s.token, "--session", name}
	}
	private := func() []string { return []string{"stdio", binary(t), "--home", newHome(t), "mcp"} }
	for _, c := range []struct {
		name          string
		client        clientProgram
		mode, version string
		server        []string
	}{
		{"Python over HTTP", python, "auto", "2026-07-28", http("python")},
		{"Python over HTTP with MCP sessions", python, "legacy", "2025-11-25", http("python-legacy")},
		{"Python over stdio", python, "auto", "2026-07-28", private()},
		{"TypeScript 1 over HTTP", node, "sdk", "2025-11-25", http("typescript-1")},
		{"TypeScript 1 over stdio", node, "sdk", "2025-11-25", remote("stdio-1")},
		{"TypeScript 2 over HTTP", node, "client", "2026-07-28", http("typescript-2")},
		{"TypeScript 2 over stdio", node, "client", "2026-07-28", remote("stdio-2")},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			out, err := c.client.run(t, append([]string{c.mode}, c.server...)...)
			if err != nil || out != c.version {
				t.Errorf("the client: got %v and\n%s\nwant version %s", err, out, c.version)
			}
		})
	}
}

// The official conformance program has no place for a token, so a proxy adds it. The other scenarios of the program need
// tools, prompts and resources of its own example server.
func TestTheConformanceProgramOfMCPIsSatisfied(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	target, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // one scenario sends that of another site
		r.Out.Header.Set("Authorization", "Bearer "+s.token)
	}, FlushInterval: -1})
	t.Cleanup(proxy.Close)
	const needsATool = "tools-call-simple-text" // fails without a tool of the example server, so the program can fail
	for _, scenario := range []string{"server-initialize", "ping", "tools-list", "resources-list", "server-sse-multiple-streams", "dns-rebinding-protection", needsATool} {
		t.Run(scenario, func(t *testing.T) {
			program := absolute(t, "build/clients/node_modules/@modelcontextprotocol/conformance/dist/index.js")
			cmd := exec.CommandContext(t.Context(), "node", program, "server", "--url", proxy.URL+"/mcp", "--scenario", scenario)
			out, err := cmd.CombinedOutput()
			if passed := err == nil && bytes.Contains(out, []byte(" 0 failed")); passed != (scenario != needsATool) {
				t.Errorf("passed: %v, with %v and\n%s", passed, err, out)
			}
		})
	}
}
