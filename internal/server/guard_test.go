package server

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"cellhold"
	"cellhold/internal/server/exchange"
	"cellhold/internal/server/jupyter"
)

// concrete replaces the parameters of a route's path.
func concrete(r route, session string) string {
	path := r.path
	switch _, rest, _ := strings.Cut(path, "/files"); {
	case rest == "/move":
		path += "?from=a&to=b"
	case rest == "/content", rest == "/stat", rest == "/directory", rest == "/archive", r.method == "DELETE" && strings.HasSuffix(path, "/files"):
		path += "?path=a"
	}
	return strings.NewReplacer("{id}", session, "{cell}", "cq7h2w9d4kx5n3vtb", "{command}", "x7kq2w9d4hx5n3vtb", "{kernel}", "toy", "{name}", "tabulate", "{path}", "a/b.png", "{path...}", "a/b", "{file}", "logo-svg.svg", "{$}", "", "{port}", "8000").Replace(path)
}

// isOfSandbox reports whether a route of the E2B API takes the token of a sandbox in place of the caller's. Without a
// sandbox it answers 502.
func isOfSandbox(r route) bool {
	if isOfJupyter(r) {
		return false
	}
	path, ok := strings.CutPrefix(r.path, "/e2b")
	for _, prefix := range []string{"/execute", "/contexts", "/files", "/health", "/filesystem.", "/process."} {
		if (ok || prefix == "/files") && strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}

// isOfJupyter reports whether a route is for clients of Jupyter. Without a token it answers 403.
func isOfJupyter(r route) bool {
	return jupyter.Owns(&http.Request{URL: &url.URL{Path: r.path}})
}

// isOpenInJupyter reports whether a route for clients of Jupyter needs no token.
func isOpenInJupyter(r route) bool {
	return isOfJupyter(r) && (r.method == "OPTIONS" || strings.HasSuffix(r.path, "/api"))
}

// bodyFor returns a valid body for the route.
func bodyFor(r route) string {
	switch {
	case strings.HasSuffix(r.path, "/deadline"):
		return `{"lifetime":60}`
	case r.method != "POST":
		return ""
	case strings.HasSuffix(r.path, "/cancel"):
		return ""
	case strings.HasSuffix(r.path, "/input"):
		return `{"value":"x"}`
	case r.path == "/v1/sessions/{id}/notebook":
		return `{"nbformat":4,"cells":[]}`
	case r.path == "/v1/sessions/{id}/kernels":
		return `{"spec":"toy"}`
	case strings.HasPrefix(r.path, "/v1/sessions/{id}/cells"):
		return `{"code":"print x"}`
	case strings.HasSuffix(r.path, "complete"), strings.HasSuffix(r.path, "/inspect"):
		return `{"code":"print x"}`
	case r.path == commandsPath:
		return `{"command":"echo"}`
	case strings.HasSuffix(r.path, "/signal"):
		return `{"signal":"TERM"}`
	case strings.HasSuffix(r.path, "/resize"):
		return `{"rows":24,"cols":80}`
	case r.path == "/v1/sessions":
		return `{}`
	case strings.HasSuffix(r.path, "/checkpoints"):
		return `{"name":"x"}`
	case strings.HasSuffix(r.path, "/rollback"):
		return `{"checkpoint":"x"}`
	case r.path == "/v1/sessions/{id}/packages":
		return `{"requirements":["tabulate"]}`
	case r.path == "/install_package":
		return `{"user_id":"ann","package_name":"tabulate"}`
	case r.path == "/execute":
		return `{"user_id":"ann","code":"print x"}`
	case strings.HasPrefix(r.path, "/v1/"):
		return ""
	}
	return "user_id=ann"
}

func TestEveryRouteExceptPublicPagesNeedsAToken(t *testing.T) {
	h := newHarness(t)
	open := 0
	for _, r := range append(h.server.routes, route{"GET", "/nowhere"}, route{"OPTIONS", "/v1/sessions"}) {
		for _, header := range []string{"", "Bearer", "Bearer ", "Bearer wrong", "Basic " + annToken, annToken, "Bearer " + annToken + "x"} {
			req := h.request(r.method, concrete(r, "sk3v7q2m9xw4tz6hb"), bodyFor(r))
			req.Header.Del("Authorization")
			if header != "" {
				req.Header.Set("Authorization", header)
			}
			a := h.send(req)
			if public[concrete(r, "")] {
				open++
				if a.StatusCode != 200 {
					t.Errorf("%s %s is public: got status %d, want 200", r.method, r.path, a.StatusCode)
				}
				continue
			}
			if isOfSandbox(r) {
				if a.StatusCode != 502 {
					t.Errorf("%s %s with %q: got status %d, want 502", r.method, r.path, header, a.StatusCode)
				}
				continue
			}
			if isOfJupyter(r) {
				if refused := a.StatusCode == 403 && string(a.body) == "{\"message\":\"Forbidden\",\"reason\":null}\n"; refused == isOpenInJupyter(r) {
					t.Errorf("%s %s with %q: got status %d with %s", r.method, r.path, header, a.StatusCode, a.body)
				}
				continue
			}
			if a.StatusCode != 401 || a.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s %s with %q: got status %d, want 401 and WWW-Authenticate", r.method, r.path, header, a.StatusCode)
			}
		}
	}
	if open != 7*len(public) {
		t.Errorf("got %d public answers, want %d: a public page has no route", open, 7*len(public))
	}
	req := h.request("GET", "/v1/sessions?token="+annToken, "")
	req.Header.Del("Authorization")
	if a := h.send(req); a.StatusCode != 401 {
		t.Errorf("a token in the URL: got status %d, want 401", a.StatusCode)
	}
	for _, scheme := range []string{"bearer", "Token"} {
		req := h.request("GET", "/v1/sessions", "")
		req.Header.Set("Authorization", scheme+" "+annToken)
		if a := h.send(req); a.StatusCode != 200 {
			t.Errorf("scheme %s: got status %d, want 200", scheme, a.StatusCode)
		}
	}
	req = h.request("GET", "/v1/sessions", "")
	req.Header.Add("Authorization", "Bearer "+bobToken)
	if a := h.send(req); a.StatusCode != 401 {
		t.Errorf("two tokens: got status %d, want 401", a.StatusCode)
	}
}

// TestSessionsOfOtherCallersAnswerLikeUnknownSessions tries every route of a session with every session id that is not the
// caller's.
func TestSessionsOfOtherCallersAnswerLikeUnknownSessions(t *testing.T) {
	h := newHarness(t)
	mine := strings.TrimPrefix(h.create(), "/v1/sessions/")
	deleted := strings.TrimPrefix(h.create(), "/v1/sessions/")
	h.do(204, "DELETE", "/v1/sessions/"+deleted, "")
	tried := 0
	for _, r := range h.server.routes {
		if !strings.Contains(r.path, "{id}") || strings.HasPrefix(r.path, "/e2b/") {
			continue
		}
		var want string
		for _, id := range []string{"saaaaaaaaaaaaaaaa", mine, deleted, "x", "%2e%2e%2f", strings.Repeat("s", 4000)} {
			tried++
			req := h.request(r.method, concrete(r, id), bodyFor(r))
			req.Header.Set("Authorization", "Bearer "+bobToken)
			a := h.send(req)
			var p exchange.Problem
			a.decode(t, &p)
			if shown, err := url.PathUnescape(id); err == nil { // the answer can quote the caller's text
				p.Detail = strings.Replace(p.Detail, fmt.Sprintf("%.40q", shown), "ID", 1)
			}
			got := fmt.Sprint(a.StatusCode, p.Title, p.Status, p.Kind, p.Detail, p.Errors, a.Header.Get("Content-Type"), len(a.Header))
			if want == "" {
				want = got
			}
			if a.StatusCode != 404 || got != want {
				t.Errorf("%s %s for %.20s: got %s, want status 404 and the answer %s", r.method, r.path, id, got, want)
			}
		}
	}
	if tried < 6*10 {
		t.Errorf("sent %d requests, want at least %d", tried, 6*10)
	}
	if cell := h.run("/v1/sessions/"+mine, "print untouched"); cell.Status != cellhold.StatusOK {
		t.Errorf("a cell in the session of ann: got %+v, want status ok", cell)
	}
}

func TestASessionOfTheArticlesAPIIsNotFoundWithAnotherToken(t *testing.T) {
	h := newHarness(t)
	h.do(200, "POST", "/start_session", "user_id=u")
	for _, r := range h.server.routes {
		if strings.HasPrefix(r.path, "/v1") || r.path == "/mcp" || strings.HasPrefix(r.path, "/e2b/") || isOfSandbox(r) || isOfJupyter(r) || r.method != "POST" || r.path == "/start_session" {
			continue
		}
		req := h.request("POST", r.path, strings.ReplaceAll(bodyFor(r), "ann", "u"))
		req.Header.Set("Authorization", "Bearer "+bobToken)
		if a := h.send(req); a.StatusCode != 404 || !strings.Contains(string(a.body), "Session not found. Please start a new session.") {
			t.Errorf("%s as bob: got status %d with %s, want 404 with \"Session not found\"", r.path, a.StatusCode, a.body)
		}
	}
}

func TestRequestsOfOtherWebSitesAreRefusedOnEveryRoute(t *testing.T) {
	h := newHarnessWith(t, nil, func(o *Options) {
		o.Tokens, o.AuthOff, o.Origins = nil, true, []string{"https://notes.example"}
	})
	host := strings.TrimPrefix(h.url, "http://")
	for _, r := range h.server.routes {
		for _, header := range []string{
			"Origin: https://evil.example", "Origin: null", "Origin: ", "Origin: http://" + host + ".evil.example", "Origin: http://evil.example/" + host,
			"Origin: http://" + host + "@evil.example", "Origin: http://localhost:1", "Origin: https://notes.example.evil.example",
			"Origin: https://NOTES.example:444", "Origin: ftp://" + host, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Sec-Fetch-Site: nonsense",
		} {
			req := h.request(r.method, concrete(r, "sk3v7q2m9xw4tz6hb"), bodyFor(r))
			name, value, _ := strings.Cut(header, ": ")
			req.Header.Set(name, value)
			if a := h.send(req); a.StatusCode != 403 {
				t.Errorf("%s %s with %s: got status %d, want 403", r.method, r.path, header, a.StatusCode)
			}
		}
	}
	for _, header := range []string{"Origin: http://" + host, "Origin: https://notes.example", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none"} {
		req := h.request("GET", "/v1/sessions", "")
		name, value, _ := strings.Cut(header, ": ")
		req.Header.Set(name, value)
		if a := h.send(req); a.StatusCode != 200 {
			t.Errorf("%s: got status %d, want 200", header, a.StatusCode)
		}
	}
}

func TestPagesOfConfiguredOriginsCanReadAnswersOfTheAPIWithAToken(t *testing.T) {
	h := newHarnessWith(t, nil, func(o *Options) { o.Origins = []string{"https://notes.example"} })
	const notes, evil = "https://notes.example", "https://evil.example"
	asks := func(origin string) []string {
		return []string{"Origin", origin, "Access-Control-Request-Method", "PUT", "Access-Control-Request-Headers", "authorization"}
	}
	bearer := func(origin string) []string { return []string{"Origin", origin, "Authorization", "Bearer " + annToken} }
	for _, test := range []struct {
		name    string
		answer  answered
		status  int
		allowed string
	}{
		{"a request", h.browse("GET", "/v1/sessions", bearer(notes)...), 200, notes},
		{"a request without a token", h.browse("GET", "/v1/sessions", "Origin", notes), 401, notes},
		{"an absent session", h.browse("GET", "/v1/sessions/sk3v7q2m9xw4tz6hb", bearer(notes)...), 404, notes},
		{"a preflight", h.browse("OPTIONS", "/v1/sessions", asks(notes)...), 204, notes},
		{"a preflight of another site", h.browse("OPTIONS", "/v1/sessions", asks(evil)...), 403, ""},
		{"another site", h.browse("GET", "/v1/sessions", bearer(evil)...), 403, ""},
		{"no preflight", h.browse("OPTIONS", "/v1/sessions", bearer(notes)...), 405, notes},
		{"the own origin", h.browse("GET", "/v1/sessions", bearer(h.url)...), 200, ""},
		{"a preflight for another path", h.browse("OPTIONS", "/mcp", asks(notes)...), 401, ""},
	} {
		header := test.answer.Header
		if got := header.Get("Access-Control-Allow-Origin"); test.answer.StatusCode != test.status || got != test.allowed {
			t.Errorf("%s: got %d for the origin %q with %s, want %d for %q", test.name, test.answer.StatusCode, got, test.answer.body, test.status, test.allowed)
		}
		if got := header.Get("Access-Control-Expose-Headers"); (got == "*") != (test.allowed != "") {
			t.Errorf("%s: got the visible headers %q", test.name, got)
		}
		if header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: browsers can send cookies", test.name)
		}
	}
	other := newHarness(t)
	if a := other.browse("OPTIONS", "/v1/sessions", asks(notes)...); a.StatusCode != 403 || a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("without the setting: got %d with %v, want 403", a.StatusCode, a.Header)
	}
	req := h.request("OPTIONS", "/v1/sessions", "")
	req.Host = "evil.example" // DNS rebinding
	req.Header.Set("Origin", notes)
	req.Header.Set("Access-Control-Request-Method", "GET")
	if a := h.send(req); a.StatusCode != 403 || a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("another host: got %d with %v, want 403", a.StatusCode, a.Header)
	}
}

func TestALinkOnAnotherWebSiteOpensOnlyPublicPages(t *testing.T) {
	h := newHarness(t)
	for path, want := range map[string]int{"/docs": 200, "/": 200, "/v1/sessions": 403} {
		req := h.request("GET", path, "")
		req.Header.Set("Sec-Fetch-Site", "cross-site")
		req.Header.Set("Sec-Fetch-Mode", "navigate")
		req.Header.Set("Sec-Fetch-Dest", "document")
		if a := h.send(req); a.StatusCode != want {
			t.Errorf("%s: got status %d, want %d", path, a.StatusCode, want)
		}
	}
}

func TestALoopbackListenerAcceptsOnlyLoopbackNamesAndConfiguredHosts(t *testing.T) {
	h := newHarnessWith(t, nil, func(o *Options) { o.Hosts = []string{"Box.example"} })
	_, port, err := net.SplitHostPort(strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range h.server.routes {
		for _, host := range []string{"evil.example", "evil.example:" + port, "192.0.2.7:" + port, "localhost.evil.example", "127.0.0.1.evil.example", "0.0.0.0:" + port, "localhost.", "[2001:db8::1]:" + port} {
			req := h.request(r.method, concrete(r, "sk3v7q2m9xw4tz6hb"), bodyFor(r))
			req.Host = host
			if a := h.send(req); a.StatusCode != 403 && a.StatusCode != 400 {
				t.Errorf("%s %s for %s: got status %d, want 403 or 400", r.method, r.path, host, a.StatusCode)
			}
		}
	}
	for _, host := range []string{"localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:99", "[::1]", "[::1]:5", "box.example:5002"} {
		req := h.request("GET", "/v1/sessions", "")
		req.Host = host
		if a := h.send(req); a.StatusCode != 200 {
			t.Errorf("%s: got status %d, want 200", host, a.StatusCode)
		}
	}
}

func TestTheTokenIsCheckedBeforeTheBodyIsRead(t *testing.T) {
	h := newHarness(t)
	for _, r := range h.server.routes {
		if r.method != "POST" {
			continue
		}
		conn, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		// The request announces a body and never sends it.
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n", concrete(r, "s"))
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		want := 401
		if isOfSandbox(r) {
			want = 502
		}
		if isOfJupyter(r) {
			want = 403
		}
		if res.StatusCode != want || !res.Close {
			t.Errorf("%s: got status %d, Close %v; want %d, true", r.path, res.StatusCode, res.Close, want)
		}
		conn.Close()
	}
}
