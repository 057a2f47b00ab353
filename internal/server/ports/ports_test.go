package ports

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/server/exchange"
	"cellhold/internal/session"
)

// stage is a server whose only program is a function that gets the raw connection of each request.
type stage struct {
	testing.TB
	url  string
	host *hostRules // nil: below a path
	mu   sync.Mutex
	open int // connections to the program that are not closed
}

// held is a connection to the program that the stage counts.
type held struct {
	net.Conn
	once  sync.Once
	stage *stage
}

func (c *held) Close() error {
	c.once.Do(func() {
		c.stage.mu.Lock()
		defer c.stage.mu.Unlock()
		c.stage.open--
	})
	return c.Conn.Close()
}

// newStage starts a server. The program reads the header of the request itself.
func newStage(t testing.TB, program func(c net.Conn, r *bufio.Reader)) *stage {
	t.Helper()
	s := &stage{TB: t}
	var run sync.WaitGroup
	var waiters exchange.Waiters
	p := New(Options{Waiters: &waiters, Dial: func(context.Context, *session.Session, int) (net.Conn, error) {
		host, guest := net.Pipe()
		s.mu.Lock()
		s.open++
		s.mu.Unlock()
		run.Go(func() { defer guest.Close(); program(guest, bufio.NewReader(guest)) })
		return &held{Conn: host, stage: s}, nil
	}})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fail := func(err error) {
			exchange.WriteProblem(w, exchange.ProblemOf(r.Context(), slog.New(slog.DiscardHandler), err))
		}
		if s.host != nil {
			p.pass(w, r, target{session: new(session.Session), port: 8000, fail: fail, rules: *s.host})
			return
		}
		p.Path(w, r, new(session.Session), 8000, fail)
	})
	hs := httptest.NewServer(exchange.Instrument(slog.New(slog.DiscardHandler), handler))
	t.Cleanup(func() { waiters.SendAway(); hs.Close(); run.Wait() })
	s.url = hs.URL + "/v1/sessions//ports/8000"
	return s
}

// says returns a program that reads a request and sends a text.
func says(text string) func(net.Conn, *bufio.Reader) {
	return func(c net.Conn, r *bufio.Reader) {
		if req, err := http.ReadRequest(r); err == nil {
			_, _ = io.Copy(io.Discard, req.Body)
			_, _ = io.WriteString(c, text)
		}
	}
}

// get sends a request. A broken body is an error.
func (s *stage) get(path string, header ...string) (*http.Response, string, error) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	s.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", s.url+path, nil)
	if err != nil {
		s.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

// shorten makes idle connections end soon.
func shorten(t *testing.T) {
	before := idleTime
	idleTime = 50 * time.Millisecond
	t.Cleanup(func() { idleTime = before })
}

func TestAnAnswerThatIsNoHTTPAnswerBecomesABadAnswerOfTheServer(t *testing.T) {
	endless := func(line string) func(net.Conn, *bufio.Reader) {
		return func(c net.Conn, r *bufio.Reader) {
			_, err := http.ReadRequest(r)
			for sent := 0; err == nil && sent < 1<<20; sent += len(line) {
				_, err = io.WriteString(c, line)
			}
			if err == nil {
				t.Error("the server reads an endless header")
			}
		}
	}
	for name, program := range map[string]func(net.Conn, *bufio.Reader){
		"garbage":              says("\x00\x01\x02 SECRET\r\n\r\n"),
		"nothing":              says(""),
		"half a header":        says("HTTP/1.1 200 OK\r\nContent-Le"),
		"an endless line":      endless("HTTP/1.1 200 OK" + strings.Repeat("a", 1000)),
		"endless headers":      endless("HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 100)),
		"endless provisionals": endless("HTTP/1.1 103 Early Hints\r\nSet-Cookie: a=b\r\nLink: </x>; rel=preload\r\n\r\n"),
		"an unasked upgrade":   says("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nSECRET"),
		"a bare 101":           says("HTTP/1.1 101 Switching Protocols\r\n\r\nSECRET"),
		"status 000":           says("HTTP/1.1 000 x\r\n\r\n"),
		"status 999":           says("HTTP/1.1 999 x\r\n\r\n"),
		"a conflicting length": says("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
		"a header with NUL":    says("HTTP/1.1 200 OK\r\nA\x00: b\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, program)
			resp, body, err := s.get("/x")
			if err != nil || resp.StatusCode != 503 || strings.Contains(body, "SECRET") || !strings.Contains(body, "no valid HTTP answer") {
				t.Errorf("got %+v with %q, %v; want 503 without bytes of the program", resp, body, err)
			}
			if resp != nil && resp.Header.Get("Set-Cookie") != "" {
				t.Errorf("got the header %v of a provisional answer", resp.Header)
			}
		})
	}
}

func TestABrokenBodyBreaksTheAnswer(t *testing.T) {
	for name, text := range map[string]string{
		"a short body":   "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
		"a broken chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
		"no last chunk":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
	} {
		if resp, body, err := newStage(t, says(text)).get("/x"); err == nil {
			t.Errorf("%s: got %d with the whole body %q, want a broken answer", name, resp.StatusCode, body)
		}
	}
}

func TestAProgramThatSendsNothingLosesItsConnection(t *testing.T) {
	shorten(t)
	for name, text := range map[string]string{"no header": "", "half a header": "HTTP/1.1 200 OK\r\n"} {
		ended := make(chan struct{})
		s := newStage(t, func(c net.Conn, r *bufio.Reader) {
			says(text)(c, r)
			_, _ = io.Copy(io.Discard, r) // until the server closes the connection
			close(ended)
		})
		if resp, body, err := s.get("/x"); err != nil || resp.StatusCode != 503 {
			t.Errorf("%s: got %+v with %q, %v; want 503", name, resp, body, err)
		}
		<-ended
	}
	s := newStage(t, func(c net.Conn, r *bufio.Reader) {
		says("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")(c, r)
		_, _ = io.Copy(io.Discard, r)
	})
	if _, body, err := s.get("/x"); err == nil || errors.Is(err, context.DeadlineExceeded) || body != "abc" {
		t.Errorf("a body that stops: got %q, %v; want its begin, and a broken answer", body, err)
	}
}

func TestProvisionalAnswersAndTrailersAreLeftOut(t *testing.T) {
	s := newStage(t, says("HTTP/1.1 103 Early Hints\r\nSet-Cookie: a=b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\nTrailer: Set-Cookie, X-Accel-Redirect\r\n\r\n"+
		"2\r\nhi\r\n0\r\nSet-Cookie: c=d\r\nX-Accel-Redirect: /etc\r\nUnannounced: e\r\n\r\n"))
	for _, rules := range []*hostRules{nil, {host: "h"}} {
		s.host = rules
		resp, body, err := s.get("/x")
		if err != nil || body != "hi" || len(resp.Trailer) != 0 || resp.Header.Get("Set-Cookie") != "" || resp.Header.Get("Trailer") != "" {
			t.Errorf("got %+v with the trailers %v and %q, %v; want hi without them", resp, resp.Trailer, body, err)
		}
		if safe := resp.Header.Get("X-Content-Type-Options") == "nosniff"; rules == nil && !safe {
			t.Error("the server's own headers are gone")
		}
	}
}

func TestOnlyHarmlessHeadersOfAnAnswerPassBelowAPath(t *testing.T) {
	s := newStage(t, says("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nETag: \"1\"\r\nMcp-Session-Id: m\r\nContent-Length: 2\r\n"+
		"Set-Cookie: a=b\r\nAccess-Control-Allow-Origin: *\r\nContent-Security-Policy: default-src *\r\nX-Content-Type-Options: none\r\nCache-Control: public\r\n"+
		"Service-Worker-Allowed: /\r\nClear-Site-Data: \"*\"\r\nAlt-Svc: h2=\"evil:443\"\r\nStrict-Transport-Security: max-age=9\r\nRefresh: 0; url=http://evil\r\n"+
		"X-Accel-Redirect: /etc/passwd\r\nX-Sendfile: /etc/passwd\r\nWWW-Authenticate: Basic\r\nLink: <http://evil>; rel=preload\r\nNew-Header: x\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\nhi"))
	resp, body, err := s.get("/x")
	if err != nil || body != "hi" {
		t.Fatalf("got %q, %v; want the body", body, err)
	}
	want := map[string]string{"Content-Type": "text/html", "Etag": `"1"`, "Mcp-Session-Id": "m", "Content-Length": "2", "Content-Security-Policy": Policy,
		"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Cross-Origin-Resource-Policy": "same-origin", "Referrer-Policy": "no-referrer"}
	for name, values := range resp.Header {
		if name == "Date" || name == "X-Request-Id" || name == "Connection" {
			continue
		}
		if want[name] == "" || len(values) != 1 || values[0] != want[name] {
			t.Errorf("got %s: %q, want %q", name, values, want[name])
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("the headers %v are missing", want)
	}
}

func TestAnAnswerAtAHostKeepsItsHeadersExceptThoseThatActElsewhere(t *testing.T) {
	s := newStage(t, says("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\nSet-Cookie: a=b; Path=/; DOMAIN = cells.example; Secure\r\nSet-Cookie: c=d\r\n"+
		"Content-Security-Policy: default-src 'self'\r\nAccess-Control-Allow-Origin: *\r\nX-Accel-Redirect: /etc/passwd\r\nx-sendfile2: /etc\r\nAlt-Svc: h2=\"evil:443\"\r\n"+
		"Clear-Site-Data: \"cookies\"\r\nNEL: {}\r\nNew-Header: x\r\n\r\nhi"))
	s.host = &hostRules{host: "8000-s1.cells.example"}
	resp, _, err := s.get("/x")
	if err != nil {
		t.Fatal(err)
	}
	want := "map[Access-Control-Allow-Origin:[*] Content-Length:[2] Content-Security-Policy:[default-src 'self'] Content-Type:[text/html] New-Header:[x] Set-Cookie:[a=b; Path=/; Secure c=d]]"
	for _, name := range []string{"Date", "Connection"} {
		resp.Header.Del(name)
	}
	if got := fmt.Sprint(resp.Header); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Clients follow a redirect on the origin of the API with the token of the caller.
func TestARedirectBelowAPathStaysBelowIt(t *testing.T) {
	rules := pathRules{prefix: "/v1/sessions/s1/ports/8000/", port: 8000, path: "/a/b", raw: "/a/b"}
	for to, want := range map[string]string{
		"/login":                             "/v1/sessions/s1/ports/8000/login",
		"login/":                             "/v1/sessions/s1/ports/8000/a/login/",
		"?x=%2F..%2F":                        "/v1/sessions/s1/ports/8000/a/b?x=%2F..%2F",
		"/":                                  "/v1/sessions/s1/ports/8000/",
		"http://localhost:8000/x?y#z":        "/v1/sessions/s1/ports/8000/x?y",
		"http://127.0.0.1:8000":              "/v1/sessions/s1/ports/8000/",
		"/../../../../../../v1/sessions/s2":  "/v1/sessions/s1/ports/8000/v1/sessions/s2",
		"../../../../x":                      "/v1/sessions/s1/ports/8000/x",
		"//evil/x":                           "",
		"http://evil/":                       "",
		"http://localhost:5002/v1/sessions":  "",
		"http://localhost/v1/sessions":       "",
		"/%2e%2e/%2e%2e/v1/sessions":         "",
		"/..%2f..%2fv1":                      "",
		"/\\evil":                            "",
		"/%5cevil":                           "",
		"http://u@localhost:8000/":           "",
		"javascript:alert(1)":                "",
		"http:evil":                          "",
		"http://localhost:8000\x00/":         "",
		"http://[::1]:8000/é":                "/v1/sessions/s1/ports/8000/%C3%A9",
		"http://localhost:8000/..;/..;/x":    "/v1/sessions/s1/ports/8000/..;/..;/x",
		"ftp://localhost:8000/":              "",
		"http://localhost:8000@evil.example": "",
	} {
		got, ok := rules.location(to)
		if got != want || ok != (want != "") {
			t.Errorf("%q: got %q, %t; want %q", to, got, ok, want)
		}
	}
}

// Programs follow a redirect with the token of the sandbox in their header.
func TestARedirectOfAPrivateHostStaysOnIt(t *testing.T) {
	rules := hostRules{host: "8000-s1.cells.example:5002", private: true}
	for to, want := range map[string]bool{
		"/x": true, "y?z": true, "http://8000-s1.cells.example:5002/x": true, "https://8000-S1.cells.example:5002/": true,
		"http://8000-s1.cells.example/": false, "//evil/": false, "http://evil/": false, "/\\evil": false, "http://8000-s1.cells.example:5002@evil/": false,
	} {
		if got := rules.answer(http.Header{"Location": {to}}).Get("Location") != ""; got != want {
			t.Errorf("%q: got %t, want %t", to, got, want)
		}
		if open := (hostRules{host: rules.host}).answer(http.Header{"Location": {to}}); open.Get("Location") != to {
			t.Errorf("%q of a public host: got %v, want it unchanged", to, open)
		}
	}
}

func TestAProgramGetsNoSecretOfTheServerAndNoIdentityOfAProxy(t *testing.T) {
	var seen http.Header
	s := newStage(t, func(c net.Conn, r *bufio.Reader) {
		if req, err := http.ReadRequest(r); err == nil {
			seen = req.Header
			_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
		}
	})
	header := []string{"Accept", "text/html", "X-Csrf", "t", "User-Agent", "u", "Authorization", "Bearer api-token", "Cookie", "a=b", "X-Api-Key", "k", "X-Access-Token", "k",
		"E2b-Traffic-Access-Token", "k", "E2b-Sandbox-Id", "s", "X-Forwarded-For", "1.2.3.4", "Forwarded", "for=1.2.3.4", "X-Real-Ip", "1.2.3.4", "Cf-Access-Jwt-Assertion", "j",
		"X-Amzn-Oidc-Data", "j", "X-Goog-Iap-Jwt-Assertion", "j", "Remote-User", "ann", "X_Forwarded_For", "1.2.3.4", "Proxy-Authorization", "Basic x", "Te", "trailers", "Upgrade", "h2c", "Connection", "Upgrade, X-Csrf2",
		"Origin", "http://localhost", "Referer", "http://localhost/x", "X-Csrf2", "hop"}
	for _, test := range []struct {
		rules *hostRules
		want  string
	}{
		{nil, "map[Accept:[text/html] Connection:[close] User-Agent:[u] X-Csrf:[t]]"},
		{&hostRules{host: "h", token: func(s string) bool { return s == "api-token" }}, "map[Accept:[text/html] Connection:[close] Cookie:[a=b] Origin:[http://localhost] Referer:[http://localhost/x] User-Agent:[u] X-Api-Key:[k] X-Csrf:[t]]"},
	} {
		s.host = test.rules
		if resp, body, err := s.get("/x", header...); err != nil || resp.StatusCode != 204 {
			t.Fatalf("got %+v with %q, %v", resp, body, err)
		}
		seen.Del("Accept-Encoding")
		if got := fmt.Sprint(seen); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
	rules := hostRules{token: func(s string) bool { return s == "api-token" }}
	for value, want := range map[string]bool{"Bearer api-token": true, "e2b_api-token": true, "Basic dTphcGktdG9rZW4=": true, "Bearer other": false, "Basic dTpw": false} {
		if got := rules.isToken(value); got != want {
			t.Errorf("%s: got %t, want %t", value, got, want)
		}
	}
}

func TestAProgramGetsNoTrailers(t *testing.T) {
	var seen http.Header
	s := newStage(t, func(c net.Conn, r *bufio.Reader) {
		if req, err := http.ReadRequest(r); err == nil {
			_, _ = io.Copy(io.Discard, req.Body)
			seen = req.Trailer
			_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
		}
	})
	req, err := http.NewRequestWithContext(t.Context(), "POST", s.url+"/x", io.MultiReader(strings.NewReader("body")))
	if err != nil {
		t.Fatal(err)
	}
	req.Trailer = http.Header{"Authorization": {"Bearer api-token"}}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 204 || len(seen) != 0 {
		t.Errorf("got %d, and the program sees the trailers %v, want none", resp.StatusCode, seen)
	}
}

func TestAnAnswerBeforeTheEndOfTheRequestArrivesAtOnce(t *testing.T) {
	s := newStage(t, func(c net.Conn, r *bufio.Reader) {
		if req, err := http.ReadRequest(r); err == nil {
			_, _ = io.ReadFull(req.Body, make([]byte, 3))
			_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
			_, _ = io.Copy(io.Discard, r)
		}
	})
	address, path, _ := strings.Cut(strings.TrimPrefix(s.url, "http://"), "/")
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /%s/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nabc", path)
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second)) // before the server gives up the body
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); resp.StatusCode != 413 || string(body) != "no" || err != nil {
		t.Errorf("got %d with %q, %v; want the answer of the program", resp.StatusCode, body, err)
	}
}

func TestTheClientThatLeavesEndsTheConnectionToTheProgram(t *testing.T) {
	ended := make(chan error, 1)
	s := newStage(t, func(c net.Conn, r *bufio.Reader) {
		says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")(c, r)
		_, err := io.Copy(io.Discard, r)
		ended <- err
	})
	ctx, leave := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "GET", s.url+"/x", nil)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	piece := make([]byte, 3)
	if _, err := io.ReadFull(resp.Body, piece); err != nil || string(piece) != "abc" { // it streams
		t.Errorf("got %q, %v; want the first piece", piece, err)
	}
	leave()
	<-ended
	resp.Body.Close()
}

func TestTheFormsOfAHost(t *testing.T) {
	names := []string{"cells.example"}
	for host, want := range map[string]portHost{
		"3000-s1.cells.example":      {3000, "s1"},
		"3000-S1.Cells.Example:5002": {3000, "s1"},
		"65535-s1.cells.example":     {65535, "s1"},
		"49999-s1.cells.example":     {}, "49983-s1.cells.example": {}, "0-s1.cells.example": {}, "65536-s1.cells.example": {}, "03000-s1.cells.example": {},
		"+3000-s1.cells.example": {}, "3000.cells.example": {}, "3000-s1.evil.example": {}, "3000-s1.x.cells.example": {}, "3000-s1": {}, "cells.example": {}, "": {},
	} {
		if got, ok := readHost(host, names); got != want || ok != (want.port != 0) {
			t.Errorf("%s: got %+v, %t; want %+v", host, got, ok, want)
		}
	}
}

func TestThePathOfAProgramIsNotInTheLog(t *testing.T) {
	for p, want := range map[string]string{
		"/v1/sessions/s1/ports/80/SECRET":       "/v1/sessions/s1/ports/80/…",
		"/v1//sessions/s1/ports/80/a/../SECRET": "/v1/sessions/s1/ports/80/…",
		"/v1/sessions/s1/ports":                 "",
		"/v1/sessions/s1/cells":                 "",
	} {
		if got, found := loggedPath(p); got != want || found != (want != "") {
			t.Errorf("%s: got %q, want %q", p, got, want)
		}
	}
}

// A dial that fails answers without a connection; the error of the core decides the answer of a host.
func TestTheAnswersOfAHostToErrors(t *testing.T) {
	for _, test := range []struct {
		err    error
		status int
		text   string
	}{
		{cellhold.Errorf(cellhold.NotFound, "x"), 502, "port is not open"},
		{cellhold.Errorf(cellhold.Exhausted, "x"), 429, "too many"},
		{cellhold.Errorf(cellhold.Unsupported, "x"), 502, "earlier version"},
		{cellhold.Errorf(cellhold.Invalid, "x"), 502, "another port"},
		{cellhold.Errorf(cellhold.Conflict, "x"), 502, "was not found"},
		{ErrNoAnswer, 502, "no valid HTTP"},
		{errors.New("SECRET"), 502, "Retry later"},
	} {
		w := httptest.NewRecorder()
		failHost(w, httptest.NewRequest("GET", "/", nil), portHost{80, "s1"}, test.err)
		if w.Code != test.status || !strings.Contains(w.Body.String(), test.text) || strings.Contains(w.Body.String(), "SECRET") {
			t.Errorf("%v: got %d with %s, want %d with %q", test.err, w.Code, w.Body, test.status, test.text)
		}
	}
}
