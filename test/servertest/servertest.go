// Package servertest starts the built program as a server for tests, with real sandboxes. It checks nothing itself.
package servertest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

// Binary returns the path of the program under test, built by `make build`.
func Binary(t testing.TB) string {
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

// ImageHome returns the home that has the stock image.
func ImageHome(t testing.TB) string {
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

// NewHome creates the home of one test. It shares the stock image and the unpacked runner with all other homes. Its
// path is short, because it contains gVisor's sockets, and Unix limits the length of their paths.
func NewHome(t testing.TB) string {
	t.Helper()
	home := EmptyHome(t)
	ShareImage(t, home)
	return home
}

// ShareImage gives a home the stock image and the unpacked runner.
func ShareImage(t testing.TB, home string) {
	t.Helper()
	runners, err := filepath.Abs("../../build/runner")
	if err == nil {
		err = os.MkdirAll(runners, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, shared := range map[string]string{"images": filepath.Join(ImageHome(t), "images"), "runner": runners} {
		if err := os.Symlink(shared, filepath.Join(home, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// EmptyHome creates a home without images, and removes it at the end of the test.
func EmptyHome(t testing.TB) string {
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

// Server is one server process.
type Server struct {
	*client.Client
	URL    string        // without a slash at the end
	Token  string        // its only token
	Home   string        // its home folder
	Cmd    *exec.Cmd     // its process
	Exited chan struct{} // closed when the process has ended
	Log    *bytes.Buffer // its log; complete when Exited is closed
}

// Start starts the server on a home, and returns when the server is ready. Sessions start cold, unless flags
// has "--no-templates=false".
func Start(t testing.TB, home string, flags ...string) *Server {
	t.Helper()
	return StartBy(t, Binary(t), home, flags...)
}

// StartBy is like Start, but starts another build of the program.
func StartBy(t testing.TB, program, home string, flags ...string) *Server {
	t.Helper()
	s := &Server{Home: home, Exited: make(chan struct{}), Log: &bytes.Buffer{}}
	s.Cmd = exec.Command(program, append([]string{"--home", home, "serve", "--listen", "127.0.0.1:0", "--no-templates"}, flags...)...)
	out, err := s.Cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.Cmd.Stderr = s.Log
	if err := s.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if m := regexp.MustCompile(`^\s*URL\s+(\S+)`).FindStringSubmatch(lines.Text()); m != nil {
			s.URL = m[1]
		}
		if m := regexp.MustCompile(`^\s*Token\s+(\S+)  \(`).FindStringSubmatch(lines.Text()); m != nil {
			s.Token = m[1]
		}
		if strings.HasPrefix(lines.Text(), "Stop it with") {
			break
		}
	}
	go func() {
		_, _ = io.Copy(io.Discard, out)
		_ = s.Cmd.Wait()
		close(s.Exited)
	}()
	if s.URL == "" {
		<-s.Exited
		t.Fatalf("the server did not start:\n%s", s.Log)
	}
	if s.Client, err = client.New(client.Options{URL: s.URL, Token: s.Token}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.EndSessions()
		s.Signal(t, syscall.SIGTERM)
		if t.Failed() {
			t.Logf("log of the server:\n%s", s.Log)
		}
	})
	return s
}

// EndSessions ends the remaining sessions of the server, so that its home can be removed.
func (s *Server) EndSessions() {
	select {
	case <-s.Exited:
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

// Signal sends a signal to the server, and waits until the server has ended.
func (s *Server) Signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	_ = s.Cmd.Process.Signal(sig)
	select {
	case <-s.Exited:
	case <-time.After(time.Minute):
		t.Errorf("the server did not end within a minute after %s, want its end", sig)
		_ = s.Cmd.Process.Kill()
		<-s.Exited
	}
}

// NewSession creates a session. The cleanup of its server deletes it.
func (s *Server) NewSession(t testing.TB, r client.CreateSession) cellhold.SessionID {
	t.Helper()
	x, err := s.CreateSession(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return x.ID
}

// RunCell runs a cell, and returns it when it is done, with any status.
func (s *Server) RunCell(t testing.TB, id cellhold.SessionID, code string, timeout ...time.Duration) cellhold.Cell {
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

// MustRun runs a cell, and returns its text. The cell must end with ok.
func (s *Server) MustRun(t testing.TB, id cellhold.SessionID, code string) string {
	t.Helper()
	c := s.RunCell(t, id, code)
	if c.Status != cellhold.StatusOK {
		t.Fatalf("%s\nended with %s (%s): %s", code, c.Status, c.Cause, Text(c))
	}
	return Text(c)
}

// Text returns the text of all outputs of a cell.
func Text(c cellhold.Cell) string {
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
