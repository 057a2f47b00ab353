package server

import (
	"strings"
	"testing"
)

// browse sends a request without a token. The headers are names and values.
func (h *harness) browse(method, path string, header ...string) answered {
	h.t.Helper()
	req := h.request(method, path, "")
	req.Header.Del("Authorization")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return h.send(req)
}

func TestALinkOnAnotherWebSiteOpensASignedFile(t *testing.T) {
	h := newHarness(t)
	b, path := h.box(`{}`), t.TempDir()+"/f"
	h.send(h.request("POST", sign(b.Envd, path, "write", 0), "content"))
	link := []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}
	saved := []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "empty"} // with the attribute download
	signed := sign(b.Envd, path, "read", 0)
	for name, a := range map[string]answered{
		"a link": h.browse("GET", signed, link...), "a link to save": h.browse("GET", signed, saved...), "a link with the prefix": h.browse("GET", "/e2b"+signed, link...),
	} {
		isDownload := a.Header.Get("Content-Disposition") == "attachment" && a.Header.Get("Cross-Origin-Resource-Policy") == "same-origin"
		if a.StatusCode != 200 || string(a.body) != "content" || !isDownload {
			t.Errorf("%s: got %d with %v and %s, want the file as a download", name, a.StatusCode, a.Header, a.body)
		}
	}
	for name, a := range map[string]answered{
		"a form":             h.browse("POST", sign(b.Envd, path, "write", 0), link...),
		"no signature":       h.browse("GET", "/files?path=f", link...),
		"another path":       h.browse("GET", "/v1/sessions?signature=x", link...),
		"a path below files": h.browse("GET", "/e2b/files/x?signature=x", link...),
	} {
		if a.StatusCode != 403 {
			t.Errorf("%s: got %d with %s, want 403", name, a.StatusCode, a.body)
		}
	}
}

func TestPagesOfAllowedSitesCanReadSignedFiles(t *testing.T) {
	h := newHarnessWith(t, nil, func(o *Options) { o.Origins = []string{"https://notes.example"} })
	b, path := h.box(`{}`), t.TempDir()+"/f"
	signed := sign(b.Envd, path, "read", 0)
	h.send(h.request("POST", sign(b.Envd, path, "write", 0), "content"))
	asks := []string{"Origin", "https://notes.example", "Access-Control-Request-Method", "POST"}
	for _, test := range []struct {
		name    string
		answer  answered
		status  int
		allowed bool
	}{
		{"a read", h.browse("GET", signed, "Origin", "https://notes.example"), 200, true},
		{"a wrong signature", h.browse("GET", signed+"x", "Origin", "https://notes.example"), 401, true},
		{"a question", h.browse("OPTIONS", signed, asks...), 204, true},
		{"a question with the prefix", h.browse("OPTIONS", "/e2b"+signed, asks...), 204, true},
		{"a question without an origin", h.browse("OPTIONS", signed, "Access-Control-Request-Method", "POST"), 405, false},
		{"a question for another path", h.browse("OPTIONS", "/mcp?signature=x", asks...), 401, false},
		{"another site", h.browse("GET", signed, "Origin", "https://evil.example"), 403, false},
		{"a question of another site", h.browse("OPTIONS", signed, "Origin", "https://evil.example", "Access-Control-Request-Method", "POST"), 403, false},
		{"no signature", h.browse("GET", "/files?path=f", "Origin", "https://notes.example"), 502, false},
		{"no origin", h.browse("GET", signed), 200, false},
	} {
		want := ""
		if test.allowed {
			want = "https://notes.example"
		}
		header := test.answer.Header
		if got := header.Get("Access-Control-Allow-Origin"); test.answer.StatusCode != test.status || got != want {
			t.Errorf("%s: got %d for the origin %q with %s, want %d for %q", test.name, test.answer.StatusCode, got, test.answer.body, test.status, want)
		}
		if test.allowed && !strings.Contains(strings.Join(header.Values("Vary"), ","), "Origin") {
			t.Errorf("%s: got the header Vary %q, want Origin in it", test.name, header.Values("Vary"))
		}
	}
}

func TestTheHostOfAnE2BRequestKeepsItsPort(t *testing.T) {
	h := newHarnessWith(t, nil, func(o *Options) { o.Hosts = []string{"cells.example"} })
	for _, test := range []struct {
		host, origin string
		status       int
	}{
		{"api.cells.example:5002", "http://cells.example:5002", 200},
		{"api.cells.example:5002", "http://cells.example", 403}, // another service of the machine
		{"api.cells.example:5002", "http://cells.example:80", 403},
		{"api.cells.example", "http://cells.example", 200},
		{"api.cells.example", "http://cells.example:5002", 403},
	} {
		req := h.request("GET", "/sandboxes", "")
		req.Host = test.host
		req.Header.Set("Origin", test.origin)
		if a := h.send(req); a.StatusCode != test.status {
			t.Errorf("%s from %s: got %d with %s, want %d", test.host, test.origin, a.StatusCode, a.body, test.status)
		}
	}
}
