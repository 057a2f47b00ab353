package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

// connected is a running `cellhold session connect`.
type connected struct {
	cmd    *exec.Cmd
	line   string // that it printed
	file   string // its connection file
	errors *bytes.Buffer
	exited chan error
}

// connect starts the command, and returns when the connection file can be used.
func (s *server) connect(t *testing.T, id cellhold.SessionID, flags ...string) *connected {
	t.Helper()
	c := &connected{errors: &bytes.Buffer{}, exited: make(chan error, 1)}
	c.cmd = exec.Command(binary(t), append([]string{"--home", s.home, "session", "--url", s.url, "--token", s.token, "connect", string(id)}, flags...)...)
	c.cmd.Env = append(os.Environ(), "JUPYTER_RUNTIME_DIR="+filepath.Join(t.TempDir(), "runtime"))
	c.cmd.Stderr = c.errors
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.line, err = bufio.NewReader(out).ReadString('\n')
	go func() { c.exited <- c.cmd.Wait() }()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		c.exited <- <-c.exited
	})
	words := strings.Fields(c.line)
	if err != nil || len(words) != 4 {
		_ = c.cmd.Process.Kill()
		t.Fatalf("the command: got %q, %v and %s; want a line to paste", c.line, err, c.errors)
	}
	c.file = words[3]
	return c
}

// end returns the result of the command, which must end by itself or by a signal of the test.
func (c *connected) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-c.exited:
		c.exited <- err
		return err
	case <-time.After(time.Minute):
		t.Fatalf("the command did not end; it said %s", c.errors)
		return nil
	}
}

// The published programs of Jupyter that know only connection files use a session: jupyter_client and jupyter console. The
// story is in test/clients.
func TestProgramsWithAConnectionFileUseASession(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	c := s.connect(t, id)
	if info, err := os.Stat(c.file); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file: got %v, %v; want mode 0600", info, err)
	}
	program := clientProgram{[]string{absolute(t, "build/clientvenv/bin/python"), "-"}, absolute(t, "test/clients/jupyter_connection.py")}
	out, err := program.run(t, c.file, absolute(t, "build/clientvenv/bin"))
	if steps := strings.Split(out, "\n"); err != nil || len(steps) != 9 {
		t.Errorf("the programs: got %v and %d steps:\n%s\nwant 9 steps; the command said %s", err, len(steps), out, c.errors)
	}
	_ = c.cmd.Process.Signal(syscall.SIGINT)
	if err := c.end(t); err != nil {
		t.Errorf("after Ctrl-C: got %v and %s, want status 0", err, c.errors)
	}
	if _, err := os.Stat(c.file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file after Ctrl-C: got %v, want no file", err)
	}
	if x, err := s.Session(t.Context(), id); err != nil || x.State != cellhold.SessionReady {
		t.Errorf("the session after Ctrl-C: got %s, %v; want one that continues", x.State, err)
	}
}

// A restart of the server interrupts no program. The end of the session ends the command.
func TestAConnectionFileWorksAfterARestartOfTheServer(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	s := serve(t, home)
	id := s.session(t, client.CreateSession{})
	c := s.connect(t, id, "--file", filepath.Join(t.TempDir(), "mine.json"))
	s.signal(t, syscall.SIGTERM)
	s = serve(t, home, "--listen", strings.TrimPrefix(s.url, "http://"))
	program := clientProgram{[]string{absolute(t, "build/clientvenv/bin/python"), "-"}, absolute(t, "test/clients/jupyter_connection.py")}
	out, err := program.run(t, c.file, absolute(t, "build/clientvenv/bin"), "code_story")
	if err != nil || !strings.HasPrefix(out, "code\n") {
		t.Errorf("the program: got %v and\n%s\nthe command said %s", err, out, c.errors)
	}
	if err := s.DeleteSession(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := c.end(t); err != nil || !strings.Contains(c.errors.String(), "ended") {
		t.Errorf("after the end of the session: got %v and %s, want status 0 and the reason", err, c.errors)
	}
	if _, err := os.Stat(c.file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file: got %v, want no file", err)
	}
}
