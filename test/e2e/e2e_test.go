// Package e2e tests the built binary through its HTTP API, with real sandboxes and real kernels. It checks
// the documented behaviour and uses only the client.
//
// Each test has its own server and home. Most tests wait most of the time, so they run in parallel. Tests that
// measure memory, CPU time or leftovers on this machine run alone.
package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

// binary returns the path of the program under test, built by `make build`.
func binary(t testing.TB) string {
	t.Helper()
	path, err := filepath.Abs("../../build/bin/cellhold")
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("the binary is missing (%v); run: make build", err)
	}
	return path
}

// imageHome returns the home that has the stock image.
func imageHome(t testing.TB) string {
	t.Helper()
	home := os.Getenv("CELLHOLD_TEST_HOME")
	if home == "" {
		home, _ = filepath.Abs("../../build/home")
	}
	if _, err := os.Stat(filepath.Join(home, "images")); err != nil {
		t.Fatalf("the stock image is missing (%v); run: make image", err)
	}
	return home
}

// newHome creates the home of one test. It shares the stock image and the unpacked runner with all other homes. Its
// path is short, because it contains gVisor's sockets, and Unix limits the length of their paths.
func newHome(t testing.TB) string {
	t.Helper()
	home := emptyHome(t)
	shareImage(t, home)
	return home
}

// shareImage gives a home the stock image and the unpacked runner.
func shareImage(t testing.TB, home string) {
	t.Helper()
	runners, err := filepath.Abs("../../build/runner")
	if err == nil {
		err = os.MkdirAll(runners, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, shared := range map[string]string{"images": filepath.Join(imageHome(t), "images"), "runner": runners} {
		if err := os.Symlink(shared, filepath.Join(home, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// emptyHome creates a home without images, and removes it at the end of the test.
func emptyHome(t testing.TB) string {
	t.Helper()
	home, err := os.MkdirTemp("/tmp", "ch")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(home); err != nil {
			t.Errorf("removing the home: %v", err)
		}
	})
	if err := os.Chmod(home, 0o711); err != nil {
		t.Fatal(err)
	}
	return home
}

// server is one server process.
type server struct {
	*client.Client
	url, token, home string
	cmd              *exec.Cmd
	exited           chan struct{}
	log              *bytes.Buffer
}

// serve starts the server on a home, and returns when the server is ready. Sessions start cold, unless flags
// has "--no-templates=false".
func serve(t testing.TB, home string, flags ...string) *server {
	t.Helper()
	return serveBy(t, binary(t), home, flags...)
}

// serveBy is like serve, but starts another build of the program.
func serveBy(t testing.TB, program, home string, flags ...string) *server {
	t.Helper()
	s := &server{home: home, exited: make(chan struct{}), log: &bytes.Buffer{}}
	s.cmd = exec.Command(program, append([]string{"--home", home, "serve", "--listen", "127.0.0.1:0", "--no-templates"}, flags...)...)
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stderr = s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if m := regexp.MustCompile(`^\s*URL\s+(\S+)`).FindStringSubmatch(lines.Text()); m != nil {
			s.url = m[1]
		}
		if m := regexp.MustCompile(`^\s*Token\s+(\S+)  \(`).FindStringSubmatch(lines.Text()); m != nil {
			s.token = m[1]
		}
		if strings.HasPrefix(lines.Text(), "Stop it with") {
			break
		}
	}
	go func() {
		_, _ = io.Copy(io.Discard, out)
		_ = s.cmd.Wait()
		close(s.exited)
	}()
	if s.url == "" {
		<-s.exited
		t.Fatalf("the server did not start:\n%s", s.log)
	}
	if s.Client, err = client.New(client.Options{URL: s.url, Token: s.token}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.endSessions()
		s.signal(t, syscall.SIGTERM)
		if t.Failed() {
			t.Logf("log of the server:\n%s", s.log)
		}
	})
	return s
}

// endSessions ends the remaining sessions of the server, so that its home can be removed.
func (s *server) endSessions() {
	select {
	case <-s.exited:
		return
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	list, _ := s.Sessions(ctx)
	for _, x := range list {
		_ = s.DeleteSession(ctx, x.ID)
	}
}

// signal sends a signal to the server, and waits until the server has ended.
func (s *server) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	_ = s.cmd.Process.Signal(sig)
	select {
	case <-s.exited:
	case <-time.After(time.Minute):
		t.Errorf("the server did not end within a minute after %s, want its end", sig)
		_ = s.cmd.Process.Kill()
		<-s.exited
	}
}

// session creates a session. The cleanup of its server deletes it.
func (s *server) session(t testing.TB, r client.CreateSession) cellhold.SessionID {
	t.Helper()
	x, err := s.CreateSession(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return x.ID
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

// run runs a cell, and returns it when it is done, with any status.
func (s *server) run(t testing.TB, id cellhold.SessionID, code string, timeout ...time.Duration) cellhold.Cell {
	t.Helper()
	r := client.Code{Code: code}
	if len(timeout) > 0 {
		r.Timeout = timeout[0]
	}
	c, err := s.Execute(t.Context(), id, r)
	if err != nil {
		t.Fatalf("%s: %v", code, err)
	}
	return c
}

// must runs a cell, and returns its text. The cell must end with ok.
func (s *server) must(t testing.TB, id cellhold.SessionID, code string) string {
	t.Helper()
	c := s.run(t, id, code)
	if c.Status != cellhold.StatusOK {
		t.Fatalf("%s\nended with %s (%s): %s", code, c.Status, c.Cause, text(c))
	}
	return text(c)
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

// text returns the text of all outputs of a cell.
func text(c cellhold.Cell) string {
	var b strings.Builder
	for _, o := range c.Outputs {
		b.WriteString(o.Text)
		if raw := o.Data["text/plain"]; raw != nil {
			var s string
			if json.Unmarshal(raw, &s) == nil {
				b.WriteString(s)
			}
		}
		if o.ErrorName != "" {
			b.WriteString(o.Exception())
		}
	}
	return b.String()
}

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
