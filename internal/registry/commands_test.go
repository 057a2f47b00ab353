package registry_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/attachment"
	runner "cellhold/internal/command"
	"cellhold/internal/registry"
	"cellhold/internal/sandbox"
	"cellhold/internal/session"
)

// startCommand starts a command from a shell line.
func startCommand(t *testing.T, s *session.Session, line string) cellhold.Command {
	t.Helper()
	c, err := s.StartCommand(t.Context(), attachment.CommandRequest{Line: line})
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return c
}

// input sends standard input to a command.
func input(t *testing.T, s *session.Session, id cellhold.CommandID, b []byte, offset int64, eof bool) (int64, error) {
	r, err := s.Commands(t.Context(), id)
	if err != nil {
		return 0, err
	}
	return r.Input(t.Context(), id, b, offset, eof)
}

// act calls f with the runner of a command.
func act(t *testing.T, s *session.Session, id cellhold.CommandID, f func(*runner.Runner) error) error {
	r, err := s.Commands(t.Context(), id)
	if err != nil {
		return err
	}
	return f(r)
}

func kill(t *testing.T, s *session.Session, id cellhold.CommandID) error {
	return act(t, s, id, func(r *runner.Runner) error { return r.Kill(t.Context(), id) })
}

func signal(t *testing.T, s *session.Session, id cellhold.CommandID, name string) error {
	return act(t, s, id, func(r *runner.Runner) error { return r.Signal(t.Context(), id, cellhold.SignalNumber(name)) })
}

func resize(t *testing.T, s *session.Session, id cellhold.CommandID, size cellhold.Terminal) error {
	return act(t, s, id, func(r *runner.Runner) error { return r.Resize(t.Context(), id, size) })
}

// command runs a command until it is done.
func command(t *testing.T, s *session.Session, line string) cellhold.Command {
	t.Helper()
	c, err := s.History().WaitCommand(t.Context(), startCommand(t, s, line).ID)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return c
}

// written reads all events of a command, and returns its output on each stream.
func written(t *testing.T, s *session.Session, id cellhold.CommandID) (stdout, stderr string, types string) {
	t.Helper()
	watch, err := s.History().WatchCommand(t.Context(), id, 0)
	if err != nil {
		t.Fatal(err)
	}
	for ev, err := range watch {
		if err != nil {
			t.Fatal(err)
		}
		var c cellhold.StreamContent
		if types += string(ev.Type) + " "; ev.Type == cellhold.EventStream && ev.Decode(&c) == nil {
			b := c.Text + string(c.Data)
			if c.Name == "stdout" {
				stdout += b
			} else {
				stderr += b
			}
		}
	}
	return stdout, stderr, types
}

func TestACommandRunsWhileTheKernelIsBusy(t *testing.T) {
	s := newHost(t).serve(t).create(t, registry.CreateRequest{})
	c := command(t, s, "echo a b;warn c;exit 7")
	if c.Status != cellhold.CommandExit || c.Code != 7 || c.Stdout.Text != "a b\n" || c.Stderr.Text != "c\n" || c.Ended.IsZero() {
		t.Errorf("a command with exit status 7: %+v", c)
	}
	stdout, stderr, types := written(t, s, c.ID)
	if stdout != "a b\n" || stderr != "c\n" || !strings.HasPrefix(types, "command_started ") || !strings.HasSuffix(types, "command_done ") {
		t.Errorf("its events: stdout %q, stderr %q, types %s", stdout, stderr, types)
	}
	if c := command(t, s, "missing"); c.Code != 127 || c.Status != cellhold.CommandExit || c.Cause == "" {
		t.Errorf("an unknown program: %+v", c)
	}
	if c := run(t, s, "print still here"); text(c) != "still here\n" {
		t.Errorf("the cell printed %q", text(c))
	}
	n := 0
	for _, err := range s.History().Commands(t.Context()) {
		if n++; err != nil {
			t.Error(err)
		}
	}
	if n != 2 {
		t.Errorf("%d commands are listed, want 2", n)
	}
}

func TestInputReachesACommandOnceAndInOrder(t *testing.T) {
	s := newHost(t).serve(t).create(t, registry.CreateRequest{})
	c := startCommand(t, s, "cat")
	big := strings.Repeat("0123456789", 50_000)
	for _, step := range []struct {
		data         string
		offset, want int64
		eof          bool
	}{
		{"one", -1, 3, false}, {"one", 0, 3, false}, {"one two", 0, 7, false}, {big, 7, 500_007, false}, {"end", -1, 500_010, true},
	} {
		n, err := input(t, s, c.ID, []byte(step.data), step.offset, step.eof)
		if err != nil || n != step.want {
			t.Fatalf("%.10q at %d: %d, %v", step.data, step.offset, n, err)
		}
	}
	c, err := s.History().WaitCommand(t.Context(), c.ID)
	if stdout, _, _ := written(t, s, c.ID); err != nil || stdout != "one two"+big+"end" {
		t.Errorf("cat wrote %d bytes, %v; want its input", len(stdout), err)
	}
	if c.Stdout.Bytes != 500_010 || c.Stdout.Omitted != 500_010-2*64<<10 || !strings.HasSuffix(c.Stdout.Tail, "9end") {
		t.Errorf("the record has %d bytes and %d omitted", c.Stdout.Bytes, c.Stdout.Omitted)
	}
	if _, err := input(t, s, c.ID, []byte("x"), -1, false); cellhold.KindOf(err) != cellhold.Conflict {
		t.Errorf("input for a command that is done: %v", err)
	}
	c = startCommand(t, s, "cat")
	if _, err := input(t, s, c.ID, nil, 5, false); cellhold.KindOf(err) != cellhold.Conflict {
		t.Errorf("input with a gap: %v", err)
	}
	if err := kill(t, s, c.ID); err != nil {
		t.Error(err)
	}
}

func TestBinaryOutputOfACommandIsKept(t *testing.T) {
	s := newHost(t).serve(t).create(t, registry.CreateRequest{})
	c := command(t, s, "bytes 100000")
	want := make([]byte, 100_000)
	for i := range want {
		want[i] = byte(i)
	}
	if stdout, _, _ := written(t, s, c.ID); stdout != string(want) {
		t.Errorf("the events have %d bytes of output, which differ from the written bytes", len(stdout))
	}
	got, err := base64.StdEncoding.DecodeString(c.Stdout.Text)
	if err != nil || c.Stdout.Encoding != "base64" || !bytes.Equal(got, want) {
		t.Errorf("the record has %d bytes in %q, %v", len(got), c.Stdout.Encoding, err)
	}
}

func TestASignalATimeoutAndAKillStopACommand(t *testing.T) {
	s := newHost(t).serve(t).create(t, registry.CreateRequest{})
	c := startCommand(t, s, "wait")
	if err := signal(t, s, c.ID, "SIGINT"); err != nil {
		t.Fatal(err)
	}
	if c, err := s.History().WaitCommand(t.Context(), c.ID); err != nil || c.Status != cellhold.CommandSignal || c.Signal != "INT" || c.Code != 130 {
		t.Errorf("after SIGINT: %+v, %v", c, err)
	}
	c, err := s.StartCommand(t.Context(), attachment.CommandRequest{Args: []string{"stubborn"}, Timeout: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if c, err = s.History().WaitCommand(t.Context(), c.ID); err != nil || c.Status != cellhold.CommandTimeout || c.Signal != "KILL" {
		t.Errorf("after the timeout: %+v, %v", c, err)
	}
	c = startCommand(t, s, "stubborn")
	if err := kill(t, s, c.ID); err != nil {
		t.Fatal(err)
	}
	if c, err = s.History().Command(t.Context(), c.ID); err != nil || c.Status != cellhold.CommandSignal || c.State != cellhold.CommandDone {
		t.Errorf("after the kill: %+v, %v", c, err)
	}
	if err := kill(t, s, c.ID); err != nil {
		t.Errorf("a second kill: %v", err)
	}
}

func TestATerminalCanBeResized(t *testing.T) {
	s := newHost(t).serve(t).create(t, registry.CreateRequest{})
	c, err := s.StartCommand(t.Context(), attachment.CommandRequest{Line: "size", Terminal: &cellhold.Terminal{Rows: 24, Cols: 80}})
	if err != nil {
		t.Fatal(err)
	}
	watch, err := s.History().WatchCommand(t.Context(), c.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for ev, err := range watch {
		if err != nil {
			t.Fatal(err)
		}
		var content cellhold.StreamContent
		if ev.Type != cellhold.EventStream || ev.Decode(&content) != nil {
			continue
		}
		switch got += content.Text; got {
		case "24 80\n":
			err = resize(t, s, c.ID, cellhold.Terminal{Rows: 50, Cols: 132})
		case "24 80\n50 132\n":
			_, err = input(t, s, c.ID, []byte("x"), -1, false)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if got != "24 80\n50 132\n" {
		t.Errorf("got %q", got)
	}
	c = startCommand(t, s, "wait")
	if err := resize(t, s, c.ID, cellhold.Terminal{Rows: 1, Cols: 1}); cellhold.KindOf(err) != cellhold.Conflict {
		t.Errorf("a size without a terminal: %v", err)
	}
}

func TestACommandSurvivesTheServer(t *testing.T) {
	h := newHost(t)
	first := h.serve(t)
	s := first.create(t, registry.CreateRequest{})
	id := s.Info().ID
	c := startCommand(t, s, "cat")
	if _, err := input(t, s, c.ID, []byte("before "), 0, false); err != nil {
		t.Fatal(err)
	}
	done := command(t, s, "echo done")
	first.stop()

	s, err := h.serve(t).Session(t.Context(), "me", id)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.History().Command(t.Context(), c.ID); err != nil || got.State != cellhold.CommandRunning {
		t.Fatalf("the running command after a restart of the server: %+v, %v", got, err)
	}
	if _, err := input(t, s, c.ID, []byte("before after"), 0, true); err != nil {
		t.Fatal(err)
	}
	if c, err = s.History().WaitCommand(t.Context(), c.ID); err != nil || c.Status != cellhold.CommandOK || c.Stdout.Text != "before after" {
		t.Errorf("the command at its end: %+v, %v", c, err)
	}
	if stdout, _, types := written(t, s, c.ID); stdout != "before after" || strings.Count(types, "command_done") != 1 {
		t.Errorf("%q: %s", stdout, types)
	}
	if got, err := s.History().Command(t.Context(), done.ID); err != nil || got.Stdout.Text != "done\n" || got.Status != cellhold.CommandOK {
		t.Errorf("the command that was done before the restart: %+v, %v", got, err)
	}
}

func TestACommandWhoseSandboxEndsIsLost(t *testing.T) {
	h := newHost(t)
	s := h.serve(t).create(t, registry.CreateRequest{})
	c := startCommand(t, s, "wait")
	if err := h.world.Kill(sandbox.ID(s.Record().Sandbox), sandbox.Exit{OOM: true}); err != nil {
		t.Fatal(err)
	}
	if c, err := s.History().WaitCommand(t.Context(), c.ID); err != nil || c.Status != cellhold.CommandOOM {
		t.Errorf("after the sandbox ran out of memory: %+v, %v", c, err)
	}
	if _, err := s.StartCommand(t.Context(), attachment.CommandRequest{Line: "echo"}); cellhold.KindOf(err) != cellhold.Unavailable {
		t.Errorf("a command without a sandbox: %v", err)
	}
	if err := s.Restart(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if c := command(t, s, "echo again"); c.Stdout.Text != "again\n" {
		t.Errorf("a command in the new sandbox: %+v", c)
	}
}

func TestACommandIsLostWhenItsSandboxIsGoneAtTheStart(t *testing.T) {
	h := newHost(t)
	first := h.serve(t)
	s := first.create(t, registry.CreateRequest{})
	id, c := s.Info().ID, startCommand(t, s, "wait")
	first.stop()
	if err := h.world.Kill(sandbox.ID(s.Record().Sandbox), sandbox.Exit{}); err != nil {
		t.Fatal(err)
	}
	s, err := h.serve(t).Session(t.Context(), "me", id)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := s.History().Command(t.Context(), c.ID); err != nil || c.Status != cellhold.CommandLost || c.State != cellhold.CommandDone {
		t.Errorf("the command of the lost sandbox: %+v, %v", c, err)
	}
	if _, _, types := written(t, s, c.ID); !strings.HasSuffix(types, "command_done ") {
		t.Errorf("events: %s", types)
	}
}

func TestInvalidCommandsAreRefused(t *testing.T) {
	s := newHost(t).serve(t).create(t, registry.CreateRequest{})
	for _, tt := range []struct {
		name string
		r    attachment.CommandRequest
		want cellhold.Kind
	}{
		{"no command", attachment.CommandRequest{}, cellhold.Invalid},
		{"a line and arguments", attachment.CommandRequest{Line: "a", Args: []string{"a"}}, cellhold.Invalid},
		{"a zero byte", attachment.CommandRequest{Args: []string{"echo", "a\x00b"}}, cellhold.Invalid},
		{"a variable without a name", attachment.CommandRequest{Line: "echo", Env: map[string]string{"": "x"}}, cellhold.Invalid},
		{"a long argument", attachment.CommandRequest{Line: strings.Repeat("x", 200_000)}, cellhold.Invalid},
		{"many arguments", attachment.CommandRequest{Args: make([]string, 100_000)}, cellhold.Invalid},
		{"a negative timeout", attachment.CommandRequest{Line: "echo", Timeout: -1}, cellhold.Invalid},
	} {
		if _, err := s.StartCommand(t.Context(), tt.r); cellhold.KindOf(err) != tt.want {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	for range 32 {
		startCommand(t, s, "wait")
	}
	if _, err := s.StartCommand(t.Context(), attachment.CommandRequest{Line: "echo"}); cellhold.KindOf(err) != cellhold.Exhausted {
		t.Errorf("a command above the limit: %v", err)
	}
	if _, err := s.History().Command(t.Context(), "xunknown"); cellhold.KindOf(err) != cellhold.NotFound {
		t.Error(err)
	}
	if err := signal(t, s, "xunknown", "INT"); cellhold.KindOf(err) != cellhold.NotFound {
		t.Error(err)
	}
}

func TestASessionWithARunningCommandIsNotIdle(t *testing.T) {
	t.Parallel()                 // the test mostly waits
	const idle = 2 * time.Second // longer than a busy machine needs between two calls
	m := newHost(t).serve(t, func(o *registry.Options) { o.IdleTimeout = idle })
	s := m.create(t, registry.CreateRequest{})
	c := startCommand(t, s, "wait")
	waiting, cancel := context.WithTimeout(t.Context(), 2*idle)
	defer cancel()
	if _, err := s.History().WaitCommand(waiting, c.ID); err == nil {
		t.Fatal("the command ended")
	}
	if state := s.Info().State; state != cellhold.SessionReady {
		t.Fatalf("the session is %s", state)
	}
	if err := signal(t, s, c.ID, "TERM"); err != nil {
		t.Fatal(err)
	}
	if reason := ended(t, s); reason != cellhold.EndExpired {
		t.Errorf("the session ended because of %s", reason)
	}
}
