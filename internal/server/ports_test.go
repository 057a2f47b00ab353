package server

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"cellhold"
	"cellhold/internal/registry"
	"cellhold/internal/server/exchange"
)

// program starts a program that listens on the loopback, which is that of a fake sandbox too. It returns the port.
func program(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	p := httptest.NewServer(h)
	t.Cleanup(p.Close)
	_, port, _ := net.SplitHostPort(p.Listener.Addr().String())
	return port
}

// closedPort returns a port on which no program listens.
func closedPort(t *testing.T) string {
	t.Helper()
	p := httptest.NewServer(nil)
	defer p.Close()
	_, port, _ := net.SplitHostPort(p.Listener.Addr().String())
	return port
}

// tells answers with what the program sees of the request.
func tells(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "text/plain")
	fmt.Fprintf(w, "%s %s %s %s", r.Method, r.Host, r.RequestURI, body)
}

// echo is a WebSocket that returns one message.
func echo(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"p1"}, InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer c.CloseNow()
	for {
		kind, b, err := c.Read(r.Context())
		if err != nil || c.Write(r.Context(), kind, append([]byte("echo "), b...)) != nil {
			return
		}
	}
}

// withHosts makes a server with names, on which sessions can have public ports.
func withHosts(t *testing.T, public cellhold.PublicPorts) *harness {
	return newHarnessWith(t, func(o *registry.Options) { o.PublicPorts = public }, func(o *Options) { o.Hosts = []string{"Cells.example"} })
}

// at returns a request to a port at its host.
func (h *harness) at(id, port, path string, header ...string) *http.Request {
	h.t.Helper()
	req := h.request("GET", path, "")
	req.Host = port + "-" + id + ".cells.example:5002"
	req.Header.Del("Authorization")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return req
}

func TestAPortIsReachedBelowThePathOfItsSession(t *testing.T) {
	h := newHarness(t)
	port := program(t, tells)
	path := h.create() + "/ports/" + port
	for _, test := range []struct{ method, path, body, want string }{
		{"GET", "/", "", "GET localhost:PORT / "},
		{"GET", "/a/b%20c%2Fd;x?q=1&q=%2F", "", "GET localhost:PORT /a/b%20c%2Fd;x?q=1&q=%2F "},
		{"POST", "/form", "user_id=ann", "POST localhost:PORT /form user_id=ann"},
		{"PUT", "/f", strings.Repeat("x", exchange.MaxBody+10), "PUT localhost:PORT /f " + strings.Repeat("x", exchange.MaxBody+10)},
		{"PATCH", "/f", "{}", "PATCH localhost:PORT /f {}"},
		{"DELETE", "/f", "", "DELETE localhost:PORT /f "},
		{"OPTIONS", "/f", "", "OPTIONS localhost:PORT /f "},
	} {
		a := h.do(200, test.method, path+test.path, test.body)
		if got := string(a.body); got != strings.Replace(test.want, "PORT", port, 1) || a.Header.Get("Content-Security-Policy") != "sandbox; default-src 'none'" {
			t.Errorf("%s %s: got %.100q with %v, want %.100q", test.method, test.path, got, a.Header, test.want)
		}
	}
	if a := h.send(h.request("HEAD", path+"/x", "")); a.StatusCode != 200 || len(a.body) != 0 {
		t.Errorf("HEAD: got %d with %q", a.StatusCode, a.body)
	}
	var p exchange.Problem
	h.do(502, "GET", strings.Replace(path, port, closedPort(t), 1)+"/", "").decode(t, &p)
	if !strings.Contains(p.Detail, "No program listens on port") {
		t.Errorf("a closed port: got %+v", p)
	}
	for _, bad := range []string{"0", "65536", "080", "x", "-1", "+80"} {
		h.do(422, "GET", strings.Replace(path, port, bad, 1)+"/", "")
	}
	if log := h.log.String(); strings.Contains(log, "form") || !strings.Contains(log, "/ports/"+port+"/…") {
		t.Error("the log has the path of a request to a program")
	}
}

func TestAWebSocketOfAProgramIsReachedInBothForms(t *testing.T) {
	h := withHosts(t, cellhold.PortsNever)
	b := h.box(`{}`)
	port := program(t, echo)
	for name, test := range map[string]struct {
		url, host string
		header    http.Header
	}{
		"path": {h.url + "/v1/sessions/" + b.ID + "/ports/" + port + "/ws", "", http.Header{"Authorization": {"Bearer " + annToken}}},
		"host": {h.url + "/ws", port + "-" + b.ID + ".cells.example", http.Header{"E2b-Traffic-Access-Token": {b.Traffic}}},
	} {
		c, resp, err := websocket.Dial(t.Context(), test.url, &websocket.DialOptions{Host: test.host, HTTPHeader: test.header, Subprotocols: []string{"p1"}})
		if err != nil {
			t.Fatalf("%s: %v, %+v", name, err, resp)
		}
		for i := range 3 {
			text := strings.Repeat("x", i*10_000)
			if err := c.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
				t.Fatal(err)
			}
			if _, got, err := c.Read(t.Context()); err != nil || string(got) != "echo "+text {
				t.Errorf("%s: got %.40q, %v; want the message back", name, got, err)
			}
		}
		if c.Subprotocol() != "p1" {
			t.Errorf("%s: got the protocol %q", name, c.Subprotocol())
		}
		_ = c.CloseNow()
	}
	if _, resp, err := websocket.Dial(t.Context(), h.url+"/ws", &websocket.DialOptions{Host: port + "-" + b.ID + ".cells.example"}); err == nil || resp.StatusCode != 403 {
		t.Errorf("a WebSocket without a token: got %v, %+v; want 403", err, resp)
	}
}

func TestAnAnswerOfAProgramStreams(t *testing.T) {
	h := newHarness(t)
	more := make(chan struct{})
	port := program(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first")
		_ = http.NewResponseController(w).Flush()
		<-more
		_, _ = io.WriteString(w, "last")
	})
	resp, err := http.DefaultClient.Do(h.request("GET", h.create()+"/ports/"+port+"/", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, 5)
	if _, err := io.ReadFull(resp.Body, first); err != nil {
		t.Fatal(err)
	}
	close(more)
	if rest, err := io.ReadAll(resp.Body); err != nil || string(first)+string(rest) != "firstlast" {
		t.Errorf("got %s%s, %v", first, rest, err)
	}
}

func TestAHibernationEndsConnectionsToPortsAndARequestResumesTheSession(t *testing.T) {
	h := newHarness(t)
	gone := make(chan struct{})
	port := program(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			_, _ = io.WriteString(w, "begun")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			close(gone)
		}
	})
	path := h.create()
	resp, err := http.DefaultClient.Do(h.request("GET", path+"/ports/"+port+"/wait", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	h.do(200, "POST", path+"/hibernate", "")
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("the answer ended as if it was whole")
	}
	<-gone
	h.do(200, "GET", path+"/ports/"+port+"/", "")
	if s := h.shown(strings.TrimPrefix(path, "/v1/sessions/")); s.State != cellhold.SessionReady {
		t.Errorf("got the state %s after a request, want ready", s.State)
	}
	h.do(204, "DELETE", path, "")
	h.do(404, "GET", path+"/ports/"+port+"/", "")
}

func TestAHostOfAPortNeedsTheTokenOfTheSandbox(t *testing.T) {
	h := withHosts(t, cellhold.PortsAsked)
	b, other := h.box(`{}`), h.box(`{}`)
	port := program(t, tells)
	for name, test := range map[string]struct {
		header []string
		status int
	}{
		"no token":                {nil, 403},
		"the token":               {[]string{"E2b-Traffic-Access-Token", b.Traffic}, 200},
		"another sandbox's token": {[]string{"E2b-Traffic-Access-Token", other.Traffic}, 403},
		"the token of files":      {[]string{"E2b-Traffic-Access-Token", b.Envd}, 403},
		"the token of the API":    {[]string{"Authorization", "Bearer " + annToken}, 403},
		"an empty token":          {[]string{"E2b-Traffic-Access-Token", ""}, 403},
		"a page of another site":  {[]string{"E2b-Traffic-Access-Token", b.Traffic, "Origin", "https://evil.example"}, 403},
		"a page of the API":       {[]string{"E2b-Traffic-Access-Token", b.Traffic, "Origin", "http://cells.example:5002"}, 403},
		"an own page":             {[]string{"E2b-Traffic-Access-Token", b.Traffic, "Origin", "http://" + port + "-" + b.ID + ".cells.example:5002"}, 200},
		"a link on another site":  {[]string{"E2b-Traffic-Access-Token", b.Traffic, "Sec-Fetch-Site", "cross-site"}, 403},
		"another host of a port":  {[]string{"E2b-Traffic-Access-Token", b.Traffic, "Sec-Fetch-Site", "same-site"}, 403},
	} {
		if a := h.send(h.at(b.ID, port, "/SECRET?x=1", test.header...)); a.StatusCode != test.status {
			t.Errorf("%s: got %d with %s, want %d", name, a.StatusCode, a.body, test.status)
		}
	}
	a := h.send(h.at(b.ID, port, "//a/../b?x=1", "E2b-Traffic-Access-Token", b.Traffic))
	if want := "GET " + port + "-" + b.ID + ".cells.example:5002 //a/../b?x=1 "; string(a.body) != want || a.Header.Get("X-Request-Id") != "" {
		t.Errorf("got %s with %v, want %s and only headers of the program", a.body, a.Header, want)
	}
	if a := h.send(h.at(b.ID, closedPort(t), "/", "E2b-Traffic-Access-Token", b.Traffic)); a.StatusCode != 502 || !strings.Contains(string(a.body), "port is not open") || a.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("a closed port: got %d with %s, want 502", a.StatusCode, a.body)
	}
	for _, id := range []string{"saaaaaaaaaaaaaaaa", "x", ""} {
		if a := h.send(h.at(id, port, "/")); a.StatusCode != 502 || !strings.Contains(string(a.body), "was not found") {
			t.Errorf("sandbox %q: got %d with %s, want 502", id, a.StatusCode, a.body)
		}
	}
	if a := h.send(h.at(b.ID+".evil", port, "/")); a.StatusCode != 403 {
		t.Errorf("a longer name: got %d with %s, want 403", a.StatusCode, a.body)
	}
	h.control(annToken, "POST", "/sandboxes/"+b.ID+"/pause", "")
	if a := h.send(h.at(b.ID, port, "/", "E2b-Traffic-Access-Token", b.Traffic)); a.StatusCode != 502 {
		t.Errorf("a paused sandbox: got %d with %s, want 502", a.StatusCode, a.body)
	}
	if log := h.log.String(); strings.Contains(log, "SECRET") || strings.Contains(log, b.Traffic) {
		t.Error("the log has the path or the token of a request to a program")
	}
}

func TestTheOperatorDecidesWhichPortsArePublic(t *testing.T) {
	port := program(t, tells)
	const none, yes, no = `{}`, `{"network":{"allowPublicTraffic":true}}`, `{"network":{"allowPublicTraffic":false}}`
	for _, test := range []struct {
		operator cellhold.PublicPorts
		body     string
		created  int
		public   bool
	}{
		{"", none, 201, false}, {"", yes, 403, false},
		{cellhold.PortsNever, none, 201, false}, {cellhold.PortsNever, yes, 403, false},
		{cellhold.PortsAsked, none, 201, false}, {cellhold.PortsAsked, yes, 201, true}, {cellhold.PortsAsked, no, 201, false},
		{cellhold.PortsAlways, none, 201, true}, {cellhold.PortsAlways, yes, 201, true}, {cellhold.PortsAlways, no, 201, false},
	} {
		t.Run(string(test.operator)+test.body, func(t *testing.T) {
			h := withHosts(t, test.operator)
			a := h.control(annToken, "POST", "/v2/sandboxes", test.body)
			if a.StatusCode != test.created {
				t.Fatalf("create: got %d with %s, want %d", a.StatusCode, a.body, test.created)
			}
			if test.created != 201 {
				return
			}
			var b struct {
				SandboxID, Domain string
			}
			a.decode(t, &b)
			a = h.send(h.at(b.SandboxID, port, "/", "Origin", "https://any.example"))
			if (a.StatusCode == 200) != test.public || h.shown(b.SandboxID).PublicPorts != test.public {
				t.Errorf("without a token: got %d with %s, want public %t", a.StatusCode, a.body, test.public)
			}
			if want := "cells.example:" + h.url[strings.LastIndex(h.url, ":")+1:]; b.Domain != want {
				t.Errorf("got the domain %q, want %q", b.Domain, want)
			}
			var info struct {
				Network struct{ AllowPublicTraffic bool }
			}
			h.control(annToken, "GET", "/sandboxes/"+b.SandboxID, "").decode(t, &info)
			if info.Network.AllowPublicTraffic != test.public {
				t.Errorf("the sandbox shows %+v, want public %t", info, test.public)
			}
		})
	}
	h := withHosts(t, cellhold.PortsAsked)
	id := strings.TrimPrefix(h.do(201, "POST", "/v1/sessions", `{"public_ports":true}`).Header.Get("Location"), "/v1/sessions/")
	if a := h.send(h.at(id, port, "/")); a.StatusCode != 200 {
		t.Errorf("a public session of /v1: got %d with %s", a.StatusCode, a.body)
	}
	if a := h.send(h.at(id, "49983", "/files?path=/etc/passwd")); a.StatusCode != 401 {
		t.Errorf("files of a public session: got %d with %s, want 401", a.StatusCode, a.body)
	}
	if a := h.send(h.at(id, "49999", "/contexts")); a.StatusCode != 403 {
		t.Errorf("the code server of a public session: got %d with %s, want 403", a.StatusCode, a.body)
	}
}

func TestACallerOfV1LearnsHowToReachPorts(t *testing.T) {
	h := withHosts(t, cellhold.PortsNever)
	path := h.create()
	id := strings.TrimPrefix(path, "/v1/sessions/")
	var p cellhold.PortAccess
	h.do(200, "GET", path+"/ports", "").decode(t, &p)
	if p.Path != path+"/ports/PORT/" || len(p.Hosts) != 1 || p.Hosts[0] != "PORT-"+id+".cells.example" || p.Public {
		t.Fatalf("got %+v", p)
	}
	port := program(t, tells)
	if a := h.send(h.at(id, port, "/", p.Header, p.Token)); a.StatusCode != 200 {
		t.Errorf("with the token: got %d with %s", a.StatusCode, a.body)
	}
	h.do(200, "GET", strings.Replace(p.Path, "PORT", port, 1), "")
	if a := h.send(h.at(id, "49999", "/contexts", p.Header, p.Token)); a.StatusCode != 403 {
		t.Errorf("the code server with the token of ports: got %d with %s, want 403", a.StatusCode, a.body)
	}
}

func TestWithoutTokensOnlyOwnPagesReachPrivatePorts(t *testing.T) {
	h := newHarnessWith(t, nil, func(o *Options) { o.Tokens, o.AuthOff, o.Hosts = nil, true, []string{"cells.example"} })
	id := strings.TrimPrefix(h.create(), "/v1/sessions/")
	port := program(t, tells)
	for status, header := range map[int][]string{200: nil, 403: {"Sec-Fetch-Site", "same-site"}} {
		if a := h.send(h.at(id, port, "/", header...)); a.StatusCode != status {
			t.Errorf("with %v: got %d with %s, want %d", header, a.StatusCode, a.body, status)
		}
	}
	former, err := h.manager.Create(t.Context(), registry.CreateRequest{Owner: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	if a := h.send(h.at(string(former.ID()), port, "/")); a.StatusCode != 403 {
		t.Errorf("a session of a former caller: got %d with %s, want 403", a.StatusCode, a.body)
	}
}

func TestTheServerEndsRequestsToPortsWhenItShutsDown(t *testing.T) {
	h := newHarness(t)
	begun := make(chan struct{})
	port := program(t, func(w http.ResponseWriter, r *http.Request) { close(begun); <-r.Context().Done() })
	req := h.request("GET", h.create()+"/ports/"+port+"/", "")
	ended := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		ended <- err
	}()
	<-begun
	h.server.waiters.SendAway()
	<-ended
}

func TestARequestToAHostOfAPortIsCheckedBeforeItsBodyIsRead(t *testing.T) {
	h := withHosts(t, cellhold.PortsNever)
	b := h.box(`{}`)
	for id, want := range map[string]int{b.ID: 403, "saaaaaaaaaaaaaaaa": 502} {
		u, _ := url.Parse(h.url)
		conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", u.Host)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: 3000-%s.cells.example\r\nContent-Length: 1000000\r\n\r\n", id)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || res.StatusCode != want || !res.Close {
			t.Errorf("%s: got %+v, %v; want %d and the end of the connection", id, res, err, want)
		}
		conn.Close()
	}
}
