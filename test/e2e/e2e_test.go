// Package e2e tests the built binary through its HTTP API, with real sandboxes and real kernels. It checks
// the documented behaviour and uses only the client.
//
// Each test has its own server and home. Most tests wait most of the time, so they run in parallel. Tests that
// measure memory, CPU time or leftovers on this machine run alone.
package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
	"cellhold/test/servertest"
)

func binary(t testing.TB) string {
	t.Helper()
	return servertest.Binary(t)
}

func imageHome(t testing.TB) string {
	t.Helper()
	return servertest.ImageHome(t)
}

func newHome(t testing.TB) string {
	t.Helper()
	return servertest.NewHome(t)
}

func shareImage(t testing.TB, home string) {
	t.Helper()
	servertest.ShareImage(t, home)
}

func emptyHome(t testing.TB) string {
	t.Helper()
	return servertest.EmptyHome(t)
}

// server is one server process.
type server struct {
	*servertest.Server
	url, token, home string
	cmd              *exec.Cmd
	exited           chan struct{}
	log              *bytes.Buffer
}

func serve(t testing.TB, home string, flags ...string) *server {
	t.Helper()
	return serveBy(t, binary(t), home, flags...)
}

// serveBy is like serve, but starts another build of the program.
func serveBy(t testing.TB, program, home string, flags ...string) *server {
	t.Helper()
	s := servertest.StartBy(t, program, home, flags...)
	return &server{Server: s, url: s.URL, token: s.Token, home: s.Home, cmd: s.Cmd, exited: s.Exited, log: s.Log}
}

func (s *server) endSessions() { s.EndSessions() }

func (s *server) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	s.Signal(t, sig)
}

func (s *server) session(t testing.TB, r client.CreateSession) cellhold.SessionID {
	t.Helper()
	return s.NewSession(t, r)
}

// sessions creates several sessions at the same time.
func (s *server) sessions(t testing.TB, n int) []cellhold.SessionID {
	t.Helper()
	ids := make([]cellhold.SessionID, n)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			x, err := s.CreateSession(t.Context(), client.CreateSession{})
			if err != nil {
				t.Errorf("session %d: %v", i, err)
			}
			ids[i] = x.ID
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return ids
}

func (s *server) run(t testing.TB, id cellhold.SessionID, code string, timeout ...time.Duration) cellhold.Cell {
	t.Helper()
	return s.RunCell(t, id, code, timeout...)
}

func (s *server) must(t testing.TB, id cellhold.SessionID, code string) string {
	t.Helper()
	return s.MustRun(t, id, code)
}

// awaitText waits until a running cell has printed text.
func (s *server) awaitText(t testing.TB, c cellhold.Cell) {
	t.Helper()
	for ev, err := range s.Watch(t.Context(), c.Session, c.First) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Type == cellhold.EventStream && ev.Cell == c.ID {
			return
		}
	}
}

func text(c cellhold.Cell) string { return servertest.Text(c) }

// post sends a request in the form that clients of the article's API use.
func (s *server) post(t testing.TB, path, contentType, body string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	if s.token != "" {
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, answer
}
