package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"cellhold"
	"cellhold/client"
)

// The published SDKs of E2B reach ports of real sandboxes by their hosts. The programs tell the story in test/clients.
func TestSDKsOfE2BReachPorts(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t), "--host", "cells.example")
	python, node := []string{absolute(t, "build/clientvenv/bin/python"), "-"}, []string{"node", "--input-type=module", "-"}
	variables := []string{"env", "E2B_API_KEY=" + s.token, "E2B_API_URL=" + s.url + "/e2b", "E2B_SANDBOX_URL=" + s.url + "/e2b"}
	for _, c := range []struct {
		name   string
		client clientProgram
		steps  string
	}{
		{"Python", clientProgram{append(slices.Clone(variables), python...), absolute(t, "test/clients/e2b_ports.py")},
			"a private port\na pause, and the program continues\na kill\na public port\na visitor resumes a sandbox"},
		{"JavaScript", clientProgram{append(slices.Clone(variables), node...), absolute(t, "test/clients/e2b_ports.mjs")}, "a private port on ::1\na public port"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if out, err := c.client.run(t, strings.TrimPrefix(s.url, "http://"), absolute(t, "test/clients/ports_program.py")); err != nil || out != c.steps {
				t.Errorf("the client: got %v and:\n%s\nwant:\n%s", err, out, c.steps)
			}
		})
	}
}

// listening starts the program of test/clients in a session, and returns when it listens.
func (s *server) listening(t *testing.T, id cellhold.SessionID, port int) {
	t.Helper()
	program, err := os.ReadFile(absolute(t, "test/clients/ports_program.py"))
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, id, "program.py", string(program))
	s.must(t, id, fmt.Sprintf("import subprocess, sys\np = subprocess.Popen([sys.executable, '/workspace/program.py', '127.0.0.1', '%d'], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)\np.stdout.readline()", port))
}

// port sends a request to a port of a session, and returns the status and the body. A broken body is an error.
func (s *server) port(t *testing.T, id cellhold.SessionID, port int, path string) (int, string, error) {
	t.Helper()
	access, err := s.Ports(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	at := s.url + strings.TrimSuffix(strings.Replace(access.Path, "PORT", fmt.Sprint(port), 1), "/") + path
	req, err := http.NewRequestWithContext(t.Context(), "GET", at, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

func TestACallerReachesAProgramOnAPort(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	if status, body, err := s.port(t, id, 8000, "/"); status != 502 || !strings.Contains(body, "No program listens on port 8000") {
		t.Errorf("before the program: got %d with %s, %v; want 502", status, body, err)
	}
	s.listening(t, id, 8000)
	if status, body, err := s.port(t, id, 8000, "/a/b?c=1"); status != 200 || body != "<p>/a/b?c=1</p>" || err != nil {
		t.Errorf("got %d with %s, %v; want the page", status, body, err)
	}
	// A web page asks for more files at once than a session can have connections.
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			if status, body, err := s.port(t, id, 8000, fmt.Sprint("/", i)); status != 200 || body != fmt.Sprintf("<p>/%d</p>", i) || err != nil {
				t.Errorf("request %d of 100: got %d with %s, %v; want the page", i, status, body, err)
			}
		})
	}
	all.Wait()
}

// A WebSocket does not keep a session from hibernating. The program continues after the next request.
func TestAProgramOnAPortSurvivesAHibernation(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.listening(t, id, 8000)
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET /v1/sessions/%s/ports/8000/ws HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", id, s.token)
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 101 {
		t.Fatalf("the WebSocket: %+v, %v", resp, err)
	}
	frame := append([]byte{0x81, 0x82, 0, 0, 0, 0}, "hi"...)
	if _, err := c.Write(frame); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(r, got); err != nil || string(got) != "\x81\x02hi" {
		t.Fatalf("got the frame %q, %v", got, err)
	}
	s.hibernate(t, id)
	if rest, _ := io.ReadAll(r); len(rest) != 0 { // it ends
		t.Errorf("got %q after the hibernation", rest)
	}
	for range 2 {
		if status, body, err := s.port(t, id, 8000, "/after"); status != 200 || body != "<p>/after</p>" || err != nil {
			t.Errorf("after the hibernation: got %d with %s, %v; want the page", status, body, err)
		}
	}
}

// The proxy is on the loopback, but a caller of a port must not get the network access of the code.
func TestTheEgressProxyIsNoPort(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t), "--max-egress", "public")
	id := s.session(t, client.CreateSession{Egress: &cellhold.Egress{Policy: cellhold.EgressPublic}})
	proxy := strings.TrimSpace(s.must(t, id, "import os; print(os.environ['HTTP_PROXY'].rsplit(':')[-1])"))
	status, body, err := s.port(t, id, 3128, "/")
	if proxy != "3128" || status != 422 || !strings.Contains(body, "egress proxy") {
		t.Errorf("the proxy at %s: got %d with %s, %v; want 422", proxy, status, body, err)
	}
}

// A program that never stops sending holds its connection only as long as the client wants.
func TestAnEndlessAnswerEndsWithItsClient(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, `
import socket, threading
ended = threading.Event()
n = socket.create_server(("127.0.0.1", 9000))
def serve():
    c = n.accept()[0]
    c.recv(10_000)
    try:
        c.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            c.sendall(b"x" * 100_000)
    except OSError:
        ended.set()
threading.Thread(target=serve, daemon=True).start()
`)
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("%s/v1/sessions/%s/ports/9000/", s.url, id), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.CopyN(io.Discard, resp.Body, 5_000_000); err != nil {
		t.Fatalf("got %d bytes, %v", n, err)
	}
	leave()
	if got := s.must(t, id, "print(ended.wait(60))"); got != "True\n" {
		t.Errorf("the program sends to a client that left: %s", got)
	}
}
